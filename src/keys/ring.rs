//! The signing keys of one reading of the database, opened.

use carnet_jose::{Algorithm, PublicKey, SigningKey, VerificationKey};
use serde_json::json;

use super::{EncryptionKeys, SigningKeysError, unusable};
use crate::clock::Timestamp;
use crate::store::{KeyState, StoredKey};

/// The signing keys as of one reading of the database.
#[derive(Debug)]
pub struct Ring {
    active: SigningKey,
    published: Vec<PublicKey>,
    verifiers: Vec<VerificationKey>,
    jwks: String,
}

impl Ring {
    /// The key that signs.
    pub fn active(&self) -> &SigningKey {
        &self.active
    }

    /// The JWK set that is published (RFC 7517 section 5), as JSON.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// The published key of this algorithm and `kid`, to verify this server's own tokens.
    pub fn verifier(&self, algorithm: Algorithm, key_id: &str) -> Option<&VerificationKey> {
        self.verifiers
            .iter()
            .find(|key| key.algorithm() == algorithm && key.key_id() == Some(key_id))
    }

    /// The algorithms of the published keys, sorted and each once.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms: Vec<Algorithm> =
            self.published.iter().map(PublicKey::algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        algorithms
    }

    /// Opens the keys that sign or are published at `now`.
    pub(super) fn compile(
        sealing: &EncryptionKeys,
        keys: &[StoredKey],
        now: Timestamp,
    ) -> Result<Self, SigningKeysError> {
        let active = keys
            .iter()
            .filter(|key| key.state == KeyState::Active)
            .max_by_key(|key| key.activated_at)
            .ok_or(SigningKeysError::NoneActive)?;
        let signing = sealing
            .open(active)
            .map_err(|error| unusable(active, error))?;
        let mut published = Vec::new();
        let mut verifiers = Vec::new();
        for key in keys
            .iter()
            .filter(|key| key.published_until.is_none_or(|until| until > now))
        {
            // The stored public key is not trusted: anyone who can write to the database could put
            // their own there. Publish only the public half of the sealed private key.
            let own = match sealing.open(key) {
                Ok(own) => own,
                Err(error) => {
                    tracing::error!(kid = key.key_id, %error, "a signing key cannot be opened: it is not published");
                    continue;
                }
            };
            let public = own.public();
            if public.key_id() != key.key_id {
                tracing::error!(
                    kid = key.key_id,
                    "a signing key is not what is sealed under its id: it is not used"
                );
                continue;
            }
            if PublicKey::from_stored(&key.public_jwk)
                .ok()
                .as_ref()
                .map(PublicKey::jwk)
                != Some(public.jwk())
            {
                tracing::error!(
                    kid = key.key_id,
                    "the public half of a signing key was changed in the database: it is derived anew"
                );
            }
            verifiers.push(
                public
                    .verification_key()
                    .map_err(|error| unusable(key, error))?,
            );
            published.push(public.clone());
        }
        let jwks =
            json!({ "keys": published.iter().map(PublicKey::jwk).collect::<Vec<_>>() }).to_string();
        Ok(Self {
            active: signing,
            published,
            verifiers,
            jwks,
        })
    }
}
