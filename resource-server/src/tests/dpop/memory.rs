//! How a registry remembers proofs, and what it takes them with.

use std::sync::Arc;

use carnet_dpop::{ProofKey, SingleProcess};
use http::Response;
use serde_json::json;

use super::{SECRET, URL, World, headers, shared, verified};
use crate::tests::support::{FakeServer, NOW, REGISTRY};
use crate::{
    DpopRejection, Introspection, Outage, Presented, Proof, Proofs, Realm, Rejection, SetUpError,
    SpentProofs, Verifier,
};

/// A memory without room.
#[derive(Debug)]
struct Full;

impl SpentProofs for Full {
    fn spend<'a>(
        &'a self,
        _: &'a Proof,
        _: i64,
    ) -> std::pin::Pin<Box<dyn Future<Output = Presented> + Send + 'a>> {
        Box::pin(std::future::ready(Presented::Unremembered))
    }
}

#[tokio::test]
async fn a_proof_that_cannot_be_remembered_is_not_taken_and_that_is_nobodys_fault() {
    let world = World::new(Proofs::shared(&SECRET, Arc::new(Full))).await;
    let token = world.bound();
    let answer = world.present(&token, &world.proof(&token)).await;
    assert_eq!(answer.status, 503);
    assert!(!answer.headers.contains_key("www-authenticate"));
    assert_eq!(answer.headers["retry-after"], "30");
    // What is wrong is refused as such.
    let proof = world.proof_for("POST", URL, Some(&token));
    world.present(&token, &proof).await.is_of_proof();
    let response: Response<String> = Realm::new("r").reject(Rejection::Unavailable(Outage::Memory));
    assert!(!response.body().contains("remember"));
}

#[tokio::test]
async fn introspected_tokens_are_bound_too_and_a_cached_answer_skips_no_proof() {
    const KEY: &str = "cnt_0123456789";
    let server = FakeServer::start().await;
    let key = ProofKey::generate().unwrap();
    let verifier = server.introspecting().taking_proofs(shared()).unwrap();
    let prove = |token: &str| {
        let proof = key.prove(("PUT", URL), Some(token), None, NOW).unwrap();
        headers(token, &proof)
    };
    let mut active = server.active();
    active["cnf"] = json!({ "jkt": key.thumbprint() });
    active["token_type"] = json!("DPoP");
    server.activate(KEY, active.clone());
    for _ in 0..2 {
        let proven = prove(KEY);
        verified(&verifier, &proven).await.unwrap();
        let again = verified(&verifier, &proven).await;
        assert_eq!(again, Err(DpopRejection::UsedProof.into()));
        let bearer = verifier.verify_at(KEY, NOW).await;
        assert!(matches!(bearer, Err(Rejection::InvalidToken(_))));
        let mut unproven = proven.clone();
        unproven.remove("dpop");
        let without = verified(&verifier, &unproven).await;
        assert_eq!(without, Err(DpopRejection::NoProof.into()));
    }
    assert_eq!(server.seen("/introspect").len(), 1);
    // A type that says "bound" without the key.
    let mut keyless = server.active();
    keyless["token_type"] = json!("DPoP");
    server.activate("cnt_keyless", keyless);
    let refused = verified(&verifier, &prove("cnt_keyless")).await;
    let why = DpopRejection::InvalidToken("not a bearer token");
    assert_eq!(refused, Err(why.into()));
    // The server's answer does not make a bearer token of a bound one.
    let introspection = Introspection::new("registry", "s").every_token();
    let every = server.verifier().introspecting(introspection);
    let every = every.taking_proofs(shared()).unwrap();
    let mut claims = server.claims();
    claims["cnf"] = json!({ "jkt": key.thumbprint() });
    let token = server.sign(&claims);
    server.activate(&token, server.active());
    assert_eq!(
        every.verify_at(&token, NOW).await,
        Err(Rejection::InvalidToken(
            "bound otherwise than the server says"
        ))
    );
}

#[test]
fn proofs_need_a_public_url_and_a_long_secret() {
    let set_up = |resource: &str, proofs| {
        let verifier = Verifier::new("https://as.test", resource).unwrap();
        verifier.taking_proofs(proofs).map(|_| ())
    };
    assert!(set_up(REGISTRY, Proofs::single_process()).is_ok());
    for resource in [
        "urn:example:registry",
        "registry.test",
        "ftp://registry.test/",
        "",
    ] {
        let refused = set_up(resource, shared());
        assert!(matches!(refused, Err(SetUpError::PublicUrl)), "{resource}");
        assert!(set_up(resource, shared().reached_at(["https://a.test"])).is_ok());
    }
    for url in [
        "a.test",
        "https://a.test/?b",
        "https://u@a.test",
        "https://",
    ] {
        let refused = set_up(REGISTRY, shared().reached_at([url]));
        assert!(matches!(refused, Err(SetUpError::PublicUrl)), "{url}");
    }
    let short = Proofs::shared(&SECRET[..31], Arc::new(SingleProcess::new()));
    assert!(matches!(set_up(REGISTRY, short), Err(SetUpError::Secret)));
    assert!(!format!("{:?}", shared()).contains('7'));
}
