//! The keys of providers as openidconnect takes them. Signatures are verified by the key sets of
//! `carnet-jose`: one library checks all signatures, and the crate `rsa` never runs.

use std::sync::Arc;

use carnet_jose::{Algorithm, KeySet};
use openidconnect::core::{CoreJsonWebKeyType, CoreJsonWebKeyUse};
use openidconnect::{
    JsonWebKey, JsonWebKeyAlgorithm, JsonWebKeyId, JwsSigningAlgorithm, SignatureVerificationError,
};
use openssl::hash::{MessageDigest, hash};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The `alg` of an ID token, as it was sent. One that is not known has no type of key, so no key
/// fits; those with a shared secret are not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SigningAlgorithm(String);

/// The one key of a set that a token means.
#[derive(Clone, Debug)]
pub(super) struct ProviderKey {
    keys: Arc<KeySet>,
    algorithm: Algorithm,
    /// The `kid` of the token.
    key_id: Option<JsonWebKeyId>,
    key_type: CoreJsonWebKeyType,
}

impl SigningAlgorithm {
    /// The names under which an algorithm may be sent: `EdDSA` has two (RFC 9864).
    pub fn names_of(algorithm: Algorithm) -> Vec<Self> {
        let mut names = vec![Self(algorithm.name().to_owned())];
        if algorithm == Algorithm::EdDSA {
            names.push(Self("Ed25519".to_owned()));
        }
        names
    }
}

impl JwsSigningAlgorithm for SigningAlgorithm {
    type KeyType = CoreJsonWebKeyType;

    fn key_type(&self) -> Option<CoreJsonWebKeyType> {
        self.0.parse().ok().map(key_type)
    }

    fn uses_shared_secret(&self) -> bool {
        false
    }

    fn rsa_sha_256() -> Self {
        Self(Algorithm::RS256.name().to_owned())
    }
}

fn key_type(algorithm: Algorithm) -> CoreJsonWebKeyType {
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => CoreJsonWebKeyType::RSA,
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 => CoreJsonWebKeyType::EllipticCurve,
        Algorithm::EdDSA => CoreJsonWebKeyType::OctetKeyPair,
    }
}

impl ProviderKey {
    /// The key of the set for a token with this `alg` and `kid`.
    pub fn new(keys: Arc<KeySet>, algorithm: Algorithm, key_id: Option<&str>) -> Self {
        Self {
            keys,
            algorithm,
            key_id: key_id.map(|key_id| JsonWebKeyId::new(key_id.to_owned())),
            key_type: key_type(algorithm),
        }
    }
}

impl JsonWebKey for ProviderKey {
    type KeyUse = CoreJsonWebKeyUse;
    type SigningAlgorithm = SigningAlgorithm;

    fn key_id(&self) -> Option<&JsonWebKeyId> {
        self.key_id.as_ref()
    }

    fn key_type(&self) -> &CoreJsonWebKeyType {
        &self.key_type
    }

    fn key_use(&self) -> Option<&CoreJsonWebKeyUse> {
        None
    }

    fn signing_alg(&self) -> JsonWebKeyAlgorithm<&SigningAlgorithm> {
        JsonWebKeyAlgorithm::Unspecified
    }

    /// A key that verifies nothing: no algorithm here uses a shared secret.
    fn new_symmetric(_: Vec<u8>) -> Self {
        Self::new(Arc::default(), Algorithm::RS256, None)
    }

    fn verify_signature(
        &self,
        algorithm: &SigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureVerificationError> {
        if algorithm.0.parse() != Ok(self.algorithm) {
            let named = algorithm.0.clone();
            return Err(SignatureVerificationError::DisallowedAlg(named));
        }
        let key_id = self.key_id.as_ref().map(|key_id| key_id.as_str());
        let key = self
            .keys
            .select(self.algorithm, key_id)
            .map_err(|_| SignatureVerificationError::NoMatchingKey)?;
        if key.verifies(message, signature) {
            Ok(())
        } else {
            let why = "the signature does not fit".to_owned();
            Err(SignatureVerificationError::CryptoError(why))
        }
    }

    fn hash_bytes(&self, bytes: &[u8], algorithm: &SigningAlgorithm) -> Result<Vec<u8>, String> {
        if algorithm.0.parse() != Ok(self.algorithm) {
            return Err("the key is for another algorithm".to_owned());
        }
        let digest = match self.algorithm {
            Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => MessageDigest::sha256(),
            Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => MessageDigest::sha384(),
            // Ed25519 signs with SHA-512 (RFC 8032 section 5.1).
            Algorithm::RS512 | Algorithm::PS512 | Algorithm::ES512 | Algorithm::EdDSA => {
                MessageDigest::sha512()
            }
        };
        let hashed = hash(digest, bytes).map_err(|error| error.to_string())?;
        Ok(hashed.to_vec())
    }
}

// openidconnect wants keys that can be read and written, for key sets that it fetches itself. These
// are made from key sets that were read already.
impl Serialize for ProviderKey {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a key of a set is not written"))
    }
}

impl<'de> Deserialize<'de> for ProviderKey {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a key of a set is not read alone"))
    }
}
