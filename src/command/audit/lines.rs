//! An audit event as text: one line, and indented below it what explains it.

use carnet_exchange::web::printable;
use serde_json::{Map, Value};

use super::publication::publication;
use crate::audit::DIFFERENT_REQUESTS;

/// How many characters of a value a line shows.
const SHOWN_CHARACTERS: usize = 200;

/// The lines of an event. Texts of callers cannot control the terminal.
pub(super) fn lines(event: &Value) -> Vec<String> {
    let detail = event.get("detail").unwrap_or(&Value::Null);
    let mut below: Vec<String> = Vec::new();
    below.extend(counted(event, detail));
    if let Some(used) = event.get("first_use").filter(|used| used.is_object()) {
        let (at, id) = (shown(used.get("at")), shown(used.get("event")));
        below.push(format!("the assertion was first used at {at} in {id}"));
    }
    match event.get("outcome").and_then(Value::as_str) {
        Some("issued") => below.push(issued(event, detail)),
        Some("revoked") => below.push(revoked(event, detail)),
        Some("refused") => below.extend(refused(event, detail)),
        Some("signed_in" | "signed_out" | "sign_in_refused") => below.push(session(event, detail)),
        Some("published" | "publication_refused" | "publication_unclear") => {
            below.extend(publication(event, detail));
        }
        _ => {}
    }
    below.extend(changed(event, detail));
    if let Some(text) = detail.get("detail") {
        below.push(shown(Some(text)));
    }
    let mismatches = detail.get("mismatches").and_then(Value::as_array);
    let mismatches = mismatches.into_iter().flatten();
    below.extend(mismatches.map(|one| mismatch(one, event.get("credential"))));
    if let Some(url) = detail.get("workload_url") {
        below.push(shown(Some(url)));
    }
    let below = below.into_iter().map(|line| format!("    {line}"));
    [summary(event)].into_iter().chain(below).collect()
}

fn counted(event: &Value, detail: &Value) -> Option<String> {
    let count = event.get("count").and_then(Value::as_u64).unwrap_or(1);
    let different = match detail.get(DIFFERENT_REQUESTS) {
        Some(_) => ", of different requests",
        None => "",
    };
    let (at, id) = (
        shown(event.get("last_at")),
        shown(event.get("last_error_id")),
    );
    (count > 1).then(|| format!("{count} times{different}, the last at {at} ({id})"))
}

/// The token and what it is good for.
fn issued(event: &Value, detail: &Value) -> String {
    format!(
        "token {} for client {}, scope {}, until {}",
        shown(event.get("token_id")),
        shown(event.get("client_id")),
        shown(detail.get("scope")),
        shown(detail.get("expires_at")),
    )
}

/// What was revoked, what the request named it by, and who revoked it.
fn revoked(event: &Value, detail: &Value) -> String {
    let token = event.get("token_id").filter(|token| !token.is_null());
    let named = detail.get("named").and_then(Value::as_object);
    let named = named
        .into_iter()
        .flatten()
        .filter(|(_, value)| Some(*value) != token)
        .map(|(member, value)| format!("{} {}", printable(member), shown(Some(value))));
    let token = token.map(|token| format!("token {}", shown(Some(token))));
    let what: Vec<String> = token.into_iter().chain(named).collect();
    let by = match detail.get("revoked_by") {
        None | Some(Value::Null) => "its holder".to_owned(),
        by => shown(by),
    };
    format!("{} revoked by {by}", what.join(", "))
}

/// Whose session began or ended, by which provider, and who ended it.
fn session(event: &Value, detail: &Value) -> String {
    let person = event.get("person").filter(|person| !person.is_null());
    let mut line = format!(
        "{} by identity provider {}",
        shown(person.or_else(|| event.get("subject"))),
        shown(detail.get("identity_provider"))
    );
    for name in ["username", "session", "ended_by"] {
        if let Some(value) = detail.get(name).filter(|value| !value.is_null()) {
            let words = [", ", &name.replace('_', " "), " ", &short(value)];
            line.extend(words);
        }
    }
    line
}

/// What a refused request asked for, what it would have been given, and what was wrong with a
/// document.
fn refused(event: &Value, detail: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let requested = detail.get("requested").and_then(Value::as_object);
    let requested: Vec<String> = requested
        .into_iter()
        .flatten()
        .map(|(name, value)| match name.as_str() {
            "left_out" => format!("not kept: {}", short(value)),
            name => format!("{} {}", printable(name), short(value)),
        })
        .collect();
    if !requested.is_empty() {
        lines.push(format!("asked for: {}", requested.join(", ")));
    }
    for name in ["received", "permitted"] {
        lines.extend(
            detail
                .get(name)
                .map(|value| format!("{name} {}", short(value))),
        );
    }
    if let Some(access) = detail.get("access") {
        let (token, actor) = (shown(event.get("token_id")), shown(event.get("actor")));
        let (access, scope) = (shown(Some(access)), shown(detail.get("scope")));
        lines.push(format!(
            "the admin token {token} of {actor} has the scope {scope}, which does not include {access}"
        ));
    }
    lines
}

/// Which object was changed by whom, each member that differs, and the mistakes of a refused
/// document.
fn changed(event: &Value, detail: &Value) -> Vec<String> {
    let Some(kind) = detail.get("kind") else {
        return Vec::new();
    };
    let is_known = |value: &&Value| !value.is_null();
    let actor = event.get("actor").filter(is_known);
    let actor = shown(actor.or_else(|| event.get("client_id")));
    let with = match event.get("token_id").filter(is_known) {
        Some(token) => format!(" with token {}", shown(Some(token))),
        None => String::new(),
    };
    let mut lines = vec![format!(
        "{} {} by {actor}{with}",
        shown(Some(kind)),
        shown(detail.get("name"))
    )];
    if let (Some(before @ Value::Object(_)), Some(after @ Value::Object(_))) =
        (detail.get("before"), detail.get("after"))
    {
        differences("", before, after, &mut lines);
    }
    let mistakes = detail.get("mistakes").or_else(|| detail.get("problems"));
    let mistakes = mistakes.and_then(Value::as_array).into_iter().flatten();
    lines.extend(mistakes.map(|mistake| shown(Some(mistake))));
    lines
}

/// The members that differ, by their path. Those of an object are compared one by one.
fn differences(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        if before != after {
            lines.push(format!("{path}: {} -> {}", short(before), short(after)));
        }
        return;
    };
    let added = new.keys().filter(|name| !old.contains_key(*name));
    for name in old.keys().chain(added) {
        let inner = match path {
            "" => printable(name),
            path => format!("{path}.{}", printable(name)),
        };
        let of = |members: &Map<String, Value>| members.get(name).cloned().unwrap_or_default();
        // The revision follows from the other members.
        if inner != "revision" {
            differences(&inner, &of(old), &of(new), lines);
        }
    }
}

/// A value in JSON, a text without quotes, cut to [`SHOWN_CHARACTERS`].
fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        value => shown(Some(value)),
    };
    let mut short: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Time, outcome, reason, principal and rule, workload, resource, address and id, each `-` if the
/// event has none.
fn summary(event: &Value) -> String {
    let of = |name: &str| Some(shown(event.get(name))).filter(|text| text != "-");
    let rule = of("credential_name").or_else(|| of("credential"));
    let rule = match (of("principal"), rule) {
        (Some(principal), Some(rule)) => format!("{principal}:{rule}"),
        (principal, rule) => principal.or(rule).unwrap_or_else(|| "-".to_owned()),
    };
    let workload = of("repository").or_else(|| of("subject"));
    let column = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        column(of("at")),
        column(of("outcome")),
        column(of("reason")),
        rule,
        column(workload),
        column(of("resource")),
        column(of("address")),
        column(of("id")),
    ]
    .join("  ")
}

/// An unmet condition. It names its rule if that is another one than the event's.
fn mismatch(mismatch: &Value, of_event: Option<&Value>) -> String {
    let rule = mismatch.get("credential");
    let name = mismatch.get("name").filter(|name| !name.is_null());
    let rule = match name.or(rule) {
        Some(name) if rule != of_event => format!("rule {}: ", shown(Some(name))),
        _ => String::new(),
    };
    let json = |name: &str| {
        let value = mismatch.get(name).unwrap_or(&Value::Null);
        printable(&value.to_string())
    };
    let hint = match mismatch.get("hint") {
        Some(Value::String(hint)) => format!("; {}", printable(hint)),
        _ => String::new(),
    };
    format!(
        "{rule}{}: expected {}, received {} ({}){hint}",
        shown(mismatch.get("field")),
        json("expected"),
        json("received"),
        shown(mismatch.get("reason")),
    )
}

pub(super) fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(other) => printable(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_without_an_actor_names_the_client() {
        let detail = json!({ "kind": "signing key", "name": "resealed" });
        let event = json!({ "outcome": "updated", "client_id": "carnet-cli", "detail": detail });
        let printed = lines(&event);
        assert_eq!(
            printed.last().unwrap(),
            "    signing key resealed by carnet-cli"
        );
    }

    #[test]
    fn a_change_shows_each_member_that_differs_and_no_more() {
        let detail = json!({
            "kind": "federated credential", "name": "release",
            "before": { "revision": 1, "enabled": true, "match": { "ref": "a", "repository": "o/r" } },
            "after": { "revision": 2, "enabled": true, "match": { "ref": "b\u{1b}[1m", "repository": "o/r" }, "review": 3 },
        });
        let event =
            json!({ "outcome": "updated", "actor": "me", "token_id": "t", "detail": detail });
        let printed = lines(&event);
        assert_eq!(printed.len(), 4, "{printed:?}");
        assert_eq!(
            printed[1],
            "    federated credential release by me with token t"
        );
        assert!(printed[2].starts_with("    match.ref: a -> b") && !printed[2].contains('\u{1b}'));
        assert_eq!(printed[3], "    review: none -> 3");
    }

    #[test]
    fn a_condition_of_another_rule_than_the_events_names_its_rule() {
        let unmet = |rule: &str| json!({ "credential": rule, "name": format!("name-of-{rule}"), "field": "ref", "expected": "a", "received": "b", "reason": "ref_mismatch" });
        let detail = json!({ "mismatches": [unmet("fc_1"), unmet("fc_2")] });
        let event = json!({ "outcome": "refused", "credential": "fc_1", "detail": detail });
        let printed = lines(&event);
        assert_eq!(
            printed[1..],
            [
                "    ref: expected \"a\", received \"b\" (ref_mismatch)",
                "    rule name-of-fc_2: ref: expected \"a\", received \"b\" (ref_mismatch)",
            ]
        );
    }

    #[test]
    fn claims_of_strangers_cannot_rearrange_the_line_that_shows_them() {
        let event = json!({
            "at": "2026-11-28T00:00:00Z", "outcome": "refused", "repository": "a/b\u{202e}detnarg\u{2066}",
            "detail": { "detail": "x\u{a0}\u{3000}y", "mismatches": [{ "field": "sub", "received": "\u{200b}z" }] },
        });
        let shown = lines(&event).join("\n");
        let hidden = |c: char| c != '\n' && (c.is_control() || !c.is_ascii());
        assert!(!shown.contains(hidden), "{shown}");
        assert!(shown.contains(r"a/b\u{202e}detnarg\u{2066}"), "{shown}");
    }
}
