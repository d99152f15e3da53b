//! The audit events, the latest first.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::guard::{Access, guard};
use super::objects::{bad_query, rejected, respond, within_answer};
use crate::admin::{self, Author};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::clock::Timestamp;
use crate::ids::{self, EventId};
use crate::objects::FederatedCredentialDocument;
use crate::store::{AuditFilter, StoreError};

const PAGE: u64 = 50;
const LARGEST_PAGE: u64 = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    credential: Option<String>,
    principal: Option<String>,
    outcome: Option<String>,
    since: Option<String>,
    limit: Option<u64>,
    cursor: Option<String>,
}

/// `GET /admin/v1/audit-events`
pub async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Response {
    respond(async {
        let author = guard(&app, &headers, Access::ReadCredentials).await?;
        let Ok(Query(query)) = query else {
            return Err(bad_query("credential, principal, outcome, since, limit and cursor are known"));
        };
        if author.principals.is_some() {
            // A limited token sees what concerns one of its principals, so it has to say which.
            let allowed = query.principal.as_deref().is_some_and(|principal| author.may_act_for(principal));
            if !allowed {
                return Err(bad_query("this token sees the events of its principals only: name one with principal"));
            }
        }
        let filter = AuditFilter { of_credentials: !author.sees_everything, ..filter(&app, &query, &author).await? };
        let limit = query.limit.unwrap_or(PAGE);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(bad_query("limit is 1 to 500"));
        }
        let before: Option<EventId> = match query.cursor.as_deref().map(str::parse) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Err(bad_query("the cursor is not one of this list")),
        };
        app.flush_audit().await;
        let events = app.store.audit_events(&filter, before, limit.saturating_add(1)).await;
        let events = events.map_err(|error: StoreError| rejected(error.into()))?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let rules = app.rules();
        let visible = |id: &Value| {
            let credential = id.as_str().and_then(|id| id.parse().ok()).and_then(|id| rules.credential(id));
            credential.is_some_and(|credential| author.may_act_for(&credential.principal))
        };
        let items = events.iter().take(wanted).map(|event| {
            let mut item = item(event);
            // A refusal is described by the candidates of everybody; whoever is limited sees their own.
            if author.principals.is_some()
                && let Some(mismatches) = item.pointer_mut("/detail/mismatches").and_then(Value::as_array_mut)
            {
                mismatches.retain(|mismatch| mismatch.get("credential").is_some_and(visible));
            }
            item
        });
        let (items, shown) = within_answer(items);
        let next = events.get(shown.saturating_sub(1)).filter(|_| events.len() > shown).map(|event| event.id);
        Ok(Json(json!({ "items": items, "next_cursor": next })).into_response())
    })
    .await
}

async fn filter(app: &App, query: &AuditQuery, author: &Author) -> Result<AuditFilter, Response> {
    let outcome = match &query.outcome {
        None => None,
        Some(word) => Some(
            Outcome::from_word(word)
                .ok_or_else(|| bad_query("outcome is issued, refused, created, updated, deleted or revoked"))?,
        ),
    };
    let since = match &query.since {
        None => None,
        Some(text) => Some(Timestamp::parse_rfc3339(text).ok_or_else(|| bad_query("since is a time in RFC 3339"))?),
    };
    // By id also for credentials that are gone.
    let credential = match &query.credential {
        None => None,
        Some(name) => {
            if let Ok(id) = name.parse() {
                Some(id)
            } else {
                let stored = admin::find::<FederatedCredentialDocument>(app, name, author).await.map_err(rejected)?;
                stored.id.parse().ok()
            }
        }
    };
    let rules = app.rules();
    let principal = query.principal.as_ref().map(|name| {
        let principal = rules.principal(&name.to_ascii_lowercase());
        principal.map_or_else(|| name.clone(), |principal| principal.name.clone())
    });
    Ok(AuditFilter { credential, principal, outcome, since, of_credentials: false })
}

fn item(event: &AuditEvent) -> Value {
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
        "token_id": event.token_id,
        "address": event.address,
        "detail": serde_json::from_str::<Value>(&event.detail).unwrap_or_default(),
    })
}
