//! What a rule of a principal may name, with the forms in which people write it.

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
    let reading = Operation::new("What a rule of a principal may name")
        .query(
            "principal",
            &json!({ "type": "string" }),
            "The principal, by name; required.",
        )
        .answer(
            "200",
            "Trusted issuers, the forms of their profiles, registries and owners.",
            &reference("Catalog"),
        );
    DescribedRoutes::default().route(Method::Get, "/catalog", read, reading)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogQuery {
    principal: String,
}

/// `GET /admin/v1/catalog`
async fn read(
    State(app): State<Arc<App>>,
    caller: AdminCaller,
    query: Result<Query<CatalogQuery>, QueryRejection>,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::ReadCredentials).await?;
        let Ok(Query(query)) = query else {
            return Err(bad_query("the query must hold principal and nothing else"));
        };
        let catalog = admin::catalog(&app, &author, &query.principal).map_err(rejected)?;
        Ok(Json(catalog).into_response())
    })
    .await
}
