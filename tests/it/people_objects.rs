//! Identity providers and memberships as objects: what saving refuses and warns of, that a client secret leaves the server by no
//! way, and which roles the stored memberships give.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::routing::get;
use carnet::audit::{AuditEvent, Outcome};
use carnet::clock::Clock as _;
use carnet::documents::IdentityProviderDocument;
use carnet::keys::provider_secret;
use carnet::model::Role;
use carnet::store::{StoreError, Write};
use carnet_engine::people::{Roles, roles};
use serde_json::{Map, Value, json};

use crate::support::{
    CARNET, Finished, Receiver, TestDb, TestServer, World, carnet, finished, first_start,
};

const LOGIN: &str = "https://login.test/realm";
const CANARY: &str = "canary-provider-secret";

fn document() -> Value {
    json!({
        "issuer": LOGIN, "client_id": "carnet", "client_secret": CANARY, "second_factor": { "acr": ["mfa"] },
    })
}

/// The discovery document of a provider that lacks nothing, with these members changed.
fn discovery(changed: Value) -> Value {
    let mut document = json!({
        "issuer": LOGIN,
        "authorization_endpoint": "https://login.test/authorize",
        "token_endpoint": "https://login.test/token",
        "jwks_uri": "https://login.test/jwks",
        "end_session_endpoint": "https://login.test/logout",
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["sub", "auth_time"],
    });
    for (name, value) in changed.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

/// Puts a provider with this discovery document at its host.
fn publish(server: &TestServer, document: Value) {
    let path = "/realm/.well-known/openid-configuration";
    let service = Router::new().route(path, get(async move || Json(document)));
    server.network.add_service("login.test", service);
}

/// A server with the identity provider `corp` and the principal `octo-org`.
async fn ground() -> TestServer {
    let server = TestServer::start().await;
    publish(&server, discovery(json!({})));
    let principal = json!({ "kind": "organization" });
    server.put("principals/octo-org", principal).await;
    server.put("identity-providers/corp", document()).await;
    server
}

fn codes(saved: &Value) -> Vec<String> {
    let warnings = saved["warnings"].as_array().unwrap().iter();
    let codes = warnings.map(|warning| warning["code"].as_str().unwrap().to_owned());
    codes.collect()
}

/// Saves a document that has mistakes; where they are, and the whole answer.
async fn mistakes(server: &TestServer, path: &str, document: Value) -> (Vec<String>, String) {
    let answer = server.admin("PUT", path, document.clone()).await;
    assert_eq!(answer.status, 422, "{document}: {}", answer.text());
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    let pointers = errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap().to_owned());
    (pointers.collect(), answer.text())
}

fn with(mut document: Value, name: &str, value: Value) -> Value {
    document[name] = value;
    document
}

/// The roles of a person at `corp` with these claims.
fn held(server: &TestServer, claims: Value) -> Roles {
    let rules = server.app.rules();
    let Some(provider) = rules.identity_provider_named("corp") else {
        return Roles::default();
    };
    let claims: Map<String, Value> = claims.as_object().unwrap().clone();
    roles(&rules, provider, &claims, server.clock.now())
}

fn membership(role: &str, principal: Option<&str>, matcher: Value) -> Value {
    json!({ "identity_provider": "corp", "role": role, "principal": principal, "match": matcher })
}

// === identity providers ===

#[tokio::test]
async fn an_identity_provider_is_answered_with_its_defaults_and_its_redirect_uri() {
    let server = ground().await;
    let path = "identity-providers/corp";
    let shown = server.admin("GET", path, Value::Null).await.json();
    assert!(
        shown["id"].as_str().unwrap().starts_with("idp_"),
        "{shown:#}"
    );
    for (member, expected) in [
        ("auth_method", json!("client_secret_basic")),
        ("scopes", json!(["openid", "profile", "email"])),
        ("claims_from", json!("id_token")),
        ("algorithms", json!(["RS256", "ES256"])),
        ("profile", json!("person")),
        ("freshness", json!("auth_time")),
        ("logout", json!("provider")),
        ("enabled", json!(true)),
        ("has_secret", json!(true)),
        ("writes", json!(true)),
        ("warnings", json!([])),
        (
            "redirect_uri",
            json!(format!("{CARNET}/console/sign-in/corp/callback")),
        ),
    ] {
        assert_eq!(shown[member], expected, "{member}");
    }
    // What was read is saved again without a change.
    let again = server.admin("PUT", path, shown.clone()).await;
    assert_eq!(
        (again.status, again.header("etag")),
        (200, Some("\"2\"")),
        "defaults were written out"
    );
    let once_more = server.admin("PUT", path, shown).await;
    assert_eq!(once_more.header("etag"), Some("\"2\""));
    let exported = server
        .admin("GET", &format!("{path}?view=export"), Value::Null)
        .await;
    assert!(!exported.text().contains("secret\""), "{}", exported.text());
}

#[tokio::test]
async fn only_the_scope_admin_changes_people_objects_and_admin_read_reads_them() {
    let server = ground().await;
    let operators = membership("operator", None, json!({ "groups": ["ops"] }));
    server.put("memberships/ops", operators.clone()).await;
    for (path, body) in [
        ("identity-providers/corp", document()),
        ("memberships/ops", operators),
    ] {
        for scope in [
            "admin:read",
            "admin:credentials",
            "admin:credentials:octo-org",
        ] {
            for (method, body) in [
                ("PUT", body.clone()),
                ("PATCH", json!({})),
                ("DELETE", Value::Null),
            ] {
                let refused = server.admin_as(scope, method, path, body).await;
                assert_eq!(refused.status, 403, "{scope} {method} {path}");
            }
            let read = server.admin_as(scope, "GET", path, Value::Null).await;
            let expected = if scope == "admin:read" { 200 } else { 403 };
            assert_eq!(read.status, expected, "{scope} {path}");
        }
    }
}

#[tokio::test]
async fn a_client_secret_is_stored_sealed_and_leaves_the_server_by_no_way() {
    let server = ground().await;
    let path = "identity-providers/corp";
    let mut answers = String::new();
    let sealed = async || {
        let state: Vec<String> = server
            .db
            .column("SELECT state FROM identity_provider")
            .await;
        let state: Value = serde_json::from_str(&state[0]).unwrap();
        state["sealed_secret"].as_str().map(str::to_owned)
    };
    let opened = |sealed: &str| {
        let opened = server.app.keys.open_sealed(sealed, provider_secret("corp"));
        String::from_utf8(opened.unwrap()).unwrap()
    };
    let first = sealed().await.unwrap();
    assert_eq!(opened(&first), CANARY);
    // The same text, none, and a dry run of another one change nothing.
    let mut without = document();
    without.as_object_mut().unwrap().remove("client_secret");
    let other = with(
        document(),
        "client_secret",
        json!("canary-provider-secret-2"),
    );
    for (query, body) in [
        ("", document()),
        ("", without.clone()),
        ("?dry_run=true", other.clone()),
    ] {
        let saved = server.admin("PUT", &format!("{path}{query}"), body).await;
        assert_eq!(saved.status, 200, "{}", saved.text());
        answers.push_str(&saved.text());
        assert_eq!(sealed().await.as_ref(), Some(&first), "{query}");
    }
    let saved = server.admin("PUT", path, other).await;
    assert_eq!(
        saved.header("etag"),
        Some("\"2\""),
        "another secret is a change"
    );
    assert_eq!(opened(&sealed().await.unwrap()), "canary-provider-secret-2");
    // Refused documents leave events, which hold the document.
    let wrong = with(document(), "issuer", json!("https://nobody.test"));
    let refused = server.admin("PUT", "identity-providers/other", wrong).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let too_long = with(document(), "client_secret", json!(CANARY.repeat(100)));
    answers.push_str(&mistakes(&server, path, too_long).await.1);
    answers.push_str(&refused.text());
    answers.push_str(&saved.text());
    let public = json!({ "auth_method": "none" });
    assert_eq!(server.admin("PATCH", path, public).await.status, 200);
    assert_eq!(sealed().await, None, "a public client has no secret");
    for path in [
        "identity-providers",
        "identity-providers?view=export",
        "openapi.json",
    ] {
        answers.push_str(&server.admin("GET", path, Value::Null).await.text());
    }
    let openapi = server
        .admin("GET", "openapi.json", Value::Null)
        .await
        .json();
    let member = "/components/schemas/IdentityProvider/properties/client_secret/writeOnly";
    assert_eq!(openapi.pointer(member), Some(&json!(true)));
    let events = server.audit("limit=100").await;
    let replaced = events
        .iter()
        .filter(|event| event["detail"]["replaced_secret"] == true);
    assert_eq!(replaced.count(), 1);
    answers.push_str(&json!(events).to_string());
    for column in [
        "SELECT document FROM identity_provider",
        "SELECT detail FROM audit_event",
    ] {
        answers.push_str(&server.db.column::<String>(column).await.join("\n"));
    }
    assert!(!answers.contains("canary"), "{answers}");
}

#[tokio::test]
async fn mistakes_of_an_identity_provider_are_refused_with_their_places() {
    let server = ground().await;
    let path = "identity-providers/new";
    for (member, value) in [
        ("issuer", json!("http://login.test/realm")),
        ("issuer", json!("https://login.test/realm?x=1")),
        ("issuer", json!("https://*.test")),
        ("issuer", json!(CARNET)),
        ("client_id", json!("")),
        ("client_id", Value::Null),
        ("client_secret", Value::Null),
        ("client_secret", json!({ "env": "HOME" })),
        ("client_secret", json!("x".repeat(513))),
        ("auth_method", json!("client_secret_jwt")),
        ("auth_method", json!("tls_client_auth")),
        ("scopes", json!(["profile"])),
        ("scopes", json!(["openid", "offline_access"])),
        ("scopes", json!(["openid", "a b"])),
        ("claims_from", json!("introspection")),
        ("algorithms", json!(["HS256"])),
        ("algorithms", json!(["none"])),
        ("algorithms", json!([])),
        ("profile", json!("github-actions")),
        ("profile", json!("email")),
        ("profile", json!("nobody")),
        ("second_factor", Value::Null),
        ("second_factor", json!("none")),
        ("second_factor", json!({ "acr": [] })),
        ("second_factor", json!({ "acr": ["a"], "amr": ["b"] })),
        ("second_factor", json!({ "amr": ["two words"] })),
        ("freshness", json!("iat")),
        ("logout", json!("everywhere")),
        ("ca_pem", json!("no certificate")),
        ("allow_private", json!(["10.0.0.0/99"])),
        ("unknown", json!(1)),
    ] {
        let wrong = with(document(), member, value.clone());
        let (pointers, text) = mistakes(&server, path, wrong).await;
        assert_eq!(pointers, [format!("/{member}")], "{value}: {text}");
    }
    // A method without a secret takes none.
    let public = with(document(), "auth_method", json!("private_key_jwt"));
    assert_eq!(mistakes(&server, path, public).await.0, ["/client_secret"]);
    // A profile for people is none for a trusted issuer.
    let issuer = json!({ "profile": "person", "issuer": LOGIN });
    let path = "trusted-issuers/people?validate=offline";
    assert_eq!(mistakes(&server, path, issuer).await.0, ["/profile"]);
}

#[tokio::test]
async fn oidcd_4_3__saving_fetches_discovery_and_refuses_another_issuer_or_weak_endpoints() {
    let server = ground().await;
    let path = "identity-providers/corp";
    for (member, value) in [
        ("issuer", json!(format!("{LOGIN}/"))),
        ("issuer", Value::Null),
        (
            "authorization_endpoint",
            json!("http://login.test/authorize"),
        ),
        ("token_endpoint", json!("http://login.test/token")),
        ("token_endpoint", json!("https://10.0.0.1/token")),
        ("jwks_uri", Value::Null),
        ("code_challenge_methods_supported", json!(["plain"])),
    ] {
        publish(&server, discovery(json!({ member: value })));
        let (pointers, text) = mistakes(&server, path, document()).await;
        assert_eq!(pointers, ["/issuer"], "{member} {value}: {text}");
        let offline = server
            .admin("PUT", &format!("{path}?validate=offline"), document())
            .await;
        assert_eq!(offline.status, 200, "{}", offline.text());
    }
    // Not denied is enough: many providers do not name the member.
    publish(
        &server,
        discovery(json!({ "code_challenge_methods_supported": null })),
    );
    server.put(path, document()).await;
    let fetched = server.network.fetched().len();
    let offline = format!("{path}?validate=offline");
    server.put(&offline, document()).await;
    assert_eq!(
        server.network.fetched().len(),
        fetched,
        "offline fetches nothing"
    );
}

#[tokio::test]
async fn what_a_provider_cannot_prove_is_warned_of_when_it_is_saved() {
    let server = ground().await;
    let path = "identity-providers/corp";
    let warned = async |changed: Value, member: &str, value: Value| {
        publish(&server, discovery(changed));
        let saved = server.put(path, with(document(), member, value)).await;
        (codes(&saved), saved["writes"].clone())
    };
    let no_time = || json!({ "claims_supported": ["sub", "groups"] });
    let auth_time = warned(no_time(), "freshness", json!("auth_time")).await;
    assert_eq!(auth_time, (vec!["no_auth_time".to_owned()], json!(false)));
    let new_sign_in = warned(no_time(), "freshness", json!("new_sign_in")).await;
    assert_eq!(
        new_sign_in,
        (vec!["freshness_unproved".to_owned()], json!(true))
    );
    let shown = server.admin("GET", path, Value::Null).await.json();
    let detail = shown["warnings"][0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("take prompt=login and max_age=0 out of the link"),
        "{detail}"
    );
    let silent = warned(json!({ "claims_supported": null }), "enabled", json!(true)).await;
    assert_eq!(silent, (vec![], json!(true)));
    let unproved = warned(json!({}), "second_factor", json!("enforced_by_provider")).await;
    assert_eq!(unproved.0, ["second_factor_unproved"]);
    let others = json!({
        "token_endpoint_auth_methods_supported": ["private_key_jwt"], "id_token_signing_alg_values_supported": ["HS256"],
        "end_session_endpoint": null,
    });
    let found = warned(others, "enabled", json!(true)).await;
    assert_eq!(
        found.0,
        ["auth_method_not_named", "algorithm_not_named", "no_logout"]
    );
    // What discovery said stays until it is fetched again.
    let offline = server
        .put(&format!("{path}?validate=offline"), document())
        .await;
    assert_eq!(codes(&offline), found.0);
}

#[tokio::test]
async fn members_that_only_identity_providers_answer_are_mistakes_elsewhere() {
    let server = ground().await;
    let shown = server
        .admin("GET", "identity-providers/corp", Value::Null)
        .await
        .json();
    server.put("identity-providers/corp", shown).await;
    let members = ["redirect_uri", "has_secret", "writes"];
    for member in members {
        let principal = with(json!({ "kind": "organization" }), member, json!(true));
        let (pointers, text) = mistakes(&server, "principals/octo-org", principal).await;
        assert_eq!(pointers, [format!("/{member}")], "{text}");
    }
}

#[tokio::test]
async fn the_seventeenth_identity_provider_is_refused() {
    let server = ground().await;
    for number in 1..16 {
        server
            .put(&format!("identity-providers/p{number}"), document())
            .await;
    }
    let (pointers, text) = mistakes(&server, "identity-providers/p16", document()).await;
    assert!(pointers == [""] && text.contains("at most 16"), "{text}");
    server.put("identity-providers/p15", document()).await;
}

#[tokio::test]
async fn an_issuer_stays_while_memberships_or_people_hang_on_it_and_takes_its_secret_along() {
    let server = ground().await;
    let path = "identity-providers/corp?validate=offline";
    let moved = || with(document(), "issuer", json!("https://login.test/other"));
    let mut without = moved();
    without.as_object_mut().unwrap().remove("client_secret");
    let (pointers, text) = mistakes(&server, path, without).await;
    assert!(
        pointers == ["/client_secret"] && text.contains("anew"),
        "{text}"
    );
    let operators = membership("operator", None, json!({ "groups": ["ops"] }));
    server.put("memberships/ops", operators).await;
    assert_eq!(mistakes(&server, path, moved()).await.0, ["/issuer"]);
    server.admin("DELETE", "memberships/ops", Value::Null).await;
    let person = format!(
        "INSERT INTO person (id, identity_provider, sub, first_seen, last_seen, enabled) \
         SELECT id, id, 'alice', 0, 0, {} FROM identity_provider",
        if server.db.url().starts_with("sqlite") {
            "1"
        } else {
            "true"
        }
    );
    server.db.execute(&person).await;
    assert_eq!(mistakes(&server, path, moved()).await.0, ["/issuer"]);
    server.db.execute("DELETE FROM person").await;
    server.put(path, moved()).await;
}

#[tokio::test]
async fn what_must_not_change_is_judged_again_when_the_identity_provider_is_written() {
    let server = ground().await;
    let store = &server.app.store;
    let stored = store.named::<IdentityProviderDocument>("corp").await;
    let stored = stored.unwrap().unwrap();
    let write = async |change: fn(&mut IdentityProviderDocument)| {
        let mut after = stored.clone();
        change(&mut after.document);
        after.version += 1;
        let now = server.app.clock.now();
        let event = AuditEvent::new(now, Outcome::Updated);
        store
            .write(Write::Update(&after, stored.version), &event, now)
            .await
    };
    let moved = |document: &mut IdentityProviderDocument| {
        document.issuer = "https://login.test/other".to_owned();
    };
    let renamed = |document: &mut IdentityProviderDocument| document.client_id = "other".to_owned();

    // What the preparation of an update did not see yet, since it came between.
    let operators = membership("operator", None, json!({ "groups": ["ops"] }));
    server.put("memberships/ops", operators).await;
    assert!(matches!(write(moved).await, Err(StoreError::Changed)));
    server.admin("DELETE", "memberships/ops", Value::Null).await;
    server
        .db
        .execute(
            "INSERT INTO person (id, identity_provider, sub, first_seen, last_seen, enabled) \
             SELECT id, id, 'alice', 0, 0, false FROM identity_provider",
        )
        .await;
    assert!(matches!(write(moved).await, Err(StoreError::Changed)));
    assert!(matches!(write(renamed).await, Err(StoreError::Changed)));
    server.db.execute("UPDATE person SET enabled = true").await;
    assert!(write(renamed).await.is_ok());
}

#[tokio::test]
async fn metadata_with_a_byte_order_mark_are_read() {
    let server = TestServer::start().await;
    let body = format!("\u{feff}{}", discovery(json!({})));
    let path = "/realm/.well-known/openid-configuration";
    let service = Router::new().route(path, get(async move || body));
    server.network.add_service("login.test", service);
    server.put("identity-providers/corp", document()).await;
}

#[tokio::test]
async fn metadata_and_keys_of_a_provider_that_cannot_be_fetched_are_told_to_the_operator() {
    let server = TestServer::with(&[("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true")]).await;
    publish(&server, discovery(json!({})));
    server.put("identity-providers/corp", document()).await;
    let receiver = Receiver::start().await;
    let webhook = json!({ "url": receiver.url, "kinds": ["key_alarm"] });
    server.put("notifications/ops", webhook).await;
    let rules = server.app.rules();
    let provider = rules.identity_provider_named("corp").unwrap();
    let found = server.app.providers.of(provider).await.unwrap();
    let keys = Arc::new(found.keys_of(provider));
    server.app.upstream.refresh(&keys).await.unwrap_err();
    server.network.add_service("login.test", Router::new());
    server.clock.advance(11 * 60);
    server.app.providers.of(provider).await.unwrap();
    server.clock.advance(61);
    let alarms = receiver.wait_for(2).await;
    let mut problems: Vec<String> = alarms
        .iter()
        .map(|alarm| {
            let data = &alarm.json()["data"];
            assert_eq!(data["identity_provider"], "corp");
            data["problem"].as_str().unwrap().to_owned()
        })
        .collect();
    problems.sort();
    assert_eq!(problems, ["keys_unavailable", "metadata_unavailable"]);
}

// === memberships ===

#[tokio::test]
async fn mistakes_of_a_membership_are_refused_with_their_places() {
    let server = ground().await;
    let octo = Some("octo-org");
    let groups = || json!({ "groups": ["g"] });
    for (document, pointer) in [
        (membership("maintainer", octo, groups()), "/role"),
        (
            with(membership("owner", octo, groups()), "role", Value::Null),
            "/role",
        ),
        (membership("owner", None, groups()), "/principal"),
        (membership("viewer", None, groups()), "/principal"),
        (membership("operator", octo, groups()), "/principal"),
        (membership("auditor", octo, groups()), "/principal"),
        (membership("owner", Some("nobody"), groups()), "/principal"),
        (
            with(
                membership("owner", octo, groups()),
                "identity_provider",
                json!("nobody"),
            ),
            "/identity_provider",
        ),
        (
            with(membership("owner", octo, groups()), "match", Value::Null),
            "/match",
        ),
        (
            with(
                membership("owner", octo, groups()),
                "expires_at",
                json!("soon"),
            ),
            "/expires_at",
        ),
        (membership("viewer", octo, json!({})), "/match"),
        (
            membership("viewer", octo, json!({ "email_domain": "corp.example" })),
            "/match",
        ),
        (
            membership(
                "viewer",
                octo,
                json!({ "claims": { "hd": "corp.example" } }),
            ),
            "/match",
        ),
        (
            membership("viewer", octo, json!({ "groups": { "glob": "g*" } })),
            "/match/groups",
        ),
        (
            membership("viewer", octo, json!({ "groups": [] })),
            "/match/groups",
        ),
        (
            membership("viewer", octo, json!({ "sub": "s", "repository": "o/r" })),
            "/match/repository",
        ),
        (
            membership(
                "viewer",
                octo,
                json!({ "sub": "s", "email_domain": "gmail.com" }),
            ),
            "/match/email_domain",
        ),
    ] {
        let (pointers, text) = mistakes(&server, "memberships/m", document.clone()).await;
        assert_eq!(pointers, [pointer], "{document}: {text}");
    }
}

#[tokio::test]
async fn people_role_1__only_sub_and_groups_make_an_owner_an_operator_or_an_auditor() {
    let server = ground().await;
    let weak = [
        json!({ "username": "alice" }),
        json!({ "email": "alice@corp.example" }),
        json!({ "email": "alice@corp.example", "email_domain": "corp.example", "claims": { "department": "x" } }),
    ];
    for (role, principal) in [
        ("owner", Some("octo-org")),
        ("operator", None),
        ("auditor", None),
    ] {
        for matcher in &weak {
            let document = membership(role, principal, matcher.clone());
            let (pointers, text) = mistakes(&server, "memberships/m", document).await;
            assert!(
                pointers == ["/match"] && text.contains("sub or groups"),
                "{role} {matcher}: {text}"
            );
        }
        let certain = [
            json!({ "sub": "alice" }),
            json!({ "groups": ["g"] }),
            json!({ "groups": { "any_of": ["g", "h"] }, "email": "alice@corp.example" }),
        ];
        for matcher in certain {
            let saved = server
                .put("memberships/m", membership(role, principal, matcher))
                .await;
            assert_eq!(codes(&saved), Vec::<String>::new(), "{saved}");
        }
    }
    for matcher in weak {
        let document = membership("viewer", Some("octo-org"), matcher);
        let saved = server.put("memberships/m", document).await;
        assert_eq!(codes(&saved), ["reassignable"], "{saved}");
    }
}

#[tokio::test]
async fn people_role_2__stored_memberships_decide_and_an_end_counts_on_every_node() {
    let server = ground().await;
    let other = server.another_node().await;
    let alice = || json!({ "sub": "alice", "groups": ["octo", "staff"] });
    let on_other = async || {
        other.app.refresh().await.unwrap();
        held(&other, alice())
    };
    assert!(held(&server, alice()).is_empty());
    let owner = membership("owner", Some("OCTO-ORG"), json!({ "groups": ["octo"] }));
    let saved = server.put("memberships/owners", owner.clone()).await;
    assert_eq!(
        (&saved["principal"], &saved["state"], &saved["revision"]),
        (&json!("octo-org"), &json!("active"), &json!(1))
    );
    let role = on_other().await.at("octo-org").unwrap();
    assert_eq!(
        (role.membership.to_string(), role.revision),
        (saved["id"].as_str().unwrap().to_owned(), 1)
    );
    assert!(held(&server, alice()).may_write());
    // A meaning that changes raises the revision; a date does not.
    let later = with(owner.clone(), "expires_at", json!("2027-01-16T00:00:00Z"));
    assert_eq!(server.put("memberships/owners", later).await["revision"], 1);
    let narrower = membership("viewer", Some("octo-org"), json!({ "sub": "alice" }));
    assert_eq!(
        server.put("memberships/owners", narrower).await["revision"],
        2
    );
    assert!(!held(&server, alice()).may_write() && on_other().await.at("octo-org").is_some());
    // Ended by date, switched off, by its provider, by its principal, and deleted.
    let ended = with(owner.clone(), "expires_at", json!("2026-01-01T00:00:00Z"));
    assert_eq!(
        server.put("memberships/owners", ended).await["state"],
        "expired"
    );
    assert!(on_other().await.is_empty());
    let off = with(owner.clone(), "enabled", json!(false));
    assert_eq!(
        server.put("memberships/owners", off).await["state"],
        "disabled"
    );
    assert!(on_other().await.is_empty());
    server.put("memberships/owners", owner).await;
    for path in [
        "identity-providers/corp?validate=offline",
        "principals/octo-org",
    ] {
        assert!(!on_other().await.is_empty(), "{path}");
        for enabled in [false, true] {
            let answer = server
                .admin("PATCH", path, json!({ "enabled": enabled }))
                .await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(on_other().await.is_empty(), !enabled, "{path}");
        }
    }
    server
        .admin("DELETE", "memberships/owners", Value::Null)
        .await;
    assert!(on_other().await.is_empty() && held(&server, alice()).is_empty());
    // A node that starts later reads the same.
    let auditor = membership("auditor", None, json!({ "sub": "alice" }));
    server.put("memberships/auditor", auditor).await;
    assert!(
        held(&server.another_node().await, alice())
            .auditor
            .is_some()
    );
}

#[tokio::test]
async fn a_membership_with_a_role_of_a_newer_release_gives_nothing_and_hides_no_others() {
    let server = ground().await;
    for name in ["a", "b", "c"] {
        let owner = membership("owner", Some("octo-org"), json!({ "sub": name }));
        server.put(&format!("memberships/{name}"), owner).await;
    }
    let later = "UPDATE membership SET role = 'janitor' WHERE name <> 'c'";
    server.db.execute(later).await;
    let server = server.another_node().await;
    let roles = |name: &str| held(&server, json!({ "sub": name }));
    assert!(roles("a").is_empty() && roles("b").is_empty());
    assert_eq!(roles("c").at("octo-org").unwrap().role, Role::Owner);
    // Pages go on behind the memberships that are left out.
    let listed = server
        .admin("GET", "memberships?limit=1", Value::Null)
        .await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    let listed = server.admin("GET", "memberships", Value::Null).await.json();
    let names: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["name"])
        .collect();
    assert_eq!(names, ["c"]);
    let gone = server.admin("GET", "memberships/a", Value::Null).await;
    assert_eq!(gone.status, 404, "{}", gone.text());
}

#[tokio::test]
async fn a_principal_or_provider_that_a_membership_names_is_in_use() {
    let server = ground().await;
    let viewer = membership("viewer", Some("octo-org"), json!({ "sub": "alice" }));
    server.put("memberships/m", viewer).await;
    for path in ["principals/octo-org", "identity-providers/corp"] {
        let kept = server.admin("DELETE", path, Value::Null).await;
        let body = kept.json();
        assert_eq!(
            (kept.status, body["code"].as_str()),
            (409, Some("in_use")),
            "{body}"
        );
        assert_eq!(
            body["referrers"],
            json!([{ "kind": "memberships", "name": "m" }])
        );
    }
    let listed = server
        .admin("GET", "memberships?principal=octo-org", Value::Null)
        .await;
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 1);
    let none = server
        .admin("GET", "memberships?principal=nobody", Value::Null)
        .await;
    assert_eq!(none.json()["items"], json!([]));
    for path in [
        "memberships/m",
        "principals/octo-org",
        "identity-providers/corp",
    ] {
        assert_eq!(
            server.admin("DELETE", path, Value::Null).await.status,
            204,
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_explanation_shows_which_condition_keeps_a_person_from_a_principal() {
    let server = ground().await;
    let owner = membership("owner", Some("octo-org"), json!({ "groups": ["octo"] }));
    let id = server.put("memberships/owners", owner).await["id"].clone();
    let path = "identity-providers/corp/explanations";
    let ask = async |body: Value| server.admin("POST", path, body).await;
    let stored = server.audit("limit=100").await.len();

    let claims = json!({ "sub": "alice", "groups": ["octopus"], "nonce": "n" });
    let wrong = ask(json!({ "claims": claims, "principal": "OCTO-org" })).await;
    assert_eq!(wrong.status, 200, "{}", wrong.text());
    let wrong = wrong.json();
    assert_eq!(wrong["roles"], json!([]));
    let candidate = &wrong["candidates"][0];
    assert_eq!(
        (
            &candidate["membership"],
            &candidate["name"],
            &candidate["role"],
            &candidate["matches"]
        ),
        (&id, &json!("owners"), &json!("owner"), &json!(false))
    );
    let conditions = candidate["conditions"].as_array().unwrap();
    let unmet: Vec<_> = conditions.iter().filter(|it| it["met"] == false).collect();
    let [unmet] = unmet.as_slice() else {
        panic!("{wrong}");
    };
    assert_eq!(
        (&unmet["field"], &unmet["received"], &unmet["reason"]),
        (
            &json!("groups"),
            &json!(["octopus"]),
            &json!("claim_mismatch")
        )
    );
    // Without the principal there is nothing that the claims lead to.
    let nothing = ask(json!({ "claims": claims })).await.json();
    assert_eq!(nothing, json!({ "roles": [], "candidates": [] }));

    let right = ask(json!({ "claims": { "sub": "alice", "groups": ["octo"] } }))
        .await
        .json();
    assert_eq!(
        right["roles"],
        json!([{ "role": "owner", "principal": "octo-org", "membership": id }])
    );
    assert_eq!(right["candidates"][0]["matches"], true);

    for (body, pointer) in [
        (json!({}), "/claims"),
        (json!({ "claims": [] }), "/claims"),
        (json!({ "claims": { "groups": vec!["g"; 201] } }), "/claims"),
        (json!({ "claims": {}, "principal": "nobody" }), "/principal"),
        (json!({ "claims": {}, "role": "owner" }), "/role"),
    ] {
        let answer = ask(body.clone()).await;
        assert_eq!(answer.status, 422, "{body}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    let unknown = "identity-providers/none/explanations";
    let answer = server.admin("POST", unknown, json!({ "claims": {} })).await;
    assert_eq!(answer.status, 404);
    assert_eq!(server.audit("limit=100").await.len(), stored);
}

// === commands ===

/// How many objects there are of the kinds of the sample.
const WRITTEN: &str = "SELECT (SELECT COUNT(*) FROM identity_provider) + (SELECT COUNT(*) FROM membership) \
                       + (SELECT COUNT(*) FROM principal)";

#[tokio::test]
async fn a_secret_named_by_a_variable_is_applied_and_a_bundle_without_it_changes_nothing() {
    let db = TestDb::new().await;
    let settings = [
        ("CARNET_DATABASE__URL", db.url().to_owned()),
        ("CARNET_DATA_DIR", db.folder().display().to_string()),
    ];
    let borrowed = [
        (settings[0].0, settings[0].1.as_str()),
        (settings[1].0, settings[1].1.as_str()),
    ];
    first_start(db.folder(), &borrowed);
    let run = |more: &[(&str, &str)], arguments: &[&str]| -> Finished {
        let mut command = carnet();
        command
            .current_dir(db.folder())
            .args(arguments)
            .envs(borrowed)
            .envs(more.iter().copied());
        finished(command.output().unwrap())
    };
    let sample = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/samples/apply/people.toml"
    );
    let linted = run(&[], &["policy", "lint", sample]);
    assert!(
        linted.code == 0 && linted.stdout.contains("reassignable"),
        "{linted:?}"
    );
    let apply = ["apply", "-f", sample, "--offline"];
    let unset = run(&[], &apply);
    assert!(
        unset.code == 1
            && unset
                .stderr
                .contains("CORP_CLIENT_SECRET, which is not set"),
        "{unset:?}"
    );
    assert_eq!(db.column::<i64>(WRITTEN).await, [0]);
    let variable = [("CORP_CLIENT_SECRET", CANARY)];
    let applied = run(&variable, &apply);
    assert!(
        applied.code == 0 && applied.stdout.contains("(not shown)"),
        "{applied:?}"
    );
    let again = run(&variable, &apply);
    assert!(
        again.code == 0 && again.stdout.contains("0 done, 6 unchanged"),
        "{again:?}"
    );
    let dry = run(
        &[("CORP_CLIENT_SECRET", "canary-other")],
        &[&apply[..], &["--dry-run", "--json"]].concat(),
    );
    assert!(
        dry.code == 1 && dry.stdout.contains("\"update\""),
        "{dry:?}"
    );
    let exported = run(&[], &["export"]);
    std::fs::write(db.folder().join("exported.toml"), &exported.stdout).unwrap();
    let back = run(
        &[],
        &[
            "apply",
            "-f",
            "exported.toml",
            "--offline",
            "--prune",
            "--yes",
        ],
    );
    assert!(
        back.code == 0 && back.stdout.contains("0 done, 6 unchanged"),
        "{back:?}"
    );
    let got = run(&[], &["get", "provider", "corp"]);
    assert!(
        got.stdout.contains("# has_secret: true") && got.stdout.contains("# redirect_uri: "),
        "{got:?}"
    );
    let listed = run(&[], &["list", "memberships", "--principal", "octo-org"]);
    assert!(
        listed.stdout.contains("octo-guest") && !listed.stdout.contains("operators"),
        "{listed:?}"
    );
    let printed = [applied, again, dry, exported, back, got, listed];
    for done in &printed {
        assert!(
            !done.stdout.contains("canary") && !done.stderr.contains("canary"),
            "{done:?}"
        );
    }
    // Elsewhere the secret is missing: neither the identity provider nor a membership of it is saved.
    let other = TestDb::new().await;
    let folder = other.folder().display().to_string();
    let elsewhere = [
        ("CARNET_DATABASE__URL", other.url()),
        ("CARNET_DATA_DIR", folder.as_str()),
    ];
    first_start(other.folder(), &elsewhere);
    let bare = run(&elsewhere, &["apply", "-f", "exported.toml", "--offline"]);
    assert!(
        bare.code == 1 && bare.stdout.contains("/client_secret must be given"),
        "{bare:?}"
    );
    assert_eq!(other.column::<i64>(WRITTEN).await, [1]);
    let principal = "SELECT COUNT(*) FROM principal";
    assert_eq!(other.column::<i64>(principal).await, [1]);
}

// === the migration ===

#[tokio::test]
async fn a_database_of_the_release_before_is_migrated_with_its_data() {
    let db = TestDb::new().await;
    let is_file = db.url().starts_with("sqlite");
    let url = format!("{}{}", db.url(), if is_file { "?mode=rwc" } else { "" });
    let database = sea_orm::Database::connect(url).await.unwrap();
    carnet_migration::up_to(&database, 12).await.unwrap();
    database.close().await.unwrap();
    let id = "01900000-0000-7000-8000-000000000001";
    let id = if is_file {
        format!("X'{}'", id.replace('-', ""))
    } else {
        format!("'{id}'")
    };
    db.execute(
        "INSERT INTO principal (id, name, name_folded, kind, enabled, version, created_at, updated_at) \
         VALUES ('pr_1', 'Before', 'before', 'user', true, 1, 0, 0)",
    )
    .await;
    db.execute(&format!(
        "INSERT INTO audit_event (id, outcome, detail, principal, count) VALUES ({id}, 'issued', '{{}}', 'Before', 1)"
    ))
    .await;

    let server = TestServer::on_database(db).await;
    assert_eq!(
        server
            .admin("GET", "principals/before", Value::Null)
            .await
            .status,
        200
    );
    let listed = server
        .audit("outcome=issued&since=2024-01-01T00:00:00Z")
        .await;
    let [event] = listed.as_slice() else {
        panic!("{listed:#?}");
    };
    assert_eq!(event["principal"], "Before");
    let world = World::on(server).await;
    let server = &world.server;
    publish(server, discovery(json!({})));
    server.put("identity-providers/corp", document()).await;
    server
        .put(
            "memberships/joel",
            membership("owner", Some("joel"), json!({ "sub": "joel" })),
        )
        .await;
    assert!(held(server, json!({ "sub": "joel" })).at("joel").is_some());
    world.exchange(&world.good()).await.token();
}
