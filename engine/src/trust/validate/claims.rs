//! Validates `claims`: conditions on claims for which the profile has no field.

use serde_json::Value;

use super::values::{MAX_ALTERNATIVES, check_text, too_many};
use super::{DocumentError, escape};
use crate::model::scalar;

/// Most conditions in `claims` (`docs/src/reference/limits.md`).
const MAX_CONDITIONS: usize = 32;

/// The stored form of `claims`: unchanged, if every condition can be evaluated.
pub(super) fn claims(value: &Value) -> Result<Value, Vec<DocumentError>> {
    let Value::Object(claims) = value else {
        return Err(vec![DocumentError::new(
            "",
            "must be an object of claim names and values",
        )]);
    };
    if claims.len() > MAX_CONDITIONS {
        return Err(vec![DocumentError::new(
            "",
            format!(
                "must hold at most {MAX_CONDITIONS} conditions; these are {}",
                claims.len()
            ),
        )]);
    }
    let mut problems = Vec::new();
    for (name, value) in claims {
        let scalars = |values: &[Value]| !values.is_empty() && values.iter().all(is_scalar);
        let alternatives = value
            .get("any_of")
            .unwrap_or(value)
            .as_array()
            .map_or(0, Vec::len);
        if alternatives > MAX_ALTERNATIVES {
            problems.push(DocumentError::new(format!("/{}", escape(name)), too_many()));
            continue;
        }
        let usable = match value {
            Value::Array(values) => scalars(values),
            Value::Object(matcher) => {
                matcher.len() == 1
                    && matches!(matcher.get("any_of"), Some(Value::Array(values)) if scalars(values))
            }
            plain => is_scalar(plain),
        };
        if name.is_empty() || !usable {
            let detail = "must be a string, a boolean, an integer, {\"any_of\": […]} or a list of them; there are no globs here";
            problems.push(DocumentError::new(format!("/{}", escape(name)), detail));
        }
    }
    if problems.is_empty() {
        Ok(value.clone())
    } else {
        Err(problems)
    }
}

fn is_scalar(value: &Value) -> bool {
    scalar(value).is_some() && value.as_str().is_none_or(|text| check_text(text).is_ok())
}
