//! `GET /admin/v1/audit-events`: lists audit events, the latest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::described::{DescribedRoutes, Method, Operation, page, page_size, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{bad_query, rejected, respond, within_answer};
use crate::admin::{self, Author};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::clock::Timestamp;
use crate::documents::FederatedCredentialDocument;
use crate::ids::{self, EventId};
use crate::store::{AuditFilter, AuditPage, PrincipalView, StoreError};

const PAGE: u64 = 50;
const LARGEST_PAGE: u64 = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    credential: Option<String>,
    principal: Option<String>,
    outcome: Option<String>,
    since: Option<String>,
    limit: Option<u64>,
    cursor: Option<String>,
}

pub fn routes() -> DescribedRoutes {
    let text = || json!({ "type": "string" });
    let listing = Operation::new("List audit events, the latest first")
        .query(
            "credential",
            &text(),
            "Events that this rule is part of: its name or id.",
        )
        .query(
            "principal",
            &text(),
            "Events that this principal is part of.",
        )
        .query(
            "outcome",
            &json!({ "enum": Outcome::ALL.map(Outcome::as_str) }),
            "Events of this outcome only.",
        )
        .query(
            "since",
            &json!({ "type": "string", "format": "date-time" }),
            "Events since this time.",
        )
        .query("limit", &page_size(), "How many events.")
        .query("cursor", &text(), "The `next_cursor` of the page before.")
        .answer("200", "A page.", &page(&reference("AuditEvent")));
    DescribedRoutes::default().route(Method::Get, "/audit-events", list, listing)
}

/// `GET /admin/v1/audit-events`
async fn list(
    State(app): State<Arc<App>>,
    caller: AdminCaller,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::ReadCredentials).await?;
        let Ok(Query(query)) = query else {
            return Err(bad_query(
                "the query must hold only credential, principal, outcome, since, limit (a number) and cursor",
            ));
        };
        if author.principals.is_some() {
            // A token limited to principals lists the events of the one that `principal` names.
            let allowed = query.principal.as_deref().is_some_and(|principal| author.may_act_for(principal));
            if !allowed {
                return Err(bad_query("principal must be one of the principals that the token is limited to"));
            }
        }
        let filter = AuditFilter { of_credentials: !author.sees_everything, ..filter(&app, &query, &author).await? };
        let limit = query.limit.unwrap_or(PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(bad_query("limit must be 1 to 500"));
        }
        let before: Option<EventId> = match query.cursor.as_deref().map(str::parse) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Err(bad_query("cursor must be the next_cursor of another page of this list")),
        };
        app.flush_audit().await;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = app.store.audit_events(&filter, before, limit).await;
        let AuditPage { events, next } = page.map_err(|error: StoreError| rejected(error.into()))?;
        let limited_to = author.principals.as_ref().and(query.principal.as_deref());
        let items = events.iter().map(|(event, seen)| match limited_to {
            None => item(event),
            Some(principal) => own_part(item(event), principal, seen),
        });
        let (items, shown) = within_answer(items);
        let cut = events.get(shown.saturating_sub(1)).filter(|_| shown < events.len()).map(|(event, _)| event.id);
        Ok(Json(json!({ "items": items, "next_cursor": cut.or(next) })).into_response())
    })
    .await
}

/// Reduces an event to the part of one principal: its own rules, and the workload's claims only if
/// the token request was meant for this principal.
fn own_part(mut item: Value, principal: &str, seen: &PrincipalView) -> Value {
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
            members.insert("credential".to_owned(), json!(seen.credentials.first()));
        }
        members.insert("principal".to_owned(), principal.into());
        if !seen.claims {
            for private in [
                "address",
                "subject",
                "assertion",
                "client_id",
                "token_id",
                "trusted_issuer",
                "resource",
            ] {
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

async fn filter(app: &App, query: &AuditQuery, author: &Author) -> Result<AuditFilter, Response> {
    let outcome = match &query.outcome {
        None => None,
        Some(word) => {
            let detail =
                "outcome must be one of issued, refused, created, updated, deleted, revoked";
            Some(Outcome::from_word(word).ok_or_else(|| bad_query(detail))?)
        }
    };
    let since = match &query.since {
        None => None,
        Some(text) => {
            let time = Timestamp::parse_rfc3339(text);
            Some(time.ok_or_else(|| {
                bad_query("since must be a time in RFC 3339, for example 2027-01-31T00:00:00Z")
            })?)
        }
    };
    // An id also finds the events of a deleted rule.
    let credential = match &query.credential {
        None => None,
        Some(name) => {
            if let Ok(id) = name.parse() {
                Some(id)
            } else {
                let stored = admin::find::<FederatedCredentialDocument>(app, name, author)
                    .await
                    .map_err(rejected)?;
                stored.id.parse().ok()
            }
        }
    };
    // By name, or by the id, which also finds a deleted principal. A query for a rule alone adds
    // its principal, because events are indexed by principal.
    let rules = app.rules();
    let id_of = |name: &str| {
        rules
            .principal(&name.to_ascii_lowercase())
            .map(|principal| principal.id.clone())
    };
    let of_rule = || {
        rules
            .credential(credential?)
            .and_then(|rule| id_of(&rule.principal))
    };
    let principal = match &query.principal {
        Some(name) => Some(id_of(name).unwrap_or_else(|| name.clone())),
        None => of_rule(),
    };
    Ok(AuditFilter {
        credential,
        principal,
        outcome,
        since,
        of_credentials: false,
    })
}

fn item(event: &AuditEvent) -> Value {
    let detail = serde_json::from_str::<Value>(&event.detail).unwrap_or_default();
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
        "reason": event.reason,
        "trusted_issuer": event.trusted_issuer,
        "credential": event.credential,
        "principal": event.principal,
        "resource": event.resource,
        "client_id": event.client_id,
        "actor": event.actor,
        "subject": subject,
        "assertion": event.assertion,
        "count": event.count,
        "last_at": event.last.map(|last| ids::time_of(last.0).to_string()),
        "last_error_id": event.last,
        "proof": Value::Null,
        "serial": Value::Null,
        "token_id": event.token_id,
        "address": event.address,
        "detail": detail,
    })
}
