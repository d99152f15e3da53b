//! RFC 8705 section 3: tokens that are bound to a client certificate.

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::routing::put;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower_service::Service as _;

use super::support::{FakeServer, NOW, REGISTRY, parameters};
use crate::verifier::now;
use crate::{
    AccessToken, ClientCertificate, DpopRejection, Proofs, ProtectedResource, Realm, Rejection,
    RequireToken, Sent,
};

fn own() -> ClientCertificate {
    ClientCertificate::from_der(b"own")
}

fn other() -> ClientCertificate {
    ClientCertificate::from_der(b"other")
}

/// A token that is bound to the certificate.
fn bound(server: &FakeServer, at: i64) -> String {
    let mut claims = server.claims_at(at);
    claims["cnf"] = json!({ "x5t#S256": own().thumbprint() });
    server.sign(&claims)
}

fn request(scheme: &str, token: &str) -> Request<Body> {
    let request = Request::put("/packages/widgets");
    let request = request.header("authorization", format!("{scheme} {token}"));
    request.body(Body::empty()).unwrap()
}

#[test]
fn the_thumbprint_is_the_hash_of_the_certificate() {
    // SHA-256 of "abc" (FIPS 180-4), in base64url without padding.
    let certificate = ClientCertificate::from_der(b"abc");
    assert_eq!(
        certificate.thumbprint(),
        "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"
    );
}

#[tokio::test]
async fn rfc8705_3_2__the_registry_takes_a_bound_token_with_its_certificate_alone() {
    let server = FakeServer::start().await;
    let token = bound(&server, NOW);
    let invalid = Rejection::InvalidToken;
    let none = invalid("bound to a client certificate, and the connection was made without one");
    let another = invalid("bound to another client certificate than that of the connection");
    for takes_proofs in [false, true] {
        let mut checks = server.verifier();
        if takes_proofs {
            checks = checks.taking_proofs(Proofs::single_process()).unwrap();
        }
        let sent = request("Bearer", &token);
        let verified = checks.verify_request_at(Sent::by(&sent), NOW).await;
        assert_eq!(verified.unwrap_err(), none);
        let other = other();
        let verified = checks
            .verify_request_at(Sent::by(&sent).with_certificate(&other), NOW)
            .await;
        assert_eq!(verified.unwrap_err(), another);
        let (own, certificate) = (own(), own());
        let verified = checks
            .verify_request_at(Sent::by(&sent).with_certificate(&own), NOW)
            .await;
        assert_eq!(verified.unwrap().token.sub, "pr_joel");
        // It may be among the extensions, where a TLS layer puts it.
        let mut sent = request("Bearer", &token);
        sent.extensions_mut().insert(certificate);
        let verified = checks.verify_request_at(Sent::by(&sent), NOW).await;
        assert!(verified.is_ok());
        let (parts, _) = sent.into_parts();
        let verified = checks.verify_request_at(Sent::from(&parts), NOW).await;
        assert!(verified.is_ok());
        // A certificate beside a token that is not bound changes nothing.
        let plain = request("Bearer", &server.sign(&server.claims()));
        let verified = checks
            .verify_request_at(Sent::by(&plain).with_certificate(&own), NOW)
            .await;
        assert!(verified.is_ok());
    }
    // The other scheme is for other tokens.
    let checks = server
        .verifier()
        .taking_proofs(Proofs::single_process())
        .unwrap();
    let sent = request("DPoP", &token);
    let own = own();
    let verified = checks
        .verify_request_at(Sent::by(&sent).with_certificate(&own), NOW)
        .await;
    let why = "bound to a client certificate: it goes with `Authorization: Bearer`";
    assert_eq!(
        verified.unwrap_err(),
        Rejection::Dpop(DpopRejection::InvalidToken(why))
    );
    // A token that is bound to a key is not opened by a certificate of the same thumbprint.
    let mut claims = server.claims();
    claims["cnf"] = json!({ "jkt": own.thumbprint() });
    let sent = request("Bearer", &server.sign(&claims));
    let verified = checks
        .verify_request_at(Sent::by(&sent).with_certificate(&own), NOW)
        .await;
    assert!(matches!(verified.unwrap_err(), Rejection::InvalidToken(_)));
}

#[tokio::test]
async fn a_token_that_the_registry_found_itself_is_checked_with_the_certificate() {
    let server = FakeServer::start().await;
    let (token, checks) = (bound(&server, now()), server.verifier());
    assert!(checks.verify_token_over(&token, Some(&own())).await.is_ok());
    assert!(
        checks
            .verify_token_over(&token, Some(&other()))
            .await
            .is_err()
    );
    assert!(checks.verify_token_over(&token, None).await.is_err());
    assert!(checks.verify_token(&token).await.is_err());
}

#[tokio::test]
async fn rfc8705_3_2__opaque_keys_are_bound_by_what_the_server_says_of_them() {
    let server = FakeServer::start().await;
    let mut active = server.active();
    active["cnf"] = json!({ "x5t#S256": own().thumbprint() });
    server.activate("rg_bound", active);
    let checks = server.introspecting();
    let (sent, own, other) = (request("Bearer", "rg_bound"), own(), other());
    let of = |certificate| Sent::by(&sent).with_certificate(certificate);
    // What is remembered of the first answer is still bound.
    for _ in 0..2 {
        assert!(checks.verify_request_at(of(&own), NOW).await.is_ok());
        assert!(checks.verify_request_at(of(&other), NOW).await.is_err());
        assert!(
            checks
                .verify_request_at(Sent::by(&sent), NOW)
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn the_layer_finds_the_certificate_and_challenges_with_the_scheme_of_bearer_tokens() {
    let server = FakeServer::start().await;
    let checks = server
        .verifier()
        .taking_proofs(Proofs::single_process())
        .unwrap();
    let mut router = Router::<()>::new()
        .route(
            "/packages/widgets",
            put(async |token: Extension<AccessToken>| token.0.sub),
        )
        .route_layer(RequireToken::new(checks, Realm::new("registry")));
    let token = bound(&server, now());
    let mut good = request("Bearer", &token);
    good.extensions_mut().insert(own());
    let answer = router.call(good).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = router.call(request("Bearer", &token)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let challenges: Vec<&str> = answer
        .headers()
        .get_all("www-authenticate")
        .iter()
        .map(|challenge| challenge.to_str().unwrap())
        .collect();
    assert_eq!(parameters(challenges[0])["error"], "invalid_token");
    assert!(!challenges[1].contains("error="), "{challenges:?}");
}

#[test]
fn the_registrys_metadata_says_whether_it_learns_certificates() {
    let document = |about: ProtectedResource| -> Value {
        serde_json::from_str(about.answer::<String>().body()).unwrap()
    };
    let about = ProtectedResource::new(REGISTRY, "https://as.test").unwrap();
    let name = "tls_client_certificate_bound_access_tokens";
    assert_eq!(document(about.clone()).get(name), None);
    assert_eq!(document(about.taking_certificates())[name], true);
}
