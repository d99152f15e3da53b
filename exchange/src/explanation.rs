//! An explanation of the server in lines of text.

use serde_json::Value;

use crate::refusal::{facts, list, text};
use crate::web::printable;

/// Whether the request would be granted.
pub fn allows(explanation: &Value) -> bool {
    explanation.get("verdict").and_then(Value::as_str) == Some("allow")
}

/// Formats an explanation: the verdict, then for each condition what was expected and received. The
/// server's texts are made safe for a log.
pub fn describe(explanation: &Value) -> String {
    let mut lines = Vec::new();
    match explanation.get("granted") {
        Some(granted) => lines.extend(describe_grant(granted)),
        None => lines.extend(describe_refusal(explanation)),
    }
    for check in list(explanation, "checks") {
        lines.extend(describe_condition(check));
    }
    for candidate in list(explanation, "candidates") {
        let matches = candidate.get("matches") == Some(&Value::Bool(true));
        // The server names no principal that the caller did not name.
        let principal = text(candidate, "principal").map(|name| format!(" of {name}"));
        let part = |name: &str| text(candidate, name).unwrap_or_default();
        lines.push(format!(
            "{} {} ({}){}",
            if matches { "matches" } else { "differs" },
            part("name"),
            part("credential"),
            principal.unwrap_or_default(),
        ));
        for condition in list(candidate, "conditions") {
            lines.extend(describe_condition(condition));
        }
    }
    let left_out = explanation.get("candidates_left_out");
    lines.extend(left_out.map(|count| format!("{count} more rules are not shown")));
    lines.join("\n")
}

fn describe_grant(granted: &Value) -> Vec<String> {
    let text = |name: &str| text(granted, name).unwrap_or_default();
    let mut lines = vec![format!(
        "allow: {} at {} for {}",
        text("scope"),
        text("resource"),
        text("sub")
    )];
    let left_out = granted.get("entries_left_out");
    lines.extend(left_out.map(|count| format!("  permissions that do not fit: {count}")));
    lines
}

fn describe_refusal(explanation: &Value) -> Vec<String> {
    let part = |name: &str| text(explanation, name).unwrap_or_default();
    let mut lines = vec![format!(
        "deny: {} - {}",
        part("reason"),
        part("error_description")
    )];
    let told = text(explanation, "caller_reason");
    lines.extend(told.map(|reason| format!("  the caller is told: {reason}")));
    // Every explanation has the server's clock, which only the times of the assertion depend on.
    let is_of_time = matches!(part("claim").as_str(), "exp" | "nbf" | "iat");
    let left_out: &[&str] = if is_of_time { &[] } else { &["server_time"] };
    lines.extend(facts(explanation, left_out));
    let remedy = text(explanation, "remedy");
    lines.extend(remedy.map(|remedy| format!("  how to fix it: {remedy}")));
    lines.extend(text(explanation, "error_uri").map(|uri| format!("  {uri}")));
    lines
}

/// One line for a condition that is met. Otherwise adds the received value, the reason and, if there
/// is one, a hint.
fn describe_condition(condition: &Value) -> Vec<String> {
    let value = |name: &str| printable(&condition.get(name).unwrap_or(&Value::Null).to_string());
    let part = |name: &str| text(condition, name).unwrap_or_default();
    if condition.get("met") == Some(&Value::Bool(true)) {
        return vec![format!("  ok  {}: {}", part("field"), value("expected"))];
    }
    let mut lines = vec![format!(
        "  NO  {}: expected {}, received {} ({})",
        part("field"),
        value("expected"),
        value("received"),
        part("reason")
    )];
    lines.extend(text(condition, "hint").map(|hint| format!("      {hint}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_explanation_shows_verdict_facts_and_every_condition() {
        let denied = json!({
            "verdict": "deny", "reason": "scope_not_granted", "caller_reason": "no_matching_credential",
            "error_description": "the scope is not permitted", "error_uri": "https://as.test/reasons/x",
            "parameter": "scope", "received": "yank", "permitted": "publish", "server_time": 1,
            "remedy": "Ask for less.", "of_a_later_release": 1,
            "checks": [{ "field": "single_use", "expected": "unused", "received": "unused", "met": true }],
            "candidates": [{
                "credential": "fc_1", "name": "octo\n::x", "principal": "acme", "matches": false,
                "conditions": [
                    { "field": "ref", "expected": "a", "received": "A", "met": false, "reason": "ref_mismatch", "hint": "case" },
                ],
            }, { "credential": "fc_2", "name": "of-another", "matches": true, "conditions": [] }],
            "candidates_left_out": 3,
        });
        let expected = [
            "deny: scope_not_granted - the scope is not permitted",
            "  the caller is told: no_matching_credential",
            "  parameter: scope",
            "  received: \"yank\"",
            "  permitted: \"publish\"",
            "  how to fix it: Ask for less.",
            "  https://as.test/reasons/x",
            "  ok  single_use: \"unused\"",
            "differs octo ::x (fc_1) of acme",
            "  NO  ref: expected \"a\", received \"A\" (ref_mismatch)",
            "      case",
            "matches of-another (fc_2)",
            "3 more rules are not shown",
        ];
        assert_eq!(describe(&denied).lines().collect::<Vec<_>>(), expected);
        let expired = describe(
            &json!({ "verdict": "deny", "reason": "expired", "claim": "exp", "server_time": 1 }),
        );
        assert!(
            expired.ends_with("\n  claim: exp\n  the server's clock: 1970-01-01T00:00:01Z"),
            "{expired}"
        );
        let allowed = json!({
            "verdict": "allow", "granted": { "scope": "publish", "resource": "https://r.test", "sub": "pr_1", "entries_left_out": 2 },
        });
        assert_eq!(
            describe(&allowed),
            "allow: publish at https://r.test for pr_1\n  permissions that do not fit: 2"
        );
        assert!(allows(&allowed) && !allows(&denied));
    }
}
