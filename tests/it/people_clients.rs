//! Clients that act for persons, and what persons may do at registries: the documents, over the admin
//! API (`docs/src/reference/admin-api.md`).

use carnet::model::Role;
use serde_json::{Value, json};

use crate::people_sessions::browser::People;
use crate::support::{Answer, TestServer};

const URI: &str = "https://desk.example/callback";
const WELL_KNOWN: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

/// A server with two principals and a registry at which owners may publish and yank.
async fn ground() -> TestServer {
    let server = TestServer::start().await;
    for name in ["octo-org", "acme"] {
        let principal = json!({ "kind": "organization" });
        server.put(&format!("principals/{name}"), principal).await;
    }
    let registry = json!({
        "resource": "https://npm.test/", "actions": ["publish", "create", "yank"],
        "people": { "owner": ["publish", "yank"] },
    });
    server.put("resource-servers/npm", registry).await;
    server
}

/// A client of persons with some members changed.
fn desk(changed: Value) -> Value {
    let mut document = json!({
        "auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [URI],
        "scopes": ["openid"], "permissions": [ceiling("npm", &["publish"])],
    });
    let members = document.as_object_mut().unwrap();
    members.extend(changed.as_object().unwrap().clone());
    document
}

fn ceiling(registry: &str, actions: &[&str]) -> Value {
    json!({ "resource_server": registry, "actions": actions, "packages": ["octo-*"] })
}

fn codes(saved: &Value) -> Vec<&str> {
    let warnings = saved["warnings"].as_array().unwrap().iter();
    let codes = warnings.map(|warning| warning["code"].as_str().unwrap());
    codes.collect()
}

fn pointers(answer: &Answer) -> Vec<String> {
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let of = |error: &Value| error["pointer"].as_str().unwrap().to_owned();
    errors.iter().map(of).collect()
}

#[tokio::test]
async fn a_client_of_persons_is_saved_and_shown_and_takes_part_in_decisions_at_once() {
    let server = ground().await;
    let given = json!({
        "redirect_uris": [URI, "http://127.0.0.1/callback", "org.octo.desk:/callback"],
        "display_name": "Octo’s desk", "homepage": "https://desk.example/", "first_party": true,
        "scopes": ["openid", "profile", "email", "admin:credentials:OCTO-org"],
    });
    let saved = server.put("clients/desk", desk(given.clone())).await;
    assert_eq!(codes(&saved), [""; 0]);
    let shown = server
        .admin("GET", "clients/desk", Value::Null)
        .await
        .json();
    for member in ["redirect_uris", "display_name", "homepage", "first_party"] {
        assert_eq!(shown[member], given[member], "{member}");
    }
    assert_eq!(shown["scopes"][3], "admin:credentials:octo-org");
    assert_eq!(shown["permissions"], json!([ceiling("npm", &["publish"])]));
    assert_eq!(shown["grant_types"], json!(["authorization_code"]));
    // What was read may be sent back, and changes nothing.
    let again = server.put("clients/desk", shown.clone()).await;
    assert_eq!(again["updated_at"], shown["updated_at"]);
    assert_eq!(again["revision"], 1);

    let rules = server.app.rules();
    let client = rules.client("desk").unwrap();
    assert_eq!(json!(client.redirect_uris), given["redirect_uris"]);
    assert_eq!(client.display_name.as_deref(), Some("Octo’s desk"));
    assert!(client.first_party && client.permissions[0].owner.is_empty());
    // A node that starts later has them from the database.
    let node = server.another_node().await;
    let loaded = node.app.rules();
    let loaded = loaded.client("desk").unwrap();
    assert_eq!(loaded.redirect_uris, client.redirect_uris);
    assert_eq!(loaded.homepage, client.homepage);
    assert!(loaded.first_party);

    let other = json!({ "auth_method": "client_secret_basic" });
    let other = server.put("clients/bot", other).await;
    assert_eq!(other["redirect_uris"], json!([]));
    assert_eq!(other["first_party"], false);
    for member in ["display_name", "homepage"] {
        assert_eq!(other[member], Value::Null, "{member}");
    }
    let grants = other["grant_types"].as_array().unwrap();
    assert!(!grants.contains(&json!("authorization_code")), "{other}");
}

#[tokio::test]
async fn mistakes_of_a_client_of_persons_are_refused_with_their_places() {
    let server = ground().await;
    let both = ["authorization_code", "client_credentials"];
    for (changed, expected) in [
        (json!({ "redirect_uris": [] }), "/redirect_uris"),
        (
            json!({ "redirect_uris": ["http://localhost/"] }),
            "/redirect_uris/0",
        ),
        (
            json!({ "redirect_uris": [URI, "myapp:/x"] }),
            "/redirect_uris/1",
        ),
        (
            json!({ "auth_method": "client_secret_basic", "grant_types": both }),
            "/grant_types",
        ),
        (json!({ "scopes": ["openid", "publish"] }), "/scopes"),
        (json!({ "scopes": ["admin:read:nobody"] }), "/scopes"),
        (json!({ "display_name": " x" }), "/display_name"),
        (json!({ "homepage": "http://desk.example/" }), "/homepage"),
        (
            json!({ "permissions": [ceiling("gems", &["publish"])] }),
            "/permissions/0/resource_server",
        ),
        (
            json!({ "permissions": [ceiling("npm", &["fly"])] }),
            "/permissions/0/actions",
        ),
    ] {
        let answer = server
            .admin("PUT", "clients/desk", desk(changed.clone()))
            .await;
        assert_eq!(answer.status, 422, "{changed}: {}", answer.text());
        assert_eq!(pointers(&answer), [expected], "{changed}");
    }
    let mut owned = ceiling("npm", &["publish"]);
    owned["owner"] = json!("octo-org");
    let answer = server
        .admin(
            "PUT",
            "clients/desk",
            desk(json!({ "permissions": [owned] })),
        )
        .await;
    assert_eq!(
        (answer.status, pointers(&answer)),
        (422, vec!["/permissions/0/owner".to_owned()])
    );
    let missing = server.admin("GET", "clients/desk", Value::Null).await;
    assert_eq!(missing.status, 404);
    // The name of the server's own client, in any case.
    for name in ["carnet-cli", "Carnet-Cli"] {
        let answer = server
            .admin("PUT", &format!("clients/{name}"), desk(json!({})))
            .await;
        assert_eq!(
            (answer.status, pointers(&answer)),
            (422, vec!["/name".to_owned()])
        );
        assert!(
            answer.text().contains("must not be carnet-cli"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn tokens_of_persons_end_with_what_their_client_may_ask_for() {
    let server = ground().await;
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let (mut revision, mut not_before) = (0, None);
    for (changed, ends) in [
        (desk(json!({})), true),
        (
            json!({ "display_name": "Desk", "homepage": "https://desk.example/" }),
            false,
        ),
        (
            json!({ "redirect_uris": [URI, "http://[::1]/callback"] }),
            true,
        ),
        (json!({ "display_name": null, "homepage": null }), false),
        (json!({ "scopes": ["openid", "email"] }), true),
        (
            json!({ "permissions": [ceiling("npm", &["publish", "yank"])] }),
            true,
        ),
        (json!({ "first_party": true }), true),
        (
            json!({ "grant_types": ["authorization_code", exchange] }),
            true,
        ),
        (json!({ "resource_server": "npm" }), false),
        (json!({ "redirect_uris": [URI] }), true),
        (
            json!({ "grant_types": [exchange], "redirect_uris": [], "first_party": false, "scopes": [], "permissions": [] }),
            true,
        ),
        // A client that is of persons no longer, and one that never was.
        (json!({ "grant_types": [] }), false),
    ] {
        server.clock.advance(1);
        let present = server.admin("PATCH", "clients/desk", changed.clone()).await;
        let saved = if present.status == 404 {
            server.put("clients/desk", changed.clone()).await
        } else {
            assert_eq!(present.status, 200, "{}", present.text());
            present.json()
        };
        let client = server.app.rules().client("desk").unwrap().clone();
        let grew = saved["revision"].as_i64().unwrap() - revision;
        assert_eq!(grew, i64::from(ends), "{changed}");
        assert_eq!(not_before != Some(client.not_before), ends, "{changed}");
        (revision, not_before) = (revision + grew, Some(client.not_before));
    }
}

#[tokio::test]
async fn a_ceiling_keeps_its_registry_and_no_principal() {
    let server = ground().await;
    server.put("clients/desk", desk(json!({}))).await;
    let delete = async |path: &str| server.admin("DELETE", path, Value::Null).await.status;
    assert_eq!(delete("resource-servers/npm").await, 409);
    assert_eq!(delete("principals/acme").await, 204);
    // A scope for one principal keeps that.
    let scopes = json!({ "scopes": ["openid", "admin:read:octo-org"] });
    server.admin("PATCH", "clients/desk", scopes).await;
    assert_eq!(delete("principals/octo-org").await, 409);
    let fewer = json!({ "scopes": ["openid"], "permissions": [] });
    server.admin("PATCH", "clients/desk", fewer).await;
    assert_eq!(delete("principals/octo-org").await, 204);
    assert_eq!(delete("resource-servers/npm").await, 204);
}

#[tokio::test]
async fn a_ceiling_where_persons_may_do_nothing_is_warned_of() {
    let server = ground().await;
    let gems = json!({ "resource": "https://gems.test/", "actions": ["push"] });
    server.put("resource-servers/gems", gems).await;
    let create = desk(json!({ "permissions": [ceiling("NPM", &["create"])] }));
    let saved = server.put("clients/desk", create).await;
    assert_eq!(codes(&saved), ["people_unset"]);
    let both = [
        ceiling("npm", &["publish", "create"]),
        ceiling("gems", &["push"]),
    ];
    let changed = json!({ "permissions": both });
    let tried = server
        .admin("PATCH", "clients/desk?dry_run=true", changed.clone())
        .await
        .json();
    assert_eq!(codes(&tried), ["people_unset"]);
    let saved = server.admin("PATCH", "clients/desk", changed).await.json();
    assert_eq!(codes(&saved), ["people_unset"]);
    let detail = saved["warnings"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("at gems:"), "{detail}");
    // An empty list opens nothing, one action does.
    for (people, expected) in [
        (json!({}), &["people_unset"][..]),
        (json!({ "viewer": ["push"] }), &[]),
        (Value::Null, &["people_unset"]),
    ] {
        let changed = json!({ "people": people });
        let answer = server
            .admin("PATCH", "resource-servers/gems", changed)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let shown = server
            .admin("GET", "clients/desk", Value::Null)
            .await
            .json();
        assert_eq!(codes(&shown), expected, "{people}");
    }
}

#[tokio::test]
async fn what_people_may_do_at_a_registry_is_part_of_its_actions() {
    let server = ground().await;
    let path = "resource-servers/npm";
    let shown = server.admin("GET", path, Value::Null).await.json();
    assert_eq!(
        shown["people"],
        json!({ "owner": ["publish", "yank"], "viewer": [] })
    );
    let again = server.put(path, shown.clone()).await;
    assert_eq!(again["updated_at"], shown["updated_at"]);
    for (changed, expected) in [
        (json!({ "people": { "owner": ["fly"] } }), "/people/owner"),
        (json!({ "people": { "viewer": ["fly"] } }), "/people/viewer"),
        (json!({ "people": { "auditor": [] } }), "/people/auditor"),
        (json!({ "people": ["publish"] }), "/people"),
        // What people may do is looked at anew when the actions change.
        (json!({ "actions": ["publish", "create"] }), "/people/owner"),
    ] {
        let answer = server.admin("PATCH", path, changed.clone()).await;
        assert_eq!(answer.status, 422, "{changed}: {}", answer.text());
        assert_eq!(pointers(&answer), [expected], "{changed}");
    }
    let (rules, node) = (server.app.rules(), server.another_node().await);
    let of_node = node.app.rules();
    for rules in [rules, of_node] {
        let people = rules
            .resource_server("npm")
            .unwrap()
            .people
            .clone()
            .unwrap();
        assert_eq!(people.of(Role::Owner), ["publish", "yank"]);
        assert!(people.of(Role::Viewer).is_empty());
    }
    let closed = server.admin("PATCH", path, json!({ "people": null })).await;
    assert_eq!(closed.json()["people"], Value::Null);
    assert!(
        server
            .app
            .rules()
            .resource_server("npm")
            .unwrap()
            .people
            .is_none()
    );
}

#[tokio::test]
async fn the_grant_of_persons_is_named_while_they_can_sign_in() {
    let people = People::new().await;
    let listed = async || {
        let mut found = Vec::new();
        for path in WELL_KNOWN {
            let metadata = people.server.get(path).await.json();
            let grants = metadata["grant_types_supported"].as_array().unwrap();
            found.push(grants.contains(&json!("authorization_code")));
        }
        found
    };
    assert_eq!(listed().await, [true, true]);
    let disabled = json!({ "enabled": false });
    let path = "identity-providers/corp?validate=offline";
    let answer = people.server.admin("PATCH", path, disabled).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(listed().await, [false, false]);
}

#[tokio::test]
async fn a_client_of_persons_gets_no_token_for_itself() {
    let server = ground().await;
    let document = desk(json!({ "auth_method": "client_secret_post", "scopes": ["admin"] }));
    let secret = server.put("clients/desk", document).await["client_secret"].clone();
    for resource in ["https://npm.test/", "https://carnet.test/admin"] {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "desk"),
            ("client_secret", secret.as_str().unwrap()),
            ("resource", resource),
        ];
        let answer = server.form("/token", &form).await;
        answer.refused(400, "unauthorized_client", "client_not_allowed");
    }
}

#[tokio::test]
async fn the_grant_of_persons_is_none_of_assertions() {
    let server = ground().await;
    for name in ["authorization_code", "authorization-code"] {
        let keys = json!({ "source": "static", "jwks": { "keys": [] } });
        let issuer = json!({ "profile": "github-actions", "issuer": "https://ci.test", "keys": keys, "grants": [name] });
        let answer = server.admin("PUT", "trusted-issuers/gh", issuer).await;
        assert_eq!(answer.status, 422);
        assert!(
            pointers(&answer).contains(&"/grants".to_owned()),
            "{}",
            answer.text()
        );
    }
    let claims = json!({ "sub": "x" });
    let question =
        json!({ "grant_type": "authorization_code", "trusted_issuer": "gh", "claims": claims });
    let answer = server.admin("POST", "explanations", question).await;
    assert_eq!(
        (answer.status, pointers(&answer)),
        (422, vec!["/grant_type".to_owned()])
    );
}

#[tokio::test]
async fn the_schema_names_the_members_of_clients_and_registries() {
    let server = TestServer::start().await;
    let document = server.get("/admin/v1/openapi.json").await.json();
    let schemas = &document["components"]["schemas"];
    let client = &schemas["Client"]["properties"];
    for member in ["redirect_uris", "display_name", "homepage", "first_party"] {
        assert!(
            client[member]["description"].is_string(),
            "{member}: {client}"
        );
    }
    let people = schemas["ResourceServer"]["properties"]["people"].to_string();
    assert!(people.contains("PeopleActions"), "{people}");
    let roles = &schemas["PeopleActions"]["properties"];
    assert!(roles["owner"].is_object() && roles["viewer"].is_object());
}
