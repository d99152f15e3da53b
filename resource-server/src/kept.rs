//! A value that is fetched from the authorization server and cached: the key set, or an endpoint
//! URL.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;

use crate::Outage;

/// Seconds until a value is fetched again. The server publishes a key before it signs with it, so
/// this may be long.
const FRESH_SECONDS: i64 = 300;
/// The shortest time between two fetches, in seconds, failed ones included: tokens with an unknown
/// `kid` must not cause a flood of requests to the server.
const COOLDOWN_SECONDS: i64 = 30;
/// Seconds for which a value may be used while newer ones cannot be fetched.
const STALE_SECONDS: i64 = 3600;

pub(crate) struct Kept<T> {
    held: RwLock<Held<T>>,
    /// Held during a fetch. Other requests wait for it only if they have no value that they can
    /// use.
    fetching: Mutex<()>,
}

struct Held<T> {
    value: Option<Arc<T>>,
    fetched_at: i64,
    attempt: Option<(i64, Option<Outage>)>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        let held = Held {
            value: None,
            fetched_at: 0,
            attempt: None,
        };
        Self {
            held: RwLock::new(held),
            fetching: Mutex::default(),
        }
    }
}

impl<T> Kept<T> {
    /// The cached value. It is fetched first if it is older than [`FRESH_SECONDS`] or `serves` says
    /// that it does not suffice, unless the last fetch was less than [`COOLDOWN_SECONDS`] ago. A
    /// value that does not suffice is returned too if nothing better can be had.
    pub(crate) async fn get<F>(
        &self,
        now: i64,
        serves: impl Fn(&T) -> bool,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<T>, Outage>
    where
        F: Future<Output = Result<T, Outage>>,
    {
        let serving = |seconds| {
            self.younger_than(seconds, now)
                .ok()
                .filter(|value| serves(value))
        };
        if let Some(fresh) = serving(FRESH_SECONDS) {
            return Ok(fresh);
        }
        let _one_at_a_time = match (serving(STALE_SECONDS), self.fetching.try_lock()) {
            (_, Ok(guard)) => guard,
            // Another request is fetching: use the old value meanwhile.
            (Some(old), Err(_)) => return Ok(old),
            (None, Err(_)) => self.fetching.lock().await,
        };
        if !self.is_cooling(now) {
            let fetched = fetch().await;
            self.keep(fetched, now);
        }
        self.younger_than(STALE_SECONDS, now)
    }

    fn younger_than(&self, seconds: i64, now: i64) -> Result<Arc<T>, Outage> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let young = is_within(seconds, held.fetched_at, now);
        let last_failure = held.attempt.and_then(|(_, failure)| failure);
        held.value
            .clone()
            .filter(|_| young)
            .ok_or(last_failure.unwrap_or(Outage::Unreachable))
    }

    fn is_cooling(&self, now: i64) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.attempt
            .is_some_and(|(at, _)| is_within(COOLDOWN_SECONDS, at, now))
    }

    fn keep(&self, fetched: Result<T, Outage>, now: i64) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.attempt = Some((now, fetched.as_ref().err().copied()));
        if let Ok(value) = fetched {
            held.value = Some(Arc::new(value));
            held.fetched_at = now;
        }
    }
}

/// Whether fewer than `seconds` have passed since `then`. If the clock was set back to before
/// `then`, the answer is no, so that nothing is cached for longer than intended.
pub(crate) fn is_within(seconds: i64, then: i64, now: i64) -> bool {
    (0..seconds).contains(&now.saturating_sub(then))
}
