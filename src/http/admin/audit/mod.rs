//! `GET /admin/v1/audit-events`: lists audit events, the latest first, and
//! `GET /admin/v1/audit-events/{id}` reads one.

mod query;
mod shown;

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use self::query::{AuditQuery, Search};
use self::shown::own_part;
use super::described::{DescribedRoutes, Method, Operation, page, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{bad_query, rejected, respond};
use super::paging::within_answer;
use crate::admin::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, item};
use crate::ids::{self, EventId};
use crate::store::{AuditFilter, AuditPage, PrincipalView, StoreError};

pub fn routes() -> DescribedRoutes {
    let mut found = page(&reference("AuditEvent"));
    if let Some(members) = found.get_mut("properties").and_then(Value::as_object_mut) {
        members.insert(
            "searched_until".to_owned(),
            json!({
                "type": ["string", "null"], "format": "date-time",
                "description": "All later events were searched; null once all events were.",
            }),
        );
    }
    let listing = query::described(Operation::new("List audit events, the latest first"))
        .answer("200", "A page.", &found);
    let reading =
        Operation::new("Read an audit event").answer("200", "It.", &reference("AuditEvent"));
    DescribedRoutes::default()
        .route(Method::Get, "/audit-events", list, listing)
        .route(Method::Get, "/audit-events/{id}", read, reading)
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
                "the query must hold only credential, principal, outcome, reason, repository, error_id, token_id, \
                 address, trusted_issuer, client_id, assertion, since, until, limit (a number) and cursor",
            ));
        };
        let Search {
            filter,
            before,
            limit,
            reader,
        } = query.into_search(&app, &author).await?;
        app.flush_audit().await;
        let page = app.store.audit_events(&filter, before, limit).await;
        let AuditPage { events, next } =
            page.map_err(|error: StoreError| rejected(error.into()))?;
        let items = events
            .iter()
            .map(|(event, seen)| shown_to(&app, reader.as_deref(), event, seen));
        let (items, shown) = within_answer(items);
        let cut = events
            .get(shown.saturating_sub(1))
            .filter(|_| shown < events.len())
            .map(|(event, _)| event.id);
        let next = cut.or(next);
        let searched = next.map(|next| ids::time_of(next.0).to_string());
        let body = json!({ "items": items, "next_cursor": next, "searched_until": searched });
        Ok(Json(body).into_response())
    })
    .await
}

/// `GET /admin/v1/audit-events/{id}`
async fn read(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::ReadCredentials).await?;
        let found = find(&app, &author, &id).await.map_err(rejected)?;
        let (reader, event, seen) = found;
        Ok(Json(shown_to(&app, reader.as_deref(), &event, &seen)).into_response())
    })
    .await
}

fn shown_to(app: &App, reader: Option<&str>, event: &AuditEvent, seen: &PrincipalView) -> Value {
    let rules = app.rules();
    let whole = item(event, &rules);
    match reader {
        None => whole,
        Some(principal) => own_part(whole, principal, seen, &rules),
    }
}

/// An event as an author may see it: for a token that is limited to principals, the principal that
/// sees it.
pub(super) type Found = (Option<String>, AuditEvent, PrincipalView);

/// The event with this id, or the one that counts a refusal with this `error_id`. To an author
/// limited to principals, events in which none of them has a part do not exist.
pub(super) async fn find(app: &App, author: &Author, id: &str) -> Result<Found, Rejected> {
    let id: EventId = id.parse().map_err(|_| Rejected::NotFound)?;
    app.flush_audit().await;
    let readers: Vec<Option<String>> = match &author.principals {
        None => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    for reader in readers {
        let principal = match &reader {
            None => None,
            Some(name) => match app.rules().principal(&name.to_ascii_lowercase()) {
                Some(principal) => Some(principal.id.clone()),
                None => continue,
            },
        };
        let filter = AuditFilter {
            error_id: Some(id),
            principal,
            of_credentials: !author.sees_everything,
            for_principal: reader.is_some(),
            ..AuditFilter::default()
        };
        let page = app.store.audit_events(&filter, None, 1).await?;
        if let Some((event, seen)) = page.events.into_iter().next() {
            return Ok((reader, event, seen));
        }
    }
    Err(Rejected::NotFound)
}
