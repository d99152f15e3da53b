//! The same six requests for every kind of object: list, create, read, replace, patch, delete.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use carnet_jose::json::{self, Limits};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::described::{DescribedRoutes, Method, Operation, page, page_size, reference};
use super::guard::{Access, AdminCaller, guard};
use super::openapi::schema_name;
use super::paging;
use super::problem::Problem;
use crate::admin::{self, Author, Change, Managed, Occasion, Precondition, Rejected, Saved};
use crate::app::App;
use crate::documents::{Document, Kind, Stored};
use crate::store::Filter;
use crate::trust;

/// Largest body of one document (`docs/src/reference/limits.md`).
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// The description of `view`.
const EXPORT_VIEW: &str = "As `carnet apply` takes it: what was given, pins as ids.";

pub fn routes<D: Managed + 'static>() -> DescribedRoutes {
    let noun = D::KIND.noun();
    let item = || reference(schema_name(D::KIND));
    let (many, one) = (
        format!("/{}", D::KIND.segment()),
        format!("/{}/{{name}}", D::KIND.segment()),
    );
    let saving = |summary: String| {
        Operation::new(summary)
            .query(
                "validate",
                &json!({ "enum": ["offline"] }),
                "Saves without fetching anything.",
            )
            .query(
                "dry_run",
                &json!({ "type": "boolean" }),
                "Says what saving would do, and writes nothing.",
            )
    };
    let saved = |operation: Operation, what: &str| {
        let description = format!("{what}, or with `dry_run` what would become of it.");
        operation.answer(
            "200",
            &description,
            // Not `oneOf`: no member of an object is required, so a dry run's answer fits both.
            &json!({ "anyOf": [item(), reference("DryRun")] }),
        )
    };
    let reading = Operation::new(format!("Read a {noun}"))
        .query("view", &json!({ "enum": ["export"] }), EXPORT_VIEW)
        .answer("200", "It.", &item());
    let making = saving(format!("Make a {noun}"))
        .body(&item())
        .answer(
            "200",
            "With `dry_run`: what would become of it.",
            &reference("DryRun"),
        )
        .answer("201", "It was made.", &item());
    let replacing = saved(
        saving(format!("Make or replace a {noun}")).body(&item()),
        "It was replaced",
    )
    .answer("201", "It was made.", &item());
    let patching = saved(
        saving(format!("Change a {noun}")).merge_patch(),
        "It was changed",
    );
    let removing = Operation::new(format!("Remove a {noun}")).no_content("It is gone.");
    DescribedRoutes::default()
        .route(Method::Get, &many, list::<D>, listing::<D>())
        .route(Method::Post, &many, create::<D>, making)
        .route(Method::Get, &one, read::<D>, reading)
        .route(Method::Put, &one, replace::<D>, replacing)
        .route(Method::Patch, &one, patch::<D>, patching)
        .route(Method::Delete, &one, remove::<D>, removing)
}

fn listing<D: Document>() -> Operation {
    let text = || json!({ "type": "string" });
    let listing = Operation::new(format!("List every {}", D::KIND.noun()))
        .query("limit", &page_size(), "How many items.")
        .query("cursor", &text(), "The `next_cursor` of the page before.")
        .query("view", &json!({ "enum": ["export"] }), EXPORT_VIEW)
        .answer("200", "A page.", &page(&reference(schema_name(D::KIND))));
    let listing = match D::KIND {
        Kind::FederatedCredential => {
            listing.query("principal", &text(), "Rules of this principal only.")
        }
        Kind::Notification => {
            return listing.query("principal", &text(), "Those of this principal only.");
        }
        Kind::Membership => {
            return listing.query("principal", &text(), "Those at this principal only.");
        }
        _ => return listing,
    };
    listing.query(
        "trusted_issuer",
        &text(),
        "Rules of this trusted issuer only.",
    )
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<u64>,
    cursor: Option<String>,
    principal: Option<String>,
    trusted_issuer: Option<String>,
    view: Option<String>,
}

/// Query parameters of a request that reads an object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadQuery {
    view: Option<String>,
}

/// Query parameters of a request that saves an object.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaveQuery {
    validate: Option<String>,
    dry_run: Option<bool>,
}

fn reading<D: Document>() -> Access {
    if D::KIND.is_of_principals() {
        Access::ReadCredentials
    } else {
        Access::Read
    }
}

fn writing<D: Document>() -> Access {
    if D::KIND.is_of_principals() {
        Access::WriteCredentials
    } else {
        Access::Write
    }
}

async fn list<D: Managed>(
    State(app): State<Arc<App>>,
    caller: AdminCaller,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, reading::<D>()).await?;
        let Ok(Query(query)) = query else {
            return Err(bad_query(
                "the query must hold only limit (a number), cursor, view, principal and trusted_issuer",
            ));
        };
        let limit = paging::limit(query.limit)?;
        let after: Option<String> = paging::after(query.cursor.as_deref())?;
        let principals = match (&author.principals, query.principal) {
            (_, Some(principal)) if author.may_act_for(&principal) => Some(vec![principal]),
            (_, Some(_)) => return Err(rejected(Rejected::Forbidden)),
            (limited, None) => limited.clone(),
        };
        let filter = Filter { principals, trusted_issuer: query.trusted_issuer, without_operators: !author.sees_everything };
        let page = admin::list::<D>(&app, after.as_deref(), limit, &filter).await.map_err(rejected)?;
        let show = view::<D>(query.view.as_deref())?;
        let (items, fitting) = paging::within_answer(page.items.iter().map(|item| Value::Object(show(&app, item))));
        let cut = page.items.get(fitting.saturating_sub(1)).filter(|_| fitting < page.items.len());
        let next = cut.map(D::page_key).or(page.next);
        Ok(paging::answer(&items, next))
    })
    .await
}

async fn read<D: Managed>(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
    query: Result<Query<ReadQuery>, QueryRejection>,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, reading::<D>()).await?;
        let Ok(Query(query)) = query else {
            return Err(bad_query("the query must hold only view"));
        };
        let show = view::<D>(query.view.as_deref())?;
        let stored = admin::find::<D>(&app, &name, &author)
            .await
            .map_err(rejected)?;
        Ok(answer(StatusCode::OK, stored.version, show(&app, &stored)))
    })
    .await
}

async fn create<D: Managed>(
    State(app): State<Arc<App>>,
    caller: AdminCaller,
    query: Result<Query<SaveQuery>, QueryRejection>,
    body: Bytes,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, writing::<D>()).await?;
        let members = document(&body)?;
        let Some(name) = members
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned)
        else {
            let problem = trust::DocumentError::new("/name", "must be given");
            return Err(rejected(Rejected::Invalid(vec![problem])));
        };
        let change = Change::Create(members);
        save::<D>(&app, &name, &change, &caller.headers, query, &author).await
    })
    .await
}

async fn replace<D: Managed>(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
    query: Result<Query<SaveQuery>, QueryRejection>,
    body: Bytes,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, writing::<D>()).await?;
        let change = Change::Replace(document(&body)?);
        save::<D>(&app, &name, &change, &caller.headers, query, &author).await
    })
    .await
}

async fn patch<D: Managed>(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
    query: Result<Query<SaveQuery>, QueryRejection>,
    body: Bytes,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, writing::<D>()).await?;
        let change = Change::Patch(Value::Object(document(&body)?));
        save::<D>(&app, &name, &change, &caller.headers, query, &author).await
    })
    .await
}

async fn remove<D: Managed>(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, writing::<D>()).await?;
        admin::delete::<D>(&app, &name, &precondition(&caller.headers)?, &author)
            .await
            .map_err(rejected)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

async fn save<D: Managed>(
    app: &App,
    name: &str,
    change: &Change,
    headers: &HeaderMap,
    query: Result<Query<SaveQuery>, QueryRejection>,
    author: &Author,
) -> Result<Response, Response> {
    let Ok(Query(query)) = query else {
        return Err(bad_query(
            "the query must hold only validate and dry_run (true or false)",
        ));
    };
    let online = match query.validate.as_deref() {
        None => true,
        Some("offline") => false,
        Some(_) => return Err(bad_query("validate must be offline, or be left out")),
    };
    let (precondition, occasion) = (precondition(headers)?, Occasion { online, author });
    if query.dry_run == Some(true) {
        let tried = admin::try_out::<D>(app, name, change, &precondition, occasion)
            .await
            .map_err(rejected)?;
        return Ok(Json(tried).into_response());
    }
    let saved: Saved<D> = admin::save(app, name, change, &precondition, occasion)
        .await
        .map_err(rejected)?;
    let status = if saved.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = object(app, status, &saved.object);
    if let Change::Create(_) = change {
        let location = app.config.own.at(&format!(
            "/admin/v1/{}/{}",
            D::KIND.segment(),
            saved.object.name
        ));
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    Ok(response)
}

/// Runs a handler whose errors are complete answers.
pub async fn respond(handler: impl Future<Output = Result<Response, Response>>) -> Response {
    handler.await.unwrap_or_else(|refused| refused)
}

pub fn rejected(rejected: Rejected) -> Response {
    Problem::from(rejected).into_response()
}

/// 400 with the code `invalid_query`.
pub fn bad_query(detail: &str) -> Response {
    invalid_query(detail).into_response()
}

pub fn invalid_query(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
}

/// Parses a body as one JSON object: at most 64 KiB, within `Limits::DOCUMENT`, no member twice.
pub fn document(body: &Bytes) -> Result<Map<String, Value>, Problem> {
    if body.len() > MAX_DOCUMENT_BYTES {
        let detail = format!(
            "must be at most {MAX_DOCUMENT_BYTES} bytes; this is {}",
            body.len()
        );
        return Err(Rejected::Invalid(vec![trust::DocumentError::new("", detail)]).into());
    }
    json::object(body, Limits::DOCUMENT)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string()))
}

/// The answer that shows an object, with its version as `ETag`.
pub fn object<D: Managed>(app: &App, status: StatusCode, stored: &Stored<D>) -> Response {
    answer(status, stored.version, admin::shown(app, stored))
}

/// How an object is shown in an answer.
type View<D> = fn(&App, &Stored<D>) -> Map<String, Value>;

fn view<D: Managed>(name: Option<&str>) -> Result<View<D>, Problem> {
    match name {
        None => Ok(admin::shown::<D>),
        Some("export") => Ok(|_, stored| admin::exported(stored)),
        Some(_) => Err(invalid_query("view must be export, or be left out")),
    }
}

fn answer(status: StatusCode, version: i64, members: Map<String, Value>) -> Response {
    let mut response = (status, Json(Value::Object(members))).into_response();
    if let Ok(etag) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let mut precondition = Precondition::default();
    match text(IF_MATCH).map(str::trim) {
        None => {}
        Some("*") => precondition.exists = true,
        Some(tags) => {
            // A tag that this server does not issue matches no version.
            let versions = tags
                .split(',')
                .map(|tag| tag.trim().trim_matches('"').parse().unwrap_or(-1));
            precondition.versions = Some(versions.collect());
        }
    }
    match text(IF_NONE_MATCH).map(str::trim) {
        None => {}
        Some("*") => precondition.absent = true,
        Some(_) => {
            let detail = "If-None-Match must be *, or be left out";
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid_header",
                detail,
            ));
        }
    }
    Ok(precondition)
}
