//! Single values: plain ones, globs, files and templates of versions.

use serde_json::{Map, Value};

use crate::profile::glob::{MAX_PATTERN_BYTES, MAX_STARS, matches, stars};
use crate::profile::{ClaimKind, Equals, FileCheck, LetterCase, Paste};

const MAX_TEXT_BYTES: usize = 1024;
/// Alternatives of one condition.
pub(super) const MAX_ALTERNATIVES: usize = 100;
const PLACEHOLDER: &str = "{version}";

/// The stored form of a value that a claim is to equal.
pub(super) fn equal(equals: &Equals, value: &Value, plain_only: bool) -> Result<Value, String> {
    let plain = |value: &Value| plain(equals, value).map(Value::String);
    let list = |values: &[Value]| match values {
        [] => Err("an empty list equals nothing".to_owned()),
        values if values.len() > MAX_ALTERNATIVES => Err(too_many()),
        values => values.iter().map(plain).collect::<Result<Vec<_>, _>>().map(Value::Array),
    };
    match value {
        Value::Object(_) | Value::Array(_) if plain_only => Err("takes one plain value".to_owned()),
        Value::Array(values) if equals.list || equals.claim.kind == ClaimKind::List => list(values),
        Value::Array(_) => Err("is one value; for several write {\"any_of\": […]}".to_owned()),
        Value::Object(matcher) => match (matcher.get("glob"), matcher.get("any_of"), matcher.len()) {
            (Some(Value::String(pattern)), None, 1) if equals.glob => {
                glob(equals, pattern).map(|()| Value::Object(matcher.clone()))
            }
            (Some(_), None, 1) if !equals.glob => Err("takes no glob".to_owned()),
            (None, Some(Value::Array(values)), 1) => {
                Ok(Value::Object(Map::from_iter([("any_of".to_owned(), list(values)?)])))
            }
            _ => Err("is a plain value, {\"glob\": \"…\"} or {\"any_of\": […]}".to_owned()),
        },
        value => plain(value),
    }
}

/// Why more alternatives than that are refused: each costs work at every request.
pub(super) fn too_many() -> String {
    format!("has more than {MAX_ALTERNATIVES} alternatives; write several rules")
}

fn plain(equals: &Equals, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => paste(&equals.paste, text),
        Value::Number(number) if equals.digits && number.is_u64() => number.to_string(),
        _ => return Err("is a string".to_owned()),
    };
    check_text(&text)?;
    let claim = &equals.claim;
    if claim.case == LetterCase::Name && !text.is_ascii() {
        return Err("holds a character that no such name has; such a rule would never match".to_owned());
    }
    if equals.digits && !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is the number that the platform shows as the id, in digits".to_owned());
    }
    if let Some(format) = equals.value_format.filter(|format| !format.fits(&text)) {
        return Err(format.described().to_owned());
    }
    if equals.strangers.iter().any(|one| claim.case.same(one, &text)) {
        return Err("is one that anybody can have".to_owned());
    }
    if !claim.one_of.is_empty() && !claim.one_of.contains(&text) {
        return Err(format!("is one of {}", claim.one_of.join(", ").trim_end_matches(", ")));
    }
    match &equals.starts_with {
        Some(beginning) if !text.starts_with(beginning.as_str()) || text == *beginning => {
            Err(format!("begins with {beginning}"))
        }
        _ => Ok(text),
    }
}

/// A text that is compared whole.
pub(super) fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or("is a string")?;
    check_text(text)?;
    Ok(text.to_owned())
}

/// What holds for every text in a rule.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty; an empty condition is not a wildcard, leave the member out".to_owned());
    }
    if text.len() > MAX_TEXT_BYTES || text.contains(char::is_control) {
        return Err("is longer than 1024 bytes or holds control characters".to_owned());
    }
    if text.trim() != text {
        return Err("begins or ends with white space".to_owned());
    }
    Ok(())
}

fn paste(paste: &Paste, text: &str) -> String {
    let mut text = text.trim();
    let taken_off = |text: &str| -> Option<usize> {
        let prefix = paste.prefixes.iter().find(|prefix| text.starts_with(prefix.as_str()));
        prefix.map(String::len)
    };
    while let Some(rest) = taken_off(text).and_then(|length| text.get(length..)) {
        text = rest;
    }
    while let Some(rest) = paste.suffixes.iter().find_map(|suffix| text.strip_suffix(suffix.as_str())) {
        text = rest;
    }
    text.to_owned()
}

fn glob(equals: &Equals, pattern: &str) -> Result<(), String> {
    check_text(pattern)?;
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!("a pattern has at most {MAX_PATTERN_BYTES} bytes"));
    }
    if stars(pattern) > MAX_STARS {
        return Err(format!("a pattern has at most {MAX_STARS} stars"));
    }
    let literal = pattern.split('*').next().unwrap_or_default();
    if let Some(form) = &equals.literal {
        let mut shorter = literal.chars();
        shorter.next_back();
        if !matches(form, shorter.as_str()) {
            return Err(format!("is too wide: what stands before the first * has to fit {form} and go on"));
        }
    }
    match &equals.starts_with {
        Some(beginning) if !literal.starts_with(beginning.as_str()) || literal == beginning => Err(format!(
            "begins with {beginning} and at least one more character before the first *; it has to exclude something"
        )),
        None if pattern.chars().all(|character| matches!(character, '*' | '/')) => {
            Err("excludes nothing: leave the member out if every value is meant".to_owned())
        }
        _ => Ok(()),
    }
}

/// The stored form of a file's name.
pub(super) fn file(check: &FileCheck, value: &Value) -> Result<Value, String> {
    let Value::String(text) = value else {
        return Err("is a string".to_owned());
    };
    let text = paste(&check.paste, text);
    check_text(&text)?;
    if text.contains('/') && !check.folders {
        return Err("is the file's name, without folders".to_owned());
    }
    if text.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("is a path without empty parts, `.` and `..`".to_owned());
    }
    let has_ending = |ending: &String| text.len() > ending.len() && text.ends_with(ending.as_str());
    if !check.endings.is_empty() && !check.endings.iter().any(has_ending) {
        return Err(format!("ends with {}", check.endings.join(" or ")));
    }
    Ok(Value::String(text))
}

/// The stored form of a template with the version in it.
pub(super) fn version(starts_with: &str, value: &Value) -> Result<Value, String> {
    let Value::String(text) = value else {
        return Err("is a string".to_owned());
    };
    check_text(text)?;
    if text.matches(PLACEHOLDER).count() != 1 || text.replace(PLACEHOLDER, "").contains(['{', '}', '*']) {
        return Err(format!("holds {PLACEHOLDER} exactly once and no other placeholder"));
    }
    if !text.starts_with(starts_with) {
        return Err(format!("begins with {starts_with}, for example refs/tags/v{PLACEHOLDER}"));
    }
    Ok(value.clone())
}
