//! JWTs, verified with the keys that the server publishes.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::support::{FakeServer, NOW, Reply, hmac, unsigned};
use crate::{Outage, Rejection, Verifier};

#[tokio::test]
async fn atk_046__tokens_of_another_type_are_refused_though_the_servers_key_signed_them() {
    let server = FakeServer::start().await;
    let kinds = [
        "token-introspection+jwt",
        "oauth-id-jag+jwt",
        "txntoken+jwt",
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "JWT",
        "at+jwt2",
        "",
    ];
    let claims = server.claims();
    let tokens = kinds.map(|kind| server.sign_typed(kind, &claims));
    let accepted = server.sign_typed("application/at+jwt", &claims);
    for verifier in [server.verifier(), server.introspecting()] {
        verifier.verify_at(&accepted, NOW).await.unwrap();
        for token in &tokens {
            let refused = verifier.verify_at(token, NOW).await.unwrap_err();
            assert_eq!(
                (refused.status(), refused),
                (401, Rejection::InvalidToken("not typed as an access token"))
            );
        }
    }
    assert!(server.seen("/introspect").is_empty());
}

#[tokio::test]
async fn atk_177__a_token_for_another_registry_or_of_another_issuer_is_refused() {
    let server = FakeServer::start().await;
    let token = server.sign(&server.claims());
    server.verifier().verify_at(&token, NOW).await.unwrap();
    for resource in [
        "https://registry.test/crates/",
        "https://registry.test/pypi",
        "https://registry.test/",
        "https://REGISTRY.test/pypi/",
    ] {
        let other = Verifier::new(&server.url, resource).unwrap();
        assert_eq!(
            other.verify_at(&token, NOW).await,
            Err(Rejection::InvalidToken("for another registry")),
            "{resource}"
        );
    }
    // Another tenant of the same host, which even has the same keys.
    let tenant = FakeServer::below("/tenant1").await;
    let mut claims = tenant.claims();
    tenant
        .verifier()
        .verify_at(&tenant.sign(&claims), NOW)
        .await
        .unwrap();
    for issuer in [
        tenant.url.replace("tenant1", "tenant2"),
        tenant.url.replace("/tenant1", ""),
        format!("{}/", tenant.url),
    ] {
        claims["iss"] = json!(issuer);
        let refused = tenant
            .verifier()
            .verify_at(&tenant.sign(&claims), NOW)
            .await;
        assert_eq!(
            refused,
            Err(Rejection::InvalidToken("of another issuer")),
            "{issuer}"
        );
    }
    // The right audience does not help an entry for another registry.
    let mut claims = server.claims();
    claims["authorization_details"][0]["locations"] = json!(["https://registry.test/crates/"]);
    let refused = server
        .verifier()
        .verify_at(&server.sign(&claims), NOW)
        .await;
    assert_eq!(
        refused,
        Err(Rejection::InvalidToken("has an entry for another registry"))
    );
}

#[tokio::test]
async fn atk_178__tokens_of_another_type_a_forged_signature_or_another_issuer_are_refused() {
    let server = FakeServer::start().await;
    let (verifier, claims) = (server.verifier(), server.claims());
    verifier
        .verify_at(&server.sign(&claims), NOW)
        .await
        .unwrap();
    let kid = server.key.public().key_id().to_owned();
    let plain = server.sign_typed("JWT", &claims);
    assert_eq!(
        verifier.verify_at(&plain, NOW).await,
        Err(Rejection::InvalidToken("not typed as an access token"))
    );
    let public = serde_json::to_string(server.key.public().jwk()).unwrap();
    for secret in [public.as_bytes(), b""] {
        let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid });
        let input = unsigned(&header, &claims, b"");
        let signature = hmac(secret, input.trim_end_matches('.').as_bytes());
        let refused = verifier
            .verify_at(&unsigned(&header, &claims, &signature), NOW)
            .await;
        assert_eq!(
            refused,
            Err(Rejection::InvalidToken("algorithm not accepted"))
        );
    }
    for (algorithm, why) in [
        ("none", "algorithm not accepted"),
        ("RS256", "unknown key"),
        ("ES256", "signature not valid"),
    ] {
        let header = json!({ "alg": algorithm, "typ": "at+jwt", "kid": kid });
        for signature in [&b""[..], &[0; 64]] {
            let refused = verifier
                .verify_at(&unsigned(&header, &claims, signature), NOW)
                .await;
            assert_eq!(refused, Err(Rejection::InvalidToken(why)), "{algorithm}");
        }
    }
    let other = FakeServer::start().await;
    assert_eq!(
        verifier.verify_at(&other.sign(&other.claims()), NOW).await,
        Err(Rejection::InvalidToken("unknown key"))
    );
    let mut foreign = server.claims();
    foreign["iss"] = json!(other.url);
    assert_eq!(
        verifier.verify_at(&server.sign(&foreign), NOW).await,
        Err(Rejection::InvalidToken("of another issuer"))
    );
}

#[tokio::test]
async fn a_token_bound_to_a_key_is_not_accepted_as_a_bearer_token() {
    let server = FakeServer::start().await;
    let certificate = "bound to a client certificate, and the connection was made without one";
    for (cnf, why) in [
        (json!({ "jkt": "x" }), "bound to a key"),
        (json!({ "x5t#S256": "x" }), certificate),
        (json!({}), "bound to a key"),
        (json!(null), "bound to a key"),
    ] {
        let mut claims = server.claims();
        claims["cnf"] = cnf;
        let refused = server
            .verifier()
            .verify_at(&server.sign(&claims), NOW)
            .await;
        assert_eq!(refused, Err(Rejection::InvalidToken(why)));
    }
}

#[tokio::test]
async fn fifty_requests_share_one_key_fetch_and_unknown_keys_cause_one_in_thirty_seconds() {
    let server = FakeServer::start().await;
    server.reply(
        "/jwks",
        Reply {
            delay: Duration::from_millis(50),
            ..Reply::json(&json!({ "keys": [server.key.public().jwk()] }))
        },
    );
    let verifier = Arc::new(server.verifier());
    let token = server.sign(&server.claims());
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token) = (verifier.clone(), token.clone());
            tokio::spawn(async move { verifier.verify_at(&token, NOW).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(server.seen("/jwks").len(), 1);
    let stranger = FakeServer::start().await.sign(&server.claims());
    for (second, fetches) in [(0, 1), (29, 1), (30, 2), (59, 2), (60, 3)] {
        assert_eq!(
            verifier.verify_at(&stranger, NOW + second).await,
            Err(Rejection::InvalidToken("unknown key"))
        );
        assert_eq!(server.seen("/jwks").len(), fetches, "{second}");
    }
}

#[tokio::test]
async fn old_keys_serve_for_an_hour_while_the_key_set_cannot_be_fetched() {
    let server = FakeServer::start().await;
    let verifier = server.verifier();
    let mut claims = server.claims();
    claims["exp"] = json!(NOW + 10_000);
    let token = server.sign(&claims);
    verifier.verify_at(&token, NOW).await.unwrap();
    let second = server.sign_typed("at+jwt", &claims);
    verifier.verify_at(&second, NOW + 30).await.unwrap();
    server.reply("/jwks", Reply::status(500));
    verifier.verify_at(&token, NOW + 30 + 3599).await.unwrap();
    assert_eq!(
        verifier.verify_at(&token, NOW + 30 + 3600).await,
        Err(Rejection::Unavailable(Outage::Unreachable))
    );
    server.restore("/jwks");
    verifier.verify_at(&token, NOW + 30 + 3630).await.unwrap();
    // After the clock was set back, the keys are fetched again.
    verifier.verify_at(&token, NOW + 40).await.unwrap();
    assert_eq!(verifier.verify(None).await, Err(Rejection::NoToken));
}

#[tokio::test]
async fn requests_do_not_wait_for_a_key_fetch_while_old_keys_serve() {
    let server = FakeServer::start().await;
    let verifier = Arc::new(server.verifier());
    let token = server.sign(&server.claims());
    verifier.verify_at(&token, NOW).await.unwrap();
    server.reply(
        "/jwks",
        Reply {
            delay: Duration::from_mins(1),
            ..Reply::status(500)
        },
    );
    let (slow, same) = (verifier.clone(), token.clone());
    let fetching = tokio::spawn(async move { slow.verify_at(&same, NOW + 300).await });
    while server.seen("/jwks").len() < 2 {
        tokio::task::yield_now().await;
    }
    let quick = tokio::time::timeout(
        Duration::from_secs(2),
        verifier.verify_at(&token, NOW + 300),
    )
    .await;
    quick.unwrap().unwrap();
    assert!(!fetching.is_finished());
    fetching.abort();
}

#[tokio::test]
async fn atk_115__a_registry_uses_no_proxy_of_its_environment() {
    const CHILD: &str = "CARNET_TEST_BEHIND_A_PROXY";
    let server = FakeServer::start().await;
    #[expect(
        clippy::disallowed_methods,
        reason = "this is how the test knows its other process"
    )]
    let is_child = std::env::var_os(CHILD).is_some();
    if is_child {
        server
            .verifier()
            .verify_at(&server.sign(&server.claims()), NOW)
            .await
            .unwrap();
        return;
    }
    // The environment cannot be changed for one test only, so the test runs itself once more in a
    // process of its own.
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "tests::offline::atk_115__a_registry_uses_no_proxy_of_its_environment",
        ])
        .env(CHILD, "1");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, &server.url);
    }
    child.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = tokio::task::spawn_blocking(move || child.output().unwrap())
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert_eq!(server.connections(), 0);
}
