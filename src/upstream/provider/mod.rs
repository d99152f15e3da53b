//! What an OpenID provider publishes of itself: its metadata document (OpenID Connect Discovery 1.0
//! section 3), fetched on demand and cached, and where its keys are.

mod document;
mod status;

use std::sync::Arc;

use moka::future::Cache;
use moka::ops::compute::Op;

pub use self::document::ProviderDocument;
pub use self::status::ProviderStatus;
use super::egress::Egress;
use super::fetch::Fetch;
use super::refresh::cached;
use super::{COOLDOWN, MOST_STALE, TIMEOUT, discovery};
use crate::clock::{Clock, Timestamp};
use crate::ids::IdentityProviderId;
use crate::model::IdentityProvider;

/// How many documents are cached. An installation has at most 16 identity providers.
const MOST_PROVIDERS: u64 = 64;
/// How long a document counts as fresh, in seconds.
const FRESH: i64 = 10 * 60;

/// Why the metadata of a provider cannot be used at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ProviderUnavailable {
    /// For the operator.
    pub why: String,
    /// Seconds after which another attempt is made.
    pub retry_after: u32,
}

/// The documents of identity providers, and the last attempt to fetch each.
#[derive(Clone, Debug)]
pub struct ProviderDocuments {
    cache: Cache<IdentityProviderId, Arc<Held>>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    allow_http_loopback: bool,
}

#[derive(Clone, Debug)]
struct Held {
    /// The version of the identity provider for which the document was fetched.
    version: i64,
    document: Option<(Arc<ProviderDocument>, Timestamp)>,
    attempted_at: Timestamp,
    failure: Option<String>,
}

impl Held {
    fn fresh(&self, now: Timestamp) -> Option<&Arc<ProviderDocument>> {
        self.younger_than(FRESH, now)
    }

    fn younger_than(&self, seconds: i64, now: Timestamp) -> Option<&Arc<ProviderDocument>> {
        let (document, fetched_at) = self.document.as_ref()?;
        (now.seconds_since(*fetched_at) < seconds).then_some(document)
    }
}

impl ProviderDocuments {
    pub fn new(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>, allow_http_loopback: bool) -> Self {
        Self {
            cache: Cache::new(MOST_PROVIDERS),
            fetch,
            clock,
            allow_http_loopback,
        }
    }

    /// The egress rules for requests to a provider.
    pub fn egress(&self, provider: &IdentityProvider) -> Egress {
        Egress {
            ca_pem: provider.ca_pem.clone(),
            allow_private: provider.allow_private.clone(),
            allow_http_loopback: self.allow_http_loopback,
        }
    }

    /// The document of a provider: the cached one while it is fresh, and also an older one while no
    /// newer one can be fetched.
    pub async fn of(
        &self,
        provider: &Arc<IdentityProvider>,
    ) -> Result<Arc<ProviderDocument>, ProviderUnavailable> {
        let now = self.clock.now();
        let held = self.cache.get(&provider.id).await;
        let held = held.filter(|held| held.version == provider.version);
        if let Some(document) = held.as_ref().and_then(|held| held.fresh(now)) {
            return Ok(document.clone());
        }
        // A caller that disconnects must not cancel the fetch before the attempt is recorded, since
        // the cooldown depends on that record.
        let (documents, of_provider) = (self.clone(), provider.clone());
        let fetched = tokio::spawn(async move { documents.refresh_once(&of_provider).await });
        let held = fetched.await.map_err(|_| ProviderUnavailable {
            why: "the fetch was given up".to_owned(),
            retry_after: 1,
        })?;
        held.younger_than(MOST_STALE, now).cloned().ok_or_else(|| {
            let wait = COOLDOWN.saturating_sub(now.seconds_since(held.attempted_at));
            ProviderUnavailable {
                why: held
                    .failure
                    .clone()
                    .unwrap_or_else(|| "it is too old".to_owned()),
                retry_after: u32::try_from(wait.clamp(1, COOLDOWN)).unwrap_or(1),
            }
        })
    }

    /// Lets one caller at a time fetch for a provider. The others find the new document.
    async fn refresh_once(&self, provider: &IdentityProvider) -> Arc<Held> {
        let now = self.clock.now();
        let entry = self.cache.entry(provider.id);
        let done = entry.and_compute_with(|present| async {
            let present = present
                .map(moka::Entry::into_value)
                .filter(|held| held.version == provider.version);
            let cooling = |held: &Arc<Held>| now.seconds_since(held.attempted_at) < COOLDOWN;
            if present.as_ref().is_some_and(cooling) {
                return Op::Nop;
            }
            let fetched = self.try_fetch(provider).await;
            let word = if fetched.is_ok() { "fetched" } else { "failed" };
            metrics::counter!("carnet_upstream_fetches_total", "outcome" => word).increment(1);
            let before = present.and_then(|held| held.document.clone());
            let (document, failure) = match fetched {
                Ok(document) => (Some((Arc::new(document), now)), None),
                Err(why) => {
                    tracing::warn!(identity_provider = provider.name, %why, "the metadata cannot be fetched");
                    (before, Some(why))
                }
            };
            Op::Put(Arc::new(Held {
                version: provider.version,
                document,
                attempted_at: now,
                failure,
            }))
        });
        cached(done.await).unwrap_or_else(|| {
            Arc::new(Held {
                version: provider.version,
                document: None,
                attempted_at: now,
                failure: None,
            })
        })
    }

    /// Fetches the document of a provider that need not be saved yet; nothing is cached. The error
    /// is a message for the operator.
    pub async fn try_fetch(&self, provider: &IdentityProvider) -> Result<ProviderDocument, String> {
        let (issuer, egress) = (&provider.issuer, self.egress(provider));
        let metadata = discovery::openid_metadata(&*self.fetch, issuer, &egress);
        let (url, metadata) = tokio::time::timeout(TIMEOUT, metadata)
            .await
            .map_err(|_| format!("{issuer}: it took longer than 5 seconds"))?
            .map_err(|error| error.to_string())?;
        document::read(&metadata, &egress).map_err(|why| format!("{url}: {why}"))
    }

    /// The providers whose metadata could not be fetched in the last attempt, with the time of that
    /// attempt and its error.
    pub fn failures(&self) -> Vec<(IdentityProviderId, Timestamp, String)> {
        let failed = self.cache.iter().filter_map(|(id, held)| {
            let failure = held.failure.clone()?;
            Some((*id, held.attempted_at, failure))
        });
        failed.collect()
    }
}
