//! The keys of one authorization server, fetched and kept.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use carnet_jose::{Algorithm, KeySet, NoKey};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

/// Seconds after which keys are fetched again. The server publishes a key before it signs with it, so this may be long.
const FRESH_SECONDS: i64 = 300;
/// Seconds between two fetches, failures included, so that unknown `kid`s cannot be used to flood the server.
const COOLDOWN_SECONDS: i64 = 30;
/// Seconds for which old keys serve while the server cannot be reached.
const STALE_SECONDS: i64 = 3600;
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// What the server may sign with.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];

pub(crate) struct ServerKeys {
    issuer: String,
    metadata: Url,
    http: reqwest::Client,
    held: RwLock<Held>,
    /// Held by whoever fetches; readers never wait for it while their key is known and fresh enough.
    fetching: Mutex<()>,
}

#[derive(Clone, Default)]
struct Held {
    keys: Arc<KeySet>,
    fetched_at: Option<i64>,
    attempted_at: Option<i64>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Url,
}

/// No key could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// The server publishes no such key.
    Unknown,
    /// The server cannot be reached and nothing recent enough is held.
    Unreachable,
}

impl ServerKeys {
    pub(crate) fn new(issuer: &str, metadata: Url) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { issuer: issuer.to_owned(), metadata, http, held: RwLock::default(), fetching: Mutex::default() })
    }

    /// Verifies with the key of this `kid`, fetching the key set where it is due.
    pub(crate) async fn verify(
        &self,
        jws: &carnet_jose::Compact<'_>,
        algorithm: Algorithm,
        now: i64,
    ) -> Result<bool, KeyError> {
        let key_id = jws.header.key_id.as_deref();
        let mut held = self.held();
        let due = |held: &Held| held.fetched_at.is_none_or(|at| now.saturating_sub(at) >= FRESH_SECONDS);
        if due(&held) || matches!(held.keys.select(algorithm, key_id), Err(NoKey::UnknownKeyId)) {
            let _guard = self.fetching.lock().await;
            held = self.held();
            let cooling = held.attempted_at.is_some_and(|at| now.saturating_sub(at) < COOLDOWN_SECONDS);
            if !cooling {
                held = self.refresh(held, now).await;
            }
        }
        if held.fetched_at.is_none_or(|at| now.saturating_sub(at) >= STALE_SECONDS) {
            return Err(KeyError::Unreachable);
        }
        let key = held.keys.select(algorithm, key_id).map_err(|_| KeyError::Unknown)?;
        Ok(key.verifies(jws.signing_input.as_bytes(), &jws.signature))
    }

    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn refresh(&self, held: Held, now: i64) -> Held {
        let fetched = self.fetch().await;
        let held = match fetched {
            Some(keys) => Held { keys: Arc::new(keys), fetched_at: Some(now), attempted_at: Some(now) },
            None => Held { attempted_at: Some(now), ..held },
        };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held.clone();
        held
    }

    async fn fetch(&self) -> Option<KeySet> {
        let metadata: Metadata = serde_json::from_slice(&self.get(self.metadata.clone()).await?).ok()?;
        // Keys that anybody on the way can exchange are no keys: as safe as the metadata, or none.
        if metadata.issuer != self.issuer || metadata.jwks_uri.scheme() != self.metadata.scheme() {
            return None;
        }
        KeySet::parse(&self.get(metadata.jwks_uri).await?, &ALGORITHMS).ok()
    }

    async fn get(&self, url: Url) -> Option<Vec<u8>> {
        let mut response = self.http.get(url).send().await.ok()?.error_for_status().ok()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            if body.len().saturating_add(chunk.len()) > MAX_DOCUMENT_BYTES {
                return None;
            }
            body.extend_from_slice(&chunk);
        }
        Some(body)
    }
}
