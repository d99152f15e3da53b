//! Explaining a recorded request again: the claims that its audit event kept are judged by the rules
//! of today.
//!
//! What the event does not hold is taken as met: audience, times and single use, which were checked
//! when the assertion was presented.

use serde_json::{Map, Value, json};

use super::super::{Author, Rejected, audit};
use crate::app::App;
use crate::audit::{AuditEvent, DIFFERENT_REQUESTS};
use crate::model::TrustedIssuer;
use crate::trust::DocumentError;

/// Members that say what is judged, so that an event cannot stand beside them.
const JUDGED: [&str; 6] = [
    "assertion",
    "trusted_issuer",
    "claims",
    "subject_token",
    "actor_token",
    "client_assertion",
];
/// The `jti` of an assertion whose own is not recorded.
const UNKNOWN_ID: &str = "not recorded";

/// Replaces the member `event` by the trusted issuer and the claims of that event, and adds what the
/// recorded request asked for, unless the body has it. Without `event`, nothing changes.
///
/// An event that the author may not see, or whose claims it may not see, does not exist for it.
pub(super) async fn resolve(
    app: &App,
    author: &Author,
    members: &mut Map<String, Value>,
) -> Result<(), Rejected> {
    let Some(event) = members.shift_remove("event") else {
        return Ok(());
    };
    let invalid = |detail: &str| Rejected::Invalid(vec![DocumentError::new("/event", detail)]);
    if JUDGED.iter().any(|name| members.contains_key(*name)) {
        return Err(invalid(
            "must not be given together with an assertion, a token or claims",
        ));
    }
    let unknown = || {
        invalid(
            "must be the id of an audit event that is kept; there is no such event, or the token may not see it. The \
             server's log has the error_id of every refusal, also of those that leave no event",
        )
    };
    let id = event.as_str().ok_or_else(unknown)?;
    let (reader, event, seen) =
        audit::find_event(app, author, id)
            .await
            .map_err(|error| match error {
                Rejected::NotFound => unknown(),
                other => other,
            })?;
    if reader.is_some() && !seen.claims {
        return Err(unknown());
    }
    let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
    let name = event.trusted_issuer.as_deref();
    let Some(name) = name.filter(|_| event.assertion.is_some()) else {
        return Err(invalid(
            "must be the event of an assertion; this event has none whose claims could be judged",
        ));
    };
    if detail.get(DIFFERENT_REQUESTS).is_some() {
        return Err(invalid(
            "must be the event of one request; this event counts different requests, which cannot be explained again",
        ));
    }
    let rules = app.rules();
    let issuer = rules.issuer_named(name).ok_or_else(|| {
        invalid(&format!(
            "must be the event of an existing trusted issuer; {name} does not exist any more"
        ))
    })?;
    let kept = claims(app, issuer, &event, &detail).ok_or_else(|| {
        invalid("must be an event that kept its claims; those of this event took too much space, or an older release recorded it")
    })?;
    members.insert("trusted_issuer".to_owned(), name.into());
    members.insert("claims".to_owned(), Value::Object(kept));
    add_asked(&event, &detail, members).map_err(|name| {
        invalid(&format!(
            "must be an event that kept what its request asked for; {name} of this request was not kept: give it beside the event"
        ))
    })
}

/// Adds what the recorded request asked for, unless the body has it. An error names a parameter that
/// the request had and the event did not keep.
fn add_asked(
    event: &AuditEvent,
    detail: &Value,
    members: &mut Map<String, Value>,
) -> Result<(), String> {
    let left_out = detail.pointer("/requested/left_out");
    let left_out = left_out.and_then(Value::as_array).into_iter().flatten();
    let mut left_out = left_out.filter_map(Value::as_str);
    if let Some(name) = left_out.find(|name| !members.contains_key(*name)) {
        return Err(name.to_owned());
    }
    let requested = |name: &str| detail.get("requested").and_then(|asked| asked.get(name));
    // The tools of a front door name no resource: it is the door's.
    let first = requested("front_door")
        .is_none()
        .then(|| json!(event.resource));
    let asked = [
        ("front_door", requested("front_door")),
        ("package", requested("package")),
        ("grant_type", detail.get("grant_type")),
        ("principal", requested("principal")),
        ("scope", requested("scope")),
        ("resource", requested("resource").or(first.as_ref())),
        ("audience", requested("audience")),
        ("authorization_details", requested("authorization_details")),
    ];
    for (name, value) in asked {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            members.entry(name).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}

/// The claims of the assertion: those that the event kept, and good values for those that were
/// checked when it was presented. `None` if the event did not keep them all.
fn claims(
    app: &App,
    issuer: &TrustedIssuer,
    event: &AuditEvent,
    detail: &Value,
) -> Option<Map<String, Value>> {
    let forwarded = detail.pointer("/workload/claims")?.as_object()?;
    let read = detail.get("claims")?.as_object()?;
    let now = app.clock.now().seconds();
    let rules = app.rules();
    let door = detail
        .pointer("/requested/front_door")
        .and_then(Value::as_str);
    let door = door
        .and_then(|name| rules.resource_server(name))
        .and_then(|server| server.front_door.as_ref());
    let audiences = door.map_or(&issuer.audiences, |door| &door.audiences);
    let id = event.assertion.as_ref()?.jti.as_deref();
    let ends = now.saturating_add(issuer.max_assertion_lifetime_seconds);
    let mut claims = Map::new();
    for (name, value) in [
        ("iss", json!(issuer.issuer)),
        ("sub", detail.pointer("/workload/sub")?.clone()),
        ("aud", json!(audiences.first())),
        ("iat", now.into()),
        ("nbf", now.into()),
        ("exp", ends.into()),
        (&issuer.replay_claim, UNKNOWN_ID.into()),
        ("jti", id.unwrap_or(UNKNOWN_ID).into()),
    ] {
        claims.insert(name.to_owned(), value);
    }
    // The workload names claims as the profile does; the others are kept by their place.
    for (name, value) in forwarded {
        let path = issuer
            .profile
            .claim(name)
            .map_or(name.as_str(), |spec| &spec.path);
        put(&mut claims, path, value);
    }
    for (path, value) in read {
        put(&mut claims, path, value);
    }
    Some(claims)
}

/// Puts a claim at its place: a top-level name, or a JSON Pointer if it begins with `/` (RFC 6901).
fn put(claims: &mut Map<String, Value>, path: &str, value: &Value) {
    let Some(pointer) = path.strip_prefix('/') else {
        claims.insert(path.to_owned(), value.clone());
        return;
    };
    let (first, rest) = match pointer.split_once('/') {
        None => (pointer, None),
        Some((first, rest)) => (first, Some(rest)),
    };
    let name = first.replace("~1", "/").replace("~0", "~");
    let Some(rest) = rest else {
        claims.insert(name, value.clone());
        return;
    };
    let inner = claims
        .entry(name)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        put(inner, &format!("/{rest}"), value);
    }
}
