//! Makes proofs, on the side of the client (RFC 9449 section 4.2).

use carnet_jose::{Algorithm, SigningError, SigningKey, base64url, fill_random};
use serde_json::json;

use crate::proof::{TYPE, token_hash};

/// The private key of a client.
#[derive(Debug)]
pub struct ProofKey(SigningKey);

impl ProofKey {
    /// Generates a key for ES256, the algorithm that every server takes.
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] if the cryptographic library fails.
    pub fn generate() -> Result<Self, SigningError> {
        SigningKey::generate(Algorithm::ES256).map(Self)
    }

    /// Reads a key from the text of a private JWK with `alg`, as [`ProofKey::to_jwk`] writes it.
    ///
    /// # Errors
    ///
    /// [`SigningError::Damaged`] if it is none.
    pub fn from_jwk(text: &str) -> Result<Self, SigningError> {
        SigningKey::from_private_jwk(text).map(Self)
    }

    /// The private key as the text of a JWK, to keep in a file that only its owner can read.
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] if the key cannot be written.
    pub fn to_jwk(&self) -> Result<String, SigningError> {
        self.0.to_private_jwk()
    }

    /// The JWK thumbprint of the public key (RFC 7638): `jkt` of what is bound to it.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        self.0.public().key_id()
    }

    /// Makes a proof for one request at `now`, in seconds since 1970. `uri` is the URI of the
    /// request; its query and fragment are left out. `token` is the access token that goes along, if
    /// any, and `nonce` the last one that the server gave.
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] if the cryptographic library fails.
    pub fn prove(
        &self,
        (method, uri): (&str, &str),
        token: Option<&str>,
        nonce: Option<&str>,
        now: i64,
    ) -> Result<String, SigningError> {
        let mut id = [0; 16];
        fill_random(&mut id).map_err(|_| SigningError::Library)?;
        let uri = uri.split(['?', '#']).next().unwrap_or_default();
        let mut claims = json!({ "jti": base64url(id), "htm": method, "htu": uri, "iat": now });
        if let Some(members) = claims.as_object_mut() {
            members.extend(token.map(|token| ("ath".to_owned(), token_hash(token).into())));
            members.extend(nonce.map(|nonce| ("nonce".to_owned(), nonce.into())));
        }
        self.0.sign_with_key(TYPE, claims.to_string().as_bytes())
    }
}
