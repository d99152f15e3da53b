//! The checks of a proof, one by one, and the vectors of RFC 9449.

use std::cell::Cell;

use carnet_jose::{Algorithm, SigningKey, VerificationKey, base64url};
use http::HeaderMap;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_790_000_000;
const URI: &str = "https://as.test/token";

/// The example of RFC 9449 section 4.1 and the key's thumbprint of section 6.1.
const RFC_HEADER: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
const RFC_PROOF: &str = "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
const RFC_THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
/// The example of RFC 9449 section 7.1: a proof for this access token.
const RFC_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const RFC_RESOURCE_PROOF: &str = "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";

fn uris() -> Vec<RequestUri> {
    vec![RequestUri::parse(URI).unwrap()]
}

fn expected(uris: &[RequestUri]) -> Expected<'_> {
    Expected {
        method: "POST",
        uris,
        token: None,
        nonces: None,
        now: NOW,
    }
}

fn claims() -> Value {
    json!({ "jti": "a", "htm": "POST", "htu": URI, "iat": NOW })
}

/// The claims with these members changed, or removed for `null`.
fn with(changes: &Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.shift_remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

fn signed(key: &SigningKey, claims: &Value) -> String {
    let text = claims.to_string();
    key.sign_with_key("dpop+jwt", text.as_bytes()).unwrap()
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::ES256).unwrap()
}

/// What verifying a proof with these claims gives.
fn verified(claims: &Value) -> Result<Proof, InvalidProof> {
    expected(&uris()).verify(&signed(&key(), claims))
}

/// A proof with another header; the signature is of the key.
fn with_header(key: &SigningKey, header: &Value) -> String {
    let whole = signed(key, &claims());
    let rest = whole.split_once('.').unwrap().1;
    format!("{}.{rest}", base64url(header.to_string()))
}

fn public(key: &SigningKey) -> Value {
    let mut jwk = Value::Object(key.public().jwk().clone());
    for name in ["kid", "use", "alg"] {
        jwk.as_object_mut().unwrap().shift_remove(name);
    }
    jwk
}

#[test]
fn rfc9449_5_2__the_vectors_of_the_rfc_verify_and_give_its_thumbprint_and_hash() {
    let uris = vec![RequestUri::parse("https://server.example.com/token").unwrap()];
    let at_token = Expected {
        now: 1_562_262_616,
        ..expected(&uris)
    };
    let proof = at_token
        .verify(&format!("{RFC_HEADER}.{RFC_PROOF}"))
        .unwrap();
    assert_eq!(proof.thumbprint(), RFC_THUMBPRINT);
    let uris = vec![RequestUri::parse("https://resource.example.org/protectedresource").unwrap()];
    let at_resource = Expected {
        method: "GET",
        token: Some(RFC_TOKEN),
        now: 1_562_262_618,
        ..expected(&uris)
    };
    let text = format!("{RFC_HEADER}.{RFC_RESOURCE_PROOF}");
    let proof = at_resource.verify(&text).unwrap();
    assert_eq!(proof.thumbprint(), RFC_THUMBPRINT);
    assert_eq!(
        token_hash(RFC_TOKEN),
        "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
    );
}

#[test]
fn rfc9449_4_3_1__there_may_be_one_header_with_one_proof() {
    let mut headers = HeaderMap::new();
    assert_eq!(SentProof::of(&headers), SentProof::None);
    headers.append("dpop", "one".parse().unwrap());
    assert_eq!(SentProof::of(&headers), SentProof::One("one"));
    headers.append("DPoP", "two".parse().unwrap());
    assert_eq!(SentProof::of(&headers), SentProof::Unreadable);
    let unreadable = http::HeaderValue::from_bytes(b"\xff").unwrap();
    headers.insert("dpop", unreadable);
    assert_eq!(SentProof::of(&headers), SentProof::Unreadable);
    let one = signed(&key(), &claims());
    for text in [
        format!("{one},{one}"),
        format!("{one}, {one}"),
        String::new(),
    ] {
        let refused = expected(&uris()).verify(&text).unwrap_err();
        assert!(matches!(refused, InvalidProof::Malformed(_)), "{text}");
    }
}

#[test]
fn rfc9449_4_3_2__a_proof_is_a_compact_jws_with_its_key() {
    let uris = uris();
    for text in ["garbage", "a.b.c", "e30.e30.", "a.b.c.d.e"] {
        assert!(matches!(
            expected(&uris).verify(text),
            Err(InvalidProof::Malformed(_))
        ));
    }
    let key = key();
    for header in [
        json!({ "typ": "dpop+jwt", "alg": "ES256" }),
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": "text" }),
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": public(&key), "x5c": [] }),
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": public(&key), "crit": ["b64"] }),
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": public(&key), "enc": "A256GCM" }),
    ] {
        assert!(matches!(
            expected(&uris).verify(&with_header(&key, &header)),
            Err(InvalidProof::Malformed(_))
        ));
    }
}

#[test]
fn rfc9449_4_3_3__the_claims_of_a_proof_are_there_and_of_their_types() {
    for name in ["jti", "htm", "htu", "iat"] {
        let missing = InvalidProof::Claim(name);
        assert_eq!(
            verified(&with(&json!({ name: null }))),
            Err(missing.clone())
        );
        for wrong in [json!([]), json!(true), json!({})] {
            assert_eq!(
                verified(&with(&json!({ name: wrong }))),
                Err(missing.clone())
            );
        }
    }
    for wrong in ["nbf", "exp", "nonce", "ath"] {
        assert_eq!(
            verified(&with(&json!({ wrong: [] }))),
            Err(InvalidProof::Claim(wrong))
        );
    }
    let text = json!({ "iat": NOW.to_string() });
    assert_eq!(verified(&with(&text)), Err(InvalidProof::Claim("iat")));
    for good in [json!(NOW), json!(1_790_000_000.5)] {
        assert!(verified(&with(&json!({ "iat": good }))).is_ok());
    }
    let negative = json!({ "iat": -0.5 });
    assert_eq!(verified(&with(&negative)), Err(InvalidProof::Claim("iat")));
}

#[test]
fn rfc9449_4_3_4__the_type_of_a_proof_is_dpop_jwt() {
    let key = key();
    for typ in [json!("JWT"), json!("at+jwt"), Value::Null] {
        let mut header = json!({ "typ": typ, "alg": "ES256", "jwk": public(&key) });
        if typ.is_null() {
            header.as_object_mut().unwrap().shift_remove("typ");
        }
        let refused = expected(&uris()).verify(&with_header(&key, &header));
        assert_eq!(refused, Err(InvalidProof::Type));
    }
}

#[test]
fn rfc9449_4_3_5__only_asymmetric_algorithms_count() {
    let key = key();
    for alg in ["none", "HS256", "es256", "ES256K"] {
        let header = json!({ "typ": "dpop+jwt", "alg": alg, "jwk": public(&key) });
        let refused = expected(&uris()).verify(&with_header(&key, &header));
        assert_eq!(refused, Err(InvalidProof::Algorithm), "{alg}");
    }
    for algorithm in [
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
        Algorithm::PS256,
        Algorithm::RS256,
    ] {
        let key = SigningKey::generate(algorithm).unwrap();
        let proof = expected(&uris()).verify(&signed(&key, &claims())).unwrap();
        assert_eq!(proof.thumbprint(), key.public().key_id(), "{algorithm}");
    }
}

#[test]
fn atk_167__a_key_in_the_header_is_no_secret_of_a_symmetric_algorithm() {
    let key = key();
    let jwk = public(&key);
    for (alg, jwk) in [
        ("HS256", jwk.clone()),
        ("HS256", json!({ "kty": "oct", "k": base64url("secret") })),
        ("none", jwk),
    ] {
        let header = json!({ "typ": "dpop+jwt", "alg": alg, "jwk": jwk });
        let input = format!(
            "{}.{}",
            base64url(header.to_string()),
            base64url(claims().to_string())
        );
        let code = carnet_jose::hmac_sha256(jwk.to_string().as_bytes(), input.as_bytes()).unwrap();
        for signature in [base64url(code), String::new()] {
            let refused = expected(&uris()).verify(&format!("{input}.{signature}"));
            assert_eq!(refused, Err(InvalidProof::Algorithm), "{alg}");
        }
    }
}

#[test]
fn rfc9449_4_3_6__the_signature_is_by_the_key_in_the_header() {
    let (key, other) = (key(), key());
    let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": public(&other) });
    let refused = expected(&uris()).verify(&with_header(&key, &header));
    assert_eq!(refused, Err(InvalidProof::Signature));
}

#[test]
fn rfc9449_4_3_7__the_key_has_no_private_part() {
    let key = key();
    let mut private: Value = serde_json::from_str(&key.to_private_jwk().unwrap()).unwrap();
    private.as_object_mut().unwrap().shift_remove("alg");
    let mut short = public(&SigningKey::generate(Algorithm::RS256).unwrap());
    short["n"] = json!(base64url([0xff; 128]));
    for (alg, jwk) in [
        ("ES256", private),
        ("ES256", json!({ "kty": "oct", "k": "c2VjcmV0" })),
        ("RS256", short),
        (
            "ES256",
            json!({ "kty": "EC", "crv": "P-192", "x": "AA", "y": "AA" }),
        ),
        ("ES384", public(&key)),
    ] {
        let header = json!({ "typ": "dpop+jwt", "alg": alg, "jwk": jwk });
        let refused = expected(&uris()).verify(&with_header(&key, &header));
        assert!(matches!(refused, Err(InvalidProof::Key(_))), "{refused:?}");
    }
}

#[test]
fn atk_166__members_that_are_not_the_keys_do_not_change_its_thumbprint() {
    let key = key();
    let mut jwk = public(&key);
    jwk["kid"] = json!("any");
    jwk["x5t"] = json!("any");
    assert!(VerificationKey::from_header(jwk.as_object().unwrap(), Algorithm::ES256).is_ok());
    assert_eq!(
        carnet_jose::thumbprint(jwk.as_object().unwrap()).as_deref(),
        Some(key.public().key_id())
    );
}

#[test]
fn rfc9449_4_3_8__htm_is_the_method_byte_for_byte() {
    for method in ["post", "GET", "POST ", ""] {
        let refused = verified(&with(&json!({ "htm": method })));
        assert_eq!(refused, Err(InvalidProof::Method), "{method}");
    }
}

#[test]
fn rfc9449_4_3_9__htu_is_the_uri_of_the_request_without_query() {
    for uri in [
        "https://as.test/token?q=1",
        "https://as.test/token#f",
        "HTTPS://AS.TEST:443/%74oken",
        "https://as.test:/token",
        "https://as.test/x/../token",
        "https://as.test/./token",
    ] {
        assert!(verified(&with(&json!({ "htu": uri }))).is_ok(), "{uri}");
    }
}

#[test]
fn atk_165__other_spellings_of_htu_are_other_uris() {
    for uri in [
        "https://other.test/token",
        "https://as.test:444/token",
        "http://as.test/token",
        "https://as.test/Token",
        "https://as.test/token/",
        "https://as.test/token/..",
        "https://as.test//token",
        "https://as.test/%2Ftoken",
        "https://user@as.test/token",
        "https://as.test\\token",
        "https://as.test/tok en",
        "https://as.test/t\u{f6}ken",
        "https://as.test/%zztoken",
        "https://as.test/token%",
        "https://as.test",
        "/token",
        "token",
        "ftp://as.test/token",
        "https:///token",
        "",
    ] {
        let refused = verified(&with(&json!({ "htu": uri })));
        assert!(matches!(refused, Err(InvalidProof::Uri { .. })), "{uri}");
    }
}

#[test]
fn rfc9449_4_3_9b__uris_are_normalised_by_syntax_and_scheme() {
    let normalised = |text: &str| RequestUri::parse(text).map(|uri| uri.as_str().to_owned());
    for (text, expected) in [
        ("https://as.test", "https://as.test/"),
        ("HTTP://[::1]:80/a/b/../c/.", "http://[::1]/a/c/"),
        ("http://127.0.0.1:8080/%7Ea", "http://127.0.0.1:8080/~a"),
        ("https://as.test/../../x", "https://as.test/x"),
        ("https://as.test/a/..", "https://as.test/"),
        ("https://as.test/%2e%2e/x", "https://as.test/x"),
        ("https://as.test/a%2fb", "https://as.test/a%2fb"),
    ] {
        assert_eq!(normalised(text).as_deref(), Some(expected), "{text}");
    }
    for text in [
        "https://as.test:x/",
        "https://[::1/",
        "https://a[b]/",
        "https://:1/",
    ] {
        assert_eq!(normalised(text), None, "{text}");
    }
}

#[test]
fn rfc9449_4_3_10__a_nonce_that_was_asked_for_has_to_match() {
    let nonces = Nonces::new(&[7; 32], "server").unwrap();
    let uris = uris();
    let asked = Expected {
        nonces: Some(&nonces),
        ..expected(&uris)
    };
    let verified = |changes: Value| asked.verify(&signed(&key(), &with(&changes)));
    let nonce = nonces.at(NOW).unwrap();
    let proof = verified(json!({ "nonce": nonce })).unwrap();
    assert_eq!(proof.nonce(), Some(nonce.as_str()));
    assert_eq!(verified(json!({})), Err(InvalidProof::Nonce));
    let mut tampered = nonce.clone().into_bytes();
    tampered[20] ^= 1;
    let foreign = Nonces::new(&[8; 32], "server").unwrap().at(NOW).unwrap();
    let registrys = Nonces::new(&[7; 32], "registry").unwrap().at(NOW).unwrap();
    for wrong in [
        String::from_utf8(tampered).unwrap(),
        foreign,
        registrys,
        nonces.at(NOW - 600).unwrap(),
        nonces.at(NOW + 600).unwrap(),
        format!("{nonce}="),
        String::new(),
    ] {
        assert_eq!(
            verified(json!({ "nonce": wrong })),
            Err(InvalidProof::Nonce)
        );
    }
}

#[test]
fn rfc9449_8_1__nonces_have_nonce_characters_and_are_not_told_from_each_other() {
    let nonces = Nonces::new(&[7; 32], "server").unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for minute in 0..1000 {
        let now = NOW + minute * 60;
        let nonce = nonces.at(now).unwrap();
        assert!(
            nonce
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        for later in [0, 120, 239] {
            assert!(nonces.takes(&nonce, now + later));
        }
        assert!(!nonces.takes(&nonce, now + 300));
        // The part that nobody can compute is different each time.
        assert!(seen.insert(nonce.get(11..).unwrap().to_owned()));
    }
}

#[test]
fn rfc9449_4_3_11__a_proof_is_fresh() {
    let at = |age: i64| verified(&with(&json!({ "iat": NOW - age })));
    for age in [-30, 0, 60] {
        assert!(at(age).is_ok(), "{age}");
    }
    for age in [-120, -31, 61, 120, i64::MIN / 2] {
        assert!(matches!(at(age), Err(InvalidProof::Time { .. })), "{age}");
    }
    let nonces = Nonces::new(&[7; 32], "server").unwrap();
    let uris = uris();
    let with_nonce = |age: i64| {
        let claims = with(&json!({ "iat": NOW - age, "nonce": nonces.at(NOW).unwrap() }));
        let asked = Expected {
            nonces: Some(&nonces),
            ..expected(&uris)
        };
        asked.verify(&signed(&key(), &claims))
    };
    assert!(with_nonce(300).is_ok() && with_nonce(-300).is_ok());
    assert!(with_nonce(301).is_err() && with_nonce(-301).is_err());
    for (changes, is_good) in [
        (json!({ "nbf": NOW + 30 }), true),
        (json!({ "nbf": NOW + 31 }), false),
        (json!({ "exp": NOW + 1 }), true),
        (json!({ "exp": NOW }), false),
    ] {
        assert_eq!(verified(&with(&changes)).is_ok(), is_good, "{changes}");
    }
}

#[test]
fn rfc9449_4_3_12__the_hash_of_the_token_has_to_be_there_and_right() {
    let uris = uris();
    let with_token = Expected {
        token: Some("the token"),
        ..expected(&uris)
    };
    let verified = |changes: Value| with_token.verify(&signed(&key(), &with(&changes)));
    assert!(verified(json!({ "ath": token_hash("the token") })).is_ok());
    for wrong in [
        json!({}),
        json!({ "ath": token_hash("another") }),
        json!({ "ath": "" }),
    ] {
        assert_eq!(verified(wrong), Err(InvalidProof::TokenHash));
    }
}

#[test]
fn rfc9449_11_1_2__long_ids_are_refused() {
    assert!(verified(&with(&json!({ "jti": "j".repeat(256) }))).is_ok());
    for id in ["j".repeat(257), "j".repeat(10 * 1024), String::new()] {
        assert_eq!(
            verified(&with(&json!({ "jti": id }))),
            Err(InvalidProof::Claim("jti"))
        );
    }
}

/// Runs a future that is ready at once.
fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn rfc9449_11_1_1__a_proof_is_good_for_one_request_to_one_uri() {
    let memory = SingleProcess::new();
    let key = key();
    let uris = vec![
        RequestUri::parse(URI).unwrap(),
        RequestUri::parse("https://alias.test/token").unwrap(),
    ];
    let proof = |changes: Value| {
        expected(&uris)
            .verify(&signed(&key, &with(&changes)))
            .unwrap()
    };
    let spend = |proof: &Proof, now| now_or_never(memory.spend(proof, now));
    let first = proof(json!({}));
    assert_eq!(spend(&first, NOW), Presented::First);
    assert_eq!(spend(&first, NOW), Presented::Again);
    assert_eq!(spend(&first, NOW + 60), Presented::Again);
    // The same one in another spelling of its URI is the same.
    let spelled = proof(json!({ "htu": "https://AS.test:443/token" }));
    assert_eq!(spend(&spelled, NOW), Presented::Again);
    for other in [
        json!({ "jti": "b" }),
        json!({ "htu": "https://alias.test/token" }),
    ] {
        assert_eq!(spend(&proof(other), NOW), Presented::First);
    }
    // When it is not in force any more, it need not be remembered.
    assert_eq!(
        spend(&proof(json!({ "jti": "c" })), NOW + 61),
        Presented::First
    );
    assert_eq!(memory.note(&first, NOW + 61), Presented::First);
}

#[test]
fn a_full_memory_takes_no_further_proof() {
    let memory = SingleProcess::new();
    let one = verified(&claims()).unwrap();
    let next = Cell::new(0_u32);
    let another = || {
        next.set(next.get() + 1);
        one.clone().with_id(&next.get().to_string())
    };
    for _ in 0..spent::MOST {
        assert_eq!(memory.note(&another(), NOW), Presented::First);
    }
    assert_eq!(memory.note(&another(), NOW), Presented::Unremembered);
    assert_eq!(memory.note(&another(), NOW + 61), Presented::First);
}

#[test]
fn a_client_makes_proofs_that_servers_take() {
    let key = ProofKey::generate().unwrap();
    let again = ProofKey::from_jwk(&key.to_jwk().unwrap()).unwrap();
    assert_eq!(key.thumbprint(), again.thumbprint());
    let nonces = Nonces::new(&[7; 32], "server").unwrap();
    let nonce = nonces.at(NOW).unwrap();
    let uris = uris();
    let asked = Expected {
        token: Some("token"),
        nonces: Some(&nonces),
        ..expected(&uris)
    };
    let uri = format!("{URI}?query#fragment");
    let made = again.prove(("POST", &uri), Some("token"), Some(&nonce), NOW);
    let proof = asked.verify(&made.unwrap()).unwrap();
    assert_eq!(proof.thumbprint(), key.thumbprint());
    let plain = || key.prove(("POST", URI), None, None, NOW).unwrap();
    let (one, two) = (plain(), plain());
    let id = |text: &str| expected(&uris).verify(text).unwrap().key();
    assert_ne!(id(&one), id(&two));
    for damaged in ["", "{}", "{\"kty\":\"EC\"}", "not json"] {
        assert!(ProofKey::from_jwk(damaged).is_err());
    }
}
