//! Time, handed in: nothing here reads a clock.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

/// A point in time, in milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Timestamp(i64);

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Whether it is the machine's, so that other machines' clocks have to agree with it.
    fn is_machines(&self) -> bool {
        false
    }
}

/// A clock that stands until it is moved, for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl Timestamp {
    /// From milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since 1970.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down (the `NumericDate` of RFC 7519 section 2).
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This many seconds later.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// The seconds from `earlier` until this, negative if this is the earlier one.
    pub const fn seconds_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).div_euclid(1000)
    }

    /// Reads RFC 3339.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with milliseconds where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => at.fmt(f),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

impl ManualClock {
    /// Stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves by this many seconds, backwards if negative.
    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds.saturating_mul(1000), Ordering::SeqCst);
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
        assert_eq!(Timestamp::parse_rfc3339("2026-09-21T16:13:20+02:00"), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("tomorrow"), None);
        assert_eq!(at.plus_seconds(-1).seconds_since(at), -1);
        assert_eq!(Timestamp::from_millis(-1).seconds(), -1);
    }
}
