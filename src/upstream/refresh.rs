//! Fetching the keys of an issuer, and what the cache holds of them.

use std::sync::Arc;

use carnet_jose::KeySet;
use moka::ops::compute::{CompResult, Op};

use super::attested::AttestedKeys;
use super::discovery::{self, FetchedKeys};
use super::{COOLDOWN, KeySetError, MOST_STALE, TIMEOUT, UpstreamKeys, too_slow};
use crate::attestation::AttestationFailure;
use crate::clock::Timestamp;
use crate::model::{KeySource, TrustedIssuer};

/// Shortest and longest time for which keys count as fresh, in seconds, whatever the publisher says
/// (decision D-28).
const LEAST_FRESH: i64 = 5 * 60;
const MOST_FRESH: i64 = 24 * 3600;
/// Shortest time between two readings of a file, or two fetches of a SPIFFE bundle, in seconds.
const LOCALLY_FRESH: i64 = 30;

/// The keys of one issuer, and the last attempt to fetch them.
#[derive(Clone, Debug)]
pub(super) struct CachedKeys {
    /// The version of the trusted issuer for which the keys were fetched.
    pub(super) version: i64,
    pub(super) keys: Option<Arc<KeySet>>,
    pub(super) fetched_at: Timestamp,
    pub(super) fresh_until: Timestamp,
    pub(super) attempted_at: Timestamp,
    /// The sequence number of the SPIFFE bundle.
    pub(super) sequence: Option<u64>,
    pub(super) failure: Option<String>,
    /// Why the last set that was fetched does not count, if the RPKI does not vouch for it.
    pub(super) unattested: Option<AttestationFailure>,
    /// What stands behind the keys, if they need an attestation.
    pub(super) attested: Option<AttestedKeys>,
    /// The last attempt that succeeded.
    pub(super) succeeded_at: Option<Timestamp>,
    /// The first failure after it.
    pub(super) failing_since: Option<Timestamp>,
}

/// What the cache holds after an operation on it.
pub(super) fn cached<K, V>(result: CompResult<K, V>) -> Option<V> {
    match result {
        CompResult::Inserted(entry)
        | CompResult::ReplacedWith(entry)
        | CompResult::Unchanged(entry)
        | CompResult::Removed(entry) => Some(entry.into_value()),
        CompResult::StillNone(_) => None,
    }
}

impl UpstreamKeys {
    /// Fetches in a task of its own: a caller that disconnects must not cancel the fetch before the
    /// attempt is recorded, since the cooldown depends on that record.
    pub(super) fn refresh_soon(
        &self,
        issuer: &Arc<TrustedIssuer>,
        forced: bool,
    ) -> tokio::task::JoinHandle<Arc<CachedKeys>> {
        let (keys, issuer) = (self.clone(), issuer.clone());
        tokio::spawn(async move { keys.refresh_once(&issuer, forced).await })
    }

    /// Lets one caller at a time fetch for an issuer. A caller that waited finds the new keys in
    /// the cache and, unless `forced`, does not fetch again.
    async fn refresh_once(&self, issuer: &TrustedIssuer, forced: bool) -> Arc<CachedKeys> {
        let entry = self
            .cache
            .entry(issuer.id)
            .and_compute_with(|present| async {
                let present = present
                    .map(moka::Entry::into_value)
                    .filter(|held| held.version == issuer.version);
                let now = self.clock.now();
                let cooling =
                    |held: &Arc<CachedKeys>| now.seconds_since(held.attempted_at) < COOLDOWN;
                if !forced && present.as_ref().is_some_and(cooling) {
                    return Op::Nop;
                }
                Op::Put(Arc::new(self.attempt(issuer, present, now, forced).await))
            });
        cached(entry.await)
            .unwrap_or_else(|| Arc::new(CachedKeys::nothing(issuer.version, self.clock.now())))
    }

    async fn attempt(
        &self,
        issuer: &TrustedIssuer,
        present: Option<Arc<CachedKeys>>,
        now: Timestamp,
        forced: bool,
    ) -> CachedKeys {
        let outcome = self.fetch_within_limits(issuer, true).await;
        let word = if outcome.is_ok() { "fetched" } else { "failed" };
        metrics::counter!("carnet_upstream_fetches_total", "outcome" => word).increment(1);
        match outcome {
            Ok(found) => {
                tracing::info!(trusted_issuer = issuer.name, "keys fetched");
                let fresh_until = now.plus_seconds(fresh_for(&issuer.keys, found.max_age));
                let attested = found.attested.as_ref();
                let use_until =
                    attested.and_then(|keys| Some(keys.verdict.as_ref().ok()?.use_until));
                let fresh_until = use_until.map_or(fresh_until, |end| fresh_until.min(end));
                // A bundle with a lower sequence number than the cached one comes from a place that
                // lags behind (SPIFFE Trust Domain and Bundle section 4.1.1). The cached keys stay,
                // and their age counts on. A forced refresh takes the fetched bundle: a trust
                // domain that was set up anew counts from the beginning.
                let is_older = |held: &Arc<CachedKeys>| {
                    !forced
                        && held
                            .sequence
                            .zip(found.sequence)
                            .is_some_and(|(ours, theirs)| ours > theirs)
                };
                if let Some(held) = present.filter(|held| held.keys.is_some() && is_older(held)) {
                    let fresh_until = fresh_until.min(held.fetched_at.plus_seconds(MOST_STALE));
                    return CachedKeys {
                        fresh_until,
                        attempted_at: now,
                        failure: None,
                        unattested: None,
                        succeeded_at: Some(now),
                        failing_since: None,
                        ..(*held).clone()
                    };
                }
                self.keep(issuer, found.document, (now, fresh_until));
                CachedKeys {
                    keys: Some(Arc::new(found.keys)),
                    fetched_at: now,
                    fresh_until,
                    sequence: found.sequence,
                    attested: found.attested,
                    succeeded_at: Some(now),
                    ..CachedKeys::nothing(issuer.version, now)
                }
            }
            Err(error) => {
                tracing::warn!(trusted_issuer = issuer.name, %error, "keys cannot be fetched");
                let before = present.map_or_else(
                    || CachedKeys::nothing(issuer.version, now),
                    |held| (*held).clone(),
                );
                let unattested = match &error {
                    KeySetError::Unattested(failure) => Some(failure.clone()),
                    KeySetError::Fetch(_) | KeySetError::Unusable { .. } => None,
                };
                CachedKeys {
                    attempted_at: now,
                    failure: Some(error.to_string()),
                    unattested,
                    failing_since: before.failing_since.or(Some(now)),
                    ..before
                }
            }
        }
    }

    /// Fetches the keys, and verifies their attestation if they need one. `noted` says whether they
    /// are compared with the newest that were seen.
    pub(super) async fn fetch_within_limits(
        &self,
        issuer: &TrustedIssuer,
        noted: bool,
    ) -> Result<FetchedKeys, KeySetError> {
        let egress = self.egress(issuer);
        let document = discovery::fetch_document(&*self.fetch, &self.files, issuer, &egress);
        let document = tokio::time::timeout(TIMEOUT, document)
            .await
            .unwrap_or_else(|_| Err(too_slow(issuer)))?;
        self.read(issuer, document, noted).await
    }
}

/// How long keys count as fresh after a fetch, in seconds. The value for static keys is endless,
/// and small enough to be counted in milliseconds.
fn fresh_for(source: &KeySource, max_age: Option<i64>) -> i64 {
    match source {
        KeySource::Static { .. } => i64::MAX / 2000,
        KeySource::File { .. }
        | KeySource::SpiffeBundle { uri: None, .. }
        | KeySource::TokenReview { .. } => LOCALLY_FRESH,
        KeySource::SpiffeBundle { .. } => max_age
            .unwrap_or(LEAST_FRESH)
            .clamp(LOCALLY_FRESH, MOST_FRESH),
        KeySource::Discovery | KeySource::JwksUri { .. } => max_age
            .unwrap_or(LEAST_FRESH)
            .clamp(LEAST_FRESH, MOST_FRESH),
    }
}

impl CachedKeys {
    fn nothing(version: i64, now: Timestamp) -> Self {
        Self {
            version,
            keys: None,
            fetched_at: now,
            fresh_until: now,
            attempted_at: now,
            sequence: None,
            failure: None,
            unattested: None,
            attested: None,
            succeeded_at: None,
            failing_since: None,
        }
    }
}
