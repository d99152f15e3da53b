//! Key sets over a restart: each one that is fetched is written to the database, and a process that
//! has none for an issuer begins with that one. So a restart while a platform cannot be reached
//! loses nothing, and one in the best of order fetches nothing.

use std::sync::Arc;

use moka::ops::compute::Op;

use super::discovery::Document;
use super::refresh::{CachedKeys, cached};
use super::{MOST_STALE, UpstreamKeys};
use crate::clock::Timestamp;
use crate::model::{KeySource, TrustedIssuer};
use crate::store::KeptKeySet;

/// Whether the keys come from somewhere else over the network.
const fn is_fetched(source: &KeySource) -> bool {
    match source {
        KeySource::Discovery
        | KeySource::JwksUri { .. }
        | KeySource::SpiffeBundle { uri: Some(_), .. } => true,
        KeySource::Static { .. }
        | KeySource::File { .. }
        | KeySource::SpiffeBundle { uri: None, .. }
        | KeySource::TokenReview { .. } => false,
    }
}

impl UpstreamKeys {
    /// The keys that this process has for an issuer, or else those that were kept.
    pub(super) async fn held(&self, issuer: &TrustedIssuer) -> Option<Arc<CachedKeys>> {
        let is_current = |held: &Arc<CachedKeys>| held.version == issuer.version;
        let held = self.cache.get(&issuer.id).await.filter(is_current);
        if held.is_some() || !is_fetched(&issuer.keys) {
            return held;
        }
        let entry = self.cache.entry(issuer.id);
        let recalled = entry.and_compute_with(|present| async {
            let present = present.map(moka::Entry::into_value);
            match present.filter(is_current) {
                Some(_) => Op::Nop,
                None => match self.recall(issuer).await {
                    Some(kept) => Op::Put(Arc::new(kept)),
                    None => Op::Nop,
                },
            }
        });
        cached(recalled.await).filter(is_current)
    }

    async fn recall(&self, issuer: &TrustedIssuer) -> Option<CachedKeys> {
        let kept = match self.store.key_set(issuer.id).await {
            Ok(kept) => kept?,
            Err(error) => {
                tracing::warn!(%error, trusted_issuer = issuer.name, "the keys that were kept cannot be read");
                return None;
            }
        };
        let age = self.clock.now().seconds_since(kept.fetched_at);
        if kept.version != issuer.version || !(0..MOST_STALE).contains(&age) {
            return None;
        }
        let document = Document {
            name: "the key set that was kept".to_owned(),
            body: kept.document.into_bytes(),
            max_age: None,
        };
        let keys = self.read(issuer, document, true).await.ok()?;
        tracing::info!(trusted_issuer = issuer.name, fetched_at = %kept.fetched_at, "keys of before the start are used");
        Some(CachedKeys {
            version: kept.version,
            keys: Some(Arc::new(keys.keys)),
            fetched_at: kept.fetched_at,
            fresh_until: kept.fresh_until,
            attempted_at: kept.fetched_at,
            sequence: keys.sequence,
            failure: None,
            unattested: None,
            attested: keys.attested,
            succeeded_at: Some(kept.fetched_at),
            failing_since: None,
        })
    }

    /// Keeps a key set. Nobody waits for that: if it fails, the next start fetches. One set at a time
    /// is written, so that thousands of them after a start do not delay the tokens that wait for the
    /// same connection.
    pub(super) fn keep(
        &self,
        issuer: &TrustedIssuer,
        document: Vec<u8>,
        (fetched_at, fresh_until): (Timestamp, Timestamp),
    ) {
        let (true, Ok(document)) = (is_fetched(&issuer.keys), String::from_utf8(document)) else {
            return;
        };
        let (store, turn) = (self.store.clone(), self.keeping.clone());
        let name = issuer.name.clone();
        let kept = KeptKeySet {
            issuer: issuer.id,
            version: issuer.version,
            document,
            fetched_at,
            fresh_until,
        };
        tokio::spawn(async move {
            let _turn = turn.acquire().await;
            if let Err(error) = store.keep_key_set(kept).await {
                tracing::warn!(%error, trusted_issuer = name, "the keys cannot be kept for the next start");
            }
        });
    }
}
