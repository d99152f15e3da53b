//! A refusal in lines of text: what the rule expects beside what the job had, and how to resolve
//! it.

use serde_json::Value;

use crate::retry::Tried;
use crate::web::printable;
use carnet_engine::clock::Timestamp;
use carnet_engine::reason::Reason;

/// Members of an error answer whose line has a text of its own.
const LABELS: [(&str, &str); 12] = [
    ("claim", "claim"),
    ("parameter", "parameter"),
    ("detail", "detail"),
    ("received", "received"),
    ("permitted", "permitted"),
    ("limit", "limit"),
    ("nearest", "did you mean"),
    ("packages_that_fit", "packages that fit into one token"),
    ("used_at", "used at"),
    ("used_in", "used in the audit event"),
    ("server_time", "the server's clock"),
    ("authorization", "scheme of the Authorization header"),
];
/// Describes the refusal in `body`. Texts of the server are made safe for a log; JSON values keep
/// their quotation marks, so that a blank at the end of one is visible.
pub fn describe(body: &Value) -> String {
    let code = text(body, "reason")
        .or_else(|| text(body, "error"))
        .unwrap_or_default();
    let known = code.parse::<Reason>().ok();
    // The description repeats values that the lines below show.
    let sentence = known
        .filter(|_| !list(body, "mismatches").is_empty())
        .map(|reason| reason.sentence().to_owned())
        .or_else(|| text(body, "error_description"))
        .unwrap_or_else(|| "the server gives no description".to_owned());
    let mut lines = vec![format!("the server refused: {code} - {sentence}")];
    for mismatch in list(body, "mismatches") {
        lines.extend(describe_mismatch(mismatch, &code));
    }
    lines.extend(facts(body, &[]));
    lines.extend(known.map(|reason| format!("  what it means: {}", reason.meaning())));
    // The server knows the job's platform, and its remedy speaks of that.
    let remedy = text(body, "remedy").or_else(|| known.map(|reason| reason.remedy().to_owned()));
    lines.extend(remedy.map(|remedy| format!("  how to fix it: {remedy}")));
    lines.extend(text(body, "error_uri").map(|uri| format!("  more: {uri}")));
    lines.extend(
        text(body, "error_id").map(|id| format!("  error id, for the server's operator: {id}")),
    );
    lines.join("\n")
}

/// A further line on earlier tries of the refused request; nothing after a single try.
pub fn tries(tried: &Tried) -> String {
    let said = tried.to_string();
    if said.is_empty() {
        said
    } else {
        format!("\n {said}")
    }
}

/// A condition of a rule that is not met, with the rule's name and id, and how the values differ.
fn describe_mismatch(mismatch: &Value, code: &str) -> Vec<String> {
    let value = |name: &str| json(mismatch.get(name).unwrap_or(&Value::Null));
    let rule: Vec<String> = ["name", "credential"]
        .into_iter()
        .filter_map(|name| text(mismatch, name))
        .collect();
    let rule = if rule.is_empty() {
        String::new()
    } else {
        format!(" (rule {})", rule.join(", "))
    };
    let reason = text(mismatch, "reason")
        .filter(|reason| reason != code)
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let mut lines = vec![format!(
        "  {}: expected {}, received {}{reason}{rule}",
        text(mismatch, "field").unwrap_or_default(),
        value("expected"),
        value("received")
    )];
    lines.extend(text(mismatch, "hint").map(|hint| format!("      {hint}")));
    lines
}

/// A line for every member of an error answer or an explanation that has a label, except those named
/// in `left_out`, and for each accepted audience. Members of later releases are left out: they are
/// in the answer that `--json` prints.
pub fn facts(body: &Value, left_out: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, label) in LABELS
        .into_iter()
        .filter(|(name, _)| !left_out.contains(name))
    {
        let value = body.get(name).filter(|value| !value.is_null());
        lines.extend(value.map(|value| format!("  {label}: {}", shown(name, value))));
    }
    let accepted = list(body, "accepted_audiences").iter();
    for audience in accepted.filter_map(Value::as_str) {
        lines.push(format!("  accepted audience: {}", printable(audience)));
    }
    lines
}

/// The value of a known member. What the caller sent is shown as JSON, so that blanks at its ends
/// are visible.
fn shown(name: &str, value: &Value) -> String {
    match (name, value) {
        ("received" | "permitted", value) => json(value),
        ("server_time", Value::Number(seconds)) if seconds.is_i64() => {
            Timestamp::from_seconds(seconds.as_i64().unwrap_or_default()).to_string()
        }
        (_, value) => plain(value),
    }
}

/// A text as it is, any other value as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| json(value), printable)
}

fn json(value: &Value) -> String {
    printable(&value.to_string())
}

/// A member that is a text, made safe for a log.
pub fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(printable)
}

/// A member that is a list; empty if there is none.
pub fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_is_told_line_by_line() {
        let body = json!({
            "error": "invalid_grant", "error_description": "the job runs in another environment", "reason": "env_mismatch",
            "error_id": "ev_1", "error_uri": "https://as.test/reasons/env_mismatch",
            "mismatches": [
                { "credential": "fc_1", "name": "octo-release", "hint": "only letter case differs", "field": "environment", "expected": "release", "received": null, "reason": "env_mismatch" },
                { "field": "events", "expected": { "any_of": ["push"] }, "received": "a\n::error::b" },
            ],
            "accepted_audiences": ["https://as.test"], "server_time": 1_790_000_000,
            "received": ["publish", " yank"], "permitted": { "actions": ["publish"] }, "limit": 3600,
            "nearest": "https://registry.test/", "detail": "it ends\n::too early", "packages_that_fit": 7,
            "remedy": "Run the job in `release`.", "parameter": null, "of_a_later_release": { "x": 1 },
        });
        let lines = describe(&body);
        for line in [
            "the server refused: env_mismatch - the job runs in another environment",
            "  environment: expected \"release\", received null (rule octo-release, fc_1)",
            "      only letter case differs",
            "  received: [\"publish\",\" yank\"]",
            "  permitted: {\"actions\":[\"publish\"]}",
            "  limit: 3600",
            "  did you mean: https://registry.test/",
            "  detail: it ends ::too early",
            "  packages that fit into one token: 7",
            "  how to fix it: Run the job in `release`.",
            "  events: expected {\"any_of\":[\"push\"]}, received \"a\\n::error::b\"",
            "  accepted audience: https://as.test",
            "  the server's clock: 2026-09-21T14:13:20Z",
            "  more: https://as.test/reasons/env_mismatch",
            "  error id, for the server's operator: ev_1",
        ] {
            assert!(
                lines.lines().any(|other| other == line),
                "{line} in {lines}"
            );
        }
        assert!(
            !lines.contains("parameter")
                && !lines.contains("of_a_later_release")
                && lines.contains("what it means: ")
                && lines.matches("how to fix it: ").count() == 1,
            "{lines}"
        );
        // A server that gives no remedy has that of this program's release.
        let older = describe(&json!({ "error": "invalid_grant", "reason": "env_mismatch" }));
        let remedy = Reason::EnvMismatch.remedy();
        assert!(
            older.ends_with(&format!("  how to fix it: {remedy}")),
            "{older}"
        );
        let other = describe(&json!({ "error": "invalid_request", "error_description": "x\n::y" }));
        assert_eq!(other, "the server refused: invalid_request - x ::y");
    }
}
