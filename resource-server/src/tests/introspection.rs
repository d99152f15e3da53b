//! RFC 7662, from the registry's side.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::support::{CLIENT, FakeServer, NOW, Reply, SECRET};
use crate::{AccessToken, Introspection, Outage, Rejection, Verifier};

const KEY: &str = "cnt_0123456789+/=~";

/// A server that knows an opaque key, and a verifier that may ask about it and caches nothing.
async fn world() -> (FakeServer, Verifier) {
    let server = FakeServer::start().await;
    server.activate(KEY, server.active());
    let verifier = server
        .verifier()
        .introspecting(Introspection::new(CLIENT, SECRET).cache_seconds(0));
    (server, verifier)
}

fn changed(mut answer: Value, member: &str, value: Value) -> Value {
    answer[member] = value;
    answer
}

async fn asked(
    server: &FakeServer,
    verifier: &Verifier,
    answer: Value,
) -> Result<AccessToken, Rejection> {
    server.activate(KEY, answer);
    verifier.verify_at(KEY, NOW).await
}

#[tokio::test]
async fn rfc7662_2_1__the_registry_posts_the_token_in_a_form() {
    let (server, verifier) = world().await;
    verifier.verify_at(KEY, NOW).await.unwrap();
    let seen = server.seen("/introspect");
    let [question] = seen.as_slice() else {
        panic!("{}", seen.len())
    };
    assert_eq!(question.method, Method::POST);
    assert_eq!(
        question.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(question.headers["accept"], "application/json");
    let form: Vec<(String, String)> = url::form_urlencoded::parse(question.body.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(form, [("token".to_owned(), KEY.to_owned())]);
    // The client secret is sent to the introspection endpoint only.
    for path in ["/.well-known/oauth-authorization-server", "/jwks"] {
        assert!(
            server
                .seen(path)
                .iter()
                .all(|seen| !seen.headers.contains_key("authorization"))
        );
    }
}

#[tokio::test]
async fn rfc6749_2_3_1_1__id_and_secret_are_encoded_like_a_form_before_base64() {
    let server = FakeServer::start().await;
    server.activate(KEY, server.active());
    let verifier = server
        .verifier()
        .introspecting(Introspection::new("a:b c", SECRET));
    verifier.verify_at(KEY, NOW).await.unwrap();
    let header = server.seen("/introspect")[0].headers["authorization"].clone();
    // "a%3Ab+c:p%3Ass+w%C3%B6rd%25"
    assert_eq!(header, "Basic YSUzQWIrYzpwJTNBc3MrdyVDMyVCNnJkJTI1");
}

#[tokio::test]
async fn rfc7662_2_1_1__credentials_that_the_server_refuses_are_the_registrys_fault() {
    let (server, verifier) = world().await;
    for status in [401, 403] {
        server.reply("/introspect", Reply::status(status));
        let refused = verifier.verify_at(KEY, NOW).await.unwrap_err();
        assert_eq!(
            (refused.status(), refused),
            (503, Rejection::Unavailable(Outage::Credentials))
        );
    }
    // The operator of the registry sees the reason in the log.
    assert!(
        Rejection::Unavailable(Outage::Credentials)
            .to_string()
            .contains("own credentials")
    );
    let introspection = Introspection::new(CLIENT, SECRET);
    assert!(!format!("{introspection:?} {verifier:?}").contains(SECRET));
}

#[tokio::test]
async fn rfc7662_2_2_1__an_introspection_answer_without_a_boolean_active_is_an_outage() {
    let (server, verifier) = world().await;
    for active in [json!("true"), json!(1), json!(null)] {
        let refused = asked(
            &server,
            &verifier,
            changed(server.active(), "active", active),
        )
        .await;
        assert_eq!(refused, Err(Rejection::Unavailable(Outage::Answer)));
    }
    let refused = asked(&server, &verifier, server.claims()).await;
    assert_eq!(refused, Err(Rejection::Unavailable(Outage::Answer)));
    for body in [
        "",
        "[]",
        "true",
        "{\"active\":false,\"active\":true}",
        "{\"active\":true}{}",
    ] {
        server.reply(
            "/introspect",
            Reply {
                body: body.to_owned(),
                ..Reply::status(200)
            },
        );
        assert_eq!(
            verifier.verify_at(KEY, NOW).await,
            Err(Rejection::Unavailable(Outage::Answer)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn rfc7662_2_2_2__a_token_that_is_not_active_is_refused_as_invalid() {
    let (server, verifier) = world().await;
    verifier.verify_at(KEY, NOW).await.unwrap();
    for unknown in ["cnt_other", "x", "Q"] {
        assert_eq!(
            verifier.verify_at(unknown, NOW).await,
            Err(Rejection::InvalidToken("not active"))
        );
    }
    let inactive = changed(server.active(), "active", json!(false));
    assert_eq!(
        asked(&server, &verifier, inactive).await,
        Err(Rejection::InvalidToken("not active"))
    );
}

#[tokio::test]
async fn rfc7662_2_2_4__an_introspection_answer_is_read_like_the_claims_of_a_jwt() {
    let (server, verifier) = world().await;
    let by_answer = verifier.verify_at(KEY, NOW).await.unwrap();
    let by_jwt = server
        .verifier()
        .verify_at(&server.sign(&server.claims()), NOW)
        .await
        .unwrap();
    assert_eq!(by_answer, by_jwt);
    let delegated = changed(
        server.active(),
        "act",
        json!({ "iss": "https://ci.test", "sub": "deploy" }),
    );
    assert_eq!(
        asked(&server, &verifier, delegated)
            .await
            .unwrap()
            .act
            .unwrap()
            .sub,
        "deploy"
    );
}

#[tokio::test]
async fn rfc7662_4_1__an_introspection_answer_is_checked_like_a_token() {
    let (server, verifier) = world().await;
    let mut entry = server.active()["authorization_details"].clone();
    entry[0]["locations"] = json!(["https://other.test/"]);
    for (member, value, why) in [
        ("iss", json!("https://other.test"), "of another issuer"),
        (
            "iss",
            json!(format!("{}/", server.url)),
            "of another issuer",
        ),
        ("aud", json!("https://other.test/"), "for another registry"),
        (
            "aud",
            json!("https://registry.test/pypi"),
            "for another registry",
        ),
        ("exp", json!(NOW - 60), "expired"),
        ("iat", json!(NOW + 61), "issued in the future"),
        ("nbf", json!(NOW + 61), "not valid yet"),
        ("nbf", json!("soon"), "malformed"),
        (
            "authorization_details",
            entry,
            "has an entry for another registry",
        ),
        ("cnf", json!({ "jkt": "x" }), "bound to a key"),
        ("token_type", json!("DPoP"), "not a bearer token"),
        ("token_type", json!(7), "not a bearer token"),
    ] {
        let refused = asked(&server, &verifier, changed(server.active(), member, value)).await;
        assert_eq!(refused, Err(Rejection::InvalidToken(why)), "{member}");
    }
    for (member, value) in [
        ("exp", json!(NOW - 59)),
        ("iat", json!(NOW + 60)),
        ("nbf", json!(NOW + 60)),
        ("token_type", json!("bearer")),
    ] {
        asked(&server, &verifier, changed(server.active(), member, value))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn contract_4__a_positive_introspection_answer_is_kept_and_a_negative_one_is_not() {
    let server = FakeServer::start().await;
    let verifier = server
        .verifier()
        .introspecting(Introspection::new(CLIENT, SECRET).cache_seconds(60));
    for _ in 0..3 {
        assert!(verifier.verify_at(KEY, NOW).await.is_err());
    }
    assert_eq!(server.seen("/introspect").len(), 3);
    server.activate(KEY, server.active());
    for second in [0, 1, 4] {
        verifier.verify_at(KEY, NOW + second).await.unwrap();
    }
    assert_eq!(server.seen("/introspect").len(), 4);
    server.revoke(KEY);
    verifier.verify_at(KEY, NOW + 4).await.unwrap();
    // 60 seconds were asked for; 5 is the maximum.
    assert_eq!(
        verifier.verify_at(KEY, NOW + 5).await,
        Err(Rejection::InvalidToken("not active"))
    );
    assert_eq!(server.seen("/introspect").len(), 5);
}

#[tokio::test]
async fn contract_4__without_kept_answers_a_revocation_is_seen_at_once() {
    let (server, verifier) = world().await;
    verifier.verify_at(KEY, NOW).await.unwrap();
    server.revoke(KEY);
    assert!(verifier.verify_at(KEY, NOW).await.is_err());
}

#[tokio::test]
async fn contract_4__jwts_are_introspected_where_the_registry_asks_about_every_token() {
    let server = FakeServer::start().await;
    let token = server.sign(&server.claims());
    server.activate(&token, server.active());
    let offline = server.introspecting();
    let online = server.verifier().introspecting(
        Introspection::new(CLIENT, SECRET)
            .cache_seconds(0)
            .every_token(),
    );
    online.verify_at(&token, NOW).await.unwrap();
    server.revoke(&token);
    assert_eq!(
        online.verify_at(&token, NOW).await,
        Err(Rejection::InvalidToken("not active"))
    );
    offline.verify_at(&token, NOW).await.unwrap();
    assert_eq!(server.seen("/introspect").len(), 2);
    // The answer of the server counts, not the claims of the JWT.
    let mut narrower = server.active();
    narrower["authorization_details"][0]["packages"] = json!(["gadgets"]);
    server.activate(&token, narrower);
    assert_eq!(
        online
            .verify_at(&token, NOW)
            .await
            .unwrap()
            .authorization_details[0]
            .packages,
        ["gadgets"]
    );
    // A forged JWT is refused without asking the server.
    let forged = FakeServer::start().await.sign(&server.claims());
    server.activate(&forged, server.active());
    assert_eq!(
        online.verify_at(&forged, NOW).await,
        Err(Rejection::InvalidToken("unknown key"))
    );
    assert_eq!(server.seen("/introspect").len(), 3);
}

#[tokio::test]
async fn opaque_keys_are_refused_where_introspection_is_not_configured() {
    let (server, verifier) = world().await;
    assert_eq!(
        server.verifier().verify_at(KEY, NOW).await,
        Err(Rejection::InvalidToken("malformed"))
    );
    let long = "a".repeat(16 * 1024 + 1);
    assert_eq!(
        verifier.verify_at(&long, NOW).await,
        Err(Rejection::InvalidToken("malformed"))
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn introspection_answers_that_are_late_large_or_errors_are_an_outage() {
    let (server, verifier) = world().await;
    let unreachable = Err(Rejection::Unavailable(Outage::Unreachable));
    for status in [204, 400, 404, 429, 500, 503] {
        server.reply("/introspect", Reply::status(status));
        assert_eq!(verifier.verify_at(KEY, NOW).await, unreachable, "{status}");
    }
    // White space is valid JSON, but counts toward the size limit.
    let padded = |bytes: usize| {
        let mut body = server.active().to_string();
        body.push_str(&" ".repeat(bytes - body.len()));
        Reply {
            body,
            ..Reply::status(200)
        }
    };
    server.reply("/introspect", padded(1 << 20));
    verifier.verify_at(KEY, NOW).await.unwrap();
    server.reply("/introspect", padded((1 << 20) + 1));
    assert_eq!(
        verifier.verify_at(KEY, NOW).await,
        Err(Rejection::Unavailable(Outage::Answer))
    );
    server.reply(
        "/introspect",
        Reply {
            delay: Duration::from_mins(1),
            ..Reply::json(&server.active())
        },
    );
    let late = tokio::time::timeout(Duration::from_secs(6), verifier.verify_at(KEY, NOW)).await;
    assert_eq!(late.unwrap(), unreachable);
    server.restore("/introspect");
    verifier.verify_at(KEY, NOW).await.unwrap();
}

#[tokio::test]
async fn metadata_of_another_server_or_without_the_endpoint_is_not_used() {
    for (member, value) in [
        ("issuer", json!("https://as.test")),
        ("issuer", json!(null)),
        ("introspection_endpoint", json!(null)),
    ] {
        let server = FakeServer::start().await;
        server.activate(KEY, server.active());
        server.publish_metadata(&changed(server.metadata(), member, value));
        let verifier = server.introspecting();
        assert_eq!(
            verifier.verify_at(KEY, NOW).await,
            Err(Rejection::Unavailable(Outage::Metadata))
        );
        // Metadata is fetched again after 30 seconds, and not before.
        server.publish_metadata(&server.metadata());
        assert_eq!(
            verifier.verify_at(KEY, NOW + 29).await,
            Err(Rejection::Unavailable(Outage::Metadata))
        );
        verifier.verify_at(KEY, NOW + 30).await.unwrap();
    }
}
