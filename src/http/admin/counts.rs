//! `GET /admin/v1/counts`: how many events there were on each of the last days.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{bad_query, rejected, respond};
use crate::admin;
use crate::app::App;

pub fn routes() -> DescribedRoutes {
    let reading = Operation::new("Count the events of the last 7 days")
        .query(
            "principal",
            &json!({ "type": "string" }),
            "Events that this principal is part of. A token that is limited to principals has to name one of them.",
        )
        .answer("200", "The counts by day.", &reference("Counts"));
    DescribedRoutes::default().route(Method::Get, "/counts", read, reading)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountsQuery {
    principal: Option<String>,
}

/// `GET /admin/v1/counts`
async fn read(
    State(app): State<Arc<App>>,
    caller: AdminCaller,
    query: Result<Query<CountsQuery>, QueryRejection>,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::ReadCredentials).await?;
        let Ok(Query(query)) = query else {
            return Err(bad_query("the query must hold only principal"));
        };
        let counts = admin::counts(&app, &author, query.principal.as_deref()).await;
        Ok(Json(counts.map_err(rejected)?).into_response())
    })
    .await
}
