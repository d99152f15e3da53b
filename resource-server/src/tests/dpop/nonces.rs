//! Nonces of the registry (RFC 9449 sections 8.2 and 9).

use carnet_dpop::Nonces;
use http::HeaderMap;
use serde_json::json;

use super::{PATH, SECRET, World, headers, own_nonces, shared, verified};
use crate::tests::support::NOW;
use crate::verifier::now;
use crate::{DpopRejection, Proofs};

#[tokio::test]
async fn rfc9449_9_1__a_nonce_is_asked_for_with_401_and_given_once() {
    for proofs in [shared(), Proofs::single_process()] {
        let world = World::new(proofs.requiring_nonces()).await;
        let token = world.bound();
        let answer = world.present(&token, &world.proof(&token)).await;
        answer.is(401, [None, Some("use_dpop_nonce")]);
        let given: Vec<_> = answer.headers.get_all("dpop-nonce").iter().collect();
        let [nonce] = given.as_slice() else {
            panic!("{given:?}")
        };
        assert_eq!(answer.headers["cache-control"], "no-store");
        let nonce = nonce.to_str().unwrap();
        // A nonce shows when the proof was made, so the clock of the client may be further off.
        for at in [now(), now() - 200, now() + 200] {
            let proof = world.proof_with(&token, nonce, at);
            let answer = world.present(&token, &proof).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        // A bearer token needs none.
        let bearer = format!("Bearer {}", world.unbound());
        let answer = world.put(PATH, &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn rfc9449_8_2__nonces_of_the_authorization_server_and_of_other_registries_do_not_count() {
    let world = World::new(shared().requiring_nonces()).await;
    let token = world.bound();
    for purpose in ["token requests", "resource server https://registry.test/"] {
        let foreign = Nonces::new(&SECRET, purpose).unwrap().at(now()).unwrap();
        let proof = world.proof_with(&token, &foreign, now());
        let answer = world.present(&token, &proof).await;
        answer.is(401, [None, Some("use_dpop_nonce")]);
    }
}

#[tokio::test]
async fn rfc9449_8_2_1__a_good_answer_has_a_new_nonce_if_the_presented_one_is_not_the_newest() {
    let world = World::new(shared().requiring_nonces()).await;
    let token = world.bound();
    let older = own_nonces().at(now() - 60).unwrap();
    let proof = world.proof_with(&token, &older, now());
    let answer = world.present(&token, &proof).await;
    assert_eq!(answer.status, 200);
    let next = answer.headers["dpop-nonce"].to_str().unwrap();
    assert!(next != older && own_nonces().takes(next, now()));
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn rfc9449_8_2_1__the_newest_nonce_is_not_repeated_and_one_that_is_over_is_refused() {
    let world = World::new(shared()).await;
    let proofs = shared().requiring_nonces();
    let verifier = world.server.verifier().taking_proofs(proofs).unwrap();
    let mut claims = world.server.claims();
    claims["cnf"] = json!({ "jkt": world.key.thumbprint() });
    let token = world.server.sign(&claims);
    let answer = async |age| {
        let nonce = own_nonces().at(NOW - age).unwrap();
        let proof = world.proof_with(&token, &nonce, NOW);
        verified(&verifier, &headers(&token, &proof)).await
    };
    let newest = own_nonces().at(NOW).unwrap();
    for (age, expected) in [(0, None), (60, Some(&newest)), (240, Some(&newest))] {
        let found = answer(age).await.unwrap();
        assert_eq!(found.nonce.as_ref(), expected);
        let mut headers = HeaderMap::new();
        found.add_nonce(&mut headers);
        let given = headers
            .get("dpop-nonce")
            .map(|value| value.to_str().unwrap());
        assert_eq!(given, expected.map(String::as_str));
    }
    let refused = answer(300).await;
    assert_eq!(refused, Err(DpopRejection::NonceNeeded(newest).into()));
}
