use serde_json::Value;

use crate::profile::Unreadable;

/// The largest integer that every JSON reader represents exactly.
const MAX: i64 = (1 << 53) - 1;

/// Seconds since 1970, as tokens carry them (RFC 7519 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NumericDate(i64);

impl NumericDate {
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// Adds `seconds`, which may be negative; saturates at the ends of the range.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Reads a JSON number from 0 to 2^53-1, dropping a fraction (decision D-34).
    pub fn read(value: &Value) -> Result<Self, Unreadable> {
        let Value::Number(number) = value else {
            return Err(Unreadable::WrongType);
        };
        let seconds = match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer,
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the range is checked, and dropping the fraction is meant"
            )]
            #[expect(clippy::cast_precision_loss, reason = "the bound is exact as a float")]
            (None, Some(float)) if number.is_f64() && (0.0..=MAX as f64).contains(&float) => {
                float as i64
            }
            _ => return Err(Unreadable::Malformed),
        };
        if (0..=MAX).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(Unreadable::Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numeric_dates_in_range_are_read_and_fractions_dropped() {
        for (value, seconds) in [
            (json!(0), 0),
            (json!(1_790_000_000), 1_790_000_000),
            (json!(1_790_000_000.999), 1_790_000_000),
            (json!(1e3), 1000),
            (json!(0.5), 0),
            (json!(9_007_199_254_740_991_u64), MAX),
            (json!(9_007_199_254_740_991.0), MAX),
        ] {
            assert_eq!(
                NumericDate::read(&value),
                Ok(NumericDate(seconds)),
                "{value}"
            );
        }
        assert_eq!(NumericDate(5).plus(-2), NumericDate(3));
    }

    #[test]
    fn atk_051__numeric_dates_out_of_range_are_refused_without_a_panic() {
        for value in [
            json!(-1),
            json!(-0.5),
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_992.0),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e21),
            json!(1e300),
            json!(9_223_372_036_854_775_807_i64),
            json!(i64::MIN),
        ] {
            assert_eq!(
                NumericDate::read(&value),
                Err(Unreadable::Malformed),
                "{value}"
            );
        }
    }

    #[test]
    fn atk_050__numeric_dates_of_other_json_types_are_refused() {
        for value in [
            json!("1790000000"),
            json!("1.5"),
            json!(true),
            json!(null),
            json!([1]),
            json!({}),
        ] {
            assert_eq!(
                NumericDate::read(&value),
                Err(Unreadable::WrongType),
                "{value}"
            );
        }
    }
}
