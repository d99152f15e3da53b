//! Ending tokens by the admin API: one token, or those of a rule or a principal; and asking what a token is worth.

use serde_json::{Value, json};

use super::assertion::payload;
use super::delegation::{acting, helper, with_helpers};
use super::exchange::{change, introspect, with_format};
use crate::support::{Answer, R1, TestClient, World, permission};

/// Ends tokens with this scope.
async fn revoke(world: &World, scope: &str, named: Value) -> Answer {
    world
        .server
        .admin_as(scope, "POST", "tokens/revoke", named)
        .await
}

/// What an administrator is told of it; it has to work.
async fn revoked(world: &World, named: Value) -> Value {
    let answer = revoke(world, "admin", named).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn inspect(world: &World, scope: &str, token: &str) -> Answer {
    let body = json!({ "token": token });
    world
        .server
        .admin_as(scope, "POST", "tokens/inspect", body)
        .await
}

async fn is_active(world: &World, token: &str) -> bool {
    introspect(world, "pypi", token).await["active"] == true
}

fn id_of(token: &str) -> Value {
    payload(token)["jti"].clone()
}

/// A second principal whose rule matches the same workload.
async fn with_mallory(world: &World) {
    world
        .server
        .put(
            "principals/mallory",
            json!({ "id": "pr_mallory", "kind": "user" }),
        )
        .await;
    let mut document = World::rule_document(json!({}));
    document["principal"] = json!("mallory");
    world
        .server
        .put("federated-credentials/also", document)
        .await;
}

#[tokio::test]
async fn a_revocation_by_rule_ends_its_tokens_on_every_node_and_none_that_come_later() {
    for format in ["jwt", "opaque"] {
        let world = with_format(format).await;
        let other = world.server.another_node().await;
        let before = world.exchange(&world.good()).await.token();
        let exchanged = world.renew(&before, &[]).await.token();
        for named in ["octo-release", "joel:octo-release", "JOEL:Octo-Release"] {
            let token = world.exchange(&world.good()).await.token();
            assert!(is_active(&world, &token).await, "{named}");
            let ended = revoked(&world, json!({ "credential": named })).await;
            assert!(!is_active(&world, &token).await, "{named}");
            assert_eq!(ended["federated_credentials_total"], 1, "{ended}");
            let rule = &ended["federated_credentials"][0];
            assert_eq!(
                (&rule["name"], &rule["principal"]),
                (&json!("octo-release"), &json!("joel"))
            );
            // A registry that became opaque just now may have got JWTs before.
            let until = carnet::clock::Timestamp::from_seconds(world.server.now() + 3600);
            let expected =
                json!([{ "resource_server": "pypi", "resource": R1, "until": until.to_string() }]);
            assert_eq!(ended["accepted_until"], expected, "{ended}");
        }
        assert!(!is_active(&world, &before).await && !is_active(&world, &exchanged).await);
        world
            .renew(&before, &[])
            .await
            .refused(400, "invalid_request", "subject_token_inactive");
        other.app.refresh().await.unwrap();
        let there = other
            .admin("POST", "tokens/inspect", json!({ "token": before }))
            .await
            .json();
        assert_eq!(
            (&there["active"], &there["ended"]),
            (&json!(false), &json!("nothing_left"))
        );
        // The rule itself is what it was.
        let after = world.exchange(&world.good()).await.token();
        assert!(is_active(&world, &after).await);
        let events = world.server.audit("outcome=revoked").await;
        assert_eq!(events.len(), 3, "{events:?}");
        assert_eq!(
            (
                &events[0]["actor"],
                &events[0]["principal"],
                &events[0]["detail"]["named"]
            ),
            (
                &json!("tester"),
                &json!("joel"),
                &json!({ "credential": "joel:octo-release" })
            )
        );
    }
}

#[tokio::test]
async fn a_revocation_by_rule_leaves_the_entries_of_other_rules() {
    let world = World::new().await;
    let mut document = World::rule_document(json!({}));
    document["permissions"][0]["packages"] = json!(["gadgets"]);
    let second = world
        .server
        .put("federated-credentials/second", document)
        .await;
    let token = world.exchange(&world.good()).await.token();
    let rules = |body: &Value| -> Vec<Value> {
        let entries = body["authorization_details"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["credential"].clone())
            .collect()
    };
    let whole = introspect(&world, "pypi", &token).await;
    assert_eq!(rules(&whole).len(), 2, "{whole}");
    let owner = "admin:credentials:joel";
    let ended = revoke(&world, owner, json!({ "credential": "octo-release" })).await;
    assert_eq!(ended.status, 200, "{}", ended.text());
    let rest = introspect(&world, "pypi", &token).await;
    assert_eq!(
        (rules(&rest), &rest["active"]),
        (vec![second["id"].clone()], &json!(true))
    );
    let inspected = inspect(&world, "admin", &token).await.json();
    assert_eq!(
        (&inspected["active"], &inspected["entries_ended"]),
        (&json!(true), &json!(1))
    );
}

#[tokio::test]
async fn rules_and_clients_that_name_a_self_service_rule_still_name_it_after_a_revocation() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    change(
        &world,
        "federated-credentials/helper-0",
        json!({ "vouched": false }),
    )
    .await;
    // Naming it again is the consent to its present revision.
    let mut document = World::rule_document(json!({}));
    document["actors"] = json!(["helper-0"]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["helper-0"] });
    world.server.put("clients/robot", robot).await;
    let before = world
        .server
        .admin("GET", "clients/robot", Value::Null)
        .await;
    let delegated = async || {
        let actor = world.gh.sign(&helper(&world, 0));
        world.trade(&world.good(), &acting(&actor)).await
    };
    let admitted = async || {
        let assertion = world.gh.sign(&helper(&world, 0));
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "robot"),
            ("client_assertion_type", crate::support::CLIENT_ASSERTION),
            ("client_assertion", &assertion),
            ("principal", "owner-0"),
        ];
        world.server.form("/token", &form).await
    };
    let token = delegated().await.token();
    let robots = admitted().await.token();
    assert!(is_active(&world, &token).await);
    let ended = revoked(&world, json!({ "credential": "helper-0" })).await;
    assert_eq!(ended["clients"], json!([]), "{ended}");
    // What rested on the actor's rule ended, and what names the rule works on.
    assert!(!is_active(&world, &token).await);
    let inspected = inspect(&world, "admin", &robots).await.json();
    assert_eq!(inspected["active"], false, "{inspected}");
    let again = delegated().await.token();
    assert!(is_active(&world, &again).await);
    let robots = admitted().await.token();
    assert_eq!(
        inspect(&world, "admin", &robots).await.json()["active"],
        true
    );
    let after = world
        .server
        .admin("GET", "clients/robot", Value::Null)
        .await;
    assert_ne!(before.header("etag"), after.header("etag"));
    // Another node, and one that starts now, read the same.
    let other = world.server.another_node().await;
    let there = other
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await;
    assert_eq!(there.json()["actors"], json!(["owner-0:helper-0"]));
}

#[tokio::test]
async fn a_reference_to_an_older_revision_is_not_renewed_by_a_revocation() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    change(
        &world,
        "federated-credentials/helper-0",
        json!({ "vouched": false }),
    )
    .await;
    let mut document = World::rule_document(json!({}));
    document["actors"] = json!(["helper-0"]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    // The owner of the actor's rule changes its meaning: the consent to it is void, and stays so.
    let wider = json!({ "expires_at": "2030-01-01T00:00:00Z" });
    change(&world, "federated-credentials/helper-0", wider).await;
    let delegated = async || {
        let actor = world.gh.sign(&helper(&world, 0));
        world.trade(&world.good(), &acting(&actor)).await
    };
    assert_eq!(delegated().await.status, 400);
    revoked(&world, json!({ "credential": "helper-0" })).await;
    revoked(&world, json!({ "principal": "owner-0" })).await;
    assert_eq!(delegated().await.status, 400);
}

#[tokio::test]
async fn a_revocation_by_principal_ends_the_tokens_of_its_rules_and_of_clients_that_act_for_it() {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    world
        .rule("second", json!({ "workflow_file": "other.yml" }))
        .await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let site = json!({ "scopes": ["admin:credentials:joel"] });
    let site = TestClient::register(&world.server, "site", "client_secret_basic", site).await;
    let scope = [
        ("scope", "admin:credentials:joel"),
        ("resource", "https://as.test/admin"),
    ];
    let tokens = async || {
        [
            world.exchange(&world.good()).await.token(),
            bot.ask(&world.server, &[("resource", R1)]).await.token(),
            site.ask(&world.server, &scope).await.token(),
        ]
    };
    let active = async |token: &str| inspect(&world, "admin", token).await.json()["active"] == true;
    let [publish, bots, sites] = tokens().await;
    assert!(active(&publish).await && active(&bots).await && active(&sites).await);
    world.server.clock.advance(1);

    // The owner ends what rests on the rules; the clients are the administrator's.
    let owner = "admin:credentials:joel";
    let ended = revoke(&world, owner, json!({ "principal": "Joel" }))
        .await
        .json();
    assert_eq!(
        (&ended["federated_credentials_total"], &ended["clients"]),
        (&json!(2), &json!([]))
    );
    assert_eq!(ended["not_ended"].as_array().unwrap().len(), 2, "{ended}");
    assert!(!active(&publish).await && active(&bots).await && active(&sites).await);

    let ended = revoked(&world, json!({ "principal": "pr_joel" })).await;
    assert_eq!(ended["clients"], json!(["bot", "site"]), "{ended}");
    assert_eq!(ended["not_ended"].as_array().unwrap().len(), 1, "{ended}");
    assert!(!active(&bots).await && !active(&sites).await);
    assert_eq!(
        registry.introspect(&world.server, &bots).await["active"],
        false
    );

    for token in tokens().await {
        assert!(
            active(&token).await,
            "what is issued afterwards is in force"
        );
    }
    let stranger = revoke(
        &world,
        "admin:credentials:joel",
        json!({ "principal": "nobody" }),
    )
    .await;
    assert_eq!(stranger.status, 404);
}

#[tokio::test]
async fn a_token_is_ended_by_its_text_and_by_its_id_once() {
    for (format, member) in [
        ("jwt", "token"),
        ("jwt", "token_id"),
        ("opaque", "token"),
        ("opaque", "token_id"),
    ] {
        let world = with_format(format).await;
        let token = world.exchange(&world.good()).await.token();
        let id = introspect(&world, "pypi", &token).await["jti"].clone();
        let exchanged = world.renew(&token, &[]).await.token();
        let kept = world.exchange(&world.good()).await.token();
        let named = || json!({ member: if member == "token" { json!(token) } else { id.clone() } });
        let ended = revoked(&world, named()).await;
        assert_eq!(
            (&ended["token_id"], &ended["had_ended"]),
            (&id, &json!(false))
        );
        assert!(!is_active(&world, &token).await && !is_active(&world, &exchanged).await);
        assert!(is_active(&world, &kept).await);
        let again = revoked(&world, named()).await;
        assert_eq!(again["had_ended"], true, "{again}");
        let events = world.server.audit("outcome=revoked").await;
        assert_eq!((events.len(), &events[0]["token_id"]), (1, &id));
        assert!(
            !events[0].to_string().contains(&token),
            "the token is recorded nowhere"
        );
        // Its owner sees the event.
        let owner = world.server.admin_as(
            "admin:credentials:joel",
            "GET",
            "audit-events?principal=joel&outcome=revoked",
            Value::Null,
        );
        assert_eq!(owner.await.json()["items"][0]["token_id"], id);
        world.server.clock.advance(901);
        assert_eq!(
            revoked(&world, json!({ "token_id": id })).await["had_ended"],
            true
        );
    }
}

#[tokio::test]
async fn owners_end_and_inspect_only_tokens_whose_every_entry_is_theirs() {
    let world = World::new().await;
    let mine = world.exchange(&world.good()).await.token();
    with_mallory(&world).await;
    // Only a client's own token can have entries of several principals.
    let mut permissions = vec![permission(&["publish"]), permission(&["publish"])];
    permissions[1]["owner"] = json!("mallory");
    let both = json!({ "permissions": permissions });
    let both = TestClient::register(&world.server, "both", "client_secret_basic", both).await;
    let shared = both.ask(&world.server, &[("resource", R1)]).await.token();
    let others = world
        .exchange_with(&world.good(), &[("principal", "mallory")])
        .await
        .token();
    let admins = world.server.admin_token("admin");
    let owner = "admin:credentials:joel";
    for (token, seen, by_id) in [(&mine, 200, 200), (&shared, 403, 403), (&others, 403, 404)] {
        assert_eq!(inspect(&world, owner, token).await.status, seen);
        let named = json!({ "token_id": id_of(token) });
        assert_eq!(revoke(&world, owner, named).await.status, by_id);
        if seen == 403 {
            assert_eq!(
                revoke(&world, owner, json!({ "token": token }))
                    .await
                    .status,
                403
            );
            assert!(is_active(&world, token).await);
        }
    }
    assert!(!is_active(&world, &mine).await);
    for scope in [owner, "admin:credentials"] {
        assert_eq!(
            revoke(&world, scope, json!({ "token": admins }))
                .await
                .status,
            403,
            "{scope}"
        );
        assert_eq!(inspect(&world, scope, &admins).await.status, 403, "{scope}");
    }
    // Who may write the rules of all may end the tokens of all.
    assert_eq!(
        revoke(&world, "admin:credentials", json!({ "token": shared }))
            .await
            .status,
        200
    );
    assert_eq!(
        revoke(&world, owner, json!({ "credential": "also" }))
            .await
            .status,
        404
    );
    assert_eq!(
        revoke(&world, owner, json!({ "principal": "mallory" }))
            .await
            .status,
        404
    );
    assert!(is_active(&world, &others).await);
    // A reader ends nothing.
    assert_eq!(
        revoke(&world, "admin:read", json!({ "token": others }))
            .await
            .status,
        403
    );
    assert_eq!(
        inspect(&world, "admin:read", &others).await.json()["active"],
        true
    );
}

#[tokio::test]
async fn a_revocation_names_exactly_one_thing_that_is_there() {
    let world = World::new().await;
    let token = world.exchange(&world.good()).await.token();
    let cases = [
        (json!({}), 422),
        (json!({ "token": token, "credential": "octo-release" }), 422),
        (json!({ "token": null }), 422),
        (json!({ "jti": "x" }), 422),
        (json!({ "token": 1 }), 422),
        (json!({ "token": "abc" }), 422),
        (json!({ "token": world.good() }), 422),
        (json!({ "token_id": "" }), 422),
        (json!({ "token_id": "not a jti" }), 404),
        (
            json!({ "token_id": "019f0000-0000-7000-8000-000000000000" }),
            404,
        ),
        (json!({ "credential": "nobody" }), 404),
        (json!({ "principal": "nobody" }), 404),
    ];
    for (body, status) in cases {
        let answer = revoke(&world, "admin", body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    with_mallory(&world).await;
    let mut document = World::rule_document(json!({}));
    document["principal"] = json!("mallory");
    world
        .server
        .put("federated-credentials/mallory:octo-release", document)
        .await;
    let ambiguous = revoke(&world, "admin", json!({ "credential": "octo-release" })).await;
    assert_eq!(
        (ambiguous.status, &ambiguous.json()["code"]),
        (409, &json!("ambiguous_name"))
    );
    assert!(is_active(&world, &token).await, "nothing was ended");
    assert_eq!(
        world.server.audit("outcome=revoked").await,
        Vec::<Value>::new()
    );
}

#[tokio::test]
async fn an_inspection_says_why_a_token_is_over() {
    let world = World::new().await;
    let token = world.exchange(&world.good()).await.token();
    let told = async || {
        let answer = inspect(&world, "admin", &token).await;
        assert!(!answer.text().contains(&token));
        let body = answer.json();
        (
            body["active"].clone(),
            body["ended"].clone(),
            body["claims"]["aud"].clone(),
        )
    };
    assert_eq!(told().await, (json!(true), Value::Null, json!(R1)));
    change(
        &world,
        "federated-credentials/octo-release",
        json!({ "enabled": false }),
    )
    .await;
    assert_eq!(
        told().await,
        (json!(false), json!("nothing_left"), json!(R1))
    );
    revoked(&world, json!({ "token": token })).await;
    assert_eq!(told().await, (json!(false), json!("revoked"), json!(R1)));
    world.server.clock.advance(900);
    assert_eq!(told().await, (json!(false), json!("expired"), json!(R1)));
    for foreign in ["", "x", "cnt_x", &world.good(), "a.b.c"] {
        let answer = inspect(&world, "admin", foreign).await;
        if foreign.is_empty() {
            assert_eq!(answer.status, 422, "{}", answer.text());
        } else {
            assert_eq!(answer.json()["ended"], "unknown", "{foreign}");
        }
    }
}
