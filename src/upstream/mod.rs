//! The key sets of trusted issuers: fetched on demand and cached, and never fetched for any other
//! issuer.
//!
//! The cached values carry their own freshness, judged by the injected clock. moka bounds the cache
//! and lets one caller at a time fetch for an issuer; readers are not blocked meanwhile.

mod addresses;
mod answer;
mod attested;
mod discovery;
mod egress;
mod fetch;
mod files;
mod kept;
mod provider;
mod refresh;
mod review;
mod status;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use carnet_jose::{Algorithm, KeySet, NoKey};
use moka::future::Cache;
use tokio::sync::Semaphore;

pub use addresses::Lookup;
pub use discovery::KeySetError;
pub use egress::Egress;
pub use fetch::{Answer, Fetch, FetchError, Fetched, HttpFetch, Message, Outgoing, Question};
pub use files::KeyFiles;
pub use provider::{ProviderDocument, ProviderDocuments, ProviderStatus, ProviderUnavailable};
use refresh::CachedKeys;
use review::{Asking, Reviews};
pub use status::{KeyState, KeyStatus};

use crate::attestation::VerifyAttestation;
use crate::attested::Attested;
use crate::clock::{Clock, Timestamp};
use crate::ids::TrustedIssuerId;
use crate::model::{KeySource, TrustedIssuer};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::Store;

/// How long keys that are no longer fresh are still used while they are fetched in the background,
/// in seconds.
const GRACE: i64 = 5 * 60;
/// Age at which keys are no longer used, even if newer ones cannot be fetched, in seconds (decision
/// D-02).
const MOST_STALE: i64 = 24 * 3600;
/// Shortest time between two fetches for one issuer, failed ones included, in seconds (decision
/// D-28).
const COOLDOWN: i64 = 30;
/// For discovery and key set together, or for one `TokenReview`.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Attestations that are verified at the same time. Each reads up to 32 MiB of files.
const VERIFIED_AT_ONCE: usize = 4;
const MOST_ISSUERS: u64 = 10_000;

/// The keys of a trusted issuer, and what stands behind them.
#[derive(Clone, Debug)]
pub struct IssuerKeys {
    pub set: Arc<KeySet>,
    /// What the RPKI attests to them; `None` for an issuer whose keys need no attestation.
    pub attested: Option<Arc<Attested>>,
}

/// The keys of trusted issuers.
#[derive(Clone, Debug)]
pub struct UpstreamKeys {
    cache: Cache<TrustedIssuerId, Arc<CachedKeys>>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    files: KeyFiles,
    /// Where key sets are kept over a restart.
    store: Store,
    /// Whose turn it is to write a key set there.
    keeping: Arc<Semaphore>,
    reviews: Reviews,
    /// Verifies attestations of keys; `None` if this server verifies none.
    attestations: Option<Arc<dyn VerifyAttestation>>,
    /// Whose turn it is to verify one.
    verifying: Arc<Semaphore>,
    allow_http_loopback: bool,
    /// Assertions that were issued before are refused: they may have been used before the database
    /// was restored from a backup.
    not_before: Option<Timestamp>,
}

impl UpstreamKeys {
    /// `restored_at` is when the database was last restored from a backup.
    pub fn new(
        fetch: Arc<dyn Fetch>,
        files: KeyFiles,
        (store, restored_at): (Store, Option<Timestamp>),
        (clock, attestations): (Arc<dyn Clock>, Option<Arc<dyn VerifyAttestation>>),
        allow_http_loopback: bool,
    ) -> Self {
        let reviews = Reviews::new(MOST_ISSUERS);
        Self {
            cache: Cache::new(MOST_ISSUERS),
            fetch,
            clock,
            files,
            store,
            keeping: Arc::new(Semaphore::new(1)),
            reviews,
            attestations,
            verifying: Arc::new(Semaphore::new(VERIFIED_AT_ONCE)),
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
    ) -> Result<IssuerKeys, Refusal> {
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
        Ok(self.keys_unless(issuer, is_unknown).await?.set)
    }

    /// The keys, fetched again if what is looked for is unknown.
    async fn keys_unless(
        &self,
        issuer: &Arc<TrustedIssuer>,
        is_unknown: impl Fn(&KeySet) -> bool,
    ) -> Result<IssuerKeys, Refusal> {
        let now = self.clock.now();
        let can_change = !matches!(issuer.keys, KeySource::Static { .. });
        let held = self.held(issuer).await;
        let held = self.rechecked(issuer, held).await;
        let keys = held
            .as_ref()
            .and_then(|held| Some((held, held.usable(now)?)));
        if let Some((held, keys)) = keys {
            let unknown = is_unknown(&keys.set);
            if !unknown && now < held.fresh_until {
                return Ok(keys);
            }
            if !unknown && now < held.fresh_until.plus_seconds(GRACE) {
                drop(self.refresh_soon(issuer, false));
                return Ok(keys);
            }
        }
        let held = self
            .refresh_soon(issuer, false)
            .await
            .map_err(|_| Reason::Internal)?;
        let usable = held
            .usable(now)
            .filter(|_| now.seconds_since(held.fetched_at) < MOST_STALE);
        match (usable, &held.failure) {
            // No fetch took place since this request arrived, because of the cooldown: the unknown
            // key may have been published meanwhile.
            (Some(keys), None)
                if can_change && held.attempted_at < now && is_unknown(&keys.set) =>
            {
                let wait = COOLDOWN
                    .saturating_sub(now.seconds_since(held.attempted_at))
                    .clamp(1, COOLDOWN);
                Err(Refusal::later(
                    Reason::KeysUnavailable,
                    u32::try_from(wait).unwrap_or(1),
                ))
            }
            (Some(keys), None) => Ok(keys),
            // Cached keys stay in use while the issuer cannot be reached. A key that they lack may
            // be new, so an unknown `kid` does not count as `key_unknown` now.
            (Some(keys), Some(_)) if !is_unknown(&keys.set) => Ok(keys),
            (_, failure) => {
                let wait = COOLDOWN
                    .saturating_sub(now.seconds_since(held.attempted_at))
                    .clamp(1, COOLDOWN);
                let wait = u32::try_from(wait).unwrap_or(1);
                if let Some(failure) = held.unattested(now) {
                    return Err(attested::refuse(&failure, wait));
                }
                let refusal = Refusal::later(Reason::UpstreamUnavailable, wait);
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
        keys: &IssuerKeys,
        issuer: &Arc<TrustedIssuer>,
    ) -> Option<IssuerKeys> {
        if matches!(issuer.keys, KeySource::Static { .. }) {
            return None;
        }
        let held = self.refresh_soon(issuer, false).await.ok()?;
        held.usable(self.clock.now())
            .filter(|newer| !Arc::ptr_eq(&newer.set, &keys.set))
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
        let found = self.fetch_within_limits(issuer, false).await?;
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
        let now = self.clock.now();
        let failed = self.cache.iter().filter_map(|(id, held)| {
            let unattested = || held.unattested(now).map(|failure| failure.to_string());
            let failure = held.failure.clone().or_else(unattested)?;
            Some((*id, held.attempted_at, failure))
        });
        failed.collect()
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
