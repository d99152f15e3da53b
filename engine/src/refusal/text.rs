//! The `error_description` of a refusal: one line of text, since most OAuth libraries show nothing
//! else of an error answer.
//!
//! RFC 6749 section 5.2 allows printable ASCII without quotation marks and backslashes. Rule
//! authors and callers choose the values, so nothing of them may break out of the line.

use serde_json::Value;

use super::{Mismatch, Refusal};
use crate::reason::Class;

/// The longest value in a description, in bytes.
const MAX_VALUE_BYTES: usize = 128;
/// The longest text and the longest list in a member of an error answer.
const MAX_TEXT_BYTES: usize = 512;
const MAX_ELEMENTS: usize = 20;

/// The sentence of the reason, followed by field, expected and received value.
pub(super) fn description(refusal: &Refusal) -> String {
    let sentence = refusal.reason.sentence();
    let mut said = refusal
        .mismatches
        .iter()
        .find(|mismatch| mismatch.reason == refusal.reason)
        .or(refusal.mismatches.first())
        .map(mismatch)
        .unwrap_or_default();
    if said.is_empty() {
        said = facts(refusal);
    }
    if said.is_empty() {
        said = unmet(refusal);
    }
    if said.is_empty() {
        sentence.to_owned()
    } else {
        format!("{sentence}: {said}")
    }
}

fn mismatch(mismatch: &Mismatch) -> String {
    let mut said = format!(
        "{} expected {}, received {}",
        printable(&mismatch.field),
        plain(&mismatch.expected),
        plain(&mismatch.received)
    );
    if let Some(hint) = mismatch.hint {
        said = format!("{said} ({})", printable(hint));
    }
    format!("{said}; rule {}", printable(&mismatch.name))
}

/// What was asked for and what the matching rules permit. That rules match is proof enough; other
/// facts are members of the answer alone.
fn facts(refusal: &Refusal) -> String {
    let (Some(parameter), Some(facts)) = (refusal.parameter, refusal.facts.as_deref()) else {
        return String::new();
    };
    let received = |value: &Value| format!("received {}", plain(value));
    let permitted = |value: &Value| format!("permitted {}", plain(value));
    let fit = |count: usize| format!("{count} packages fit");
    let after_match = [
        facts.permitted.as_ref().map(permitted),
        facts.packages_that_fit.map(fit),
    ];
    if after_match.iter().all(Option::is_none) {
        return String::new();
    }
    let before = [
        Some(printable(parameter)),
        facts.received.as_ref().map(received),
    ];
    let parts: Vec<String> = before.into_iter().chain(after_match).flatten().collect();
    parts.join(", ")
}

/// What is wrong with the connection, or with what the client is held to. These are texts of this
/// server about what the caller itself sent.
fn unmet(refusal: &Refusal) -> String {
    let is_unmet = matches!(refusal.reason.class(), Class::Certificate | Class::Profile);
    let what = refusal.facts.as_deref().filter(|_| is_unmet);
    let what = what.and_then(|facts| facts.malformed.as_deref());
    what.map(printable).unwrap_or_default()
}

/// A value as text: a list as its elements, a matcher by its word.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) if text.is_empty() => "an empty text".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(elements) => elements.iter().map(plain).collect::<Vec<_>>().join(" or "),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match name.as_str() {
                "any_of" => plain(value),
                "none_of" => format!("none of {}", plain(value)),
                name => format!("{name} {}", plain(value)),
            })
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    };
    printable(&text)
}

/// The characters of a text that `error_description` allows, the others replaced, in at most
/// `MAX_VALUE_BYTES` bytes.
fn printable(text: &str) -> String {
    let allowed = |character: char| match character {
        '"' => '\'',
        '\\' => '/',
        ' '..='~' => character,
        _ => '?',
    };
    let mut shown: String = text.chars().take(MAX_VALUE_BYTES).map(allowed).collect();
    if text.chars().nth(MAX_VALUE_BYTES).is_some() {
        shown.truncate(MAX_VALUE_BYTES.saturating_sub(3));
        shown.push_str("...");
    }
    shown
}

/// A value in the form that error answers have: long texts and long lists are cut, and a text with
/// characters that could mean something to whoever shows the answer is not repeated.
pub(super) fn shortened(value: Value) -> Value {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !b"\"\\<>`$".contains(&byte);
    match value {
        Value::String(text) if !text.bytes().all(is_plain) => {
            let length = text.len();
            Value::String(format!(
                "(a text of {length} bytes with special characters)"
            ))
        }
        Value::String(text) if text.len() > MAX_TEXT_BYTES => {
            let kept: String = text.chars().take(MAX_TEXT_BYTES / 4).collect();
            Value::String(format!("{kept}... ({} bytes)", text.len()))
        }
        Value::Array(elements) => {
            let left_out = elements.len().saturating_sub(MAX_ELEMENTS);
            let mut kept: Vec<Value> = elements
                .into_iter()
                .take(MAX_ELEMENTS)
                .map(shortened)
                .collect();
            if left_out > 0 {
                kept.push(Value::String(format!("... ({left_out} more)")));
            }
            Value::Array(kept)
        }
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, shortened(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::CredentialId;
    use crate::reason::Reason;

    fn mismatched(expected: Value, received: Value) -> Refusal {
        let mismatch = Mismatch {
            credential: CredentialId::new(crate::clock::Timestamp::from_seconds(0)),
            name: "release".to_owned(),
            field: "environment".to_owned(),
            expected,
            received,
            reason: Reason::EnvMismatch,
            hint: None,
        };
        Refusal::no_match(Reason::EnvMismatch, vec![mismatch])
    }

    #[test]
    fn a_description_has_field_expected_and_received_of_the_reason() {
        assert_eq!(
            mismatched(json!({"any_of": ["production", "live"]}), json!("staging")).description(),
            "the job runs in another environment: environment expected production or live, received staging; rule release"
        );
        assert_eq!(
            Refusal::parameter(Reason::ScopeNotGranted, "scope")
                .received("unlist")
                .permitted(json!(["create", "publish"]))
                .description(),
            "the scope asks for more than the matching rules permit: scope, received unlist, permitted create or publish"
        );
        assert_eq!(
            Refusal::new(Reason::Replay).description(),
            Reason::Replay.sentence()
        );
    }

    #[test]
    fn a_description_is_about_its_own_reason_and_says_how_values_differ() {
        let mut refusal = mismatched(json!("production"), json!("Production"));
        let mut other = refusal.mismatches.clone();
        for mismatch in &mut other {
            mismatch.field = "ref".to_owned();
            mismatch.reason = Reason::RefMismatch;
        }
        for mismatch in &mut refusal.mismatches {
            mismatch.hint = Some("differs only in letter case");
        }
        refusal.mismatches.splice(0..0, other);
        let described = refusal.description();
        assert!(
            described.ends_with(
                "environment expected production, received Production (differs only in letter case); rule release"
            ),
            "{described}"
        );
        refusal.reason = Reason::PrincipalMismatch;
        assert!(refusal.description().contains(": ref expected"));
        // What was received says nothing without what is permitted.
        let bare = Refusal::parameter(Reason::TargetUnknown, "resource").received("x");
        assert_eq!(bare.description(), Reason::TargetUnknown.sentence());
    }

    #[test]
    fn rfc6749_5_2_2__values_in_a_description_stay_in_its_character_set_and_are_cut() {
        let hostile = "a\"b\\c\nd\u{1b}é".to_owned() + &"x".repeat(500);
        let described = mismatched(json!(hostile), json!({ "glob": hostile })).description();
        let allowed = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
        assert!(described.chars().all(allowed), "{described}");
        assert!(described.contains("a'b/c?d??xxx"), "{described}");
        assert!(described.contains("..."));
        assert!(described.len() < 400, "{}", described.len());
    }

    #[test]
    fn long_values_of_an_answer_are_cut_and_say_so() {
        assert_eq!(shortened(json!("short")), json!("short"));
        let long = shortened(json!("x".repeat(513)));
        assert!(
            long.as_str()
                .is_some_and(|text| text.ends_with("... (513 bytes)"))
        );
        assert_eq!(shortened(json!("x".repeat(512))), json!("x".repeat(512)));
        for hostile in [
            "a\r\nSet-Cookie: b",
            "<script>",
            "${jndi:x}",
            "caf\u{e9}",
            "\"",
            "a\\b",
        ] {
            let shown = shortened(json!([hostile]))[0].as_str().map(str::to_owned);
            let said = format!(
                "(a text of {} bytes with special characters)",
                hostile.len()
            );
            assert_eq!(shown, Some(said), "{hostile}");
        }
        let list = shortened(json!(vec!["a"; 22]));
        assert_eq!(list.as_array().map(Vec::len), Some(21));
        assert_eq!(list[20], json!("... (2 more)"));
        assert_eq!(shortened(json!(vec![1; 20])), json!(vec![1; 20]));
    }
}
