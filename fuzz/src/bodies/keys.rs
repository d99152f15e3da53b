//! Keys that anybody may publish or send: key sets, and proofs of possession.

use carnet_dpop::{Expected, RequestUri};
use carnet_jose::json::{self, Limits};
use carnet_jose::{Algorithm, KeySet, KeyUse};

/// A key set means the same when it is written again, and a key is found by its `kid` only.
pub fn key_set(input: &[u8]) {
    let algorithms: Vec<Algorithm> = ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"]
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    for wanted in [
        KeyUse::Signature,
        KeyUse::JwtSvid,
        KeyUse::SignatureOrJwtSvid,
    ] {
        let Ok(keys) = KeySet::parse_for(input, &algorithms, wanted) else {
            continue;
        };
        for id in keys.ids() {
            assert!(algorithms.iter().any(|algorithm| {
                keys.select(*algorithm, Some(id))
                    .is_ok_and(|key| key.key_id() == Some(id))
            }));
        }
        let members = json::object(input, Limits::DOCUMENT).unwrap();
        let written = serde_json::Value::Object(members).to_string();
        let again = KeySet::parse_for(written.as_bytes(), &algorithms, wanted).unwrap();
        assert_eq!(again.ids(), keys.ids());
        assert_eq!(again.unusable().len(), keys.unusable().len());
    }
}

/// A proof that is accepted is for this method and URI, and a URI has one normal form.
pub fn proof(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Some(uri) = RequestUri::parse(text) {
        assert_eq!(RequestUri::parse(uri.as_str()).as_ref(), Some(&uri));
    }
    let uris: Vec<RequestUri> = RequestUri::parse("https://as.test/token")
        .into_iter()
        .collect();
    let expected = |method| Expected {
        method,
        uris: &uris,
        token: None,
        nonces: None,
        now: 1_800_000_000,
    };
    if expected("POST").verify(text).is_ok() {
        assert!(expected("GET").verify(text).is_err(), "for two methods");
        let nowhere = Expected {
            uris: &[],
            ..expected("POST")
        };
        assert!(nowhere.verify(text).is_err(), "for every URI");
        let later = Expected {
            now: 1_900_000_000,
            ..expected("POST")
        };
        assert!(later.verify(text).is_err(), "for all time");
    }
}
