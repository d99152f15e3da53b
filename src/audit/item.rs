//! An audit event as JSON, as the admin API answers it and as it is exported.

use serde_json::{Value, json};

use super::AuditEvent;
use crate::ids::{self, CredentialId};
use crate::model::Snapshot;

/// An event with everything in it. Names of rules are those of today.
pub fn item(event: &AuditEvent, rules: &Snapshot) -> Value {
    let mut detail = serde_json::from_str::<Value>(&event.detail).unwrap_or_default();
    let mut apart = |member: &str| detail.as_object_mut()?.shift_remove(member);
    let first_use = apart("first_use");
    // The reasons of the gateway are no reasons of token requests.
    let reason = event
        .reason
        .map(|reason| json!(reason))
        .or_else(|| apart("reason"));
    // The event of an issued token has the subject in `workload`.
    let subject = event
        .subject
        .as_deref()
        .or_else(|| detail.pointer("/workload/sub").and_then(Value::as_str));
    json!({
        "id": event.id,
        "at": ids::time_of(event.id.0).to_string(),
        "kind": event.outcome.kind(),
        "outcome": event.outcome,
        "reason": reason,
        "trusted_issuer": event.trusted_issuer,
        "credential": event.credential,
        "credential_name": event.credential.and_then(|id| name_of(id, rules)),
        "principal": event.principal,
        "resource": event.resource,
        "client_id": event.client_id,
        "actor": event.actor,
        "person": event.person,
        "subject": subject,
        "repository": event.workload.first(),
        "assertion": event.assertion,
        "first_use": first_use,
        "count": event.count,
        "last_at": event.last.map(|last| ids::time_of(last.0).to_string()),
        "last_error_id": event.last,
        "proof": detail.get("cnf"),
        "serial": Value::Null,
        "token_id": event.token_id,
        "address": event.address,
        "detail": detail,
    })
}

/// The name of a rule, unless it was deleted.
pub fn name_of(id: CredentialId, rules: &Snapshot) -> Option<String> {
    let rule = rules.credential(id)?;
    Some(rule.rule.open()?.name.to_owned())
}
