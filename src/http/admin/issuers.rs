//! The keys of trusted issuers: refreshing them, and the state that this process has of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::described::{DescribedRoutes, Method, Operation, page, page_size, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{bad_query, rejected, respond};
use super::paging;
use super::problem::Problem;
use crate::admin::{self, Author, Rejected};
use crate::app::App;
use crate::documents::TrustedIssuerDocument;
use crate::model::TrustedIssuer;

pub fn routes() -> DescribedRoutes {
    let any = || json!({ "type": "object" });
    let refreshing = Operation::new("Fetch a trusted issuer's keys now")
        .query(
            "forget",
            &json!({ "type": "boolean" }),
            "Whether an attested key set may be older than the newest that was seen; needs `admin`.",
        )
        .answer(
        "200",
        "The keys that can be used.",
        &any(),
    );
    let one = Operation::new("Read what this process knows of a trusted issuer's keys").answer(
        "200",
        "Its keys and the last fetch.",
        &reference("KeyStatus"),
    );
    let all = Operation::new("List what this process knows of the keys of every trusted issuer")
        .query("limit", &page_size(), "How many items.")
        .query(
            "cursor",
            &json!({ "type": "string" }),
            "The `next_cursor` of the page before.",
        )
        .answer("200", "A page.", &page(&reference("KeyStatus")));
    DescribedRoutes::default()
        .route(
            Method::Post,
            "/trusted-issuers/{name}/refresh-keys",
            refresh,
            refreshing,
        )
        .route(Method::Get, "/trusted-issuers/{name}/status", status, one)
        .route(Method::Get, "/trusted-issuer-status", statuses, all)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshQuery {
    #[serde(default)]
    forget: bool,
}

/// `POST /admin/v1/trusted-issuers/{name}/refresh-keys`
async fn refresh(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
    query: Result<Query<RefreshQuery>, QueryRejection>,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Write).await?;
        let Ok(Query(query)) = query else {
            return Err(bad_query("the query must hold only forget (true or false)"));
        };
        let issuer = find(&app, &name, &author).await?;
        if query.forget {
            let forgotten = admin::forget_newest_keys(&app, &issuer, &author).await;
            forgotten.map_err(rejected)?;
        }
        match app.upstream.refresh(&issuer).await {
            Ok(keys) => Ok(
                Json(json!({ "keys": keys.ids(), "unusable": keys.unusable() })).into_response(),
            ),
            Err(detail) => {
                Err(
                    Problem::new(StatusCode::BAD_GATEWAY, "upstream_unavailable", detail)
                        .into_response(),
                )
            }
        }
    })
    .await
}

/// `GET /admin/v1/trusted-issuers/{name}/status`
async fn status(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Read).await?;
        let issuer = find(&app, &name, &author).await?;
        Ok(Json(app.upstream.status(&issuer).await).into_response())
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    limit: Option<u64>,
    /// The name after which the page begins.
    cursor: Option<String>,
}

/// `GET /admin/v1/trusted-issuer-status`
async fn statuses(
    State(app): State<Arc<App>>,
    caller: AdminCaller,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Response {
    respond(async {
        guard(&app, &caller, Access::Read).await?;
        let Ok(Query(query)) = query else {
            return Err(bad_query(
                "the query must hold only limit (a number) and cursor",
            ));
        };
        let limit = usize::try_from(paging::limit(query.limit)?).unwrap_or(usize::MAX);
        let rules = app.rules();
        let mut issuers: Vec<&Arc<TrustedIssuer>> = rules
            .issuers()
            .filter(|issuer| {
                query
                    .cursor
                    .as_ref()
                    .is_none_or(|after| issuer.name > *after)
            })
            .collect();
        issuers.sort_by(|left, right| left.name.cmp(&right.name));
        let mut items: Vec<Value> = Vec::new();
        for issuer in issuers.iter().take(limit) {
            items.push(json!(app.upstream.status(issuer).await));
        }
        let (items, fitting) = paging::within_answer(items.into_iter());
        let last = issuers.get(fitting.saturating_sub(1));
        let next = last.filter(|_| fitting < issuers.len());
        let next = next.map(|issuer| &issuer.name);
        Ok(Json(json!({ "items": items, "next_cursor": next })).into_response())
    })
    .await
}

/// The compiled form of a trusted issuer.
async fn find(app: &App, name: &str, author: &Author) -> Result<Arc<TrustedIssuer>, Response> {
    let stored = admin::find::<TrustedIssuerDocument>(app, name, author)
        .await
        .map_err(rejected)?;
    let rules = app.rules();
    let issuer = rules.issuer_named(&stored.name).cloned();
    issuer.ok_or_else(|| rejected(Rejected::NotFound))
}
