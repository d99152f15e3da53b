//! Validates `called_workflow`: the file that defines a job and may be in another repository.

use serde_json::{Map, Value};

use super::DocumentError;
use super::values::{check_text, equal};
use crate::profile::{ClaimSpec, Equals, Format, Paste};

/// The stored form of `called_workflow`, with a commit id in lower case.
pub(super) fn called(value: &Value) -> Result<Value, Vec<DocumentError>> {
    const PATH: &str = "must be owner/repository/.github/workflows/file, without the ref, which has a member of its own";
    const FORM: &str = "must be \"same-repo\", \"any\", or an object of path and either ref or sha";
    let wrong = |pointer: &str, detail: &str| DocumentError::new(pointer, detail);
    let called = match value {
        Value::String(word) if word == "same-repo" || word == "any" => return Ok(value.clone()),
        Value::Object(called) => called,
        _ => return Err(vec![wrong("", FORM)]),
    };
    let given = |name: &str| called.get(name).filter(|value| !value.is_null());
    let mut problems = Vec::new();
    if called
        .keys()
        .any(|name| !matches!(name.as_str(), "path" | "ref" | "sha"))
        || given("ref").is_some() == given("sha").is_some()
    {
        problems.push(wrong("", FORM));
    }
    let mut stored = Map::new();
    match given("path") {
        Some(Value::String(path)) => {
            let path = path.trim().replace('\\', "/");
            let path = path.strip_prefix("https://github.com/").unwrap_or(&path);
            if is_workflow_path(path) {
                stored.insert("path".to_owned(), path.into());
            } else {
                problems.push(wrong("/path", PATH));
            }
        }
        _ => problems.push(wrong("/path", PATH)),
    }
    match given("sha") {
        None => {}
        Some(Value::String(sha)) if is_commit(sha) => {
            stored.insert("sha".to_owned(), sha.to_ascii_lowercase().into());
        }
        Some(_) => problems.push(wrong(
            "/sha",
            "must be a full commit id of 40 or 64 hexadecimal digits",
        )),
    }
    if let Some(reference) = given("ref") {
        match called_ref(reference) {
            Ok(reference) => {
                stored.insert("ref".to_owned(), reference);
            }
            Err(detail) => problems.push(wrong("/ref", &detail)),
        }
    }
    if problems.is_empty() {
        Ok(Value::Object(stored))
    } else {
        Err(problems)
    }
}

/// Validates a ref or a glob of refs, which has to begin with `refs/` and more.
fn called_ref(value: &Value) -> Result<Value, String> {
    let claim = ClaimSpec::text_claim("ref");
    let equals = Equals {
        claim: claim.into(),
        glob: true,
        list: false,
        starts_with: Some("refs/".to_owned()),
        prefix: None,
        value_format: Some(Format::GitRef),
        known_values: Vec::new(),
        parts_end_at: None,
        verified_by: None,
        digits: false,
        literal: None,
        strangers: Vec::new(),
        paste: Paste::default(),
    };
    equal(&equals, value, false, None)
}

fn is_workflow_path(path: &str) -> bool {
    let Some((at, _)) = path.match_indices('/').nth(1) else {
        return false;
    };
    let (names, file) = path.split_at_checked(at).unwrap_or_default();
    Format::GithubRepository.fits(names)
        && check_text(path).is_ok()
        && !file.contains("@refs/")
        && file.split('/').skip(1).all(|segment| !segment.is_empty())
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
