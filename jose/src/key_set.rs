//! JWK sets as verifiers (RFC 7517). Keys that are broken, too weak or meant for another use are
//! skipped, and a token is verified with exactly one key, never with several in turn.

use std::fmt;

use serde_json::{Map, Value};

use crate::json::{self, JsonError, Limits};
use crate::jwk::{certificate, fits, is_for, parameters, text, usable};
use crate::signature::Verifier;
use crate::{Algorithm, KeyUse};

/// How many keys a set may have (`docs/src/reference/limits.md`).
pub const MAX_KEYS: usize = 100;
/// The members of private and symmetric keys (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];
/// How many characters of a publisher's text a message shows.
const SHOWN: usize = 64;
/// A JWK set turned into verifiers: one for each key and each algorithm that the key may be used
/// with (RFC 7517 section 5).
///
/// Building a verifier costs as much as several verifications, so it is done once, when the set is
/// parsed.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
    unusable: Vec<String>,
    has_private_members: bool,
    /// Thumbprints.
    certificates: Vec<String>,
}

/// One public key, bound to one algorithm (RFC 8725 section 3.1).
pub struct VerificationKey {
    key_id: Option<String>,
    algorithm: Algorithm,
    /// What the key is, whatever its `kid`: equal keys have equal parameters.
    parameters: Vec<Vec<u8>>,
    verifier: Verifier,
}

/// Why a document as a whole is not a JWK set. Unusable keys in it are not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The document is not one strict JSON object within [`Limits::DOCUMENT`].
    #[error("the key set is not JSON that can be read: {0}")]
    Json(JsonError),
    /// The member `keys` is missing or not an array.
    #[error("the key set has no `keys` array")]
    NoKeys,
    /// The array has more than [`MAX_KEYS`] elements.
    #[error("the key set has more than {MAX_KEYS} keys")]
    TooMany,
}

/// Why a set has no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// No key has the token's `kid`. The set may be out of date, so fetching it again can help.
    UnknownKeyId,
    /// A key has the token's `kid`, but none of that `kid` may be used with the token's algorithm.
    WrongAlgorithm,
    /// The token has no `kid`, and the number of keys for its algorithm is not exactly one. Keys
    /// are never tried one after another.
    Ambiguous,
}

impl KeySet {
    /// Reads a JWK set, keeping the keys for signatures that can verify with one of `allowed`
    /// ([`KeyUse::Signature`]).
    ///
    /// A key that is broken, too weak, of an unknown type or for another use is skipped, and the
    /// other keys are kept (RFC 7517 section 5). Two different keys with the same `kid` for the same
    /// algorithm are both skipped, because a token cannot tell which one it means; a key that is
    /// listed twice is one. [`KeySet::unusable`] lists what was skipped.
    ///
    /// # Errors
    ///
    /// [`KeySetError`] if the document as a whole is not a JWK set. A set without a usable key is
    /// not an error.
    pub fn parse(bytes: &[u8], allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        Self::parse_for(bytes, allowed, KeyUse::Signature)
    }

    /// Like [`KeySet::parse`], but keeps the keys whose `use` is `wanted`.
    ///
    /// # Errors
    ///
    /// As for [`KeySet::parse`].
    pub fn parse_for(
        bytes: &[u8],
        allowed: &[Algorithm],
        wanted: KeyUse,
    ) -> Result<Self, KeySetError> {
        let set = json::object(bytes, Limits::DOCUMENT).map_err(KeySetError::Json)?;
        let Some(Value::Array(members)) = set.get("keys") else {
            return Err(KeySetError::NoKeys);
        };
        if members.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut parsed = Self::default();
        for member in members {
            parsed.add(member, allowed, wanted);
        }
        parsed.drop_twins();
        Ok(parsed)
    }

    /// Picks the one key for a token with this `alg` and `kid`. Without a `kid` it is the only key
    /// for the algorithm, under however many `kid`s it is listed.
    ///
    /// # Errors
    ///
    /// [`NoKey`] says why there is none. Only [`NoKey::UnknownKeyId`] suggests that the set is out
    /// of date.
    pub fn select(
        &self,
        algorithm: Algorithm,
        key_id: Option<&str>,
    ) -> Result<&VerificationKey, NoKey> {
        let Some(key_id) = key_id else {
            let mut fitting = self.keys.iter().filter(|key| key.algorithm == algorithm);
            return match fitting.next() {
                Some(key) if fitting.all(|other| other.parameters == key.parameters) => Ok(key),
                _ => Err(NoKey::Ambiguous),
            };
        };
        let mut named = self
            .keys
            .iter()
            .filter(|key| key.key_id.as_deref() == Some(key_id))
            .peekable();
        let missing = if named.peek().is_some() {
            NoKey::WrongAlgorithm
        } else {
            NoKey::UnknownKeyId
        };
        named.find(|key| key.algorithm == algorithm).ok_or(missing)
    }

    /// Whether the set has no usable key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The `kid`s of the usable keys, in the order of the set. Keys without a `kid` are not listed.
    #[must_use]
    pub fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self
            .keys
            .iter()
            .filter_map(VerificationKey::key_id)
            .collect();
        ids.dedup();
        ids
    }

    /// One sentence for each skipped key, with its `kid` and the reason. Meant for the log: the
    /// `kid` is text of the publisher.
    #[must_use]
    pub fn unusable(&self) -> &[String] {
        &self.unusable
    }

    /// Whether some key in the document had private or symmetric members (`d`, `p`, `q`, `dp`,
    /// `dq`, `qi` or `k`). They are never used, but the publisher has disclosed a secret.
    #[must_use]
    pub fn has_private_members(&self) -> bool {
        self.has_private_members
    }

    /// The thumbprints of the certificates that the set holds as the first one in the `x5c` of a key
    /// (RFC 7517 section 4.7), whatever can be said of the key: the SHA-256 hash of the DER encoding
    /// in base64url, as in `x5t#S256`.
    #[must_use]
    pub fn certificates(&self) -> &[String] {
        &self.certificates
    }

    fn add(&mut self, member: &Value, allowed: &[Algorithm], wanted: KeyUse) {
        let Value::Object(jwk) = member else {
            self.unusable
                .push("a member of `keys` is not an object".to_owned());
            return;
        };
        self.has_private_members |= PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name));
        self.certificates.extend(certificate(jwk));
        let key_id = text(jwk, "kid").map(str::to_owned);
        let skip = |why: &str| format!("{}: {why}", called(key_id.as_deref()));
        if let Err(why) = is_for(jwk, wanted).and_then(|()| usable(jwk)) {
            self.unusable.push(skip(why));
            return;
        }
        let mut fitting = allowed
            .iter()
            .copied()
            .filter(|algorithm| fits(jwk, *algorithm))
            .peekable();
        if fitting.peek().is_none() {
            self.unusable.push(skip(&not_allowed(jwk, allowed)));
            return;
        }
        let parameters = parameters(jwk);
        let mut found = false;
        for algorithm in fitting {
            let is_this = |key: &VerificationKey| {
                key.key_id == key_id && key.algorithm == algorithm && key.parameters == parameters
            };
            if self.keys.iter().any(is_this) {
                found = true;
            } else if let Some(verifier) = Verifier::from_jwk(jwk, algorithm) {
                found = true;
                self.keys.push(VerificationKey {
                    key_id: key_id.clone(),
                    algorithm,
                    parameters: parameters.clone(),
                    verifier,
                });
            }
        }
        if !found {
            self.unusable.push(skip("its parameters do not make a key"));
        }
    }

    fn drop_twins(&mut self) {
        let mut twins: Vec<(Option<String>, Algorithm)> = Vec::new();
        for (position, key) in self.keys.iter().enumerate() {
            let same = |other: &VerificationKey| {
                other.key_id == key.key_id && other.algorithm == key.algorithm
            };
            // For a token without `kid`, `select` checks that only one key fits.
            if key.key_id.is_some()
                && self
                    .keys
                    .iter()
                    .enumerate()
                    .any(|(at, other)| at != position && same(other))
            {
                twins.push((key.key_id.clone(), key.algorithm));
            }
        }
        self.keys.retain(|key| {
            !twins
                .iter()
                .any(|(key_id, alg)| *key_id == key.key_id && *alg == key.algorithm)
        });
        for (key_id, algorithm) in twins {
            self.unusable.push(format!(
                "{}: the set has another, different {algorithm} key of this `kid`",
                called(key_id.as_deref())
            ));
        }
    }
}

impl VerificationKey {
    /// Makes a key from the public half of one of our own signing keys, without the checks for
    /// foreign keys.
    pub(crate) fn from_public(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<Self> {
        let key_id = text(jwk, "kid").map(str::to_owned);
        Some(Self {
            key_id,
            algorithm,
            parameters: parameters(jwk),
            verifier: Verifier::from_jwk(jwk, algorithm)?,
        })
    }

    /// Reads a public key that a token brought in its header, for the token's own algorithm.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the key: a private or symmetric member, another kind of key than the
    /// algorithm's, or one that is too weak.
    pub fn from_header(
        jwk: &Map<String, Value>,
        algorithm: Algorithm,
    ) -> Result<Self, &'static str> {
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
            return Err("it has a private or symmetric member");
        }
        is_for(jwk, KeyUse::Signature).and_then(|()| usable(jwk))?;
        if !fits(jwk, algorithm) {
            return Err("it is for another algorithm");
        }
        Self::from_public(jwk, algorithm).ok_or("its parameters do not make a key")
    }

    /// Whether `signature` is a signature of this key over `message`. Any error of the
    /// cryptographic library counts as "no" (RFC 8725 section 3.3).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier.verifies(message, signature)
    }

    /// The one algorithm the key verifies with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's `kid`, or `None` if the JWK has none.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.key_id)
            .field("alg", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A key in messages, by its `kid`.
fn called(key_id: Option<&str>) -> String {
    key_id.map_or_else(
        || "a key without `kid`".to_owned(),
        |key_id| format!("key `{}`", shown(key_id)),
    )
}

/// A text of the publisher in messages: its first characters, without control characters.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{}{more}", start.escape_debug())
}

/// Why a key serves none of the algorithms that are allowed.
fn not_allowed(jwk: &Map<String, Value>, allowed: &[Algorithm]) -> String {
    let members: Vec<String> = ["kty", "crv", "alg"]
        .iter()
        .filter_map(|name| Some(format!("`{name}` {}", shown(text(jwk, name)?))))
        .collect();
    let allowed: Vec<&str> = allowed.iter().map(|algorithm| algorithm.name()).collect();
    format!(
        "its {} is for none of the allowed algorithms, {}",
        members.join(", "),
        allowed.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwk::ED25519_LOW_ORDER;
    use crate::{SigningKey, base64url, from_base64url};

    fn public(algorithm: Algorithm) -> Value {
        Value::Object(
            SigningKey::generate(algorithm)
                .unwrap()
                .public()
                .jwk()
                .clone(),
        )
    }

    fn with(mut jwk: Value, changes: &Value) -> Value {
        let map = jwk.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                map.shift_remove(name);
            } else {
                map.insert(name.clone(), value.clone());
            }
        }
        jwk
    }

    fn set(keys: &[Value]) -> KeySet {
        KeySet::parse(
            json!({ "keys": keys }).to_string().as_bytes(),
            &Algorithm::ALL,
        )
        .unwrap()
    }

    #[test]
    fn spiffe_bnd_1__only_the_keys_for_jwt_svids_of_a_bundle_count() {
        let key = || public(Algorithm::ES256);
        let set = json!({ "keys": [
            with(key(), &json!({ "kid": "a", "use": "jwt-svid" })),
            with(key(), &json!({ "kid": "b", "use": "x509-svid" })),
            with(key(), &json!({ "kid": "c", "use": null })),
            with(key(), &json!({ "kid": "d", "use": "sig" })),
            with(key(), &json!({ "kid": null, "use": "jwt-svid" })),
        ]});
        let ids = |wanted: KeyUse| {
            let set =
                KeySet::parse_for(set.to_string().as_bytes(), &[Algorithm::ES256], wanted).unwrap();
            (set.ids().join(","), set.unusable().len())
        };
        assert_eq!(ids(KeyUse::JwtSvid), ("a".to_owned(), 4));
        assert_eq!(ids(KeyUse::SignatureOrJwtSvid), ("a,c,d".to_owned(), 1));
        assert_eq!(ids(KeyUse::Signature), ("c,d".to_owned(), 3));
    }

    #[test]
    fn every_algorithm_signs_and_verifies() {
        for algorithm in [
            Algorithm::RS256,
            Algorithm::PS256,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ] {
            let key = SigningKey::generate(algorithm).unwrap();
            let token = key.sign(b"{}");
            let token = token.unwrap();
            let jws = crate::Compact::parse(&token).unwrap();
            let keys = set(&[Value::Object(key.public().jwk().clone())]);
            let chosen = keys.select(algorithm, Some(key.public().key_id())).unwrap();
            assert!(
                chosen.verifies(jws.signing_input.as_bytes(), &jws.signature),
                "{algorithm}"
            );
            assert!(!chosen.verifies(b"other", &jws.signature), "{algorithm}");
            let mut flipped = jws.signature.clone();
            flipped[0] ^= 1;
            assert!(
                !chosen.verifies(jws.signing_input.as_bytes(), &flipped),
                "{algorithm}"
            );
            for hostile in [
                vec![],
                vec![0; jws.signature.len()],
                vec![0; 1],
                vec![255; jws.signature.len()],
            ] {
                assert!(
                    !chosen.verifies(jws.signing_input.as_bytes(), &hostile),
                    "{algorithm}"
                );
            }
        }
    }

    #[test]
    fn selection_takes_exactly_one_key() {
        let (a, b, ec) = (
            public(Algorithm::RS256),
            public(Algorithm::RS256),
            public(Algorithm::ES256),
        );
        let a = with(a, &json!({ "kid": "a" }));
        let b = with(b, &json!({ "kid": "b" }));
        let ec = with(ec, &json!({ "kid": "a" }));
        let keys = set(&[a.clone(), b.clone(), ec.clone()]);
        assert_eq!(
            keys.select(Algorithm::RS256, Some("a")).unwrap().key_id(),
            Some("a")
        );
        assert_eq!(
            keys.select(Algorithm::ES256, Some("a"))
                .unwrap()
                .algorithm(),
            Algorithm::ES256
        );
        assert_eq!(
            keys.select(Algorithm::ES256, Some("b")).unwrap_err(),
            NoKey::WrongAlgorithm
        );
        assert_eq!(
            keys.select(Algorithm::RS256, Some("c")).unwrap_err(),
            NoKey::UnknownKeyId
        );
        assert_eq!(
            keys.select(Algorithm::RS256, None).unwrap_err(),
            NoKey::Ambiguous
        );
        assert_eq!(
            keys.select(Algorithm::ES256, None).unwrap().key_id(),
            Some("a")
        );
        assert_eq!(
            keys.select(Algorithm::PS256, None).unwrap_err(),
            NoKey::Ambiguous
        );
        // Two keys with the same `kid` for the same algorithm: neither may be used.
        let twins = set(&[a.clone(), with(b, &json!({ "kid": "a" }))]);
        assert_eq!(
            twins.select(Algorithm::RS256, Some("a")).unwrap_err(),
            NoKey::UnknownKeyId
        );
        assert_eq!(twins.unusable().len(), 2);
        // The same key twice is one, in whatever spelling; without a `kid` as well.
        let n = from_base64url(a["n"].as_str().unwrap()).unwrap();
        let padded = with(
            a.clone(),
            &json!({ "n": base64url([&[0], n.as_slice()].concat()), "use": null, "x5t": "AA" }),
        );
        let twice = set(&[a.clone(), padded.clone()]);
        assert!(twice.select(Algorithm::RS256, Some("a")).is_ok());
        assert!(twice.select(Algorithm::RS256, None).is_ok());
        assert_eq!((twice.keys.len(), twice.unusable().len()), (1, 0));
        let renamed = set(&[a.clone(), with(padded, &json!({ "kid": "b" }))]);
        assert!(renamed.select(Algorithm::RS256, Some("b")).is_ok());
        assert!(renamed.select(Algorithm::RS256, None).is_ok());
        // A token with a `kid` is not verified by a key without one.
        let nameless = set(&[with(a, &json!({ "kid": null }))]);
        assert_eq!(
            nameless.select(Algorithm::RS256, Some("a")).unwrap_err(),
            NoKey::UnknownKeyId
        );
        assert!(nameless.select(Algorithm::RS256, None).is_ok());
    }

    #[test]
    fn a_key_without_alg_serves_the_allowed_algorithms_of_its_type_only() {
        let key = with(
            public(Algorithm::RS256),
            &json!({ "alg": null, "kid": "k" }),
        );
        let set = KeySet::parse(
            json!({ "keys": [key] }).to_string().as_bytes(),
            &[Algorithm::RS256, Algorithm::PS256, Algorithm::ES256],
        )
        .unwrap();
        assert!(set.select(Algorithm::RS256, Some("k")).is_ok());
        assert!(set.select(Algorithm::PS256, Some("k")).is_ok());
        assert_eq!(
            set.select(Algorithm::RS512, Some("k")).unwrap_err(),
            NoKey::WrongAlgorithm
        );
        assert_eq!(
            set.select(Algorithm::ES256, Some("k")).unwrap_err(),
            NoKey::WrongAlgorithm
        );
    }

    #[test]
    fn keys_that_must_not_be_used_are_skipped_and_the_rest_is_used() {
        let good = with(public(Algorithm::RS256), &json!({ "kid": "good" }));
        let n = from_base64url(good["n"].as_str().unwrap()).unwrap();
        let mut even = n.clone();
        *even.last_mut().unwrap() &= 0xfe;
        let rsa = |changes| with(good.clone(), &changes);
        let ec = public(Algorithm::ES256);
        let ed = public(Algorithm::EdDSA);
        let bad = [
            json!("not an object"),
            json!({ "kty": "OKP2", "kid": "x" }),
            rsa(json!({ "kid": "b1", "n": null })),
            rsa(json!({ "kid": "b2", "n": base64url(&n[..128]) })),
            rsa(json!({ "kid": "b3", "n": base64url(&even) })),
            rsa(json!({ "kid": "b4", "e": "AQ" })),
            rsa(json!({ "kid": "b5", "e": "Ag" })),
            rsa(json!({ "kid": "b6", "e": base64url([1; 9]) })),
            rsa(json!({ "kid": "b7", "n": base64url(n.repeat(3)) })),
            rsa(json!({ "kid": "b8", "use": "enc" })),
            rsa(json!({ "kid": "b9", "key_ops": ["encrypt"] })),
            rsa(json!({ "kid": "b10", "key_ops": "verify" })),
            rsa(json!({ "kid": "b11", "alg": "RSA-OAEP" })),
            rsa(json!({ "kid": "b12", "alg": "ES256" })),
            rsa(json!({ "kid": 7 })),
            with(ec.clone(), &json!({ "kid": "e1", "y": ec["x"] })),
            with(
                ec.clone(),
                &json!({ "kid": "e2", "crv": "secp256k1", "alg": null }),
            ),
            with(ec, &json!({ "kid": "e3", "y": null })),
            with(ed.clone(), &json!({ "kid": "o1", "crv": "Ed448" })),
            with(ed.clone(), &json!({ "kid": "o2", "x": base64url([1; 31]) })),
            json!({ "kty": "oct", "k": "AAAA", "kid": "s" }),
        ];
        let count = bad.len();
        let mut keys = bad.to_vec();
        keys.extend(
            ED25519_LOW_ORDER
                .iter()
                .enumerate()
                .map(|(at, x)| with(ed.clone(), &json!({ "kid": format!("l{at}"), "x": x }))),
        );
        keys.push(with(
            good,
            &json!({ "key_ops": ["verify"], "n": base64url([&[0], n.as_slice()].concat()) }),
        ));
        let set = set(&keys);
        assert_eq!(
            set.unusable().len(),
            count + ED25519_LOW_ORDER.len(),
            "{:#?}",
            set.unusable()
        );
        assert!(set.select(Algorithm::RS256, Some("good")).is_ok());
        assert!(set.has_private_members());
        assert_eq!(set.keys.len(), 1);
    }

    #[test]
    fn the_reason_why_a_key_is_skipped_names_what_it_has_and_what_is_allowed() {
        let key = with(
            public(Algorithm::ES384),
            &json!({ "kid": format!("k\u{1b}{}", "x".repeat(1000)) }),
        );
        let text = json!({ "keys": [key] }).to_string();
        let set = KeySet::parse(text.as_bytes(), &[Algorithm::RS256]).unwrap();
        let said = &set.unusable()[0];
        assert!(
            said.ends_with(
                "…`: its `kty` EC, `crv` P-384, `alg` ES384 is for none of the allowed algorithms, RS256"
            ),
            "{said}"
        );
        assert!(
            said.starts_with("key `k\\u{1b}xxx") && said.len() < 200,
            "{said}"
        );
    }

    #[test]
    fn a_key_set_that_cannot_be_read_is_refused_as_a_whole() {
        let parse = |text: &str| {
            KeySet::parse(text.as_bytes(), &Algorithm::ALL)
                .map(|_| ())
                .unwrap_err()
        };
        assert_eq!(parse("<html>"), KeySetError::Json(JsonError::Syntax));
        assert_eq!(parse(""), KeySetError::Json(JsonError::Syntax));
        assert_eq!(
            parse(r#"{"keys":[],"keys":[]}"#),
            KeySetError::Json(JsonError::Duplicate)
        );
        assert_eq!(parse(r#"{"keys":{}}"#), KeySetError::NoKeys);
        assert_eq!(parse("{}"), KeySetError::NoKeys);
        let many = |n: usize| json!({ "keys": vec![json!({}); n] }).to_string();
        assert_eq!(parse(&many(MAX_KEYS + 1)), KeySetError::TooMany);
        assert!(
            KeySet::parse(many(MAX_KEYS).as_bytes(), &Algorithm::ALL)
                .unwrap()
                .is_empty()
        );
    }
}
