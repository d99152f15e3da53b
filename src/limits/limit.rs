//! One limit: for each key the moment from which its budget is whole again.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{MINUTE, MOST_KEYS, limited};
use crate::refusal::Refusal;

/// One limit, switched off if its number is 0. Each use takes its share of a minute, and a caller
/// that has used up the minute has to wait. Published rate limiters cannot give back a use, as
/// [`Taken`](super::Taken) has to.
#[derive(Debug)]
pub(super) struct Limit<K> {
    each: Option<Duration>,
    /// When the whole budget of each key is available again. Once `MOST_KEYS` keys are stored, a
    /// new key is not stored, and so not limited, until `shrink` has removed others.
    whole_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    pub(super) fn per_minute(number: u32) -> Self {
        Self {
            each: MINUTE.checked_div(number),
            whole_at: Mutex::default(),
        }
    }

    /// Whether the budget allows one more use.
    pub(super) fn check(&self, key: &K) -> Result<(), Refusal> {
        let Some(each) = self.each else { return Ok(()) };
        let now = Instant::now();
        within(next(self.whole_at.lock().get(key), now, each), now)
    }

    /// Takes one use, or refuses if the budget does not allow it.
    pub(super) fn take(&self, key: &K) -> Result<(), Refusal> {
        let Some(each) = self.each else { return Ok(()) };
        let now = Instant::now();
        let mut whole_at = self.whole_at.lock();
        let next = next(whole_at.get(key), now, each);
        within(next, now)?;
        remember(&mut whole_at, key, next);
        Ok(())
    }

    /// Counts a use that has already happened. The budget never falls below zero, so that a flood
    /// does not prolong the wait.
    pub(super) fn note(&self, key: &K) {
        self.note_many(key, 1);
    }

    /// Counts so many uses that have already happened.
    pub(super) fn note_many(&self, key: &K, uses: u32) {
        let Some(each) = self.each.map(|each| each.saturating_mul(uses)) else {
            return;
        };
        let now = Instant::now();
        let mut whole_at = self.whole_at.lock();
        let next = next(whole_at.get(key), now, each).min(later(now, MINUTE));
        remember(&mut whole_at, key, next);
    }

    /// Gives back one use.
    pub(super) fn give_back(&self, key: &K) {
        let Some(each) = self.each else { return };
        if let Some(at) = self.whole_at.lock().get_mut(key) {
            *at = at.checked_sub(each).unwrap_or(*at);
        }
    }

    /// Removes keys whose whole budget is available again.
    pub(super) fn shrink(&self) {
        let now = Instant::now();
        let mut whole_at = self.whole_at.lock();
        whole_at.retain(|_, at| *at > now);
        whole_at.shrink_to_fit();
    }
}

/// When the whole budget is available again after one more use.
pub(super) fn next(whole_at: Option<&Instant>, now: Instant, each: Duration) -> Instant {
    later(whole_at.map_or(now, |at| (*at).max(now)), each)
}

pub(super) fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}

pub(super) fn within(whole_at: Instant, now: Instant) -> Result<(), Refusal> {
    match whole_at.duration_since(now).checked_sub(MINUTE) {
        None | Some(Duration::ZERO) => Ok(()),
        Some(wait) => Err(limited(wait)),
    }
}

pub(super) fn remember<K: Hash + Eq + Clone>(
    whole_at: &mut HashMap<K, Instant>,
    key: &K,
    at: Instant,
) {
    if let Some(known) = whole_at.get_mut(key) {
        *known = at;
    } else if whole_at.len() < MOST_KEYS {
        whole_at.insert(key.clone(), at);
    }
}
