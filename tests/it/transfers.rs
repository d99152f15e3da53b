//! Repositories that go to another owner: nothing follows by itself, and what was seen can be accepted.

use serde_json::{Value, json};

use crate::support::{Answer, CARNET, Claims, Finished, World, carnet, finished};

/// The claims of the repository after its transfer.
fn moved(world: &World) -> Claims {
    world
        .claims()
        .in_repository("new-org/octo-repo")
        .with("repository_owner_id", "99")
}

async fn accept(world: &World, scope: &str) -> Answer {
    let path = "federated-credentials/octo-release/accept-transfer";
    world
        .server
        .admin_as(scope, "POST", path, Value::Null)
        .await
}

#[tokio::test]
async fn a_transfer_is_accepted_after_it_was_seen_and_never_by_itself() {
    let world = World::new().await;
    world.accepts().await;
    let answer = accept(&world, "admin").await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("is recorded"), "{}", answer.text());
    for _ in 0..2 {
        let answer = world.exchange_claims(&moved(&world)).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    // Whoever may only read, or may change the rules of others, accepts nothing.
    assert_eq!(accept(&world, "admin:read").await.status, 403);
    let other = accept(&world, "admin:credentials:mallory").await;
    assert!(matches!(other.status, 403 | 404), "{}", other.text());
    world.accepts().await;

    let answer = accept(&world, "admin").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rule = answer.json();
    assert_eq!(rule["vouched"], true, "{rule:#}");
    assert_eq!(
        (
            &rule["match"]["repository"],
            &rule["match"]["repository_owner_id"],
            &rule["match"]["repository_id"]
        ),
        (&json!("new-org/octo-repo"), &json!("99"), &json!("74")),
        "{rule:#}"
    );
    assert_eq!(rule["match"]["workflow_file"], "release.yml");
    world.exchange_claims(&moved(&world)).await.token();
    let old = world.exchange_claims(&world.claims()).await;
    assert_eq!(old.status, 400, "{}", old.text());
    let changes = world
        .server
        .audit("credential=octo-release&outcome=updated")
        .await;
    let detail = &changes[0]["detail"];
    assert_eq!(
        (
            &detail["before"]["match"]["repository_owner_id"],
            &detail["after"]["match"]["repository_owner_id"]
        ),
        (&json!("65"), &json!("99")),
        "{detail:#}"
    );
}

#[tokio::test]
async fn a_refusal_of_the_present_owner_or_of_another_repository_is_no_transfer() {
    let world = World::new().await;
    // The same repository, refused for its workflow.
    let other = world.claims().with(
        "workflow_ref",
        "octo-org/octo-repo/.github/workflows/x.yml@refs/heads/main",
    );
    assert_eq!(world.exchange_claims(&other).await.status, 400);
    let answer = accept(&world, "admin").await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(
        answer.text().contains("has the owner that the rule has"),
        "{}",
        answer.text()
    );
    // Another repository that took the name.
    let stranger = world
        .claims()
        .with("repository_id", "75")
        .with("repository_owner_id", "99");
    assert_eq!(world.exchange_claims(&stranger).await.status, 400);
    let answer = accept(&world, "admin").await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    // A forged assertion is recorded with no rule.
    let forged = crate::support::TestKey {
        kid: "rsa-0".to_owned(),
        ..crate::support::TestKey::rsa(1)
    };
    let forged = forged.sign(&moved(&world).value());
    world
        .exchange(&forged)
        .await
        .refused(400, "invalid_grant", "signature_invalid");
    assert_eq!(accept(&world, "admin").await.status, 422);
    world.accepts().await;
}

#[tokio::test]
async fn pinned_ids_are_replaced_by_ids_that_are_written_in_the_rule() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "repository_owner_id": null, "repository_id": null }),
        )
        .await;
    world.accepts().await;
    // Any change through this node lets it read the pins.
    world
        .server
        .put(
            "principals/joel",
            json!({ "id": "pr_joel", "kind": "user", "display_name": "Joel" }),
        )
        .await;
    let answer = world.exchange_claims(&moved(&world)).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let answer = accept(&world, "admin").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rule = answer.json();
    assert_eq!(
        (
            &rule["state"],
            &rule["match"]["repository_id"],
            &rule["match"]["repository_owner_id"]
        ),
        (&json!("active"), &json!("74"), &json!("99")),
        "{rule:#}"
    );
    world.exchange_claims(&moved(&world)).await.token();
}

#[tokio::test]
async fn an_owner_may_accept_a_transfer_and_the_rule_is_vouched_for_no_longer() {
    let world = World::new().await;
    world.exchange_claims(&moved(&world)).await;
    let answer = accept(&world, "admin:credentials:joel").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["vouched"], false, "{}", answer.text());
    let claims = moved(&world);
    let assertion = world.gh.sign(&claims);
    let form = [
        ("grant_type", crate::support::JWT_BEARER),
        ("assertion", assertion.as_str()),
        ("principal", "joel"),
    ];
    world.server.form("/token", &form).await.token();
}

fn run(world: &World, arguments: &[&str]) -> Finished {
    let db = &world.server.db;
    let mut command = carnet();
    command.current_dir(db.folder()).args(arguments).envs([
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
        ("CARNET_ISSUER", CARNET),
    ]);
    finished(command.output().unwrap())
}

#[tokio::test]
async fn the_command_accept_transfer_prints_what_the_rule_was_and_is() {
    let world = World::new().await;
    world.exchange_claims(&moved(&world)).await;
    world.server.app.flush_audit().await;
    let said = run(
        &world,
        &["credentials", "accept-transfer", "joel:octo-release"],
    );
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout.starts_with("joel:octo-release: {")
            && said.stdout.contains(" -> {")
            && said.stdout.contains("new-org/octo-repo"),
        "{said:?}"
    );
    let again = run(
        &world,
        &["credentials", "accept-transfer", "joel:octo-release"],
    );
    assert_eq!(again.code, 1, "{again:?}");
}
