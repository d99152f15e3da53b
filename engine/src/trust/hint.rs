//! Hints for near misses: how a received value differs from the expected one, in a few words.

use serde_json::Value;

use crate::profile::glob;

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

fn texts(expected: &str, received: &str) -> Option<&'static str> {
    let short = |reference: &str| reference.splitn(3, '/').nth(2).map(str::to_owned);
    let is_ref = |text: &str, kind: &str| text.starts_with(kind);
    match nearly(expected, received) {
        Some(hint) => Some(hint),
        None if received.starts_with("refs/pull/")
            || received.starts_with("refs/merge-requests/") =>
        {
            Some("the run is for a pull request")
        }
        None if is_ref(expected, "refs/heads/")
            && is_ref(received, "refs/tags/")
            && short(expected) == short(received) =>
        {
            Some("a tag has the branch's name")
        }
        None if is_ref(expected, "refs/tags/")
            && is_ref(received, "refs/heads/")
            && short(expected) == short(received) =>
        {
            Some("a branch has the tag's name")
        }
        None if expected.contains('*') && glob::matches(expected, received) => Some(
            "`*` is a character like any other here; a pattern is written as {\"glob\": \"…\"}",
        ),
        None => None,
    }
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
}
