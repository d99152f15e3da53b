//! A refusal in lines of text: what the rule expects beside what the job had, and how to resolve
//! it.

use serde_json::Value;

use super::web::printable;
use carnet_engine::reason::Reason;

/// Describes the refusal in `body`. Texts of the server are made safe for a log; JSON values keep
/// their quotation marks, so that a blank at the end of one is visible.
pub fn describe(body: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(printable);
    let list = |name: &str| {
        body.get(name)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let code = text(body, "reason")
        .or_else(|| text(body, "error"))
        .unwrap_or_default();
    let sentence = text(body, "error_description")
        .unwrap_or_else(|| "the server gives no description".to_owned());
    let mut lines = vec![format!("the server refused: {code} - {sentence}")];
    for mismatch in list("mismatches") {
        let value = |name: &str| printable(&mismatch.get(name).unwrap_or(&Value::Null).to_string());
        let rule = text(mismatch, "credential")
            .map(|id| format!(" (rule {id})"))
            .unwrap_or_default();
        let field = text(mismatch, "field").unwrap_or_default();
        lines.push(format!(
            "  {field}: expected {}, received {}{rule}",
            value("expected"),
            value("received")
        ));
    }
    for name in ["claim", "parameter"] {
        lines.extend(text(body, name).map(|value| format!("  {name}: {value}")));
    }
    for audience in list("accepted_audiences").iter().filter_map(Value::as_str) {
        lines.push(format!("  accepted audience: {}", printable(audience)));
    }
    if let Some(seconds) = body.get("server_time").and_then(Value::as_i64) {
        lines.push(format!(
            "  the server's clock: {}",
            carnet_engine::clock::Timestamp::from_seconds(seconds)
        ));
    }
    if let Ok(reason) = code.parse::<Reason>() {
        lines.push(format!("  what it means: {}", reason.meaning()));
        lines.push(format!("  how to mend it: {}", reason.remedy()));
    }
    lines.extend(text(body, "error_uri").map(|uri| format!("  more: {uri}")));
    lines.extend(
        text(body, "error_id").map(|id| format!("  error id, for the server's operator: {id}")),
    );
    lines.join("\n")
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
                { "credential": "fc_1", "field": "environment", "expected": "release", "received": null, "reason": "env_mismatch" },
                { "field": "events", "expected": { "any_of": ["push"] }, "received": "a\n::error::b" },
            ],
            "accepted_audiences": ["https://as.test"], "server_time": 1_790_000_000,
        });
        let lines = describe(&body);
        for line in [
            "the server refused: env_mismatch - the job runs in another environment",
            "  environment: expected \"release\", received null (rule fc_1)",
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
            lines.contains("what it means: ") && lines.contains("how to mend it: "),
            "{lines}"
        );
        let other = describe(&json!({ "error": "invalid_request", "error_description": "x\n::y" }));
        assert_eq!(other, "the server refused: invalid_request - x ::y");
    }
}
