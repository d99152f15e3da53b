//! Validates and normalises single values: plain ones, globs, file names and version templates.

use serde_json::{Map, Value, json};

use crate::profile::glob::{MAX_PATTERN_BYTES, MAX_STARS, matches, stars};
use crate::profile::{ClaimKind, Equals, FileCheck, Format, LetterCase, Resource};

const MAX_TEXT_BYTES: usize = 1024;
/// Most alternatives of one condition: each costs work at every request.
pub(super) const MAX_ALTERNATIVES: usize = 100;
/// What stands for the version in a version template.
pub(super) const PLACEHOLDER: &str = "{version}";

/// The stored form of a value for an [`Equals`] check. `plain_only` refuses globs and alternatives;
/// `issuer` is the trusted issuer, whose host pasted addresses may have.
pub(super) fn equal(
    equals: &Equals,
    value: &Value,
    plain_only: bool,
    issuer: Option<&str>,
) -> Result<Value, String> {
    let plain = |value: &Value| plain(equals, value, issuer).map(Value::String);
    let list = |values: &[Value]| match values {
        [] => Err("must not be an empty list, which equals nothing".to_owned()),
        values if values.len() > MAX_ALTERNATIVES => Err(too_many()),
        values => values
            .iter()
            .map(plain)
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
    };
    match value {
        Value::Object(_) | Value::Array(_) if plain_only => {
            Err("must be one plain value".to_owned())
        }
        Value::Array(values) if equals.list || equals.claim.kind == ClaimKind::List => list(values),
        Value::Array(_) => Err("must be one value; for several write {\"any_of\": […]}".to_owned()),
        Value::Object(matcher) => match (matcher.get("glob"), matcher.get("any_of"), matcher.len())
        {
            (Some(Value::String(pattern)), None, 1) if equals.glob => {
                glob(equals, pattern).map(|()| Value::Object(matcher.clone()))
            }
            (Some(_), None, 1) if !equals.glob => Err("must not be a glob".to_owned()),
            (None, Some(Value::Array(values)), 1) => Ok(Value::Object(Map::from_iter([(
                "any_of".to_owned(),
                list(values)?,
            )]))),
            _ => Err("must be a plain value, {\"glob\": \"…\"} or {\"any_of\": […]}".to_owned()),
        },
        value => plain(value),
    }
}

/// The stored form of an Internet number resource or of several.
pub(super) fn attested(resource: Resource, value: &Value) -> Result<Value, String> {
    let plain = |value: &Value| {
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let stored = resource.stored(&text).map(Value::String);
        stored.ok_or_else(|| resource.described().to_owned())
    };
    match value {
        Value::Object(matcher) => match (matcher.get("any_of"), matcher.len()) {
            (Some(Value::Array(values)), 1) if values.len() > MAX_ALTERNATIVES => Err(too_many()),
            (Some(Value::Array(values)), 1) if !values.is_empty() => {
                let values: Vec<Value> = values.iter().map(plain).collect::<Result<_, _>>()?;
                Ok(json!({ "any_of": values }))
            }
            _ => {
                Err("must be a plain value or {\"any_of\": […]} with at least one value".to_owned())
            }
        },
        Value::Array(_) => Err("must be one value; for several write {\"any_of\": […]}".to_owned()),
        value => plain(value),
    }
}

/// The error for more than [`MAX_ALTERNATIVES`] alternatives.
pub(super) fn too_many() -> String {
    format!("must have at most {MAX_ALTERNATIVES} alternatives; write several rules for more")
}

fn plain(equals: &Equals, value: &Value, issuer: Option<&str>) -> Result<String, String> {
    let text = match value {
        Value::String(text) => equals.paste.value(text, issuer),
        Value::Number(number) if equals.digits && number.is_u64() => number.to_string(),
        _ => return Err("must be a string".to_owned()),
    };
    check_plain(equals, &text).map(|()| text)
}

/// Whether a plain value can equal the claim of an [`Equals`] check.
pub(super) fn check_plain(equals: &Equals, text: &str) -> Result<(), String> {
    check_text(text)?;
    let claim = &equals.claim;
    if claim.case == LetterCase::Name && !text.is_ascii() {
        return Err("must be ASCII, as all such names are; the rule would never match".to_owned());
    }
    if equals.digits && !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("must be the number that the platform shows as the id, in digits".to_owned());
    }
    if equals.digits && text.starts_with('0') {
        return Err("must not begin with 0, as no id does; the rule would never match".to_owned());
    }
    if let Some(format) = equals.value_format.filter(|format| !format.fits(text)) {
        return Err(format.described().to_owned());
    }
    let is = |one: &String| claim.case.same(one, text);
    if equals.strangers.iter().any(is) {
        return Err("must not be a value that anybody can have".to_owned());
    }
    for known in [&claim.one_of, &equals.known_values] {
        if !known.is_empty() && !known.iter().any(is) {
            let known = known.join(", ");
            let known = known.trim_end_matches(", ");
            return Err(format!(
                "must be one of {known}; another value would never match"
            ));
        }
    }
    match &equals.starts_with {
        Some(beginning) if !text.starts_with(beginning.as_str()) || text == beginning => {
            Err(format!("must begin with {beginning} and go on"))
        }
        _ => Ok(()),
    }
}

/// Validates a text that is compared as a whole.
pub(super) fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or("must be a string")?;
    check_text(text)?;
    Ok(text.to_owned())
}

/// What every text in a rule has to fulfil: not empty, at most 1024 bytes, no control characters
/// and no others that cannot be seen, no white space at either end.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(
            "must not be empty: an empty condition is not a wildcard; leave the member out"
                .to_owned(),
        );
    }
    if text.len() > MAX_TEXT_BYTES || text.contains(char::is_control) {
        return Err("must be at most 1024 bytes without control characters".to_owned());
    }
    if text.trim() != text {
        return Err("must not begin or end with white space".to_owned());
    }
    match text.chars().find(|character| is_unseen(*character)) {
        Some(character) => Err(format!(
            "must not hold {}, which cannot be seen; it comes with text that is copied from a page",
            character.escape_unicode()
        )),
        None => Ok(()),
    }
}

/// Characters without a width, soft hyphens and marks of the direction of writing. No name of a
/// platform has them, while pages and chats put them into what is copied. The two joiners are none
/// of them: scripts and emoji need these.
fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
    )
}

fn glob(equals: &Equals, pattern: &str) -> Result<(), String> {
    check_text(pattern)?;
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "must be a pattern of at most {MAX_PATTERN_BYTES} bytes; this is {}",
            pattern.len()
        ));
    }
    if stars(pattern) > MAX_STARS {
        return Err(format!("must be a pattern with at most {MAX_STARS} stars"));
    }
    if equals.value_format == Some(Format::GitRef)
        && !Format::GitRef.fits(&pattern.replace('*', "x"))
    {
        return Err(Format::GitRef.described().to_owned());
    }
    let literal = pattern.split('*').next().unwrap_or_default();
    if let Some(form) = &equals.literal {
        let mut shorter = literal.chars();
        shorter.next_back();
        if !matches(form, shorter.as_str()) {
            return Err(format!(
                "must be narrower: the text before the first * must fit {form} and go on"
            ));
        }
    }
    match &equals.starts_with {
        Some(beginning) if !literal.starts_with(beginning.as_str()) || literal == beginning => {
            Err(format!(
                "must begin with {beginning} and at least one more character before the first *, to exclude something"
            ))
        }
        None if pattern
            .chars()
            .all(|character| matches!(character, '*' | '/')) =>
        {
            Err("must exclude something; leave the member out if every value is meant".to_owned())
        }
        _ => Ok(()),
    }
}

/// The stored form of a file name, or of a path if the check allows folders. A path of Windows is
/// read as the same path with slashes: no file of a workflow has a backslash in its name.
pub(super) fn file(check: &FileCheck, value: &Value) -> Result<Value, String> {
    let Value::String(text) = value else {
        return Err("must be a string".to_owned());
    };
    let text = check.paste.value(&text.replace('\\', "/"), None);
    check_text(&text)?;
    if text.contains('/') && !check.folders {
        return Err("must be the file's name, without folders".to_owned());
    }
    if text
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return Err("must be a path without empty parts, `.` and `..`".to_owned());
    }
    let has_ending = |ending: &String| text.len() > ending.len() && text.ends_with(ending.as_str());
    if !check.endings.is_empty() && !check.endings.iter().any(has_ending) {
        return Err(format!("must end with {}", check.endings.join(" or ")));
    }
    Ok(Value::String(text))
}

/// The stored form of a version template, which contains `{version}` exactly once.
pub(super) fn version(starts_with: &str, value: &Value) -> Result<Value, String> {
    let Value::String(text) = value else {
        return Err("must be a string".to_owned());
    };
    check_text(text)?;
    if text.matches(PLACEHOLDER).count() != 1
        || text.replace(PLACEHOLDER, "").contains(['{', '}', '*'])
    {
        return Err(format!(
            "must hold {PLACEHOLDER} exactly once and no other placeholder"
        ));
    }
    if !Format::GitRef.fits(&text.replace(PLACEHOLDER, "x")) {
        return Err(Format::GitRef.described().to_owned());
    }
    if !text.starts_with(starts_with) {
        return Err(format!(
            "must begin with {starts_with}, for example refs/tags/v{PLACEHOLDER}"
        ));
    }
    Ok(value.clone())
}
