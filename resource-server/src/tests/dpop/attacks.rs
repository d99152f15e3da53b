//! Proofs and tokens that do not belong together.

use std::sync::Arc;

use carnet_dpop::{ProofKey, SingleProcess};
use http::{Method, Uri};
use serde_json::json;

use super::{PATH, SECRET, URL, World, headers, shared, verified};
use crate::tests::support::{NOW, client};
use crate::verifier::now;
use crate::{DpopRejection, Proofs, Rejection, Sent};

#[tokio::test]
async fn atk_163__a_proof_is_good_once_and_of_parallel_requests_one_wins() {
    let world = Arc::new(World::new(shared()).await);
    let token = world.bound();
    let proof = world.proof(&token);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (world, token, proof) = (world.clone(), token.clone(), proof.clone());
            tokio::spawn(async move { world.present(&token, &proof).await })
        })
        .collect();
    let mut good = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        if answer.status == 200 {
            good += 1;
        } else {
            answer.is_of_proof();
            assert_eq!(answer.why(), "the DPoP proof was used before");
        }
    }
    assert_eq!(good, 1);
    world.present(&token, &proof).await.is_of_proof();
    // Processes that share their memory do not take it either.
    let store: Arc<SingleProcess> = Arc::default();
    let mut claims = world.server.claims();
    claims["cnf"] = json!({ "jkt": world.key.thumbprint() });
    let token = world.server.sign(&claims);
    let proof = world.key.prove(("PUT", URL), Some(&token), None, NOW);
    let headers = headers(&token, &proof.unwrap());
    let process = || {
        let proofs = Proofs::shared(&SECRET, store.clone());
        world.server.verifier().taking_proofs(proofs).unwrap()
    };
    verified(&process(), &headers).await.unwrap();
    let again = verified(&process(), &headers).await;
    assert_eq!(again, Err(DpopRejection::UsedProof.into()));
}

#[tokio::test]
async fn atk_164__a_proof_for_the_authorization_server_or_another_method_is_refused() {
    let world = World::new(shared()).await;
    let token = world.bound();
    let at_server = format!("{}/token", world.server.url);
    for (method, url, why) in [
        ("POST", at_server.as_str(), "its htm is not"),
        ("PUT", &at_server, "its htu is"),
        ("GET", URL, "its htm is not"),
        ("POST", URL, "its htm is not"),
        ("put", URL, "its htm is not"),
    ] {
        let proof = world.proof_for(method, url, Some(&token));
        let answer = world.present(&token, &proof).await;
        answer.is_of_proof();
        assert!(answer.why().starts_with(why), "{answer:?}");
    }
    // The same route takes a POST with a proof for one.
    let proof = world.proof_for("POST", URL, Some(&token));
    let request = client().post(format!("{}{PATH}", world.url));
    let request = request.header("authorization", format!("DPoP {token}"));
    let answer = request.header("dpop", proof).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn atk_168__a_proof_without_the_hash_of_this_token_is_refused() {
    let world = World::new(shared()).await;
    let (token, other) = (world.bound(), world.token(json!({ "jkt": "x" })));
    let without = world.proof_for("PUT", URL, None);
    world.present(&token, &without).await.is_of_proof();
    let of_other = world.proof(&other);
    world.present(&token, &of_other).await.is_of_proof();
    // Another token of the same key: the refused request does not use the proof up.
    let mut claims = world.server.claims_at(now() - 1);
    claims["cnf"] = json!({ "jkt": world.key.thumbprint() });
    let swapped = world.server.sign(&claims);
    let proof = world.proof(&token);
    let answer = world.present(&swapped, &proof).await;
    answer.is_of_proof();
    assert_eq!(answer.why(), "its ath is not the hash of the access token");
    assert_eq!(world.present(&token, &proof).await.status, 200);
    // A stolen token with a proof by the thief's key.
    let thief = ProofKey::generate().unwrap();
    let proof = thief.prove(("PUT", URL), Some(&token), None, now());
    let answer = world.present(&token, &proof.unwrap()).await;
    answer.is(401, [None, Some("invalid_token")]);
    assert_eq!(answer.why(), "bound to another key than that of the proof");
}

#[tokio::test]
async fn atk_169__the_scheme_has_to_be_that_of_the_token() {
    let world = World::new(shared()).await;
    for (scheme, token, status) in [
        ("DPoP", world.bound(), 200),
        ("Bearer", world.bound(), 401),
        ("Bearer", world.unbound(), 200),
        ("DPoP", world.unbound(), 401),
    ] {
        let (authorization, proof) = (format!("{scheme} {token}"), world.proof(&token));
        let headers = [("authorization", authorization.as_str()), ("dpop", &proof)];
        let answer = world.put(PATH, &headers).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 401 {
            assert_eq!(answer.body["error"], "invalid_token");
        }
    }
    // A registry that takes no proofs knows no such scheme, and refuses every bound token.
    let verifier = world.server.verifier();
    let token = world.bound();
    let uri = Uri::from_static(PATH);
    let proven = headers(&token, &world.proof(&token));
    let sent = Sent::new(&Method::PUT, &uri, &proven);
    assert!(sent.has_dpop_scheme());
    assert_eq!(verifier.verify_request(sent).await, Err(Rejection::NoToken));
    assert_eq!(
        verifier.verify_token(&token).await,
        Err(Rejection::InvalidToken("bound to a key"))
    );
}

#[tokio::test]
async fn atk_170__two_headers_joined_proofs_and_empty_ones_are_refused() {
    let world = World::new(shared()).await;
    let token = world.bound();
    let authorization = format!("DPoP {token}");
    let authorization = ("authorization", authorization.as_str());
    let proofs = [world.proof(&token), world.proof(&token)];
    let joined = proofs.join(", ");
    let [one, two, joined, empty, unreadable] = [
        proofs[0].as_str(),
        proofs[1].as_str(),
        joined.as_str(),
        "",
        "\u{e9}",
    ]
    .map(|value| ("dpop", value));
    for headers in [
        &[authorization, one, two][..],
        &[authorization, one, one],
        &[authorization, one, empty],
        &[authorization, joined],
        &[authorization, empty],
        &[authorization, unreadable],
    ] {
        world.put(PATH, headers).await.is_of_proof();
    }
    assert_eq!(world.put(PATH, &[authorization, one]).await.status, 200);
}
