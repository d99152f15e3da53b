//! Ending the tokens of many rules at once: what it costs others, what its author is told of registries that verify tokens by
//! themselves, and tokens whose request waited long.

use carnet::audit::{AuditEvent, Outcome};
use carnet::clock::Timestamp;
use carnet::ids;
use serde_json::{Value, json};

use super::exchange::change;
use crate::support::{Answer, R1, TestServer, World};

const OWNER: &str = "admin:credentials:joel";
const BUDGET: &str = "CARNET_RATE_LIMITS__ADMIN_WRITES_PER_MINUTE_PER_SUBJECT";

async fn revoke(server: &TestServer, scope: &str, named: Value) -> Answer {
    server.admin_as(scope, "POST", "tokens/revoke", named).await
}

async fn is_active(server: &TestServer, token: &str) -> bool {
    let answer = server
        .admin("POST", "tokens/inspect", json!({ "token": token }))
        .await;
    answer.json()["active"] == true
}

/// Copies of the usual rule, for another workflow. The server does not know them before it reads
/// them.
async fn with_copies(world: &World, number: usize) {
    let id = if world.server.db.url().starts_with("sqlite") {
        "randomblob(16)"
    } else {
        "gen_random_uuid()"
    };
    let same = "principal, trusted_issuer, pinned, pending_until, expires_at, review_at, consent, enabled, revision, version, created_at, updated_at";
    let rules = format!(
        "INSERT INTO federated_credential (id, name, name_folded, matcher, {same}) \
         SELECT {id}, 'copy-' || n, 'copy-' || n, REPLACE(matcher, 'release.yml', 'copy.yml'), {same} \
         FROM federated_credential, (WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number}) \
         SELECT n FROM numbers) AS numbered WHERE name = 'octo-release'"
    );
    let permissions = "INSERT INTO permission (credential_id, position, resource_server, owner, actions, packages) \
                       SELECT f.id, p.position, p.resource_server, p.owner, p.actions, p.packages \
                       FROM federated_credential f, permission p, federated_credential o \
                       WHERE f.name LIKE 'copy-%' AND o.name = 'octo-release' AND p.credential_id = o.id";
    world.server.db.execute(&rules).await;
    world.server.db.execute(permissions).await;
}

async fn changes(world: &World) -> i64 {
    let value = world.server.db.column("SELECT value FROM change_counter");
    value.await[0]
}

#[tokio::test]
async fn a_revocation_of_many_rules_is_one_change_that_every_replica_reads() {
    let world = World::new().await;
    world
        .rule("second", json!({ "workflow_file": "other.yml" }))
        .await;
    with_copies(&world, 700).await;
    let other = world.server.another_node().await;
    let token = world.exchange(&world.good()).await.token();
    let workflow = "octo-org/octo-repo/.github/workflows/other.yml@refs/heads/main";
    let claims = world
        .claims()
        .with("workflow_ref", workflow)
        .with("job_workflow_ref", workflow);
    let second = world.exchange_claims(&claims).await.token();
    assert!(is_active(&other, &token).await && is_active(&other, &second).await);
    let before = changes(&world).await;
    let ended = revoke(&world.server, OWNER, json!({ "principal": "joel" })).await;
    assert_eq!(ended.status, 200, "{}", ended.text());
    let ended = ended.json();
    assert_eq!(ended["federated_credentials_total"], 702, "{ended}");
    assert_eq!(
        ended["federated_credentials"].as_array().unwrap().len(),
        100
    );
    assert_eq!(changes(&world).await, before + 1);
    let raised = "SELECT COUNT(*) FROM federated_credential WHERE revision = 2 AND version = 2";
    assert_eq!(world.server.db.column::<i64>(raised).await, [702]);
    other.app.refresh().await.unwrap();
    for server in [&world.server, &other] {
        assert!(!is_active(server, &token).await && !is_active(server, &second).await);
    }
    let after = world.exchange(&world.good()).await.token();
    assert!(is_active(&other, &after).await);
}

#[tokio::test]
async fn a_revocation_of_many_rules_takes_more_of_its_authors_budget() {
    let world = World::with(&[(BUDGET, "8")]).await;
    with_copies(&world, 700).await;
    // Each node has budgets of its own, and this one's is whole.
    let node = world.server.another_node().await;
    let named = json!({ "principal": "joel" });
    assert_eq!(revoke(&node, OWNER, named.clone()).await.status, 200);
    let second = revoke(&node, OWNER, named).await;
    assert_eq!(second.status, 429, "{}", second.text());
    assert!(second.header("retry-after").is_some());
}

#[tokio::test]
async fn owners_revoke_a_principal_one_at_a_time_and_administrators_do_not_wait_for_them() {
    let world = World::new().await;
    let all = [
        json!({ "principal": "Joel" }),
        json!({ "credential": "octo-release" }),
    ];
    let turn = world.server.app.limits.revocation_turn("joel").unwrap();
    for named in &all {
        let refused = revoke(&world.server, OWNER, named.clone()).await;
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (429, Some("1"))
        );
        assert_eq!(refused.json()["code"], "rate_limited");
        let done = revoke(&world.server, "admin", named.clone()).await;
        assert_eq!(done.status, 200, "{}", done.text());
    }
    drop(turn);
    for named in all {
        assert_eq!(revoke(&world.server, OWNER, named).await.status, 200);
    }
}

/// The registries that may accept ended tokens, and until when.
async fn accepted(world: &World, named: Value) -> Vec<(Value, Value)> {
    let ended = revoke(&world.server, "admin", named).await;
    assert_eq!(ended.status, 200, "{}", ended.text());
    let ended = ended.json();
    let listed = ended["accepted_until"].as_array().unwrap().iter();
    listed
        .map(|of| (of["resource_server"].clone(), of["until"].clone()))
        .collect()
}

fn at(seconds: i64) -> Value {
    json!(Timestamp::from_seconds(seconds).to_string())
}

#[tokio::test]
async fn a_registry_may_accept_tokens_as_long_as_the_longest_that_it_may_have_got() {
    let world = World::new().await;
    let server = "resource-servers/pypi";
    let rule = || json!({ "credential": "octo-release" });
    change(&world, server, json!({ "token_lifetime_seconds": 3600 })).await;
    let expires_at = world.server.now() + 3600;
    let token = world.exchange(&world.good()).await;
    assert_eq!(token.json()["expires_in"], 3600);
    // Neither a shorter lifetime nor another format ends what was issued before.
    change(&world, server, json!({ "token_lifetime_seconds": 60 })).await;
    let pypi = (json!("pypi"), at(expires_at));
    assert_eq!(accepted(&world, rule()).await, vec![pypi.clone()]);
    change(&world, server, json!({ "token_format": "opaque" })).await;
    assert_eq!(accepted(&world, rule()).await, vec![pypi.clone()]);
    assert_eq!(
        accepted(&world, json!({ "principal": "joel" })).await,
        vec![pypi.clone()]
    );
    // A rule that was changed may have named others before.
    world.server.clock.advance(1);
    let permissions =
        json!([{ "resource_server": "crates", "actions": ["publish"], "packages": ["widgets"] }]);
    change(
        &world,
        "federated-credentials/octo-release",
        json!({ "permissions": permissions }),
    )
    .await;
    let listed = |name: &str| (json!(name), at(world.server.now() + 3600));
    let both = [listed("crates"), listed("pypi")];
    assert_eq!(accepted(&world, rule()).await, both);
    world.server.clock.advance(3601);
    let listed = (json!("crates"), at(world.server.now() + 3600));
    assert_eq!(accepted(&world, rule()).await, [listed]);
}

#[tokio::test]
async fn a_token_that_was_a_jwt_may_be_accepted_by_a_registry_that_is_opaque_or_gone_now() {
    for member in ["token", "token_id"] {
        let world = World::new().await;
        let expires_at = at(world.server.now() + 900);
        let mut tokens = Vec::new();
        for _ in 0..2 {
            let token = world.exchange(&world.good()).await.token();
            let id = super::assertion::payload(&token)["jti"].clone();
            tokens.push(if member == "token" { json!(token) } else { id });
        }
        change(
            &world,
            "resource-servers/pypi",
            json!({ "token_format": "opaque" }),
        )
        .await;
        let named = json!({ member: tokens.remove(0) });
        assert_eq!(
            accepted(&world, named).await,
            [(json!("pypi"), expires_at.clone())]
        );
        change(
            &world,
            "resource-servers/pypi",
            json!({ "resource": "https://elsewhere.test/" }),
        )
        .await;
        let named = json!({ member: tokens.remove(0) });
        let ended = revoke(&world.server, "admin", named).await.json();
        let expected = json!([{ "resource_server": null, "resource": R1, "until": expires_at }]);
        assert_eq!(ended["accepted_until"], expected, "{member}: {ended}");
    }
}

#[tokio::test]
async fn a_token_is_found_by_its_id_however_long_its_request_waited() {
    let world = World::new().await;
    let server = &world.server;
    // `server.request_seconds` is at most 600.
    for waited in [0, 150, 400, 600] {
        let now = server.now();
        let token_id = ids::new(Timestamp::from_seconds(now)).to_string();
        let detail = json!({ "expires_at": Timestamp::from_seconds(now + 900).to_string() });
        server.app.audit(AuditEvent {
            token_id: Some(token_id.clone()),
            resource: Some(R1.to_owned()),
            detail: detail.to_string(),
            ..AuditEvent::new(Timestamp::from_seconds(now - waited), Outcome::Issued)
        });
        server.app.flush_audit().await;
        let settled = Timestamp::from_seconds(now + 60);
        while server.app.store.index_parts(settled).await.unwrap() {}
        let found = server.audit(&format!("token_id={token_id}")).await;
        assert_eq!(found.len(), 1, "{waited} s: {found:?}");
        let ended = revoke(server, "admin", json!({ "token_id": token_id })).await;
        assert_eq!(ended.status, 200, "{waited} s: {}", ended.text());
        assert_eq!(ended.json()["had_ended"], false, "{waited} s");
    }
}
