//! More token requests than the server works on at a time.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use carnet::load::{Source, Turn};
use serde_json::json;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::support::{FakeIssuer, JWT_BEARER, TestKey, World};

const TWO_TURNS: &[(&str, &str)] = &[
    ("CARNET_SERVER__MAX_TOKEN_REQUESTS", "2"),
    ("CARNET_SERVER__MAX_WAITING_TOKEN_REQUESTS", "4"),
];

/// Status, body and `Retry-After` of an answer.
type Answered = (u16, serde_json::Value, Option<String>);

/// Sends a token request, and goes on while it waits.
fn begin(world: &World, assertion: &str) -> JoinHandle<Answered> {
    let router = world.server.router.clone();
    let body = format!("grant_type={JWT_BEARER}&assertion={assertion}");
    tokio::spawn(async move {
        let request = Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body));
        let answer = router.oneshot(request.unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let again = head.headers.get("retry-after");
        (
            head.status.as_u16(),
            serde_json::from_slice(&body).unwrap(),
            again.map(|value| value.to_str().unwrap().to_owned()),
        )
    })
}

/// Waits until so many requests wait for their turn.
async fn until_waiting(world: &World, number: usize) {
    let reached = async {
        while world.server.app.load.numbers().1 != number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(10), reached).await;
    assert!(reached.is_ok(), "{:?}", world.server.app.load.numbers());
}

/// Takes all turns, as requests do that are worked on.
async fn busy(world: &World) -> Vec<Turn> {
    let load = &world.server.app.load;
    let issuer = carnet::ids::TrustedIssuerId(uuid::Uuid::nil());
    vec![
        load.turn(Source::Own, String::new).await.unwrap(),
        load.turn(Source::Issuer(issuer), String::new)
            .await
            .unwrap(),
    ]
}

#[tokio::test]
async fn a_request_that_is_refused_for_overload_uses_nothing_up_and_those_that_wait_are_served() {
    let world = World::with(TWO_TURNS).await;
    let turns = busy(&world).await;
    let waiting: Vec<_> = (1..=4).map(|_| begin(&world, &world.good())).collect();
    until_waiting(&world, 4).await;
    let late = world.good();
    let (status, body, again) = begin(&world, &late).await.unwrap();
    assert_eq!((status, again.as_deref()), (503, Some("1")), "{body}");
    assert_eq!(body["error"], "temporarily_unavailable");
    assert_eq!(body["reason"], "overloaded");
    drop(turns);
    for request in waiting {
        let (status, body, _) = request.await.unwrap();
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(world.exchange(&late).await.status, 200);
    assert_eq!(world.server.app.load.numbers(), (0, 0));
}

#[tokio::test]
async fn a_flood_of_one_account_neither_refuses_nor_delays_the_request_of_another() {
    let world = World::with(TWO_TURNS).await;
    world
        .rule(
            "quiet",
            json!({ "repository": "quiet/repo", "repository_owner_id": "66", "repository_id": "75" }),
        )
        .await;
    let claims = world
        .claims()
        .in_repository("quiet/repo")
        .with("repository_id", "75")
        .with("repository_owner_id", "66");
    let turns = busy(&world).await;
    let flood: Vec<_> = (1..=4).map(|_| begin(&world, &world.good())).collect();
    until_waiting(&world, 4).await;
    let quiet = begin(&world, &world.gh.sign(&claims));
    // One request of the flood is refused to make room.
    while !flood.iter().any(JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(turns);
    let (status, body, _) = quiet.await.unwrap();
    assert_eq!(status, 200, "{body}");
    let mut answered = Vec::new();
    for request in flood {
        let (status, body, _) = request.await.unwrap();
        answered.push((status, body["reason"].clone()));
    }
    answered.sort_by_key(|(status, _)| *status);
    let refused = answered.pop().unwrap();
    assert_eq!(refused, (503, json!("overloaded")));
    assert!(
        answered.iter().all(|(status, _)| *status == 200),
        "{answered:?}"
    );
}

#[tokio::test]
async fn a_request_keeps_its_turn_until_its_token_is_recorded() {
    let world = World::with(TWO_TURNS).await;
    // Fetches the keys of the platform.
    assert_eq!(world.exchange(&world.good()).await.status, 200);
    let lock = world.server.db.lock().await;
    // Of two turns one trusted issuer has one.
    let requests = [begin(&world, &world.good()), begin(&world, &world.good())];
    until_waiting(&world, 1).await;
    assert_eq!(world.server.app.load.numbers(), (1, 1));
    lock.release().await;
    for request in requests {
        assert_eq!(request.await.unwrap().0, 200);
    }
}

#[tokio::test]
async fn introspection_revocation_and_changes_do_not_wait_for_token_requests() {
    let world = World::with(TWO_TURNS).await;
    let registry = world
        .client("registry", json!({ "resource_server": "pypi" }))
        .await;
    let token = world.exchange(&world.good()).await.token();
    let turns = busy(&world).await;
    let waiting = begin(&world, &world.good());
    until_waiting(&world, 1).await;
    let introspect = async || {
        let headers = [("authorization", registry.as_str())];
        let question = [("token", token.as_str())];
        world
            .server
            .form_with("/introspect", &headers, &question)
            .await
    };
    let told = introspect().await;
    assert_eq!(
        (told.status, &told.json()["active"]),
        (200, &json!(true)),
        "{}",
        told.text()
    );
    world
        .server
        .put("principals/anna", json!({ "kind": "user" }))
        .await;
    assert_eq!(
        world
            .server
            .form("/revoke", &[("token", token.as_str())])
            .await
            .status,
        200
    );
    let told = introspect().await;
    assert_eq!(told.json(), json!({ "active": false }));
    assert_eq!(
        world.server.app.load.numbers(),
        (2, 1),
        "the token request still waits"
    );
    drop(turns);
    assert_eq!(waiting.await.unwrap().0, 200);
}

#[tokio::test]
async fn requests_that_wait_for_the_keys_of_a_slow_platform_take_no_turns() {
    let world = World::with(TWO_TURNS).await;
    let slow = FakeIssuer::new("https://gl.test", TestKey::rsa(1));
    world.server.network.add(&slow);
    let document = json!({ "profile": "generic", "issuer": "https://gl.test" });
    world
        .server
        .put("trusted-issuers/slow?validate=offline", document)
        .await;
    slow.slow(Duration::from_secs(3));
    let requests: Vec<_> = (0..6)
        .map(|_| {
            begin(
                &world,
                &slow.sign(&world.claims().with("iss", "https://gl.test")),
            )
        })
        .collect();
    while slow.key_fetches() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.exchange(&world.good()).await.status, 200);
    assert_eq!(world.server.app.load.numbers(), (0, 0));
    for request in requests {
        assert!(!request.is_finished(), "they still wait for the keys");
        request.abort();
    }
}

#[tokio::test]
async fn atk_199__a_flood_of_bad_assertions_from_one_address_is_judged_one_at_a_time_and_delays_nobody_else()
 {
    let world = World::with(&[("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "5")]).await;
    let forged = FakeIssuer::new(&world.gh.url, TestKey::rsa(1));
    let bad = |name: usize| forged.sign(&world.claims().with("jti", format!("bad-{name}")));
    let ask = async |address: &str, assertion: String| {
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        let answer = world.server.form_from(address, "/token", &form).await;
        if answer.status == 200 {
            "served".to_owned()
        } else {
            answer.reason()
        }
    };
    let mut refused = Vec::new();
    for round in 0..20 {
        let flood = (0..10).map(|number| ask("192.0.2.1", bad(round * 10 + number)));
        let (answers, good) = tokio::join!(
            futures_util::future::join_all(flood),
            ask("192.0.2.2", world.good())
        );
        assert_eq!(good, "served");
        assert_eq!(world.server.app.load.numbers(), (0, 0));
        refused.extend(answers);
    }
    // Those of the first round were judged before any was refused.
    assert!(
        refused[..10].iter().all(|reason| reason == "key_unknown"),
        "{refused:?}"
    );
    assert!(
        refused[10..].iter().all(|reason| reason == "rate_limited"),
        "{refused:?}"
    );
}
