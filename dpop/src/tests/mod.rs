//! The checks of a proof, one by one, and the vectors of RFC 9449.

mod memory;
mod nonces;
mod uris;

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
