//! Which scheme, which challenge, and for which URL a proof has to be.

use serde_json::json;

use super::{PATH, URL, World, shared};
use crate::tests::support::parameters_of;
use crate::verifier::now;
use crate::{DpopRejection, InvalidProof, Realm, Rejection};

#[tokio::test]
async fn rfc9449_7_1_1__a_bound_token_needs_the_scheme_and_a_proof() {
    let world = World::new(shared()).await;
    let token = world.bound();
    for scheme in ["DPoP", "dpop", "DPOP "] {
        let (authorization, proof) = (format!("{scheme} {token}"), world.proof(&token));
        let headers = [("authorization", authorization.as_str()), ("dpop", &proof)];
        let answer = world.put(PATH, &headers).await;
        assert_eq!((answer.status, &answer.body), (200, &json!("pr_joel")));
        assert!(!answer.headers.contains_key("dpop-nonce"));
    }
    let authorization = format!("DPoP {token}");
    let answer = world.put(PATH, &[("authorization", &authorization)]).await;
    answer.is_of_proof();
    assert_eq!(answer.why(), "the request has no DPoP header with a proof");
    // The token comes first: no proof helps one that is not valid.
    let mut claims = world.server.claims_at(now() - 1000);
    claims["cnf"] = json!({ "jkt": world.key.thumbprint() });
    let old = world.server.sign(&claims);
    let answer = world.present(&old, &world.proof(&old)).await;
    answer.is(401, [None, Some("invalid_token")]);
    assert_eq!(answer.why(), "expired");
}

#[tokio::test]
async fn rfc9449_7_2_1__a_bound_token_is_refused_as_a_bearer_token() {
    let world = World::new(shared()).await;
    let token = world.bound();
    let (bearer, proof) = (format!("Bearer {token}"), world.proof(&token));
    let proof = ("dpop", proof.as_str());
    for way in [("authorization", bearer.as_str()), ("x-api-key", &token)] {
        for headers in [&[way][..], &[way, proof]] {
            let answer = world.put(PATH, headers).await;
            answer.is(401, [Some("invalid_token"), None]);
            assert!(answer.challenges()[0]["error_description"].contains("`Authorization: DPoP`"));
        }
    }
    let verifier = world.server.verifier().taking_proofs(shared()).unwrap();
    let refused = |result: Result<_, _>| matches!(result, Err(Rejection::InvalidToken(_)));
    assert!(refused(verifier.verify_token(&token).await));
    assert!(refused(verifier.verify(Some(&bearer)).await));
    verifier.verify_token(&world.unbound()).await.unwrap();
    // The proof was not used up.
    assert_eq!(world.present(&token, proof.1).await.status, 200);
}

#[tokio::test]
async fn rfc9449_7_2_2__each_scheme_has_its_challenge_and_one_of_them_has_the_error() {
    let world = World::new(shared()).await;
    let (bound, unbound) = (world.bound(), world.unbound());
    for headers in [&[][..], &[("authorization", "Basic eDp5")]] {
        world.put(PATH, headers).await.is(401, [None, None]);
    }
    let (bearer, dpop) = (format!("Bearer {unbound}"), format!("DPoP {bound}"));
    let proof = world.proof(&bound);
    let [bearer, dpop, proof] = [
        ("authorization", bearer.as_str()),
        ("authorization", dpop.as_str()),
        ("dpop", proof.as_str()),
    ];
    assert_eq!(world.put(PATH, &[bearer]).await.status, 200);
    for both in [[bearer, dpop, proof], [dpop, bearer, proof]] {
        world
            .put(PATH, &both)
            .await
            .is(400, [Some("invalid_request"), None]);
    }
    for both in [
        [dpop, ("x-api-key", &bound), proof],
        [dpop, ("x-api-key", &unbound), proof],
    ] {
        world
            .put(PATH, &both)
            .await
            .is(400, [Some("invalid_request"), None]);
    }
    let invalid = [("authorization", "Bearer a.b.c")];
    world
        .put(PATH, &invalid)
        .await
        .is(401, [Some("invalid_token"), None]);
    let invalid = [("authorization", "DPoP a.b.c"), proof];
    world
        .put(PATH, &invalid)
        .await
        .is(401, [None, Some("invalid_token")]);
    let unreadable = [("authorization", "DPoP a b"), proof];
    world
        .put(PATH, &unreadable)
        .await
        .is(400, [None, Some("invalid_request")]);
    let gadgets = "/packages/gadgets";
    let of_gadgets = world.proof_for(
        "PUT",
        "https://registry.test/packages/gadgets",
        Some(&bound),
    );
    let headers = [dpop, ("dpop", of_gadgets.as_str())];
    world
        .put(gadgets, &headers)
        .await
        .is(403, [None, Some("insufficient_scope")]);
    world
        .put(gadgets, &[bearer])
        .await
        .is(403, [Some("insufficient_scope"), None]);
}

#[tokio::test]
async fn rfc9449_7_1_2__an_unbound_token_is_refused_under_the_dpop_scheme() {
    let world = World::new(shared()).await;
    let token = world.unbound();
    let answer = world.present(&token, &world.proof(&token)).await;
    answer.is(401, [None, Some("invalid_token")]);
    assert!(answer.why().contains("`Authorization: Bearer`"));
    // No proof would help.
    let authorization = format!("DPoP {token}");
    let answer = world.put(PATH, &[("authorization", &authorization)]).await;
    answer.is(401, [None, Some("invalid_token")]);
}

#[tokio::test]
async fn rfc9449_4_3_9c__the_configured_url_counts_and_not_the_host_header() {
    let world = World::new(shared()).await;
    let token = world.bound();
    let authorization = format!("DPoP {token}");
    for (host, url, status) in [
        ("registry.test", URL, 200),
        ("evil.test", URL, 200),
        ("evil.test", "https://evil.test/packages/widgets", 401),
        (
            "registry.test",
            "http://registry.test/packages/widgets",
            401,
        ),
        (
            "registry.test",
            "https://registry.test/pypi/packages/widgets",
            401,
        ),
    ] {
        let proof = world.proof_for("PUT", url, Some(&token));
        let headers = [
            ("authorization", authorization.as_str()),
            ("dpop", &proof),
            ("host", host),
            ("x-forwarded-host", host),
        ];
        let answer = world.put(&format!("{PATH}?a=b"), &headers).await;
        assert_eq!(answer.status, status, "{url}: {answer:?}");
    }
    let as_served = format!("{}{PATH}", world.url);
    let proof = world.proof_for("PUT", &as_served, Some(&token));
    let answer = world.present(&token, &proof).await;
    answer.is_of_proof();
    assert_eq!(
        answer.why(),
        format!("its htu is not {URL}, where the request went")
    );
    // The operator names the hosts, and the path that a proxy removed.
    let proofs = shared().reached_at(["https://a.test", "http://b.test:8080/pypi/"]);
    let world = World::new(proofs).await;
    let token = world.bound();
    for (url, status) in [
        ("https://a.test/packages/widgets", 200),
        ("http://b.test:8080/pypi/packages/widgets", 200),
        ("http://b.test:8080/packages/widgets", 401),
        (URL, 401),
    ] {
        let proof = world.proof_for("PUT", url, Some(&token));
        let answer = world.present(&token, &proof).await;
        assert_eq!(answer.status, status, "{url}");
    }
}

#[tokio::test]
async fn a_token_bound_to_a_certificate_or_in_an_unknown_way_is_refused() {
    let world = World::new(shared()).await;
    for (cnf, why) in [
        (
            json!({ "x5t#S256": "AAAA" }),
            "bound to a client certificate",
        ),
        (
            json!({ "jkt": world.key.thumbprint(), "kid": "a" }),
            "bound to a key",
        ),
        (json!({}), "bound to a key"),
        (json!(null), "bound to a key"),
    ] {
        let token = world.token(cnf);
        let answer = world.present(&token, &world.proof(&token)).await;
        answer.is(401, [None, Some("invalid_token")]);
        assert!(answer.why().contains(why), "{answer:?}");
        let bearer = format!("Bearer {token}");
        let answer = world.put(PATH, &[("authorization", &bearer)]).await;
        answer.is(401, [Some("invalid_token"), None]);
        assert!(answer.challenges()[0]["error_description"].contains(why));
    }
}

#[test]
fn what_is_wrong_with_a_proof_is_quoted_safely_and_not_at_length() {
    let expected = format!(
        "https://a.test/\", error=\"x\\\r\n\u{e9}{}",
        "a".repeat(9000)
    );
    // Anybody may have written it, so it is not repeated at all.
    let sent = "https://elsewhere.test/".to_owned();
    let invalid = DpopRejection::InvalidProof(InvalidProof::Uri { sent, expected });
    let challenges = Realm::new("r").challenges(&invalid.into());
    let read = parameters_of("DPoP", &challenges[1]);
    assert_eq!(read["error"], "invalid_dpop_proof");
    assert!(read["error_description"].starts_with("its htu is not https://a.test/, error=x"));
    assert!(!challenges[1].contains("elsewhere.test"));
    assert!(challenges[1].len() < 700, "{}", challenges[1].len());
}
