//! Audit events of changes to objects, within `MAX_DETAIL_BYTES` each.

use carnet_jose::{base64url, sha256};
use serde_json::{Map, Value, json};

use super::author::Author;
use super::managed::Managed;
use crate::app::App;
use crate::audit::{AuditEvent, AuditPart, FoldKey, MAX_DETAIL_BYTES, Outcome};
use crate::clock::Timestamp;
use crate::documents::Stored;
use crate::reason::Reason;
use crate::trust::DocumentError;

/// Bytes of JSON above which a member of an oversized detail is replaced by its size and digest.
const MAX_MEMBER_BYTES: usize = 160;
/// How many mistakes of a refused document its event holds in words.
const MAX_MISTAKES: usize = 5;

/// The event of a created, updated or deleted object, with the documents before and after. A detail
/// that is too large keeps the changed members only, in short form.
pub(super) fn event<D: Managed>(
    app: &App,
    author: &Author,
    outcome: Outcome,
    (before, after): (Option<&Stored<D>>, Option<&Stored<D>>),
    now: Timestamp,
) -> AuditEvent {
    let mut event = author.event(now, outcome);
    let object = after.or(before);
    let rules = app.rules();
    // A rule's event belongs to its principal, and if the rule moves, to the former principal too.
    let concerned = [before, after]
        .into_iter()
        .flatten()
        .filter_map(|object| object.document.principal());
    for principal in concerned.filter_map(|name| rules.principal(&name.to_ascii_lowercase())) {
        if event
            .parts
            .iter()
            .all(|part| part.principal_id != principal.id)
        {
            event.parts.push(AuditPart {
                principal_id: principal.id.clone(),
                credential: object.and_then(|object| object.id.parse().ok()),
                revision: None,
                sees_claims: true,
            });
        }
    }
    event
        .parts
        .sort_by(|left, right| left.principal_id.cmp(&right.principal_id));
    event.principal = object
        .and_then(|object| object.document.principal())
        .map(str::to_owned);
    event.credential = object.and_then(|object| object.id.parse().ok());
    let recorded = |object: &Stored<D>| {
        let mut members = object.document.recorded();
        members.extend(D::recorded_state(object));
        members
    };
    let change = D::recorded_change(before, after);
    let (mut before, mut after) = (before.map(recorded), after.map(recorded));
    let detail = |before: &Option<Map<String, Value>>, after: &Option<Map<String, Value>>| {
        let name = object.map(|object| &object.name);
        let mut detail = Map::new();
        detail.insert("kind".to_owned(), D::KIND.noun().into());
        detail.insert("name".to_owned(), json!(name));
        detail.extend(
            change
                .clone()
                .map(|(member, value)| (member.to_owned(), value)),
        );
        detail.insert("before".to_owned(), json!(before));
        detail.insert("after".to_owned(), json!(after));
        Value::Object(detail).to_string()
    };
    event.detail = detail(&before, &after);
    if event.detail.len() > MAX_DETAIL_BYTES {
        only_changes(&mut before, &mut after);
        shorten(&mut before);
        shorten(&mut after);
        event.detail = detail(&before, &after);
    }
    event
}

/// The event of a refused document. Checking it may have sent requests to other servers, so
/// attempts are recorded; equal ones within an hour are counted in one event.
pub(super) fn refused<D: Managed>(
    author: &Author,
    document: &D,
    name: &str,
    problems: &[DocumentError],
    now: Timestamp,
) -> AuditEvent {
    let pointers: Vec<&str> = problems
        .iter()
        .map(|problem| problem.pointer.as_str())
        .collect();
    let mistakes: Vec<String> = problems
        .iter()
        .take(MAX_MISTAKES)
        .map(|problem| brief(&format!("{} {}", problem.pointer, problem.detail)))
        .collect();
    let hour = now.seconds().div_euclid(3600).to_string();
    let alike = [
        D::KIND.noun(),
        name,
        &author.subject,
        &pointers.join(" "),
        &hour,
    ];
    let mut members = Some(document.recorded());
    shorten(&mut members);
    AuditEvent {
        reason: Some(Reason::PolicyInvalid),
        fold: Some(FoldKey::new(&alike, &mistakes.join("\0"))),
        detail: json!({
            "kind": D::KIND.noun(), "name": name, "problems": pointers, "mistakes": mistakes, "document": members,
        })
        .to_string(),
        ..author.event(now, Outcome::Refused)
    }
}

/// A text cut to about [`MAX_MEMBER_BYTES`].
fn brief(text: &str) -> String {
    let mut brief: String = text.chars().take(MAX_MEMBER_BYTES).collect();
    if brief.len() < text.len() {
        brief.push('…');
    }
    brief
}

/// Removes the members that both documents have with equal values.
fn only_changes(before: &mut Option<Map<String, Value>>, after: &mut Option<Map<String, Value>>) {
    if let (Some(before), Some(after)) = (before, after) {
        let same: Vec<String> = before
            .iter()
            .filter(|(name, value)| after.get(*name) == Some(*value))
            .map(|(name, _)| name.clone())
            .collect();
        for name in same {
            before.shift_remove(&name);
            after.shift_remove(&name);
        }
    }
}

/// Replaces each long member by its size in bytes and its SHA-256, which still allows a comparison.
fn shorten(members: &mut Option<Map<String, Value>>) {
    for (_, value) in members.iter_mut().flatten() {
        let text = value.to_string();
        if text.len() > MAX_MEMBER_BYTES {
            let digest = base64url(sha256(text.as_bytes()));
            *value = json!({ "bytes": text.len(), "sha256": digest });
        }
    }
}
