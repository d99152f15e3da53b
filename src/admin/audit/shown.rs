//! Audit events as principals see them.

use serde_json::{Value, json};

use crate::audit::name_of;
use crate::model::Snapshot;
use crate::store::PrincipalView;

/// What a principal sees of an event only if it may see the claims of the workload.
const OF_CLAIMS: [&str; 9] = [
    "address",
    "subject",
    "repository",
    "assertion",
    "client_id",
    "token_id",
    "trusted_issuer",
    "resource",
    "first_use",
];

/// Reduces an event to the part of one principal: its own rules, and the workload's claims only if
/// the token request was meant for this principal.
pub fn own_part(mut item: Value, principal: &str, seen: &PrincipalView, rules: &Snapshot) -> Value {
    let is_own = |part: &Value| {
        let credential = part
            .get("credential")
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok());
        credential.is_some_and(|id| seen.credentials.contains(&id))
    };
    if let Some(members) = item.as_object_mut() {
        let own = members
            .get("credential")
            .is_some_and(|id| is_own(&json!({ "credential": id })));
        if !own {
            let first = seen.credentials.first();
            let name = first.and_then(|id| name_of(*id, rules));
            members.insert("credential".to_owned(), json!(first));
            members.insert("credential_name".to_owned(), json!(name));
        }
        // What is permitted comes from the rules of the event's own principal.
        let permits = members
            .get("principal")
            .and_then(Value::as_str)
            .is_some_and(|owner| owner.eq_ignore_ascii_case(principal));
        if let Some(Value::Object(detail)) = members.get_mut("detail").filter(|_| !permits) {
            detail.shift_remove("permitted");
        }
        members.insert("principal".to_owned(), principal.into());
        if !seen.claims {
            for private in OF_CLAIMS {
                members.insert(private.to_owned(), Value::Null);
            }
            members.insert("detail".to_owned(), json!({}));
        }
    }
    // When a rule moves to another principal, each of the two sees only its own side.
    for side in ["before", "after"] {
        let owner = item
            .pointer(&format!("/detail/{side}/principal"))
            .and_then(Value::as_str);
        if owner.is_some_and(|owner| !owner.eq_ignore_ascii_case(principal))
            && let Some(detail) = item.get_mut("detail").and_then(Value::as_object_mut)
        {
            detail.insert(side.to_owned(), Value::Null);
        }
    }
    for parts in ["/detail/mismatches", "/detail/credentials"] {
        if let Some(parts) = item.pointer_mut(parts).and_then(Value::as_array_mut) {
            parts.retain(is_own);
        }
    }
    item
}
