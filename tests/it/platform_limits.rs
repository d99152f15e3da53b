//! What platforms really issue: long lifetimes, and claims that nobody reads.

use serde_json::{Value, json};

use crate::platforms::Platform;
use crate::support::World;

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const OBJECT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";

async fn entra() -> (Platform, Value) {
    let url = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let platform = Platform::new("entra", &url, json!({})).await;
    platform
        .rule(json!({ "tenant_id": TENANT, "object_id": OBJECT }))
        .await;
    let claims = platform.claims(json!({
        "sub": OBJECT, "oid": OBJECT, "tid": TENANT, "azpacr": "2", "idtyp": "app", "uti": "x1",
    }));
    (platform, claims)
}

#[tokio::test]
async fn pub_k3__the_token_of_a_managed_identity_is_accepted_for_its_whole_day() {
    let (platform, mut claims) = entra().await;
    claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 86_700);
    platform.accepts(&claims).await;
    // The metadata endpoint hands the same token out until it ends.
    platform.server.clock.advance(86_000);
    platform.accepts(&claims).await;
    platform.server.clock.advance(86_700);
    platform.refuses(&claims, "expired").await;
}

#[tokio::test]
async fn pub_k3__a_longer_life_than_a_day_and_an_hour_is_refused_with_both_numbers() {
    let (platform, mut claims) = entra().await;
    claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 90_001);
    let answer = platform.present(&claims).await;
    answer.refused(400, "invalid_grant", "lifetime_too_long");
    let body = answer.json();
    assert_eq!(
        (&body["received"], &body["limit"]),
        (&json!(90_001), &json!(90_000)),
        "{body:#}"
    );
    platform
        .cannot_trust(
            json!({ "max_assertion_lifetime_seconds": 90_001 }),
            "/max_assertion_lifetime_seconds",
        )
        .await;
    let answer = platform
        .server
        .admin(
            "PATCH",
            "trusted-issuers/platform",
            json!({ "max_assertion_lifetime_seconds": 90_000 }),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn pub_k3__claims_that_nothing_reads_stop_no_token_whatever_their_size_and_type() {
    let world = World::new().await;
    let groups: Vec<String> = (0..300).map(|at| format!("group-{at}")).collect();
    let mut deep = json!(1);
    for _ in 0..60 {
        deep = json!([deep]);
    }
    for unread in [
        json!(groups),
        json!("x".repeat(5000)),
        json!(vec![0; 2000]),
        json!(vec![json!({}); 1500]),
        deep,
        json!(1e300),
        json!(null),
    ] {
        let claims = world.claims().with("unread", unread.clone());
        let answer = world.exchange_claims(&claims).await;
        assert_eq!(
            answer.status,
            200,
            "{:.60}: {}",
            unread.to_string(),
            answer.text()
        );
    }
    // The size of the whole token still counts, and a member that occurs twice is none.
    let large = world.claims().with("unread", "x".repeat(12 * 1024));
    world.denies_claims(large, "assertion_malformed").await;
    let twice = world.claims().with("unread", json!({ "a": 1 }));
    let twice = twice
        .value()
        .to_string()
        .replace("\"unread\":{\"a\":1}", "\"unread\":{\"a\":1,\"a\":2}");
    let key = world.gh.key();
    let text = key.sign_raw(key.header().to_string().as_bytes(), twice.as_bytes());
    world.denies(&text, "claim_duplicate").await;
}

#[tokio::test]
async fn pub_k3__a_claim_that_a_rule_reads_is_still_limited() {
    let world = World::new().await;
    let long = world.claims().with("environment", "x".repeat(1025));
    // No rule reads the environment yet, and the token does not carry it on.
    let answer = world.exchange_claims(&long).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let much = world.claims().with("environment", "x".repeat(5000));
    let answer = world.exchange_claims(&much).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    world
        .rule("octo-release", json!({ "environment": "release" }))
        .await;
    let long = world.claims().with("environment", "x".repeat(1025));
    let answer = world.exchange_claims(&long).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
}
