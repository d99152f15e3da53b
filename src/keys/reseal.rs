//! Sealing anew what is sealed under an earlier encryption key (`carnet keys reseal`): signing keys,
//! the secrets of webhooks, and the client secrets at identity providers.

use carnet_jose::{Purpose, SigningError};

use super::{KeyRing, SigningKeysError, provider_secret, unusable, webhook_secret};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::documents::{IdentityProviderDocument, NotificationDocument};
use crate::store::{Store, StoreError, StoredKey};

/// How much is not sealed under the current encryption key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedBefore {
    pub signing_keys: usize,
    pub webhook_secrets: usize,
    /// Client secrets at identity providers.
    pub provider_secrets: usize,
}

impl SealedBefore {
    /// What the operator has to do, for the log and for `carnet check`.
    pub fn warnings(self) -> Vec<String> {
        let Self {
            signing_keys,
            webhook_secrets,
            provider_secrets,
        } = self;
        let keys = (signing_keys > 0).then(|| {
            format!(
                "{signing_keys} signing keys are sealed under an earlier encryption key: run `carnet keys reseal`"
            )
        });
        let secrets = (webhook_secrets > 0).then(|| {
            format!(
                "{webhook_secrets} secrets of webhooks are not sealed under the current encryption key: run `carnet keys reseal`, and rotate those \
                 that it leaves"
            )
        });
        let providers = (provider_secrets > 0).then(|| {
            format!(
                "{provider_secrets} client secrets of identity providers are not sealed under the current encryption key: run `carnet keys reseal`, and \
                 save anew those that it leaves"
            )
        });
        keys.into_iter().chain(secrets).chain(providers).collect()
    }
}

impl KeyRing {
    /// Seals every signing key that is sealed under an earlier encryption key under the current one,
    /// in one transaction. Returns how many were sealed anew; signing keys and tokens stay valid.
    /// Fails and changes nothing if a key cannot be opened.
    pub async fn reseal(
        &self,
        store: &Store,
        now: Timestamp,
        event: &AuditEvent,
    ) -> Result<usize, SigningKeysError> {
        let mut resealed = 0;
        self.change(store, now, Some(event), |keys, _| {
            let is_kept = |key: &&StoredKey| key.published_until.is_none_or(|until| until > now);
            let is_old = |key: &&StoredKey| !self.sealing.is_current(key);
            let mut put = Vec::new();
            for key in keys.iter().filter(is_kept).filter(is_old) {
                let opened = self
                    .sealing
                    .open(key)
                    .map_err(|error| unusable(key, error))?;
                // Sealed anew under another id, it could not be opened any more.
                if opened.public().key_id() != key.key_id {
                    return Err(unusable(key, SigningError::Damaged));
                }
                put.push(StoredKey {
                    sealed_private: opened.seal(self.sealing.current())?,
                    ..key.clone()
                });
            }
            resealed = put.len();
            Ok((put, Vec::new()))
        })
        .await?;
        Ok(resealed)
    }

    /// Seals the secrets of webhooks that are sealed under an earlier encryption key under the
    /// current one. Returns how many were sealed anew. A secret that no key opens stays as it is:
    /// its owner has to replace it.
    pub async fn reseal_webhooks(&self, store: &Store) -> Result<usize, SigningKeysError> {
        store
            .reseal::<NotificationDocument, _>(|name, sealed| {
                self.sealed_anew(sealed, webhook_secret(name))
            })
            .await
    }

    /// The same for client secrets at identity providers: one that no key opens has to be saved again.
    pub async fn reseal_providers(&self, store: &Store) -> Result<usize, SigningKeysError> {
        store
            .reseal::<IdentityProviderDocument, _>(|name, sealed| {
                self.sealed_anew(sealed, provider_secret(name))
            })
            .await
    }

    /// The secret, sealed under the current encryption key; `None` if it is sealed under that one
    /// already, or no key opens it.
    fn sealed_anew(
        &self,
        sealed: &str,
        purpose: Purpose<'_>,
    ) -> Result<Option<String>, SigningKeysError> {
        let current = self.sealing.current();
        if current.open(sealed, purpose).is_ok() {
            return Ok(None);
        }
        let Ok(secret) = self.sealing.open_sealed(sealed, purpose) else {
            return Ok(None);
        };
        let anew = current.seal(&secret, purpose).map(Some);
        anew.map_err(|error| SigningKeysError::EncryptionKey(error.to_string()))
    }

    /// Counts what is not sealed under the current encryption key.
    pub async fn sealed_before(&self, store: &Store) -> Result<SealedBefore, StoreError> {
        let current = self.sealing.current();
        let keys = store.signing_keys().await?;
        let secrets = store.sealed_secrets::<NotificationDocument>().await?;
        let providers = store.sealed_secrets::<IdentityProviderDocument>().await?;
        let is_old_provider = |(name, sealed): &&(String, String)| {
            current.open(sealed, provider_secret(name)).is_err()
        };
        let is_old_key = |key: &&StoredKey| !self.sealing.is_current(key);
        let is_old_secret = |(name, sealed): &&(String, String)| {
            current.open(sealed, webhook_secret(name)).is_err()
        };
        Ok(SealedBefore {
            signing_keys: keys.iter().filter(is_old_key).count(),
            webhook_secrets: secrets.iter().filter(is_old_secret).count(),
            provider_secrets: providers.iter().filter(is_old_provider).count(),
        })
    }
}
