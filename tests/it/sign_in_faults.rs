//! What a hostile or broken provider does: a reason for each, and nobody is signed in.

use std::time::Duration;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use carnet::model::ClaimsFrom;
use carnet::people::Purpose;
use carnet::upstream::{Egress, Fetch as _, FetchError, HttpFetch, Outgoing};
use reqwest::Method;

use super::documents::files;
use super::sign_in::Desk;
use crate::support::{CLIENT_SECRET, Fault, PROVIDER_ACCESS_TOKEN};

/// Each fault with its reason and the beginning of its detail.
pub const FAULTS: [(Fault, &str, &str); 60] = [
    (Fault::WrongIssuer, "id_token_invalid", "iss:"),
    (Fault::WrongAudience, "id_token_invalid", "aud:"),
    (Fault::NoAudience, "id_token_invalid", "aud:"),
    (Fault::TwoAudiences, "id_token_invalid", "aud:"),
    (Fault::AudienceTwice, "id_token_invalid", "aud:"),
    (Fault::ForeignAuthorizedParty, "id_token_invalid", "azp:"),
    (Fault::WrongNonce, "id_token_invalid", "nonce:"),
    (Fault::NoNonce, "id_token_invalid", "nonce:"),
    (Fault::Unsigned, "id_token_invalid", "alg: `none`"),
    (Fault::SharedSecret, "id_token_invalid", "alg: `HS256`"),
    (Fault::PublicKeyAsSecret, "id_token_invalid", "alg: `HS256`"),
    (Fault::UnlistedAlgorithm, "id_token_invalid", "alg: `RS384`"),
    (Fault::BrokenSignature, "id_token_invalid", "signature:"),
    (
        Fault::ForeignKeyOfSameName,
        "id_token_invalid",
        "signature:",
    ),
    (Fault::UnknownKey, "id_token_invalid", "kid:"),
    (Fault::KeyInHeader, "id_token_invalid", "form:"),
    (Fault::CriticalHeader, "id_token_invalid", "form:"),
    (Fault::TypeOfAccessToken, "id_token_invalid", "typ:"),
    (Fault::WrongAccessTokenHash, "id_token_invalid", "at_hash:"),
    (Fault::Expired, "id_token_invalid", "exp:"),
    (Fault::NoExpiry, "id_token_invalid", "exp:"),
    (Fault::ExpiryAsText, "id_token_invalid", "form:"),
    (Fault::HugeExpiry, "id_token_invalid", "form:"),
    (Fault::Old, "id_token_invalid", "iat:"),
    (Fault::FromTheFuture, "id_token_invalid", "iat:"),
    (Fault::NotYetValid, "id_token_invalid", "nbf:"),
    (Fault::NoSubject, "id_token_invalid", "sub:"),
    (Fault::EmptySubject, "id_token_invalid", "sub:"),
    (Fault::LongSubject, "id_token_invalid", "sub:"),
    (Fault::RepeatedClaim, "id_token_invalid", "form:"),
    (Fault::HugeToken, "id_token_invalid", "form: too long"),
    (
        Fault::NoSecondFactor,
        "second_factor_missing",
        "the ID token has no acr",
    ),
    (
        Fault::OtherSecondFactor,
        "second_factor_missing",
        "acr is `pwd`",
    ),
    (Fault::NoAuthTime, "auth_time_missing", ""),
    (
        Fault::OldAuthTime,
        "auth_too_old",
        "auth_time is 61 seconds",
    ),
    (Fault::FutureAuthTime, "id_token_invalid", "auth_time:"),
    (Fault::AnotherPerson, "other_person", ""),
    (Fault::GroupsElsewhere, "groups_incomplete", ""),
    (Fault::HasGroups, "groups_incomplete", ""),
    (Fault::TooManyGroups, "groups_incomplete", ""),
    (Fault::HugeClaims, "claims_too_large", ""),
    (Fault::NoIdToken, "id_token_invalid", "id_token:"),
    (
        Fault::NoAccessToken,
        "code_exchange_failed",
        "the answer of the token endpoint lacks",
    ),
    (Fault::OtherTokenType, "code_exchange_failed", "token_type"),
    (
        Fault::HugeAnswer,
        "code_exchange_failed",
        "https://login.test/token is larger",
    ),
    (
        Fault::Redirected,
        "code_exchange_failed",
        "https://login.test/token answered with a redirect",
    ),
    (
        Fault::NotJson,
        "code_exchange_failed",
        "the answer of the token endpoint is not JSON",
    ),
    (
        Fault::InvalidClient,
        "code_exchange_failed",
        "the token endpoint answered invalid_client",
    ),
    (
        Fault::InvalidGrant,
        "code_exchange_failed",
        "the token endpoint answered invalid_grant",
    ),
    (
        Fault::ServerError,
        "provider_unavailable",
        "https://login.test/token answered 500",
    ),
    (Fault::UserinfoOfAnother, "userinfo_invalid", "sub is not"),
    (Fault::UserinfoWithoutSubject, "userinfo_invalid", ""),
    (Fault::UserinfoNotJson, "userinfo_invalid", ""),
    (
        Fault::UserinfoRefused,
        "userinfo_invalid",
        "the userinfo endpoint answered 403",
    ),
    (
        Fault::HugeUserinfo,
        "userinfo_invalid",
        "https://login.test/userinfo is larger",
    ),
    (
        Fault::NoIssuer,
        "provider_mixed_up",
        "the callback has no iss",
    ),
    (
        Fault::OtherIssuer,
        "provider_mixed_up",
        "iss of the callback",
    ),
    (
        Fault::AccessDenied,
        "sign_in_denied",
        "the provider answered access_denied",
    ),
    (Fault::NoCode, "sign_in_denied", "the callback has neither"),
    (
        Fault::KeysMissing,
        "provider_unavailable",
        "https://login.test/jwks",
    ),
];

/// Faults of which only a step-up takes notice.
pub const OF_STEP_UP: [Fault; 3] = [Fault::NoAuthTime, Fault::OldAuthTime, Fault::AnotherPerson];

#[tokio::test]
async fn oidcc_3_1_3_7_1__each_fault_of_a_provider_has_its_reason_and_signs_nobody_in() {
    let mut desk = Desk::new().await;
    desk.provider.claims_from = ClaimsFrom::Userinfo;
    desk.step_up().await.unwrap();
    let before = desk.rows().await;
    for (fault, reason, detail) in FAULTS {
        desk.login.does(fault);
        let refusal = desk.step_up().await.unwrap_err();
        assert_eq!(refusal.reason.code(), reason, "{fault:?}: {refusal}");
        assert!(refusal.detail.starts_with(detail), "{fault:?}: {refusal}");
        // The attempt is over, and the person can go on where they wanted to go.
        assert!(refusal.attempt.is_some(), "{fault:?}");
        let return_to = refusal.return_to.as_ref().unwrap();
        assert_eq!(return_to.as_str(), "/console/octo-org", "{fault:?}");
        // Who was refused is known after a good ID token only.
        let is_person = refusal.sub.is_some();
        let is_early = matches!(
            reason,
            "id_token_invalid"
                | "code_exchange_failed"
                | "provider_mixed_up"
                | "sign_in_denied"
                | "provider_unavailable"
        ) && fault != Fault::FutureAuthTime;
        assert_eq!(is_person, !is_early, "{fault:?}");
        // Nothing secret is in what the log and the audit trail get.
        let shown = format!("{refusal:?} {refusal}");
        for secret in [CLIENT_SECRET, PROVIDER_ACCESS_TOKEN, "canary", "eyJ"] {
            assert!(!shown.contains(secret), "{fault:?}: {shown}");
        }
        if !OF_STEP_UP.contains(&fault) {
            let refusal = desk.sign_in().await.unwrap_err();
            assert_eq!(refusal.reason.code(), reason, "{fault:?}: {refusal}");
        }
    }
    for fault in OF_STEP_UP {
        desk.login.does(fault);
        if fault == Fault::AnotherPerson {
            desk.provider.claims_from = ClaimsFrom::IdToken;
        }
        desk.sign_in().await.unwrap();
    }
    assert_eq!(desk.rows().await, before);
}

#[tokio::test]
async fn rfc9207_2_4_1__an_answer_in_the_name_of_another_issuer_or_of_none_is_refused() {
    let desk = Desk::new().await;
    // Also where the answer is an error.
    for (fault, changed) in [
        (
            None,
            (
                "iss=https%3A%2F%2Flogin.test",
                "iss=https%3A%2F%2Fevil.test",
            ),
        ),
        (None, ("iss=https%3A%2F%2Flogin.test", "x=y")),
        (None, ("iss=https%3A%2F%2Flogin.test", "iss=")),
        (
            Some(Fault::AccessDenied),
            (
                "iss=https%3A%2F%2Flogin.test",
                "iss=https%3A%2F%2Fevil.test",
            ),
        ),
    ] {
        desk.login.does(fault);
        let provider = desk.fresh();
        let begun = desk.begin(&provider, Purpose::SignIn).await;
        let answer = desk.login.answers(&begun.location);
        let answer = answer.replace(changed.0, changed.1);
        let cookies = super::sign_in::cookies(&begun);
        let finished = carnet::people::finish(&desk.server.app, &provider, &answer, &cookies, None);
        let refusal = finished.await.unwrap_err();
        assert_eq!(refusal.reason.code(), "provider_mixed_up", "{answer}");
        assert!(
            desk.login.exchanged().is_empty(),
            "no code was sent anywhere"
        );
    }
}

#[tokio::test]
async fn a_provider_whose_metadata_cannot_be_used_is_unavailable() {
    let desk = Desk::new().await;
    for (fault, detail) in [
        (Fault::MetadataMissing, "the server answered 404"),
        (
            Fault::MetadataOfAnother,
            "it names the issuer https://evil.test",
        ),
    ] {
        desk.login.does(fault);
        let to = carnet::people::ReturnTo::default();
        let provider = desk.fresh();
        let app = &desk.server.app;
        let begun = carnet::people::begin(app, &provider, to, Purpose::SignIn, &[]);
        let refusal = begun.await.unwrap_err();
        assert_eq!(refusal.reason.code(), "provider_unavailable");
        assert!(refusal.detail.contains(detail), "{refusal}");
        assert_eq!(refusal.retry_after, Some(30));
    }
}

#[tokio::test]
async fn a_code_is_exchanged_when_fewer_than_eight_others_are() {
    let desk = Desk::new().await;
    let provider = desk.fresh();
    let limits = &desk.server.app.limits;
    let mut turns = Vec::new();
    for _ in 0..8 {
        turns.push(limits.exchange_turn(provider.id).await.unwrap());
    }
    let begun = desk.begin(&provider, Purpose::SignIn).await;
    let refusal = desk.finish(&provider, &begun).await.unwrap_err();
    // It is our own limit, and not the provider that is away.
    assert_eq!(refusal.reason.code(), "rate_limited");
    assert_eq!(refusal.retry_after, Some(1));
    assert!(desk.login.exchanged().is_empty());
    drop(turns);
    desk.finish(&provider, &begun).await.unwrap();
    assert_eq!(desk.login.exchanged().len(), 1);
}

#[tokio::test]
async fn a_slow_provider_is_given_up_after_five_seconds() {
    let desk = Desk::new().await;
    desk.login.does(Fault::Slow);
    let given_up = tokio::time::timeout(Duration::from_secs(20), desk.sign_in());
    let refusal = given_up.await.unwrap().unwrap_err();
    assert_eq!(refusal.reason.code(), "provider_unavailable");
}

#[tokio::test]
async fn requests_to_providers_follow_no_redirect_and_read_no_more_than_their_limit() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reached = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = reached.clone();
    let service = Router::new()
        .route(
            "/token",
            post(|| async { Redirect::temporary("/elsewhere") }),
        )
        .route("/huge", get(|| async { "x".repeat(100_000) }))
        .route("/echo", post(|body: String| async move { body }))
        .route(
            "/elsewhere",
            post(move || async move {
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }),
        );
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let egress = Egress {
        allow_http_loopback: true,
        ..Egress::default()
    };
    let fetch = HttpFetch::default();
    let send = async |method: Method, path: &str, egress: &Egress| {
        let url = format!("http://{address}{path}").parse().unwrap();
        let request = Outgoing {
            method,
            headers: reqwest::header::HeaderMap::new(),
            body: b"code=x".to_vec(),
        };
        fetch.send(&url, egress, &request, 1000).await
    };
    let redirected = send(Method::POST, "/token", &egress).await.unwrap();
    assert_eq!(redirected.status, 307);
    assert_eq!(reached.load(std::sync::atomic::Ordering::SeqCst), 0);
    let echoed = send(Method::POST, "/echo", &egress).await.unwrap();
    assert_eq!(echoed.body, b"code=x");
    let huge = send(Method::GET, "/huge", &egress).await.unwrap_err();
    assert!(matches!(huge, FetchError::TooLarge(_, 1000)), "{huge}");
    let strict = Egress::default();
    let refused = send(Method::POST, "/echo", &strict).await.unwrap_err();
    assert!(matches!(refused, FetchError::Refused(..)), "{refused}");
    serving.abort();
}

#[test]
fn signatures_of_providers_are_verified_by_one_library() {
    let own_types = ["CoreJsonWebKeyType", "CoreJsonWebKeyUse"];
    for path in files("src", ".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.display();
        let mut code = text.clone();
        for harmless in own_types {
            code = code.replace(harmless, "");
        }
        // These bring RustCrypto's verifiers.
        for verifier in [
            "CoreJsonWebKey",
            "CoreClient",
            "CoreIdToken",
            "CoreProviderMetadata",
        ] {
            assert!(!code.contains(verifier), "{name} names {verifier}");
        }
        if text.contains("openidconnect::") {
            assert!(path.to_string_lossy().contains("/src/people/"), "{name}");
        }
    }
}
