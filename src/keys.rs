//! The server's own signing keys: the active one signs, the next one is published ahead of its use,
//! and retired ones stay published until the last token that they signed has expired.
//!
//! Verifiers know a key before it signs, so they do not notice a rotation. Private keys are stored
//! sealed under an encryption key that is not in the database
//! (`docs/src/explanation/key-rotation.md`).

mod reseal;
mod ring;
mod sealing;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use carnet_jose::{Algorithm, Purpose, SealError, SealingKey, SigningError, SigningKey};
use serde_json::Value;
use tokio::sync::Mutex;

pub use reseal::SealedBefore;
pub use ring::Ring;
pub use sealing::{EncryptionKeys, exposed_key_files, is_exposed};

use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::store::{KeyState, Store, StoreError, StoredKey};

/// How long a key stays published after its last signature, in seconds: the longest lifetime of a
/// registry's access token, and the leeway with which it is accepted.
const LONGEST_TOKEN_SECONDS: i64 = 3600 + 60;
/// Attempts to change the keys while other replicas change them at the same time.
const ATTEMPTS: usize = 5;

/// Why the signing keys cannot be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeysError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored key cannot be used.
    #[error(
        "signing key {key_id} cannot be used: {error}. All servers of one database need the same keys.encryption_key_file; after a change of that key, keys.old_encryption_key_files has to name the earlier one"
    )]
    Unusable { key_id: String, error: SigningError },
    /// A new key cannot be generated.
    #[error("no signing key can be made: {0}")]
    Library(#[from] SigningError),
    /// The encryption key cannot be read.
    #[error("the encryption key cannot be used: {0}")]
    EncryptionKey(String),
    /// There is no key of this `kid`.
    #[error("there is no signing key {0}")]
    Unknown(String),
    /// No key signs.
    #[error("the database has no active signing key: `carnet serve` makes one when it starts")]
    NoneActive,
}

/// The signing keys in use, replaced as a whole by [`reload`](Self::reload).
#[derive(Debug)]
pub struct KeyRing {
    sealing: EncryptionKeys,
    algorithm: Algorithm,
    ring: ArcSwapOption<Ring>,
    reading: Mutex<()>,
}

/// The purpose for which the secrets of the notification with this name are sealed.
pub fn webhook_secret(name: &str) -> Purpose<'_> {
    Purpose {
        kind: "webhook secret",
        owner: name,
    }
}

/// The purpose for which the client secret at the identity provider with this name is sealed.
pub fn provider_secret(name: &str) -> Purpose<'_> {
    Purpose {
        kind: "identity provider secret",
        owner: name,
    }
}

impl KeyRing {
    /// The key that seals private keys in the database.
    pub fn encryption_key(&self) -> &SealingKey {
        self.sealing.current()
    }

    /// Opens the keys of the database, which a server made, and changes nothing.
    pub async fn existing(
        store: &Store,
        sealing: EncryptionKeys,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Self, SigningKeysError> {
        let ring = Self::empty(sealing, algorithm);
        ring.reload(store, now).await?;
        Ok(ring)
    }

    fn empty(sealing: EncryptionKeys, algorithm: Algorithm) -> Self {
        Self {
            sealing,
            algorithm,
            ring: ArcSwapOption::empty(),
            reading: Mutex::default(),
        }
    }

    /// Opens the keys, and generates an active and a next key where they are missing.
    pub async fn open(
        store: &Store,
        sealing: EncryptionKeys,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<Self, SigningKeysError> {
        let ring = Self::empty(sealing, algorithm);
        ring.change(store, now, None, |keys, make| {
            let mut put = Vec::new();
            if !keys.iter().any(|key| key.state == KeyState::Active) {
                put.push(activated(make()?, now));
            }
            // The next key has signed nothing yet: replace it if it is of another algorithm than
            // the configured one.
            let (kept, unwanted): (Vec<&StoredKey>, Vec<&StoredKey>) = keys
                .iter()
                .filter(|key| key.state == KeyState::Next)
                .partition(|key| key.algorithm == algorithm.name());
            if kept.is_empty() {
                put.push(make()?);
            }
            Ok((put, unwanted.iter().map(|key| key.key_id.clone()).collect()))
        })
        .await?;
        Ok(ring)
    }

    /// The current keys; `None` until they are read for the first time.
    pub fn ring(&self) -> Option<Arc<Ring>> {
        self.ring.load_full()
    }

    /// Encrypts a secret of another object than a signing key, under the same encryption key.
    pub fn seal(&self, secret: &[u8], purpose: Purpose<'_>) -> Result<String, SealError> {
        self.sealing.current().seal(secret, purpose)
    }

    /// Decrypts what [`seal`](Self::seal) made for this purpose.
    pub fn open_sealed(&self, sealed: &str, purpose: Purpose<'_>) -> Result<Vec<u8>, SealError> {
        self.sealing.open_sealed(sealed, purpose)
    }

    /// Encrypts the content of a cookie, under a key of its own.
    pub fn seal_cookie(&self, content: &[u8], purpose: Purpose<'_>) -> Result<String, SealError> {
        self.sealing.seal_cookie(content, purpose)
    }

    /// Decrypts what [`seal_cookie`](Self::seal_cookie) made for this purpose.
    pub fn open_cookie(&self, sealed: &str, purpose: Purpose<'_>) -> Result<Vec<u8>, SealError> {
        self.sealing.open_cookie(sealed, purpose)
    }

    /// Reads the keys from the database again.
    pub async fn reload(&self, store: &Store, now: Timestamp) -> Result<(), SigningKeysError> {
        // One at a time: a task that read the keys before a change must not store the old ones
        // after it.
        let _one_at_a_time = self.reading.lock().await;
        let keys = store.signing_keys().await?;
        self.ring
            .store(Some(Arc::new(Ring::compile(&self.sealing, &keys, now)?)));
        Ok(())
    }

    /// Makes the next key active and generates a new next key. The previous key stays published
    /// until the last token that it signed has expired.
    pub async fn rotate(
        &self,
        store: &Store,
        algorithm: Option<Algorithm>,
        now: Timestamp,
        event: Option<&AuditEvent>,
    ) -> Result<(), SigningKeysError> {
        let algorithm = algorithm.unwrap_or(self.algorithm);
        self.change_with(algorithm, store, now, event, |keys, make| {
            let mut put = vec![make()?];
            for key in keys {
                match key.state {
                    KeyState::Next if key.algorithm == algorithm.name() => {
                        put.push(activated(key.clone(), now));
                    }
                    KeyState::Active => put.push(retired(key.clone(), now)),
                    KeyState::Next | KeyState::Retired => {}
                }
            }
            // The next key is of another algorithm than the requested one: a new key has to sign at
            // once, without having been published before.
            if !put.iter().any(|key| key.state == KeyState::Active) {
                put.push(activated(make()?, now));
            }
            let unused =
                |key: &&StoredKey| key.state == KeyState::Next && key.algorithm != algorithm.name();
            Ok((
                put,
                keys.iter()
                    .filter(unused)
                    .map(|key| key.key_id.clone())
                    .collect(),
            ))
        })
        .await
    }

    /// Removes a key at once: tokens that it signed fail wherever the key set is fetched again. If
    /// it was the active key, the next key signs from now on.
    pub async fn withdraw(
        &self,
        store: &Store,
        key_id: &str,
        now: Timestamp,
        event: Option<&AuditEvent>,
    ) -> Result<(), SigningKeysError> {
        self.change(store, now, event, |keys, make| {
            let withdrawn = keys
                .iter()
                .find(|key| key.key_id == key_id)
                .ok_or_else(|| SigningKeysError::Unknown(key_id.to_owned()))?;
            let mut put = Vec::new();
            match withdrawn.state {
                KeyState::Retired => {}
                KeyState::Next => put.push(make()?),
                KeyState::Active => {
                    let next = keys.iter().find(|key| key.state == KeyState::Next).cloned();
                    put.push(activated(next.map_or_else(&mut *make, Ok)?, now));
                    put.push(make()?);
                }
            }
            Ok((put, vec![key_id.to_owned()]))
        })
        .await
    }

    async fn change(
        &self,
        store: &Store,
        now: Timestamp,
        event: Option<&AuditEvent>,
        decide: impl FnMut(
            &[StoredKey],
            &mut dyn FnMut() -> Result<StoredKey, SigningKeysError>,
        ) -> Result<(Vec<StoredKey>, Vec<String>), SigningKeysError>,
    ) -> Result<(), SigningKeysError> {
        self.change_with(self.algorithm, store, now, event, decide)
            .await
    }

    /// Lets `decide` choose the keys to write and the `kid`s to remove, given the keys in the
    /// database. If another replica changes the keys meanwhile, `decide` is called again with the
    /// new ones. Keys that need not be published any longer are removed as well.
    async fn change_with(
        &self,
        algorithm: Algorithm,
        store: &Store,
        now: Timestamp,
        event: Option<&AuditEvent>,
        mut decide: impl FnMut(
            &[StoredKey],
            &mut dyn FnMut() -> Result<StoredKey, SigningKeysError>,
        ) -> Result<(Vec<StoredKey>, Vec<String>), SigningKeysError>,
    ) -> Result<(), SigningKeysError> {
        let mut make = || self.make(algorithm, now);
        for attempt in 1..=ATTEMPTS {
            let keys = store.signing_keys().await?;
            let (put, mut remove) = decide(&keys, &mut make)?;
            let over = |key: &&StoredKey| key.published_until.is_some_and(|until| until <= now);
            remove.extend(keys.iter().filter(over).map(|key| key.key_id.clone()));
            if put.is_empty() && remove.is_empty() {
                break;
            }
            match store
                .change_signing_keys(&keys, &put, &remove, event, now)
                .await
            {
                Err(StoreError::Changed) if attempt < ATTEMPTS => {}
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        self.reload(store, now).await
    }

    fn make(&self, algorithm: Algorithm, now: Timestamp) -> Result<StoredKey, SigningKeysError> {
        let key = SigningKey::generate(algorithm)?;
        Ok(StoredKey {
            key_id: key.public().key_id().to_owned(),
            algorithm: algorithm.name().to_owned(),
            state: KeyState::Next,
            public_jwk: Value::Object(key.public().jwk().clone()).to_string(),
            sealed_private: key.seal(self.sealing.current())?,
            created_at: now,
            activated_at: None,
            published_until: None,
        })
    }
}

fn unusable(key: &StoredKey, error: SigningError) -> SigningKeysError {
    SigningKeysError::Unusable {
        key_id: key.key_id.clone(),
        error,
    }
}

fn activated(key: StoredKey, now: Timestamp) -> StoredKey {
    StoredKey {
        state: KeyState::Active,
        activated_at: Some(now),
        ..key
    }
}

fn retired(key: StoredKey, now: Timestamp) -> StoredKey {
    StoredKey {
        state: KeyState::Retired,
        published_until: Some(now.plus_seconds(LONGEST_TOKEN_SECONDS)),
        ..key
    }
}
