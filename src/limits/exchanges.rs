//! Codes that are exchanged at identity providers. Each is an outgoing request that may take five
//! seconds, for a callback that costs its sender little.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limited;
use crate::ids::IdentityProviderId;
use crate::refusal::Refusal;

/// Exchanges at one provider at a time (`docs/src/reference/limits.md`).
const AT_A_TIME: usize = 8;
/// How long an exchange waits for its turn: about as long as another one takes at most.
const WAIT: Duration = Duration::from_secs(5);
/// More providers than an installation has.
const MOST_PROVIDERS: u64 = 64;

/// The turns of each identity provider.
#[derive(Debug)]
pub(super) struct Exchanges(Cache<IdentityProviderId, Arc<Semaphore>>);

impl Exchanges {
    pub(super) fn new() -> Self {
        Self(Cache::new(MOST_PROVIDERS))
    }

    /// One of the turns at this provider, until it is dropped.
    pub(super) async fn turn(
        &self,
        provider: IdentityProviderId,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        let turns = || Arc::new(Semaphore::new(AT_A_TIME));
        let turns = self.0.get_with(provider, turns);
        match tokio::time::timeout(WAIT, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(limited(Duration::ZERO)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[tokio::test(start_paused = true)]
    async fn eight_codes_at_a_time_are_exchanged_at_each_provider() {
        let exchanges = Exchanges::new();
        let provider = |at| IdentityProviderId::new(Timestamp::from_seconds(at));
        let (one, other) = (provider(1), provider(2));
        let mut turns = Vec::new();
        for _ in 0..8 {
            turns.push(exchanges.turn(one).await.unwrap());
        }
        let refusal = exchanges.turn(one).await.unwrap_err();
        assert_eq!(refusal.retry_after, Some(1));
        assert!(exchanges.turn(other).await.is_ok());
        turns.pop();
        assert!(exchanges.turn(one).await.is_ok());
    }
}
