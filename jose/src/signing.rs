//! Carnet's own signing keys: generating, sealing, signing, and the public half that is published.

use std::fmt;

use josekit::jwk::Jwk;
use josekit::jwk::alg::{ec::EcCurve, ed::EdCurve};
use serde_json::{Map, Value};

use crate::signature::Signer;
use crate::{
    Algorithm, Purpose, SealError, SealingKey, VerificationKey, base64url, push_base64url,
};

const RSA_BITS: u32 = 2048;

/// A private signing key of the server, bound to one algorithm. Its `kid` is its RFC 7638
/// thumbprint. `Debug` shows only the `kid`.
pub struct SigningKey {
    private: Jwk,
    signer: Signer,
    public: PublicKey,
    header: String,
}

/// The public half of a [`SigningKey`], as published in the server's JWK set.
#[derive(Clone, Debug)]
pub struct PublicKey {
    key_id: String,
    algorithm: Algorithm,
    jwk: Map<String, Value>,
}

/// Why a signing key could not be made, read or used. No variant contains key material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The stored key could not be decrypted or encrypted.
    #[error("the signing key {0}")]
    Sealed(SealError),
    /// The decrypted text is not a private key for the given algorithm, or the stored public key is
    /// not a JWK with `kid` and a known `alg`.
    #[error("the stored signing key is damaged")]
    Damaged,
    /// The cryptographic library failed to generate a key, to load a new one, or to sign.
    #[error("the cryptographic library refused to make or use a key")]
    Library,
}

/// The purpose that a private key is sealed for: its `kid` keeps it from being swapped for another
/// key.
fn purpose(key_id: &str) -> Purpose<'_> {
    Purpose {
        kind: "signing key",
        owner: key_id,
    }
}

impl SigningKey {
    /// Generates a key: RSA keys have 2048 bits, the others the curve of the algorithm. The `kid`
    /// is the RFC 7638 thumbprint.
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] if the cryptographic library fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningError> {
        let jwk = match algorithm.key_type() {
            ("RSA", _) => Jwk::generate_rsa_key(RSA_BITS),
            (_, Some("P-256")) => Jwk::generate_ec_key(EcCurve::P256),
            (_, Some("P-384")) => Jwk::generate_ec_key(EcCurve::P384),
            (_, Some("P-521")) => Jwk::generate_ec_key(EcCurve::P521),
            _ => Jwk::generate_ed_key(EdCurve::Ed25519),
        };
        Self::from_private(jwk.map_err(|_| SigningError::Library)?, algorithm)
    }

    /// Decrypts a key that [`SigningKey::seal`] encrypted. `key_id` and `algorithm` are those of
    /// the sealed key, from the same database row.
    ///
    /// # Errors
    ///
    /// [`SigningError::Sealed`] if `key` or `key_id` is not the one it was sealed with;
    /// [`SigningError::Damaged`] if the content is not a private key for `algorithm`.
    pub fn open(
        sealed: &str,
        key_id: &str,
        algorithm: Algorithm,
        key: &SealingKey,
    ) -> Result<Self, SigningError> {
        let bytes = key
            .open(sealed, purpose(key_id))
            .or_else(|error| key.open_without_purpose(sealed).map_err(|_| error))
            .map_err(SigningError::Sealed)?;
        let jwk = Jwk::from_bytes(&bytes).map_err(|_| SigningError::Damaged)?;
        Self::from_private(jwk, algorithm).map_err(|_| SigningError::Damaged)
    }

    /// Encrypts the private key for storage, bound to its `kid`.
    ///
    /// # Errors
    ///
    /// [`SigningError::Sealed`] or [`SigningError::Library`] if the cryptographic library fails.
    pub fn seal(&self, key: &SealingKey) -> Result<String, SigningError> {
        let plaintext =
            serde_json::to_vec(self.private.as_ref()).map_err(|_| SigningError::Library)?;
        key.seal(&plaintext, purpose(self.public.key_id()))
            .map_err(SigningError::Sealed)
    }

    /// Signs `claims` as an access token: a compact JWS with `typ` `at+jwt` (RFC 9068 section 2.1),
    /// `alg` and `kid`. `claims` is the JSON text of the payload and is not checked.
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] if the cryptographic library fails.
    pub fn sign(&self, claims: &[u8]) -> Result<String, SigningError> {
        self.sign_with(&self.header, claims)
    }

    /// Like [`SigningKey::sign`], with another `typ` (RFC 7515 section 4.1.9).
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] if the cryptographic library fails.
    pub fn sign_typed(&self, token_type: &str, claims: &[u8]) -> Result<String, SigningError> {
        self.sign_with(&header(&self.public, token_type), claims)
    }

    /// Like [`SigningKey::sign_typed`], with the public key in the header parameter `jwk` in place
    /// of its `kid` (RFC 7515 section 4.1.3).
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] if the cryptographic library fails.
    pub fn sign_with_key(&self, token_type: &str, claims: &[u8]) -> Result<String, SigningError> {
        let mut jwk = self.public.jwk.clone();
        jwk.retain(|name, _| !matches!(name.as_str(), "use" | "alg" | "kid"));
        let algorithm = self.public.algorithm.name();
        let header = serde_json::json!({ "typ": token_type, "alg": algorithm, "jwk": jwk });
        self.sign_with(&base64url(header.to_string()), claims)
    }

    /// The private key as the text of a JWK, to keep in a file. Whoever reads it has the key.
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] if the key cannot be written as JSON.
    pub fn to_private_jwk(&self) -> Result<String, SigningError> {
        let mut members = self.private.as_ref().clone();
        members.insert("alg".to_owned(), self.public.algorithm.name().into());
        serde_json::to_string(&members).map_err(|_| SigningError::Library)
    }

    /// Reads a private key from the text of a JWK with the member `alg`.
    ///
    /// # Errors
    ///
    /// [`SigningError::Damaged`] if it is no private key for that algorithm.
    pub fn from_private_jwk(text: &str) -> Result<Self, SigningError> {
        let jwk = Jwk::from_bytes(text).map_err(|_| SigningError::Damaged)?;
        let algorithm = jwk.algorithm().and_then(|name| name.parse().ok());
        let algorithm = algorithm.ok_or(SigningError::Damaged)?;
        Self::from_private(jwk, algorithm).map_err(|_| SigningError::Damaged)
    }

    fn sign_with(&self, header: &str, claims: &[u8]) -> Result<String, SigningError> {
        let payload = claims.len().saturating_mul(4) / 3;
        let mut token =
            String::with_capacity(header.len().saturating_add(payload).saturating_add(400));
        token.push_str(header);
        token.push('.');
        push_base64url(&mut token, claims);
        let signature = self
            .signer
            .sign(token.as_bytes())
            .ok_or(SigningError::Library)?;
        token.push('.');
        push_base64url(&mut token, &signature);
        Ok(token)
    }

    /// The public half, to publish and to verify with.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    fn from_private(private: Jwk, algorithm: Algorithm) -> Result<Self, SigningError> {
        let refused = |_| SigningError::Library;
        let signer = Signer::from_jwk(&private, algorithm).ok_or(SigningError::Library)?;
        let public = PublicKey::new(&private.to_public_key().map_err(refused)?, algorithm)?;
        Ok(Self {
            private,
            signer,
            header: header(&public, "at+jwt"),
            public,
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.public.key_id)
            .finish_non_exhaustive()
    }
}

impl PublicKey {
    fn new(jwk: &Jwk, algorithm: Algorithm) -> Result<Self, SigningError> {
        let mut members: Map<String, Value> = ["kty", "crv", "x", "y", "n", "e"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), jwk.as_ref().get(name)?.clone())))
            .collect();
        let key_id = thumbprint(&members).ok_or(SigningError::Library)?;
        members.insert("use".to_owned(), "sig".into());
        members.insert("alg".to_owned(), algorithm.name().into());
        members.insert("kid".to_owned(), key_id.clone().into());
        Ok(Self {
            key_id,
            algorithm,
            jwk: members,
        })
    }

    /// Reads a public key stored as the JSON text of [`PublicKey::jwk`]. The key parameters
    /// themselves are not checked; [`PublicKey::verification_key`] does that.
    ///
    /// # Errors
    ///
    /// [`SigningError::Damaged`] if the text is not a JSON object with a `kid` and a known `alg`.
    pub fn from_stored(text: &str) -> Result<Self, SigningError> {
        let jwk: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| SigningError::Damaged)?;
        let member = |name: &str| {
            jwk.get(name)
                .and_then(Value::as_str)
                .ok_or(SigningError::Damaged)
        };
        let key_id = member("kid")?.to_owned();
        let algorithm = member("alg")?.parse().map_err(|_| SigningError::Damaged)?;
        Ok(Self {
            key_id,
            algorithm,
            jwk,
        })
    }

    /// The `kid`: the RFC 7638 thumbprint of the key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The one algorithm the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The JWK to publish: the public key parameters, `use` `sig`, `alg` and `kid`.
    #[must_use]
    pub fn jwk(&self) -> &Map<String, Value> {
        &self.jwk
    }

    /// A verifier for tokens that were signed with this key.
    ///
    /// # Errors
    ///
    /// [`SigningError::Damaged`] if the parameters are not a public key for the algorithm.
    pub fn verification_key(&self) -> Result<VerificationKey, SigningError> {
        VerificationKey::from_public(&self.jwk, self.algorithm).ok_or(SigningError::Damaged)
    }
}

fn header(public: &PublicKey, token_type: &str) -> String {
    let header = serde_json::json!({ "alg": public.algorithm.name(), "typ": token_type, "kid": public.key_id });
    base64url(header.to_string())
}

/// The JWK thumbprint, base64url-encoded: SHA-256 over the required members in alphabetical order,
/// without white space (RFC 7638 section 3). `None` if a required member is absent or no text, or
/// `kty` is not that of a public key.
#[must_use]
pub fn thumbprint(jwk: &Map<String, Value>) -> Option<String> {
    let names: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "RSA" => &["e", "kty", "n"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    let mut members = Map::new();
    for name in names {
        members.insert(
            (*name).to_owned(),
            Value::String(jwk.get(*name)?.as_str()?.to_owned()),
        );
    }
    let text = Value::Object(members).to_string();
    Some(base64url(crate::sha256(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7638_3_1__the_example_key_has_the_known_thumbprint() {
        let jwk = serde_json::json!({
            "kty": "RSA",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"
        });
        assert_eq!(
            thumbprint(jwk.as_object().unwrap()).unwrap(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    #[test]
    fn a_sealed_signing_key_opens_again_and_its_public_key_has_no_private_members() {
        let sealing = SealingKey::new([3; 32]);
        for algorithm in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA] {
            let key = SigningKey::generate(algorithm).unwrap();
            let again = SigningKey::open(
                &key.seal(&sealing).unwrap(),
                key.public().key_id(),
                algorithm,
                &sealing,
            )
            .unwrap();
            assert_eq!(again.public().key_id(), key.public().key_id());
            let token = again.sign(br#"{"a":1}"#).unwrap();
            let jws = crate::Compact::parse(&token).unwrap();
            assert!(jws.header.is_type("at+jwt"));
            let stored = serde_json::to_string(key.public().jwk()).unwrap();
            let verifier = PublicKey::from_stored(&stored)
                .unwrap()
                .verification_key()
                .unwrap();
            assert!(verifier.verifies(jws.signing_input.as_bytes(), &jws.signature));
            for private in ["d", "p", "q", "dp", "dq", "qi"] {
                assert!(!key.public().jwk().contains_key(private));
            }
            assert_eq!(key.public().jwk()["use"], "sig");
            assert!(!format!("{key:?}").contains("\"d\""));
        }
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        let (sealed, id) = (key.seal(&sealing).unwrap(), key.public().key_id());
        assert!(matches!(
            SigningKey::open(&sealed, id, Algorithm::ES256, &SealingKey::new([4; 32])),
            Err(SigningError::Sealed(_))
        ));
        assert!(matches!(
            SigningKey::open(&sealed, id, Algorithm::EdDSA, &sealing),
            Err(SigningError::Damaged)
        ));
        let of_another = SigningKey::open(&sealed, "another", Algorithm::ES256, &sealing);
        assert!(matches!(of_another, Err(SigningError::Sealed(_))));
    }
}
