//! Ending a token before its time (RFC 7009; contract section 3).

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use serde_json::json;

use super::assertion::payload;
use crate::support::{
    ACCESS_TOKEN, Answer, JWT_BEARER, TOKEN_EXCHANGE, TestClient, TestServer, World, encode,
};

/// A world with a registry that can tell whether a token is in force, and a token that no client was issued.
async fn issued() -> (World, TestClient, String) {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    let token = world.exchange(&world.good()).await.token();
    (world, registry, token)
}

/// Ends a token as whoever holds it.
async fn revoke(server: &TestServer, token: &str) -> Answer {
    server.form("/revoke", &[("token", token)]).await
}

async fn is_active(server: &TestServer, registry: &TestClient, token: &str) -> bool {
    registry.introspect(server, token).await["active"] == true
}

/// A token made of another one of ours.
async fn exchanged(server: &TestServer, token: &str) -> String {
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    server.form("/token", &form).await.token()
}

#[tokio::test]
async fn rfc7009_2_1__a_revoked_token_is_inactive_on_every_node() {
    let (world, registry, token) = issued().await;
    let other = world.server.another_node().await;
    let kept = world.exchange(&world.good()).await.token();
    assert!(is_active(&other, &registry, &token).await);
    let answer = revoke(&world.server, &token).await;
    assert_eq!((answer.status, answer.text()), (200, String::new()));
    assert!(
        !is_active(&world.server, &registry, &token).await
            && !is_active(&other, &registry, &token).await
    );
    assert!(
        is_active(&world.server, &registry, &kept).await,
        "the others live on"
    );
    let events = world.server.audit("outcome=revoked").await;
    assert_eq!(
        (events.len(), &events[0]["token_id"]),
        (1, &payload(&token)["jti"])
    );
}

#[tokio::test]
async fn rfc7009_2_2__the_revocation_endpoint_accepts_only_posted_forms() {
    let (world, registry, token) = issued().await;
    for path in [
        "/revoke".to_owned(),
        format!("/revoke?token={token}"),
        format!("/revoke?token={token}&callback=x"),
    ] {
        let answer = world.server.get(&path).await;
        answer.refused(405, "invalid_request", "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let in_query = world
        .server
        .form_text(&format!("/revoke?token={token}"), "")
        .await;
    in_query.refused(400, "invalid_request", "parameter_in_query");
    let request = Request::post("/revoke").header("content-type", "application/json");
    let answer = world
        .server
        .send(
            request
                .body(Body::from(json!({ "token": token }).to_string()))
                .unwrap(),
        )
        .await;
    answer.refused(400, "invalid_request", "media_type");
    assert!(is_active(&world.server, &registry, &token).await);
    // There is no JSONP: the parameter is one that nobody knows.
    let answer = world
        .server
        .form("/revoke", &[("token", &token), ("callback", "steal")])
        .await;
    assert_eq!((answer.status, answer.text()), (200, String::new()));
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );
    assert!(!is_active(&world.server, &registry, &token).await);
}

#[tokio::test]
async fn rfc7009_2_1_1__the_client_has_to_authenticate_and_the_token_to_be_its_own() {
    let (world, registry, _) = issued().await;
    let [bot, other] =
        ["bot", "other"].map(|id| TestClient::publisher(&world.server, id, "client_secret_basic"));
    let (bot, other) = (bot.await, other.await);
    let token = bot.ask(&world.server, &[]).await.token();
    for caller in [bot.with_secret("wrong"), other.with_secret("wrong")] {
        let answer = caller.revoke(&world.server, &token).await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
    revoke(&world.server, &token).await.refused(
        401,
        "invalid_client",
        "client_authentication_failed",
    );
    other.revoke(&world.server, &token).await.refused(
        400,
        "unauthorized_client",
        "token_of_another_client",
    );
    assert!(is_active(&world.server, &registry, &token).await);
    assert_eq!(bot.revoke(&world.server, &token).await.status, 200);
    assert!(!is_active(&world.server, &registry, &token).await);
    for method in ["none", "client_secret_post", "private_key_jwt"] {
        let client = TestClient::register(&world.server, method, method, json!({})).await;
        let form = [("grant_type", JWT_BEARER), ("assertion", &world.good())];
        let token = client.send(&world.server, "/token", &form).await.token();
        assert_eq!(
            client.revoke(&world.server, &token).await.status,
            200,
            "{method}"
        );
        assert!(
            !is_active(&world.server, &registry, &token).await,
            "{method}"
        );
    }
}

#[tokio::test]
async fn rfc7009_2_1_2__a_wrong_token_type_hint_does_not_prevent_revocation() {
    let (world, registry, _) = issued().await;
    for hint in ["access_token", "refresh_token", "something_else", ""] {
        let token = world.exchange(&world.good()).await.token();
        let answer = world
            .server
            .form("/revoke", &[("token", &token), ("token_type_hint", hint)])
            .await;
        assert_eq!(answer.status, 200, "{hint}: {}", answer.text());
        assert!(!is_active(&world.server, &registry, &token).await, "{hint}");
    }
}

#[tokio::test]
async fn rfc7009_2_1_3__tokens_exchanged_from_a_revoked_token_end_with_it() {
    let (world, registry, parent) = issued().await;
    let child = exchanged(&world.server, &parent).await;
    let grandchild = exchanged(&world.server, &child).await;
    let sibling = exchanged(&world.server, &parent).await;
    let active = async |token: &str| is_active(&world.server, &registry, token).await;
    // Downwards and no other way.
    assert_eq!(revoke(&world.server, &child).await.status, 200);
    assert!(!active(&child).await && !active(&grandchild).await);
    assert!(active(&parent).await && active(&sibling).await);
    assert_eq!(revoke(&world.server, &parent).await.status, 200);
    assert!(!active(&parent).await && !active(&sibling).await);
}

#[tokio::test]
async fn rfc7009_2_1_3__revocations_are_forgotten_a_day_after_the_token_ended_and_not_before() {
    let (world, registry, parent) = issued().await;
    world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "token_format": "opaque" }),
        )
        .await;
    let child = exchanged(&world.server, &parent).await;
    assert_eq!(revoke(&world.server, &parent).await.status, 200);
    let kept = async || -> usize {
        let now = carnet::clock::Timestamp::from_seconds(world.server.now());
        assert!(!world.server.app.store.prune(now, 400).await.unwrap());
        let rows = "SELECT token_id FROM revoked_token UNION ALL SELECT child FROM exchanged_token \
                    UNION ALL SELECT claims FROM opaque_token";
        world.server.db.column::<String>(rows).await.len()
    };
    world.server.clock.advance(899);
    assert_eq!(kept().await, 3);
    assert!(!is_active(&world.server, &registry, &child).await);
    // A clock that jumps by a day brings back nothing that was revoked.
    world.server.clock.advance(86_400);
    assert_eq!(kept().await, 3);
    world.server.clock.advance(2);
    assert_eq!(kept().await, 0);
}

#[tokio::test]
async fn rfc7009_2_2_1__revoking_an_expired_or_unknown_token_is_answered_with_200() {
    let (world, _, token) = issued().await;
    for _ in 0..2 {
        assert_eq!(revoke(&world.server, &token).await.status, 200);
    }
    let expired = world.exchange(&world.good()).await.token();
    world.server.clock.advance(900);
    for text in [
        expired.as_str(),
        "garbage",
        "a.b.c",
        "cnt_",
        &world.good(),
        &"x".repeat(20_000),
        "é",
        "\u{0}",
    ] {
        let answer = revoke(&world.server, text).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, String::new()),
            "{text:.20}"
        );
    }
    assert_eq!(
        world.server.audit("outcome=revoked").await.len(),
        1,
        "once is enough"
    );
    let ids = world
        .server
        .db
        .column::<String>("SELECT token_id FROM revoked_token")
        .await;
    assert_eq!(
        ids,
        [payload(&token)["jti"].as_str().unwrap()],
        "nothing is kept of what is over"
    );
}

#[tokio::test]
async fn rfc7009_2_2_1_1__revocation_errors_are_those_of_the_token_endpoint() {
    let (world, registry, _) = issued().await;
    for form in [
        &[][..],
        &[("token", "")],
        &[("token_type_hint", "access_token")],
    ] {
        let anonymous = world.server.form("/revoke", form).await;
        let client = registry.send(&world.server, "/revoke", form).await;
        for answer in [anonymous, client] {
            answer.refused(400, "invalid_request", "parameter_missing");
            assert_eq!(answer.json()["parameter"], "token");
        }
    }
    let twice = [("token", "a"), ("token", "b")];
    world.server.form("/revoke", &twice).await.refused(
        400,
        "invalid_request",
        "parameter_repeated",
    );
    let large = world
        .server
        .form("/revoke", &[("token", &"x".repeat(1 << 20))])
        .await;
    large.refused(413, "invalid_request", "body_too_large");
}

/// Ends a token from this address.
async fn revoke_from(server: &TestServer, host: u8, token: &str) -> Answer {
    let request = Request::post("/revoke")
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(ConnectInfo(SocketAddr::from(([198, 51, 100, host], 4000))));
    server
        .send(
            request
                .body(Body::from(encode(&[("token", token)])))
                .unwrap(),
        )
        .await
}

const FIVE_A_MINUTE: [(&str, &str); 1] =
    [("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "5")];

#[tokio::test]
async fn rfc7009_5_1__revocations_of_unknown_tokens_are_rate_limited_by_address() {
    let world = World::with(&FIVE_A_MINUTE).await;
    let mut last = revoke_from(&world.server, 7, "garbage").await;
    assert_eq!(last.status, 200);
    for _ in 0..10 {
        last = revoke_from(&world.server, 7, "garbage").await;
    }
    last.refused(429, "temporarily_unavailable", "rate_limited");
    assert!(last.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(revoke_from(&world.server, 8, "garbage").await.status, 200);
}

#[tokio::test]
async fn atk_181__guesses_at_the_revocation_endpoint_are_slowed_down() {
    let world = World::with(&FIVE_A_MINUTE).await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    for _ in 0..10 {
        let token = world.exchange(&world.good()).await.token();
        assert_eq!(
            revoke_from(&world.server, 7, &token).await.status,
            200,
            "what succeeds is no guess"
        );
    }
    let theirs = bot.ask(&world.server, &[]).await.token();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(revoke_from(&world.server, 7, &theirs).await.status);
    }
    assert_eq!((statuses[0], statuses[9]), (401, 429), "{statuses:?}");
}

#[tokio::test]
async fn prof_rev_1__a_token_of_no_registered_client_can_be_revoked_by_its_holder() {
    let (world, registry, token) = issued().await;
    assert!(
        payload(&token)["client_id"]
            .as_str()
            .unwrap()
            .starts_with("federated:")
    );
    let answer = revoke(&world.server, &token).await;
    assert_eq!(
        (
            answer.status,
            is_active(&world.server, &registry, &token).await
        ),
        (200, false)
    );
    // Also a client that holds it.
    let token = world.exchange(&world.good()).await.token();
    assert_eq!(registry.revoke(&world.server, &token).await.status, 200);
    assert!(!is_active(&world.server, &registry, &token).await);
    let events = world.server.audit("outcome=revoked").await;
    let event = events
        .iter()
        .find(|event| event["token_id"] == payload(&token)["jti"])
        .unwrap();
    assert_eq!(
        (
            &event["detail"]["revoked_by"],
            &event["principal"],
            &event["client_id"]
        ),
        (
            &json!("registry"),
            &json!("joel"),
            &payload(&token)["client_id"]
        )
    );
    // And what is revoked is of no use here either.
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", &token),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    world.server.form("/token", &form).await.refused(
        400,
        "invalid_request",
        "subject_token_inactive",
    );
}

#[tokio::test]
async fn atk_182__a_client_cannot_revoke_the_token_of_another_client() {
    let (world, registry, _) = issued().await;
    let open = TestClient::register(&world.server, "open", "none", json!({})).await;
    for (owner, method) in [
        ("basic", "client_secret_basic"),
        ("key", "private_key_jwt"),
        ("public", "none"),
    ] {
        let owner = TestClient::register(&world.server, owner, method, json!({})).await;
        let form = [("grant_type", JWT_BEARER), ("assertion", &world.good())];
        let token = owner.send(&world.server, "/token", &form).await.token();
        for thief in [&registry, &open] {
            let answer = thief.revoke(&world.server, &token).await;
            answer.refused(400, "unauthorized_client", "token_of_another_client");
        }
        revoke(&world.server, &token).await.refused(
            401,
            "invalid_client",
            "client_authentication_failed",
        );
        assert!(
            is_active(&world.server, &registry, &token).await,
            "{method}"
        );
    }
    assert!(world.server.audit("outcome=revoked").await.is_empty());
}

#[tokio::test]
async fn contract_3__an_admin_token_of_the_command_line_can_be_revoked_by_its_holder() {
    let (world, registry, _) = issued().await;
    let reads = async |token: &str| {
        let request =
            Request::get("/admin/v1/principals").header("authorization", format!("Bearer {token}"));
        world
            .server
            .send(request.body(Body::empty()).unwrap())
            .await
            .status
    };
    let [first, second, kept] = [(); 3].map(|()| world.server.admin_token("admin"));
    for (token, answer) in [
        (&first, revoke(&world.server, &first).await),
        (&second, registry.revoke(&world.server, &second).await),
    ] {
        assert_eq!((answer.status, reads(token).await), (200, 401));
    }
    assert_eq!(reads(&kept).await, 200);
}

#[tokio::test]
async fn review_s6__an_admin_token_can_be_revoked_as_the_guide_says() {
    let world = World::new().await;
    let guide = crate::documents::read("docs/src/guides/production.md");
    assert!(
        guide.contains("-d token=$CARNET_TOKEN https://carnet.example/revoke"),
        "the guide says how"
    );
    let token = world.server.admin_token("admin:read");
    let list = async || {
        let request = axum::http::Request::get("/admin/v1/principals")
            .header("authorization", format!("Bearer {token}"));
        world
            .server
            .send(request.body(axum::body::Body::empty()).unwrap())
            .await
            .status
    };
    assert_eq!(list().await, 200);
    assert_eq!(revoke(&world.server, &token).await.status, 200);
    assert_eq!(list().await, 401);
}
