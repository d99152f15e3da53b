//! Uploads with tokens that are bound to a key (RFC 9449).

use std::time::{SystemTime, UNIX_EPOCH};

use carnet_dpop::ProofKey;
use carnet_stand_ins::Protocol;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use crate::support::{Sample, Served, TOOLS, entry};

/// A proof for the upload of the protocol's tool.
fn proof(registry: &Served, key: &ProofKey, protocol: Protocol, token: &str) -> String {
    let (method, path) = Sample::of(protocol).target();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let url = format!("{}{path}", registry.url);
    let now = now.as_secs().try_into().unwrap();
    key.prove((method, &url), Some(token), None, now).unwrap()
}

async fn sent(request: RequestBuilder) -> (u16, Vec<String>, String) {
    let answer: Response = request.send().await.unwrap();
    let challenges = answer.headers().get_all("www-authenticate").iter();
    let challenges = challenges.map(|value| value.to_str().unwrap().to_owned());
    let (status, challenges) = (answer.status().as_u16(), challenges.collect());
    (status, challenges, answer.text().await.unwrap())
}

#[tokio::test]
async fn an_upload_with_a_bound_token_needs_its_proof_in_each_protocol() {
    for protocol in [&[Protocol::Generic][..], &TOOLS].concat() {
        let registry = Served::start(protocol).await;
        let key = ProofKey::generate().unwrap();
        let token = registry.bound_token(&[entry(&["*"], &["publish", "create"])], &key);
        let authorization = format!("DPoP {token}");
        let upload = || {
            registry
                .bare_upload()
                .header("authorization", &authorization)
        };
        let proof = proof(&registry, &key, protocol, &token);

        let (status, challenges, text) = sent(upload()).await;
        assert!((400..500).contains(&status), "{protocol:?} {status}");
        let [bearer, dpop] = challenges.as_slice() else {
            panic!("{challenges:?}")
        };
        assert!(bearer.starts_with("Bearer realm=") && !bearer.contains("error="));
        assert!(dpop.contains("error=\"invalid_dpop_proof\"") && dpop.contains("algs=\""));
        assert!(text.contains("has no DPoP header with a proof"), "{text}");

        if protocol == Protocol::Nuget {
            let both = upload().header("x-nuget-apikey", &token);
            let (status, _, text) = sent(both.header("dpop", &proof)).await;
            assert!(
                status == 400 && text.contains("more than one credential"),
                "{text}"
            );
        }
        let (status, _, text) = sent(upload().header("dpop", &proof)).await;
        assert!(
            (200..300).contains(&status),
            "{protocol:?} {status}: {text}"
        );
        let (_, _, text) = sent(upload().header("dpop", &proof)).await;
        assert!(text.contains("the DPoP proof was used before"), "{text}");
        // Where the tool puts tokens, no proof comes with it.
        let answer = registry.upload(Some(&token)).await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(
            (400..500).contains(&status) && text.contains("bound to a key"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn the_metadata_says_that_proofs_are_taken() {
    let registry = Served::start(Protocol::Generic).await;
    let about = registry.json("/.well-known/oauth-protected-resource").await;
    let algorithms = about["dpop_signing_alg_values_supported"].as_array();
    assert!(algorithms.unwrap().contains(&Value::from("ES256")));
}

#[tokio::test]
async fn a_bound_token_that_does_not_allow_the_upload_has_its_challenge() {
    let registry = Served::start(Protocol::Generic).await;
    let key = ProofKey::generate().unwrap();
    let token = registry.bound_token(&[entry(&["other"], &["publish"])], &key);
    let proof = proof(&registry, &key, Protocol::Generic, &token);
    let upload = registry.bare_upload();
    let upload = upload.header("authorization", format!("DPoP {token}"));
    let (status, challenges, _) = sent(upload.header("dpop", proof)).await;
    assert_eq!(status, 403);
    let errors = challenges
        .iter()
        .map(|value| value.contains("insufficient_scope"));
    assert_eq!(errors.collect::<Vec<_>>(), [false, true]);
}
