//! Times as people write them on the command line.

use crate::clock::Timestamp;

/// A point in time: RFC 3339, a day, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(Timestamp),
    /// A day in UTC, by its begin.
    Day(Timestamp),
    SecondsAgo(i64),
}

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

impl When {
    /// The time that `--since` means: of a day its begin.
    pub(super) fn since(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) | Self::Day(at) => at,
            Self::SecondsAgo(seconds) => now.plus_seconds(seconds.saturating_neg()),
        }
    }

    /// The time that `--until` means: of a day its end.
    pub(super) fn until(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Day(begin) => {
                let end = begin.millis().saturating_add(DAY_MILLIS);
                Timestamp::from_millis(end.saturating_sub(1))
            }
            other => other.since(now),
        }
    }
}

/// Parses an option. The error says which forms are accepted.
pub(super) fn when(text: &str) -> Result<When, String> {
    let problem = "must be a time such as 2027-01-31T00:00:00Z, a day such as 2027-01-31, or how long ago: 90s, 30m, 2h, 1d \
                   or 2w";
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        return Ok(When::At(at));
    }
    if let Some(day) = Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")) {
        return Ok(When::Day(day));
    }
    let seconds_of = |unit: char| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        'w' => Some(7 * 86_400),
        _ => None,
    };
    let mut characters = text.chars();
    let unit = characters.next_back().and_then(seconds_of);
    let number = characters
        .as_str()
        .parse::<u32>()
        .ok()
        .filter(|_| !characters.as_str().starts_with('+'));
    let ago = unit.zip(number).map(|(unit, number)| {
        let seconds: i64 = unit;
        When::SecondsAgo(seconds.saturating_mul(number.into()))
    });
    ago.ok_or_else(|| problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_or_a_day_or_how_long_ago() {
        let now = Timestamp::from_seconds(1_800_000_000);
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1_800),
            ("2h", 7_200),
            ("1d", 86_400),
            ("2w", 1_209_600),
        ] {
            assert_eq!(when(text).unwrap().since(now), now.plus_seconds(-seconds));
        }
        let at = when("2027-01-15T09:00:00+01:00").unwrap().since(now);
        assert_eq!(at.to_string(), "2027-01-15T08:00:00Z");
        let day = when("2027-01-15").unwrap();
        assert_eq!(day.since(now).to_string(), "2027-01-15T00:00:00Z");
        let last = Timestamp::parse_rfc3339("2027-01-16T00:00:00Z").unwrap();
        assert_eq!(day.until(now).millis() + 1, last.millis());
        for text in [
            "",
            "d",
            "1",
            "1y",
            "-1d",
            "+1d",
            "1 d",
            "yesterday",
            "2027-02-30",
            "1d2h",
            "ü",
        ] {
            assert!(when(text).is_err(), "{text}");
        }
    }
}
