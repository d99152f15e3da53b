//! Settling publications whose outcome is unclear, by what the registry has.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{ACCEPT, LOCATION};
use http::{HeaderMap, HeaderValue, Method};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::Answered;
use crate::authority::{Authority, Unavailable};
use crate::gateway::Gateway;
use crate::index::{Answer, Ask, Digested, Held, Published, Unanswered};
use crate::records::{Outcome, Unsettled};
use crate::registry::{Registry, UpstreamCredential};
use crate::upstream::{self, Upstream, next_piece, whole};

/// How old a publication is before it is asked for, in seconds: longer than forwarding may take.
const LATER: i64 = 2_000;
/// Interval at which unclear publications are looked at.
const INTERVAL: Duration = Duration::from_mins(1);

/// Asks a registry's index, with the operator's credential.
pub(crate) struct Asking<'a> {
    upstream: &'a Upstream,
    credential: &'a UpstreamCredential,
}

impl<'a> Asking<'a> {
    pub(crate) const fn new(upstream: &'a Upstream, credential: &'a UpstreamCredential) -> Self {
        Self {
            upstream,
            credential,
        }
    }

    async fn asked(&self, url: &Url, accept: Option<&str>) -> Result<Answered, Unanswered> {
        let mut headers = HeaderMap::new();
        headers.extend(self.credential.header().ok().flatten());
        if let Some(accept) = accept.and_then(|accept| HeaderValue::from_str(accept).ok()) {
            headers.insert(ACCEPT, accept);
        }
        let read = self.upstream.read((Method::GET, url.clone()), headers);
        Ok(read.await?)
    }
}

impl From<upstream::NoAnswer> for Unanswered {
    fn from(error: upstream::NoAnswer) -> Self {
        match error {
            upstream::NoAnswer::TooLong => Self::TooLarge,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Ask for Asking<'_> {
    async fn get(
        &self,
        url: &Url,
        accept: Option<&str>,
        most_bytes: u64,
    ) -> Result<Answer, Unanswered> {
        let mut answer = self.asked(url, accept).await?;
        let body = whole(&mut answer, most_bytes).await?;
        let location = answer.headers().get(LOCATION);
        Ok(Answer {
            status: answer.status().as_u16(),
            location: location
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            body,
        })
    }

    async fn sha256(&self, url: &Url, most_bytes: u64) -> Result<Digested, Unanswered> {
        let mut answer = self.asked(url, None).await?;
        let (mut digest, mut read) = (Sha256::new(), 0u64);
        while let Some(piece) = next_piece(&mut answer).await? {
            read = read.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if read > most_bytes {
                return Err(Unanswered::TooLarge);
            }
            digest.update(&piece);
        }
        let mut sha256 = String::with_capacity(64);
        for byte in digest.finalize() {
            // Writing into a string does not fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        Ok(Digested {
            status: answer.status().as_u16(),
            sha256,
        })
    }
}

impl<A: Authority> Gateway<A> {
    pub(crate) fn asking<'a>(&'a self, registry: &'a Registry) -> Asking<'a> {
        Asking::new(&self.upstream, &registry.credential)
    }

    /// Settles what is unclear until the process ends.
    pub async fn keep_settling(&self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Err(error) = self.settle_unclear(LATER).await {
                tracing::warn!(%error, "unclear publications cannot be settled");
            }
        }
    }

    /// Settles publications that were forwarded more than `seconds` ago and that the registry has,
    /// with the same digest. What it has not, or otherwise, stays as it is: it may come yet.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if the records cannot be read or written.
    pub async fn settle_unclear(&self, seconds: i64) -> Result<(), Unavailable> {
        let mut after: Option<String> = None;
        loop {
            let some = self.authority.unsettled(seconds, after.as_deref()).await?;
            let Some(last) = some.last().map(|last| last.id.clone()) else {
                return Ok(());
            };
            self.settle_some(some).await?;
            after = Some(last);
        }
    }

    async fn settle_some(&self, some: Vec<Unsettled>) -> Result<(), Unavailable> {
        for unsettled in some {
            if self.holds(&unsettled).await == Some(Held::Same) {
                self.authority
                    .settle(&unsettled.id, &Outcome::Accepted)
                    .await?;
                tracing::info!(
                    publication = unsettled.id,
                    "the registry has it: settled as accepted"
                );
            }
        }
        Ok(())
    }

    async fn holds(&self, unsettled: &Unsettled) -> Option<Held> {
        let mut registries = self.registries.iter();
        let registry = registries.find(|registry| registry.name == unsettled.registry)?;
        let published = Published {
            package: &unsettled.spelled,
            version: unsettled.version.as_deref()?,
            file: unsettled.file.as_deref()?,
            sha256: unsettled.digest.as_deref()?.strip_prefix("sha256:")?,
        };
        let asking = self.asking(registry);
        match registry.index.held(&asking, &published).await {
            Ok(held) => Some(held),
            Err(error) => {
                tracing::warn!(
                    publication = unsettled.id,
                    %error,
                    "the registry does not say whether it has a publication"
                );
                None
            }
        }
    }
}
