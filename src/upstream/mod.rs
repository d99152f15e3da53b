//! The key sets of trusted issuers: fetched on demand and cached, and never fetched for any other
//! issuer.
//!
//! The cached values carry their own freshness, judged by the injected clock. moka bounds the cache
//! and lets one caller at a time fetch for an issuer; readers are not blocked meanwhile.

mod addresses;
mod answer;
mod discovery;
mod egress;
mod files;
mod kept;
mod review;
mod status;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use carnet_jose::{Algorithm, KeySet, NoKey};
use moka::future::Cache;
use moka::ops::compute::Op;

pub use addresses::Lookup;
use discovery::FetchedKeys;
pub use discovery::KeySetError;
pub use egress::{Answer, Egress, Fetch, FetchError, Fetched, HttpFetch, Message, Question};
pub use files::KeyFiles;
use review::{Asking, Reviews};
pub use status::{KeyState, KeyStatus};

use crate::clock::{Clock, Timestamp};
use crate::ids::TrustedIssuerId;
use crate::model::{KeySource, TrustedIssuer};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::Store;

/// Shortest and longest time for which keys count as fresh, in seconds, whatever the publisher says
/// (decision D-28).
const LEAST_FRESH: i64 = 5 * 60;
const MOST_FRESH: i64 = 24 * 3600;
/// How long keys that are no longer fresh are still used while they are fetched in the background,
/// in seconds.
const GRACE: i64 = 5 * 60;
/// Age at which keys are no longer used, even if newer ones cannot be fetched, in seconds (decision
/// D-02).
const MOST_STALE: i64 = 24 * 3600;
/// Shortest time between two fetches for one issuer, failed ones included, in seconds (decision
/// D-28).
const COOLDOWN: i64 = 30;
/// Shortest time between two readings of a file, or two fetches of a SPIFFE bundle, in seconds.
const LOCALLY_FRESH: i64 = 30;
/// For discovery and key set together, or for one `TokenReview`.
const TIMEOUT: Duration = Duration::from_secs(5);
const MOST_ISSUERS: u64 = 10_000;

/// The keys of trusted issuers.
#[derive(Clone, Debug)]
pub struct UpstreamKeys {
    cache: Cache<TrustedIssuerId, Arc<CachedKeys>>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    files: KeyFiles,
    /// Where key sets are kept over a restart.
    store: Store,
    reviews: Reviews,
    allow_http_loopback: bool,
    /// Assertions that were issued before are refused: they may have been used before the database
    /// was restored from a backup.
    not_before: Option<Timestamp>,
}

/// The keys of one issuer, and the last attempt to fetch them.
#[derive(Clone, Debug)]
struct CachedKeys {
    /// The version of the trusted issuer for which the keys were fetched.
    version: i64,
    keys: Option<Arc<KeySet>>,
    fetched_at: Timestamp,
    fresh_until: Timestamp,
    attempted_at: Timestamp,
    /// The sequence number of the SPIFFE bundle.
    sequence: Option<u64>,
    failure: Option<String>,
    /// The last attempt that succeeded.
    succeeded_at: Option<Timestamp>,
    /// The first failure after it.
    failing_since: Option<Timestamp>,
}

impl UpstreamKeys {
    /// `restored_at` is when the database was last restored from a backup.
    pub fn new(
        fetch: Arc<dyn Fetch>,
        files: KeyFiles,
        (store, restored_at): (Store, Option<Timestamp>),
        clock: Arc<dyn Clock>,
        allow_http_loopback: bool,
    ) -> Self {
        let reviews = Reviews::new(MOST_ISSUERS);
        Self {
            cache: Cache::new(MOST_ISSUERS),
            fetch,
            clock,
            files,
            store,
            reviews,
            allow_http_loopback,
            not_before: restored_at,
        }
    }

    /// The keys for an assertion of `issuer` with this algorithm and `kid`.
    ///
    /// Fetches if no keys are cached, if the cached ones are too old, or if no key has both the `kid`
    /// and the algorithm; the last at most once in 30 seconds for each issuer.
    pub async fn keys_for(
        &self,
        issuer: &Arc<TrustedIssuer>,
        algorithm: Algorithm,
        key_id: Option<&str>,
    ) -> Result<Arc<KeySet>, Refusal> {
        // An issuer that was set up anew may give a key of another kind the `kid` of the old one.
        let is_unknown = |keys: &KeySet| {
            matches!(
                keys.select(algorithm, key_id),
                Err(NoKey::UnknownKeyId | NoKey::WrongAlgorithm)
            )
        };
        self.keys_unless(issuer, is_unknown).await
    }

    /// The keys of a client that makes TLS connections with its own certificates. Fetches as
    /// [`keys_for`](Self::keys_for) does, if none of them has this one.
    pub async fn certificates_of(
        &self,
        issuer: &Arc<TrustedIssuer>,
        thumbprint: &str,
    ) -> Result<Arc<KeySet>, Refusal> {
        let is_unknown = |keys: &KeySet| !keys.certificates().iter().any(|held| held == thumbprint);
        self.keys_unless(issuer, is_unknown).await
    }

    /// The keys, fetched again if what is looked for is unknown.
    async fn keys_unless(
        &self,
        issuer: &Arc<TrustedIssuer>,
        is_unknown: impl Fn(&KeySet) -> bool,
    ) -> Result<Arc<KeySet>, Refusal> {
        let now = self.clock.now();
        let can_change = !matches!(issuer.keys, KeySource::Static { .. });
        let held = self.held(issuer).await;
        let keys = held
            .as_ref()
            .and_then(|held| Some((held, held.keys.as_ref()?)));
        if let Some((held, keys)) = keys {
            let unknown = is_unknown(keys);
            if !unknown && now < held.fresh_until {
                return Ok(keys.clone());
            }
            if !unknown && now < held.fresh_until.plus_seconds(GRACE) {
                drop(self.refresh_soon(issuer, false));
                return Ok(keys.clone());
            }
        }
        let held = self
            .refresh_soon(issuer, false)
            .await
            .map_err(|_| Reason::Internal)?;
        let usable = held
            .keys
            .as_ref()
            .filter(|_| now.seconds_since(held.fetched_at) < MOST_STALE);
        match (usable, &held.failure) {
            // No fetch took place since this request arrived, because of the cooldown: the unknown
            // key may have been published meanwhile.
            (Some(keys), None) if can_change && held.attempted_at < now && is_unknown(keys) => {
                let wait = COOLDOWN
                    .saturating_sub(now.seconds_since(held.attempted_at))
                    .clamp(1, COOLDOWN);
                Err(Refusal::later(
                    Reason::KeysUnavailable,
                    u32::try_from(wait).unwrap_or(1),
                ))
            }
            (Some(keys), None) => Ok(keys.clone()),
            // Cached keys stay in use while the issuer cannot be reached. A key that they lack may
            // be new, so an unknown `kid` does not count as `key_unknown` now.
            (Some(keys), Some(_)) if !is_unknown(keys) => Ok(keys.clone()),
            (_, failure) => {
                let wait = COOLDOWN
                    .saturating_sub(now.seconds_since(held.attempted_at))
                    .clamp(1, COOLDOWN);
                let refusal = Refusal::later(
                    Reason::UpstreamUnavailable,
                    u32::try_from(wait).unwrap_or(1),
                );
                Err(refusal.with_detail(
                    failure
                        .clone()
                        .unwrap_or_else(|| "the keys are too old".to_owned()),
                ))
            }
        }
    }

    /// The keys after one more fetch, if some were published since `keys` were fetched. An issuer
    /// that was set up anew may give another key the `kid` of the old one, so a signature that fails
    /// asks for this. Like a fetch for an unknown `kid`, it takes place at most once in 30 seconds
    /// for each issuer.
    pub async fn newer_than(
        &self,
        keys: &Arc<KeySet>,
        issuer: &Arc<TrustedIssuer>,
    ) -> Option<Arc<KeySet>> {
        if matches!(issuer.keys, KeySource::Static { .. }) {
            return None;
        }
        let held = self.refresh_soon(issuer, false).await.ok()?;
        held.keys.clone().filter(|newer| !Arc::ptr_eq(newer, keys))
    }

    /// Fetches the keys now, without regard to the last fetch. Cached keys are kept if the fetch
    /// fails.
    pub async fn refresh(&self, issuer: &Arc<TrustedIssuer>) -> Result<Arc<KeySet>, String> {
        let held = self
            .refresh_soon(issuer, true)
            .await
            .map_err(|error| error.to_string())?;
        match (&held.keys, &held.failure) {
            (Some(keys), None) => Ok(keys.clone()),
            (_, failure) => Err(failure.clone().unwrap_or_default()),
        }
    }

    /// Fetches the keys of an issuer that is not saved yet, as a trial; nothing is cached. The set is
    /// empty for one that is asked about each token.
    pub async fn try_fetch(&self, issuer: &TrustedIssuer) -> Result<KeySet, KeySetError> {
        if matches!(issuer.keys, KeySource::TokenReview { .. }) {
            let asked = tokio::time::timeout(
                TIMEOUT,
                review::probe(self.asking(), issuer, self.egress(issuer)),
            )
            .await;
            let asked = asked.unwrap_or_else(|_| Err(too_slow(issuer)));
            return asked.map(|()| KeySet::default());
        }
        let found = self.fetch_within_limits(issuer).await?;
        // An empty bundle withdraws the keys of an issuer in use. For a new issuer it most likely
        // means that the location is wrong.
        if found.keys.is_empty() {
            return Err(KeySetError::Unusable {
                url: issuer.issuer.clone(),
                why: discovery::no_key(&found.keys),
            });
        }
        Ok(found.keys)
    }

    /// Asks the issuer's cluster whether this token is valid, and is for `subject` and `audience`.
    pub async fn review(
        &self,
        issuer: &TrustedIssuer,
        token: &str,
        subject: &str,
        audience: &str,
    ) -> Result<(), Refusal> {
        let claim = review::Claim {
            token,
            subject,
            audience,
        };
        let review = self.reviews.review(
            self.asking(),
            issuer,
            self.egress(issuer),
            claim,
            self.clock.now(),
        );
        let reviewed = tokio::time::timeout(TIMEOUT, review).await;
        let late = || {
            Refusal::later(Reason::UpstreamUnavailable, 1).with_detail(too_slow(issuer).to_string())
        };
        let outcome = reviewed.unwrap_or_else(|_| Err(late()));
        if let Err(refusal) = &outcome
            && refusal.reason != Reason::ReviewDenied
        {
            tracing::warn!(trusted_issuer = issuer.name, detail = ?refusal.detail, "a token cannot be reviewed");
        }
        outcome
    }

    /// The issuers, and clients with keys of their own, whose last fetch failed: by the id under
    /// which their keys are cached, with the time of that attempt and its error.
    pub fn failures(&self) -> Vec<(TrustedIssuerId, Timestamp, String)> {
        let failed = self.cache.iter().filter_map(|(id, held)| {
            let failure = held.failure.clone()?;
            Some((*id, held.attempted_at, failure))
        });
        failed.collect()
    }

    /// Fetches in a task of its own: a caller that disconnects must not cancel the fetch before the
    /// attempt is recorded, since the cooldown depends on that record.
    fn refresh_soon(
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
        match entry.await {
            moka::ops::compute::CompResult::Inserted(entry)
            | moka::ops::compute::CompResult::ReplacedWith(entry)
            | moka::ops::compute::CompResult::Unchanged(entry)
            | moka::ops::compute::CompResult::Removed(entry) => entry.into_value(),
            moka::ops::compute::CompResult::StillNone(_) => {
                Arc::new(CachedKeys::nothing(issuer.version, self.clock.now()))
            }
        }
    }

    async fn attempt(
        &self,
        issuer: &TrustedIssuer,
        present: Option<Arc<CachedKeys>>,
        now: Timestamp,
        forced: bool,
    ) -> CachedKeys {
        let outcome = self.fetch_within_limits(issuer).await;
        let word = if outcome.is_ok() { "fetched" } else { "failed" };
        metrics::counter!("carnet_upstream_fetches_total", "outcome" => word).increment(1);
        match outcome {
            Ok(found) => {
                tracing::info!(trusted_issuer = issuer.name, "keys fetched");
                let fresh_until = now.plus_seconds(fresh_for(&issuer.keys, found.max_age));
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
                CachedKeys {
                    attempted_at: now,
                    failure: Some(error.to_string()),
                    failing_since: before.failing_since.or(Some(now)),
                    ..before
                }
            }
        }
    }

    async fn fetch_within_limits(
        &self,
        issuer: &TrustedIssuer,
    ) -> Result<FetchedKeys, KeySetError> {
        let egress = self.egress(issuer);
        let keys = discovery::fetch_keys(&*self.fetch, &self.files, issuer, &egress);
        tokio::time::timeout(TIMEOUT, keys)
            .await
            .unwrap_or_else(|_| Err(too_slow(issuer)))
    }

    /// The files that trusted issuers may name.
    pub fn files(&self) -> &KeyFiles {
        &self.files
    }

    fn asking(&self) -> Asking<'_> {
        Asking {
            fetch: &*self.fetch,
            files: &self.files,
        }
    }

    fn egress(&self, issuer: &TrustedIssuer) -> Egress {
        Egress {
            ca_pem: issuer.ca_pem.clone(),
            allow_private: issuer.allow_private.clone(),
            allow_http_loopback: self.allow_http_loopback,
        }
    }
}

fn too_slow(issuer: &TrustedIssuer) -> KeySetError {
    KeySetError::Unusable {
        url: issuer.issuer.clone(),
        why: "it took longer than 5 seconds".to_owned(),
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
            succeeded_at: None,
            failing_since: None,
        }
    }
}
