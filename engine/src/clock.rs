//! Time as a value: [`Timestamp`] and the [`Clock`] trait. No code in this crate reads the system
//! clock.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

/// A point in time, in milliseconds since 1970 (UTC).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Timestamp(i64);

/// A source of the current time, injected so that tests can control it.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;

    /// Whether this is the system clock of the machine. Only then does the server compare it with
    /// the clock of the database.
    fn is_machines(&self) -> bool {
        false
    }
}

/// A clock for tests that changes only when it is advanced.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Converts whole seconds since 1970; saturates at the ends of the range.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down (the `NumericDate` of RFC 7519 section 2).
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Adds `seconds`, which may be negative; saturates at the ends of the range.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// The seconds from `earlier` to `self`, rounded down; negative if `self` is the earlier one.
    pub const fn seconds_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).div_euclid(1000)
    }

    /// Parses an RFC 3339 timestamp. Precision below a millisecond is lost.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|at| Self(at.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with a fraction only if the milliseconds are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

impl ManualClock {
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves the clock by `seconds`, backwards if negative.
    pub fn advance(&self, seconds: i64) {
        self.0
            .fetch_add(seconds.saturating_mul(1000), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_and_print_rfc3339() {
        let at = Timestamp::from_seconds(1_790_000_000);
        assert_eq!(at.to_string(), "2026-09-21T14:13:20Z");
        assert_eq!(
            Timestamp::parse_rfc3339("2026-09-21T16:13:20+02:00"),
            Some(at)
        );
        assert_eq!(Timestamp::parse_rfc3339("tomorrow"), None);
        assert_eq!(at.plus_seconds(-1).seconds_since(at), -1);
        assert_eq!(Timestamp::from_millis(-1).seconds(), -1);
    }
}
