//! Validates `claims`: conditions on claims for which the profile has no field.

use serde_json::{Map, Value};

use super::values::{MAX_ALTERNATIVES, check_plain, check_text, too_many};
use super::{DocumentError, escape};
use crate::model::scalar;
use crate::profile::{Check, ClaimKind, Profile};

/// Most conditions in `claims` (`docs/src/reference/limits.md`).
const MAX_CONDITIONS: usize = 32;

/// The stored form of `claims`, if every condition can be evaluated: a JSON Pointer to a top-level
/// claim is stored as the claim's name, so that a claim has one name in a rule.
pub(super) fn claims(profile: &Profile, value: &Value) -> Result<Value, Vec<DocumentError>> {
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
    let mut stored = Map::new();
    for (given, value) in claims {
        let name = &top_level(given);
        let scalars = |values: &[Value]| !values.is_empty() && values.iter().all(is_scalar);
        let alternatives = value
            .get("any_of")
            .unwrap_or(value)
            .as_array()
            .map_or(0, Vec::len);
        if alternatives > MAX_ALTERNATIVES {
            problems.push(DocumentError::new(
                format!("/{}", escape(given)),
                too_many(),
            ));
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
            problems.push(DocumentError::new(format!("/{}", escape(given)), detail));
        } else if let Err(detail) = possible(profile, name, value) {
            problems.push(DocumentError::new(format!("/{}", escape(given)), detail));
        } else if stored.insert(name.clone(), value.clone()).is_some() {
            let detail = "must not be given twice, as a name and as a JSON Pointer";
            problems.push(DocumentError::new(format!("/{}", escape(given)), detail));
        }
    }
    if problems.is_empty() {
        Ok(Value::Object(stored))
    } else {
        Err(problems)
    }
}

/// The name of the top-level claim that a JSON Pointer leads to; any other path as it is.
fn top_level(path: &str) -> String {
    match path.strip_prefix('/') {
        Some(pointer) if !pointer.is_empty() && !pointer.contains('/') => {
            let name = pointer.replace("~1", "/").replace("~0", "~");
            if name.starts_with('/') {
                path.to_owned()
            } else {
                name
            }
        }
        _ => path.to_owned(),
    }
}

/// Whether a claim that the profile knows can have the values of a condition: their type, and what a
/// field that compares the same claim demands of them.
fn possible(profile: &Profile, path: &str, value: &Value) -> Result<(), String> {
    let mut specs = profile.claims.iter();
    let Some(spec) = specs.find(|spec| spec.path == path && spec.after.is_none()) else {
        return Ok(());
    };
    let wanted = match spec.kind {
        ClaimKind::Text | ClaimKind::List => {
            "a string, also where it is a number or a truth value in words"
        }
        ClaimKind::Boolean => "true or false, without quotation marks",
        ClaimKind::BooleanOrText => "true, false or the word as a string",
        ClaimKind::Integer => "a number",
    };
    let list = value.get("any_of").unwrap_or(value);
    if spec.kind == ClaimKind::List && (!list.is_array() || value.is_object()) {
        return Err(
            "must be a list of strings: the claim is a list, and one element has to be in it"
                .to_owned(),
        );
    }
    if spec.kind != ClaimKind::List && value.is_array() {
        return Err(
            "must not be a list: the claim holds one value; for several write {\"any_of\": […]}"
                .to_owned(),
        );
    }
    let values = list
        .as_array()
        .map_or(std::slice::from_ref(list), Vec::as_slice);
    for one in values {
        let fits = match spec.kind {
            ClaimKind::Text | ClaimKind::List => one.is_string(),
            ClaimKind::Boolean => one.is_boolean(),
            ClaimKind::BooleanOrText => {
                one.is_boolean() || matches!(one.as_str(), Some("true" | "false"))
            }
            ClaimKind::Integer => one.is_number(),
        };
        if !fits {
            return Err(format!(
                "must be {wanted}: so the claim is sent, and no other type matches"
            ));
        }
        for field in profile
            .fields
            .iter()
            .filter(|field| field.claim_path() == Some(path))
        {
            match (&field.check, one.as_str()) {
                (Check::Equals(equals), Some(text)) => check_plain(equals, text)?,
                (Check::Flag { .. }, Some(text)) if !matches!(text, "true" | "false") => {
                    return Err("must be true or false as a word".to_owned());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_scalar(value: &Value) -> bool {
    scalar(value).is_some() && value.as_str().is_none_or(|text| check_text(text).is_ok())
}
