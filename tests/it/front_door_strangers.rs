//! What strangers and mistakes must not gain at front doors: a second use, the claims of a run, the whole of a key, the
//! token of somebody else.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::front_door_documents::pointers;
use super::front_doors::{CRATES, GEMS, HERS, NPM, NUGET, PYPI, intruding, npm, open, world_with};
use crate::support::{GH, R1, TestClient, World};

#[tokio::test]
async fn contract_6__an_assertion_is_good_once_for_each_npm_package_however_it_is_spelt() {
    let world = world_with(&NPM).await;
    let compared = json!({ "package_names": "ascii_case_insensitive" });
    let saved = world
        .server
        .admin("PATCH", "resource-servers/pypi", compared)
        .await;
    assert_eq!(saved.status, 200, "{}", saved.text());
    let assertion = NPM.good(&world);
    assert_eq!(npm(&world, "widgets-a", &assertion).await.status, 201);
    for package in ["Widgets-A", "WIDGETS-a", "%57idgets-a"] {
        let again = npm(&world, package, &assertion).await;
        assert_eq!(again.json()["reason"], "replay", "{package}");
    }
    assert_eq!(npm(&world, "widgets-b", &assertion).await.status, 201);
}

#[tokio::test]
async fn contract_6__a_refused_package_shows_nobody_the_patterns_of_another_principal() {
    let world = world_with(&NPM).await;
    intruding(&world, "hers", json!(["publish"]), json!(["her-secret-*"])).await;
    let refused = npm(&world, "nobodys", &NPM.good(&world)).await;
    assert_eq!(refused.json()["reason"], "package_out_of_scope");
    let shown = NPM.shown(&refused);
    assert!(
        shown.contains("widgets-*") && !shown.contains("secret"),
        "{shown}"
    );
    let events = world.server.audit("outcome=refused").await;
    assert!(
        events
            .iter()
            .all(|event| !event.to_string().contains("secret")),
        "{events:#?}"
    );
}

/// The events with this outcome that mallory has a part in.
async fn seen_by_her(world: &World, outcome: &str) -> Vec<Value> {
    world.server.app.flush_audit().await;
    let path = format!("audit-events?limit=500&outcome={outcome}");
    let answer = world.server.admin_as(HERS, "GET", &path, Value::Null).await;
    answer.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn contract_4__a_stranger_learns_nothing_of_a_run_whose_key_is_exchanged_or_revoked() {
    let world = world_with(&GEMS).await;
    intruding(&world, "hers", json!(["publish"]), json!(["*"])).await;
    for (round, is_alone) in [false, true].into_iter().enumerate() {
        let change = json!({ "enabled": !is_alone });
        world
            .server
            .admin("PATCH", "federated-credentials/octo-release", change)
            .await;
        let key = GEMS.key(&GEMS.present(&world, &GEMS.good(&world)).await);
        let exchanged = world.renew(&key, &[]).await.token();
        assert!(!exchanged.contains('.'), "a key stays a key: {exchanged}");
        // The key, and the one that it was exchanged for.
        let issued = seen_by_her(&world, "issued").await;
        assert_eq!(issued.len(), 2 * (round + 1), "{issued:#?}");
        for event in issued {
            assert_eq!(
                (&event["subject"], &event["address"], &event["detail"]),
                (&Value::Null, &Value::Null, &json!({})),
                "{event:#}"
            );
        }
        world.server.form("/revoke", &[("token", &key)]).await;
        let revoked = seen_by_her(&world, "revoked").await;
        assert_eq!(revoked.len(), round + 1, "{revoked:#?}");
        for event in revoked {
            assert_eq!(event["detail"], json!({}), "{event:#}");
        }
    }
}

#[tokio::test]
async fn contract_4__a_rule_that_fills_a_key_does_not_push_out_another_principals() {
    let world = world_with(&PYPI).await;
    let registry = TestClient::registry(&world.server).await;
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "vouched": false }),
        )
        .await;
    // 1,000 patterns that take nearly the 64 KiB of a key: one of these sizes leaves no room for a
    // second entry.
    for longer in (0..=1_200).step_by(200) {
        let packages: Vec<String> = (0..1_000)
            .map(|at| {
                let more = 53 + usize::from(at < longer) + usize::from(at + 1_000 < longer);
                format!("m{at:04}-{}*", "x".repeat(more))
            })
            .collect();
        intruding(&world, "hers", json!(["publish"]), json!(packages)).await;
        let key = PYPI.key(&PYPI.present(&world, &PYPI.good(&world)).await);
        let known = registry.introspect(&world.server, &key).await;
        let entries = known["authorization_details"].as_array().unwrap();
        let is_joels = |entry: &Value| entry["principal"] == "joel";
        assert!(entries.iter().any(is_joels), "{longer}");
    }
}

#[tokio::test]
async fn contract_4__large_rules_of_strangers_do_not_hide_what_is_wrong_with_a_rule() {
    let world = world_with(&PYPI).await;
    let packages: Vec<String> = (0..1000)
        .map(|at| format!("m{at:04}-{}*", "x".repeat(50)))
        .collect();
    for at in 0..20 {
        intruding(
            &world,
            &format!("hers-{at}"),
            json!(["publish"]),
            json!(packages),
        )
        .await;
    }
    let workflow = "octo-org/octo-repo/.github/workflows/other.yml@refs/heads/main";
    let claims = world
        .claims()
        .with("workflow_ref", workflow)
        .with("job_workflow_ref", workflow);
    let refused = PYPI.present(&world, &PYPI.sign(&world, claims)).await;
    assert_eq!(
        refused.json()["reason"],
        "workflow_mismatch",
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn rfc7009_2_1__a_door_does_not_end_the_token_of_a_registered_client() {
    let world = world_with(&CRATES).await;
    let registry = TestClient::registry(&world.server).await;
    let permissions = json!([{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"], "owner": "joel" }]);
    let client = json!({ "grant_types": ["client_credentials"], "permissions": permissions });
    let authorization = world.client("bot", client).await;
    let form = [("grant_type", "client_credentials"), ("resource", R1)];
    let headers = [("authorization", authorization.as_str())];
    let token = world
        .server
        .form_with("/token", &headers, &form)
        .await
        .token();
    let request = Request::delete("/api/v1/trusted_publishing/tokens")
        .header("host", CRATES.host)
        .header("authorization", format!("Bearer {token}"));
    let answer = world
        .server
        .send(request.body(Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let known = registry.introspect(&world.server, &token).await;
    assert_eq!(known["active"], true, "{known:#}");
}

#[tokio::test]
async fn a_refusal_names_what_is_missing_or_malformed() {
    let world = world_with(&NUGET).await;
    let assertion = NUGET.good(&world);
    for (body, said) in [
        (json!({ "tokenType": "ApiKey" }), "username"),
        (
            json!({ "username": "joel", "tokenType": "secret" }),
            "tokenType must be ApiKey",
        ),
    ] {
        let request = Request::post("/api/v2/token")
            .header("host", NUGET.host)
            .header("user-agent", "a tool")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {assertion}"));
        let refused = world
            .server
            .send(request.body(Body::from(body.to_string())).unwrap())
            .await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        let shown = NUGET.shown(&refused);
        assert!(shown.contains(said) && !shown.contains("secret"), "{shown}");
    }
}

/// Saves this document under a path; the pointers of its mistakes.
async fn mistakes(world: &World, method: &str, path: &str, document: Value) -> Vec<String> {
    let answer = world.server.admin(method, path, document).await;
    if answer.status < 300 {
        return Vec::new();
    }
    assert_eq!(answer.status, 422, "{}", answer.text());
    pointers(&answer)
}

#[tokio::test]
async fn contract_6__a_door_that_could_not_be_told_from_another_endpoint_is_refused() {
    let world = World::new().await;
    let own = world.server.app.config.own.issuer().to_owned();
    // With audiences of its own, the platform does not take those of this server any more.
    world
        .trust(json!({ "audiences": ["urn:example:ci"] }))
        .await;
    for (door, pointer) in [
        (
            json!({ "kind": "crates-io", "hosts": ["r.test"], "audiences": [own] }),
            "/front_door/audiences",
        ),
        // Tools leave the default port out of `Host`.
        (
            json!({ "kind": "npm", "hosts": ["r.test:443"] }),
            "/front_door/hosts/0",
        ),
        (
            json!({ "kind": "npm", "hosts": ["r.test:08443"] }),
            "/front_door/hosts/0",
        ),
        (
            json!({ "kind": "npm", "hosts": ["r.test"], "trusted_issuers": ["github", "GitHub"] }),
            "/front_door/trusted_issuers/1",
        ),
    ] {
        let change = json!({ "front_door": door });
        let found = mistakes(&world, "PATCH", "resource-servers/pypi", change).await;
        assert_eq!(found, [pointer], "{door}");
    }
    // An assertion for the door must not be one for the token endpoint, under another name of its issuer either.
    open(&world, &NPM, json!({ "trusted_issuers": ["github"] })).await;
    let second = json!({ "profile": "github-actions", "issuer": GH, "audiences": [NPM.audience] });
    let path = "trusted-issuers/second?validate=offline";
    assert_eq!(mistakes(&world, "PUT", path, second).await, ["/audiences"]);
    // Nor one for a door that takes it once, beside one that takes it once for each package.
    let door = json!({ "kind": "crates-io", "hosts": ["r.test"], "audiences": [NPM.audience] });
    let other =
        json!({ "resource": "https://crates.test/", "actions": ["publish"], "front_door": door });
    assert_eq!(
        mistakes(&world, "PUT", "resource-servers/crates", other).await,
        ["/front_door/audiences"]
    );
}
