//! Hints for near misses: how a received value differs from the expected one, in a few words.

use serde_json::Value;

use super::check;
use crate::model::{Condition, Test};
use crate::profile::{Check, Claims, Profile, glob};

/// How two values that are nearly equal differ; `None` if there is no short answer.
///
/// A hint tells nothing beyond the two values, so every reader of the values may see it.
pub fn hint(expected: &Value, received: &Value) -> Option<&'static str> {
    match (expected, received) {
        (_, Value::Null) => Some("the assertion has no such claim"),
        (Value::String(expected), Value::String(received)) => texts(expected, received),
        (Value::Object(matcher), Value::String(received)) => {
            match (matcher.get("glob"), matcher.get("any_of")) {
                (Some(Value::String(pattern)), _) => pattern_missed(pattern, received),
                (_, Some(Value::Array(values))) => values
                    .iter()
                    .filter_map(Value::as_str)
                    .find_map(|value| nearly(value, received)),
                _ => None,
            }
        }
        (Value::String(_), Value::Number(_)) => {
            Some("the assertion has a number where the rule has a text")
        }
        (Value::Number(_), Value::String(_)) => {
            Some("the assertion has a text where the rule has a number")
        }
        (Value::String(_), Value::Array(_)) => {
            Some("the claim is a list: write the rule's value as one")
        }
        _ => None,
    }
}

/// The hint for a condition on a file that the platform writes with a prefix and a revision, such
/// as `owner/repo/.github/workflows/release.yml@refs/heads/main`: only the file's name is compared
/// with the rule's.
pub fn hint_of_file(
    condition: &Condition<'_>,
    profile: &Profile,
    claims: &Claims,
) -> Option<&'static str> {
    let Test::File(expected) = &condition.test else {
        return None;
    };
    let field = check::field(condition, profile)?;
    if let Check::File(file) = &field.check
        && let Some(received) = check::file_name(file, claims)
        && let Some(hint) = files(expected, received)
    {
        return Some(hint);
    }
    // The same field under another setting reads another claim: GitHub's `workflow_binding`.
    let others = profile
        .fields
        .iter()
        .filter(|other| other.name == field.name && other.when != field.when);
    others
        .filter_map(|other| match &other.check {
            Check::File(file) => check::file_name(file, claims),
            _ => None,
        })
        .any(|received| received == *expected)
        .then_some("the other workflow_binding has a file of this name")
}

/// The difference between two names of workflow files.
fn files(expected: &str, received: &str) -> Option<&'static str> {
    let stem = |name: &str| {
        let stem = name.strip_suffix(".yml").or(name.strip_suffix(".yaml"));
        stem.map(str::to_owned)
    };
    if expected.contains('*') && glob::matches(expected, received) {
        Some("`*` is a character like any other here: a file has one name")
    } else if expected != received && stem(expected).is_some() && stem(expected) == stem(received) {
        Some("one name ends in .yml, the other in .yaml")
    } else if expected.rsplit('/').next() == Some(received) {
        Some("the rule has a path where only the file's name is compared")
    } else {
        nearly(expected, received)
    }
}

fn texts(expected: &str, received: &str) -> Option<&'static str> {
    nearly(expected, received)
        .or_else(|| refs(expected, received))
        .or_else(|| habits(expected, received))
}

/// The difference between two names of refs.
fn refs(expected: &str, received: &str) -> Option<&'static str> {
    let is_ref = |text: &str, kind: &str| text.starts_with(kind);
    let short = |reference: &str| {
        let (_, name) = reference.strip_prefix("refs/")?.split_once('/')?;
        Some(name.to_owned())
    };
    let same_name = short(expected).is_some() && short(expected) == short(received);
    if is_ref(received, "refs/pull/") || is_ref(received, "refs/merge-requests/") {
        Some("the run is for a pull request")
    } else if same_name && is_ref(expected, "refs/heads/") && is_ref(received, "refs/tags/") {
        Some("a tag has the branch's name")
    } else if same_name && is_ref(expected, "refs/tags/") && is_ref(received, "refs/heads/") {
        Some("a branch has the tag's name")
    } else if short(received).as_deref() == Some(expected) {
        Some("the claim is a full ref: write refs/heads/ or refs/tags/ before the name")
    } else if short(expected).as_deref() == Some(received) {
        Some("the claim is the short name: leave refs/heads/ or refs/tags/ out")
    } else {
        None
    }
}

/// Habits of other systems: patterns, regular expressions, pasted URLs, subjects with ids.
fn habits(expected: &str, received: &str) -> Option<&'static str> {
    if expected.contains('*') && glob::matches(expected, received) {
        Some("`*` is a character like any other here; a pattern is written as {\"glob\": \"…\"}")
    } else if is_regular_expression(expected) {
        Some("regular expressions are not understood; a pattern is written as {\"glob\": \"…\"}")
    } else if without_ids(received).as_deref() == Some(expected) {
        Some("the platform writes ids into the subject: owner@id/name@id")
    } else if without_ids(expected).as_deref() == Some(received) {
        Some("the rule has ids in the subject, the platform writes none")
    } else if is_pasted(expected, received) {
        Some("the rule has a URL where the claim has a name")
    } else if is_pasted(received, expected) {
        Some("the claim is a URL, the rule has a name")
    } else {
        None
    }
}

fn is_regular_expression(text: &str) -> bool {
    let parts = [".*", ".+", "\\d", "\\w", "\\.", "[0-9", "[a-z", "(?"];
    (text.starts_with('^') || text.ends_with('$')) || parts.iter().any(|part| text.contains(part))
}

/// A subject `repo:owner@1/name@2:…` without its ids; `None` if it has none.
fn without_ids(subject: &str) -> Option<String> {
    let (names, rest) = subject.strip_prefix("repo:")?.split_once(':')?;
    let (owner, name) = names.split_once('/')?;
    let bare = |part: &str| {
        let (name, id) = part.split_once('@')?;
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        is_id.then(|| name.to_owned())
    };
    Some(format!("repo:{}/{}:{rest}", bare(owner)?, bare(name)?))
}

/// Whether `pasted` is `name` in one of the forms in which people copy it.
fn is_pasted(pasted: &str, name: &str) -> bool {
    let rest = ["https://", "http://", "git+https://", "ssh://git@", "git@"]
        .iter()
        .find_map(|scheme| pasted.strip_prefix(scheme));
    rest.is_some_and(|rest| {
        let rest = rest.trim_end_matches('/');
        let rest = rest.strip_suffix(".git").unwrap_or(rest);
        let after_host = rest.split_once(['/', ':']).map(|(_, path)| path);
        !name.is_empty() && (rest == name || after_host == Some(name))
    })
}

/// The difference between two texts that look the same to a person.
fn nearly(expected: &str, received: &str) -> Option<&'static str> {
    let bare = |text: &str| text.trim().trim_end_matches('/').to_owned();
    if received.is_empty() {
        Some("the claim is empty")
    } else if expected.eq_ignore_ascii_case(received) {
        Some("differs only in letter case")
    } else if bare(expected) == bare(received) {
        Some("differs only in white space or a slash at the end")
    } else if !received.is_ascii()
        && expected.is_ascii()
        && expected.chars().count() == received.chars().count()
    {
        Some("holds a character that looks like another one")
    } else {
        None
    }
}

fn pattern_missed(pattern: &str, received: &str) -> Option<&'static str> {
    if glob::matches(&pattern.replace("**", "*").replace('*', "**"), received) {
        Some("`*` stops at a slash; `**` does not")
    } else if glob::matches(
        &pattern.to_ascii_lowercase(),
        &received.to_ascii_lowercase(),
    ) {
        Some("differs only in letter case")
    } else if pattern.contains(['[', '?']) || is_regular_expression(pattern) {
        Some("brackets, ? and regular expressions are not understood in a glob, only * and **")
    } else {
        refs(&pattern.replace('*', "x"), received)
            .filter(|_| {
                received.starts_with("refs/pull/") || received.starts_with("refs/merge-requests/")
            })
            .or_else(|| short_ref_missed(pattern, received))
    }
}

/// A pattern that would match the other form of the ref.
fn short_ref_missed(pattern: &str, received: &str) -> Option<&'static str> {
    let name = |reference: &str| {
        Some(
            reference
                .strip_prefix("refs/")?
                .split_once('/')?
                .1
                .to_owned(),
        )
    };
    if name(received).is_some_and(|name| glob::matches(pattern, &name)) {
        Some("the claim is a full ref: write refs/heads/ or refs/tags/ before the name")
    } else if name(pattern).is_some_and(|pattern| glob::matches(&pattern, received)) {
        Some("the claim is the short name: leave refs/heads/ or refs/tags/ out")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hints_tell_near_misses_apart() {
        for (expected, received, part) in [
            (json!("Release.yml"), json!("release.yml"), "letter case"),
            (
                json!("https://x.test"),
                json!("https://x.test/"),
                "slash at the end",
            ),
            (json!("prod"), json!("prod "), "white space"),
            (json!("prod"), json!("рrod"), "looks like"),
            (
                json!("refs/heads/main"),
                json!("refs/pull/7/merge"),
                "pull request",
            ),
            (json!("refs/heads/v1"), json!("refs/tags/v1"), "a tag has"),
            (
                json!("refs/tags/v1"),
                json!("refs/heads/v1"),
                "a branch has",
            ),
            (
                json!("refs/heads/*"),
                json!("refs/heads/x"),
                "pattern is written",
            ),
            (
                json!({"glob": "refs/heads/*"}),
                json!("refs/heads/a/b"),
                "stops at a slash",
            ),
            (
                json!({"glob": "refs/heads/Rel*"}),
                json!("refs/heads/release"),
                "letter case",
            ),
            (
                json!({"any_of": ["a", "Prod"]}),
                json!("prod"),
                "letter case",
            ),
            (json!("main"), json!("refs/heads/main"), "a full ref"),
            (json!("refs/heads/main"), json!("main"), "the short name"),
            (json!({"glob": "v*"}), json!("refs/tags/v1"), "a full ref"),
            (
                json!({"glob": "refs/tags/v*"}),
                json!("v1"),
                "the short name",
            ),
            (
                json!({"glob": "refs/tags/v[0-9]*"}),
                json!("refs/tags/v1"),
                "brackets",
            ),
            (
                json!({"glob": "refs/heads/*"}),
                json!("refs/pull/7/merge"),
                "pull request",
            ),
            (
                json!("^refs/heads/main$"),
                json!("refs/heads/main"),
                "regular expressions",
            ),
            (
                json!("refs/tags/v.*"),
                json!("refs/tags/v1"),
                "pattern is written",
            ),
            (json!("refs/x/.+"), json!("refs/tags/v1"), "regular"),
            (
                json!("repo:o/r:environment:e"),
                json!("repo:o@1/r@22:environment:e"),
                "ids into the subject",
            ),
            (
                json!("repo:o@1/r@22:ref:x"),
                json!("repo:o/r:ref:x"),
                "ids in the subject",
            ),
            (
                json!("https://github.com/o/r.git"),
                json!("github.com/o/r"),
                "has a URL",
            ),
            (json!("git@github.com:o/r"), json!("o/r"), "has a URL"),
            (json!("o/r"), json!("https://x.test/o/r"), "is a URL"),
            (json!("7"), json!(7), "number where"),
            (json!(7), json!("7"), "text where"),
            (json!("a"), json!(["a"]), "a list"),
            (json!("a"), json!(""), "empty"),
            (json!("a"), json!(null), "no such claim"),
        ] {
            let told = hint(&expected, &received);
            assert!(
                told.is_some_and(|told| told.contains(part)),
                "{expected} {received}: {told:?}"
            );
        }
        for (expected, received) in [
            (json!("repo:o/r:x"), json!("repo:o@/r@2:x")),
            (json!("repo:o/r:x"), json!("repo:o@1/r@z:x")),
            (json!("https://x.test/"), json!("y")),
            (json!("a"), json!("b")),
            (json!("refs/heads/main"), json!("refs/heads/other")),
            (json!("refs/heads/a"), json!("refs/tags/b")),
            (json!({"glob": "refs/tags/v*"}), json!("refs/heads/x")),
            (
                json!({"path": "o/r/x", "sha": "a"}),
                json!({"path": "o/r/y", "sha": "a"}),
            ),
            (json!(true), json!(false)),
        ] {
            assert_eq!(hint(&expected, &received), None, "{expected} {received}");
        }
    }

    #[test]
    fn hints_on_files_tell_near_misses_apart() {
        for (expected, received, part) in [
            ("release.yml", "release.yaml", ".yml"),
            ("Release.yml", "release.yml", "letter case"),
            ("*.yml", "release.yml", "one name"),
            (".github/workflows/release.yml", "release.yml", "a path"),
        ] {
            let told = files(expected, received);
            assert!(
                told.is_some_and(|told| told.contains(part)),
                "{expected} {received}: {told:?}"
            );
        }
        for (expected, received) in [("a.yml", "b.yml"), ("a", "b"), ("a.yml", "b.yaml")] {
            assert_eq!(files(expected, received), None, "{expected} {received}");
        }
    }
}
