//! `GET /admin/v1/audit-events`: lists audit events, the latest first;
//! `GET /admin/v1/audit-events/{id}` reads one, and `GET /admin/v1/audit-events/{id}/run` what happened
//! in its run.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::described::{DescribedRoutes, Method, Operation, page, page_size, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{bad_query, rejected, respond};
use super::paging::within_answer;
use crate::admin::{self, AuditQuery, AuditRefused};
use crate::app::App;
use crate::audit::Outcome;
use crate::ids;

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
    let listing = described(Operation::new("List audit events, the latest first"))
        .answer("200", "A page.", &found);
    let reading =
        Operation::new("Read an audit event").answer("200", "It.", &reference("AuditEvent"));
    DescribedRoutes::default()
        .route(Method::Get, "/audit-events", list, listing)
        .route(Method::Get, "/audit-events/{id}", read, reading)
        .route(Method::Get, "/audit-events/{id}/run", run, run_reading())
}

fn run_reading() -> Operation {
    let found = json!({
        "type": "object", "required": ["items", "is_whole"],
        "properties": {
            "items": { "type": "array", "items": reference("AuditEvent") },
            "is_whole": {
                "type": "boolean",
                "description": "Whether all events of the run are listed that happened within a day before and after this one.",
            },
        },
    });
    Operation::new("Read the events of the run that an audit event is of, the earliest first")
        .answer("200", "They.", &found)
}

/// Describes the query parameters.
fn described(operation: Operation) -> Operation {
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let outcomes = json!({ "enum": Outcome::ALL.map(Outcome::as_str) });
    let parameters = [
        (
            "credential",
            &text,
            "Events that this rule is part of: its name or id.",
        ),
        (
            "principal",
            &text,
            "Events that this principal is part of. A token that is limited to one principal may leave it out.",
        ),
        ("outcome", &outcomes, "Events of this outcome only."),
        ("reason", &text, "Refusals for this reason only."),
        (
            "repository",
            &text,
            "Events of this workload: a name or id of its repository or project, or its `sub`.",
        ),
        (
            "error_id",
            &text,
            "The refusal that was answered with this `error_id`.",
        ),
        (
            "token_id",
            &text,
            "Events of the token with this `jti`, and what was done with it.",
        ),
        ("address", &text, "Events of this IP address."),
        (
            "trusted_issuer",
            &text,
            "Events of assertions of this trusted issuer, by name.",
        ),
        (
            "resource",
            &text,
            "Events about the registry with this resource URI.",
        ),
        ("client_id", &text, "Events of this client."),
        (
            "person",
            &text,
            "Sign-ins and sign-outs of the person with this id, and changes of the person.",
        ),
        (
            "assertion",
            &text,
            "Events of the assertion with this digest or `jti`.",
        ),
        (
            "since",
            &time,
            "Events at or after this time, and those that count a refusal since then.",
        ),
        ("until", &time, "Events at or before this time."),
        ("cursor", &text, "The `next_cursor` of the page before."),
    ];
    parameters
        .into_iter()
        .fold(operation, |operation, (name, schema, description)| {
            operation.query(name, schema, description)
        })
        .query("limit", &page_size(), "How many events.")
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
                 address, trusted_issuer, resource, client_id, person, assertion, since, until, limit (a number) and cursor",
            ));
        };
        let found = admin::search_audit(&app, &author, query).await;
        let found = found.map_err(|refused| match refused {
            AuditRefused::Query(problem) => bad_query(&problem),
            AuditRefused::Rejected(why) => rejected(why),
        })?;
        let events = found.items.iter();
        let (items, shown) = within_answer(events.map(|(_, item)| item.clone()));
        let cut = found
            .items
            .get(shown.saturating_sub(1))
            .filter(|_| shown < found.items.len())
            .map(|(id, _)| *id);
        let next = cut.or(found.next);
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
        let event = admin::read_event(&app, &author, &id).await;
        Ok(Json(event.map_err(rejected)?).into_response())
    })
    .await
}

/// `GET /admin/v1/audit-events/{id}/run`
async fn run(State(app): State<Arc<App>>, Path(id): Path<String>, caller: AdminCaller) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::ReadCredentials).await?;
        let run = admin::events_of_run(&app, &author, &id).await;
        let run = run.map_err(rejected)?;
        let count = run.items.len();
        let (items, shown) = within_answer(run.items.into_iter().map(|(_, item)| item));
        let is_whole = run.is_whole && shown == count;
        Ok(Json(json!({ "items": items, "is_whole": is_whole })).into_response())
    })
    .await
}
