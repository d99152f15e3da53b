//! The provenance of packages behind the gateway. It is served by `carnet gateway`, and guarded like
//! the admin API.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::guard::{Access, AdminCaller, guard};
use super::objects::{bad_query, rejected, respond};
use super::paging::within_answer;
use crate::admin::Rejected;
use crate::app::App;
use crate::gateway::shown_publication;
use crate::ids::PublicationId;

/// Publications on a page, unless the request says otherwise.
const PAGE: u64 = 50;
/// The most publications on a page.
const MOST: u64 = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicationsQuery {
    limit: Option<u64>,
    cursor: Option<String>,
}

/// `GET /gateway/v1/publications/{registry}/{package}`: the publications of a package that the
/// registry accepted or that are not settled, the newest first.
pub async fn publications(
    State(app): State<Arc<App>>,
    Path((registry, package)): Path<(String, String)>,
    query: Result<Query<PublicationsQuery>, QueryRejection>,
    caller: AdminCaller,
) -> Response {
    let mut response = respond(async {
        guard(&app, &caller, Access::Read).await?;
        let detail = "the query must hold only limit (a number from 1 to 500) and cursor";
        let Query(query) = query.map_err(|_| bad_query(detail))?;
        let limit = query.limit.unwrap_or(PAGE);
        let before: Option<PublicationId> = match &query.cursor {
            None => None,
            Some(cursor) => Some(cursor.parse().map_err(|_| bad_query(detail))?),
        };
        if !(1..=MOST).contains(&limit) {
            return Err(bad_query(detail));
        }
        let rules = app.rules();
        let server = rules.resource_server_called(&registry);
        let server = server.ok_or_else(|| rejected(Rejected::NotFound))?;
        let folded = server.package_names.normalise(&package);
        let found = app
            .store
            .publications(&server.name, &folded, before, limit.saturating_add(1))
            .await
            .map_err(|error| rejected(error.into()))?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = found.get(..most).unwrap_or(&found);
        let (items, fitting) = within_answer(page.iter().map(shown_publication));
        let last = page.get(fitting.saturating_sub(1));
        let next = last.filter(|_| fitting < found.len());
        let next = next.map(|last| last.id.to_string());
        Ok(Json(json!({ "items": items, "next_cursor": next })).into_response())
    })
    .await;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}
