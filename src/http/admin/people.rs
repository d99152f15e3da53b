//! People who signed in, and their sessions. They are made by signing in alone.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::described::{DescribedRoutes, Method, Operation, page, page_size, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{bad_query, document, rejected, respond};
use super::paging;
use crate::admin::{self, Rejected, ShownPerson, ShownSession};
use crate::app::App;
use crate::documents::Reader;

pub fn routes() -> DescribedRoutes {
    let text = json!({ "type": "string" });
    let listing = Operation::new("List the people who signed in")
        .query("limit", &page_size(), "How many people.")
        .query("cursor", &text, "The `next_cursor` of the page before.")
        .query(
            "identity_provider",
            &text,
            "People of this identity provider only.",
        )
        .answer("200", "A page.", &page(&reference("Person")));
    let person = reference("Person");
    let reading = Operation::new("Read a person").answer("200", "The person.", &person);
    let patching = Operation::new("Let a person sign in, or no more")
        .merge_patch()
        .answer("200", "The person.", &person);
    let sessions = json!({
        "type": "object", "required": ["items"],
        "properties": { "items": { "type": "array", "items": reference("Session") } },
    });
    let listing_sessions =
        Operation::new("List the sessions of a person").answer("200", "They.", &sessions);
    let ended = json!({
        "type": "object", "required": ["ended"], "properties": { "ended": { "type": "integer", "minimum": 0 } },
    });
    let ending_all = Operation::new("End all sessions of a person").answer(
        "200",
        "How many there were.",
        &ended,
    );
    let ending = Operation::new("End a session").no_content("It has ended.");
    DescribedRoutes::default()
        .route(Method::Get, "/people", list, listing)
        .route(Method::Get, "/people/{id}", read, reading)
        .route(Method::Patch, "/people/{id}", patch, patching)
        .route(
            Method::Get,
            "/people/{id}/sessions",
            list_sessions,
            listing_sessions,
        )
        .route(Method::Delete, "/people/{id}/sessions", end_all, ending_all)
        .route(Method::Delete, "/sessions/{id}", end, ending)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeopleQuery {
    limit: Option<u64>,
    cursor: Option<String>,
    identity_provider: Option<String>,
}

/// `GET /admin/v1/people`
async fn list(
    State(app): State<Arc<App>>,
    caller: AdminCaller,
    query: Result<Query<PeopleQuery>, QueryRejection>,
) -> Response {
    respond(async {
        guard(&app, &caller, Access::Read).await?;
        let Ok(Query(query)) = query else {
            return Err(bad_query(
                "the query must hold only limit (a number), cursor and identity_provider",
            ));
        };
        let limit = paging::limit(query.limit)?;
        let after = paging::after(query.cursor.as_deref())?;
        let named = query.identity_provider.as_deref();
        let further = limit.saturating_add(1);
        let found = admin::list_people(&app, named, after, further)
            .await
            .map_err(|error| match error {
                Rejected::NotFound => bad_query("identity_provider: there is none of this name"),
                error => rejected(error),
            })?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = found.get(..most).unwrap_or(&found);
        let shown = page.iter().map(|one| json!(ShownPerson::new(&app, one)));
        let (items, fitting) = paging::within_answer(shown);
        let last = page.get(fitting.saturating_sub(1));
        let next = last.filter(|_| fitting < found.len());
        let next = next.map(|last| last.id.to_string());
        Ok(paging::answer(&items, next))
    })
    .await
}

/// `GET /admin/v1/people/{id}`
async fn read(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        guard(&app, &caller, Access::Read).await?;
        let person = admin::find_person(&app, &id).await.map_err(rejected)?;
        Ok(Json(ShownPerson::new(&app, &person)).into_response())
    })
    .await
}

/// `PATCH /admin/v1/people/{id}` with `{"enabled": …}`
async fn patch(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    caller: AdminCaller,
    body: Bytes,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Write).await?;
        let enabled = wanted(&document(&body)?).map_err(rejected)?;
        let person = match enabled {
            Some(enabled) => admin::enable_person(&app, &id, enabled, &author).await,
            None => admin::find_person(&app, &id).await,
        };
        let person = person.map_err(rejected)?;
        Ok(Json(ShownPerson::new(&app, &person)).into_response())
    })
    .await
}

fn wanted(members: &Map<String, Value>) -> Result<Option<bool>, Rejected> {
    let mut reader = Reader::new(members);
    let enabled = reader.boolean("enabled");
    reader.finish(enabled).map_err(Rejected::Invalid)
}

/// `GET /admin/v1/people/{id}/sessions`
async fn list_sessions(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        guard(&app, &caller, Access::Read).await?;
        let sessions = admin::sessions_of(&app, &id).await.map_err(rejected)?;
        let items = sessions.into_iter();
        let items: Vec<ShownSession> = items.map(|one| ShownSession::new(&app, one)).collect();
        Ok(Json(json!({ "items": items })).into_response())
    })
    .await
}

/// `DELETE /admin/v1/people/{id}/sessions`
async fn end_all(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Write).await?;
        let ended = admin::end_sessions_of(&app, &id, &author)
            .await
            .map_err(rejected)?;
        Ok(Json(json!({ "ended": ended })).into_response())
    })
    .await
}

/// `DELETE /admin/v1/sessions/{id}`
async fn end(State(app): State<Arc<App>>, Path(id): Path<String>, caller: AdminCaller) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Write).await?;
        admin::end_session(&app, &id, &author)
            .await
            .map_err(rejected)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}
