//! This server's signing keys, and the refresh of a trusted issuer's keys.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use carnet_jose::Algorithm;
use serde_json::{Value, json};

use super::described::{DescribedRoutes, Method, Operation};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{document, rejected, respond};
use super::problem::Problem;
use crate::admin::{self, Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::documents::TrustedIssuerDocument;
use crate::store::{StoreError, StoredKey};

pub fn routes() -> DescribedRoutes {
    let any = || json!({ "type": "object" });
    let listing = Operation::new("List our signing keys").answer("200", "The keys.", &any());
    let algorithm = json!({ "type": "object", "properties": { "algorithm": { "enum": ["ES256", "RS256", "EdDSA"] } } });
    let rotating = Operation::new("Let the next key sign")
        .optional_body(&algorithm)
        .answer("200", "The keys.", &any());
    let withdrawing = Operation::new("Withdraw a signing key at once").no_content("It is gone.");
    let refreshing = Operation::new("Fetch a trusted issuer's keys now").answer(
        "200",
        "The keys that can be used.",
        &any(),
    );
    DescribedRoutes::default()
        .route(Method::Get, "/signing-keys", list, listing)
        .route(Method::Post, "/signing-keys/rotate", rotate, rotating)
        .route(Method::Delete, "/signing-keys/{kid}", withdraw, withdrawing)
        .route(
            Method::Post,
            "/trusted-issuers/{name}/refresh-keys",
            refresh,
            refreshing,
        )
}

/// `GET /admin/v1/signing-keys`
async fn list(State(app): State<Arc<App>>, caller: AdminCaller) -> Response {
    respond(async {
        guard(&app, &caller, Access::Read).await?;
        shown(&app).await
    })
    .await
}

/// `POST /admin/v1/signing-keys/rotate`, optionally with `{"algorithm": "RS256"}`.
async fn rotate(State(app): State<Arc<App>>, caller: AdminCaller, body: Bytes) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Write).await?;
        let algorithm = if body.is_empty() {
            None
        } else {
            algorithm(&document(&body)?)?
        };
        let event = event(&author, Outcome::Updated, "rotated", &app);
        let rotated = app
            .keys
            .rotate(&app.store, algorithm, app.clock.now(), Some(&event))
            .await;
        rotated.map_err(|error| rejected(error.into()))?;
        shown(&app).await
    })
    .await
}

fn algorithm(members: &serde_json::Map<String, Value>) -> Result<Option<Algorithm>, Problem> {
    let wrong = || {
        let detail = "must be one of ES256, RS256, EdDSA, and the only member";
        let problem = crate::trust::DocumentError::new("/algorithm", detail);
        Problem::from(Rejected::Invalid(vec![problem]))
    };
    match (members.get("algorithm"), members.len()) {
        (None | Some(Value::Null), 0 | 1) if members.keys().all(|name| name == "algorithm") => {
            Ok(None)
        }
        (Some(Value::String(name)), 1) => match name.parse() {
            Ok(algorithm @ (Algorithm::ES256 | Algorithm::RS256 | Algorithm::EdDSA)) => {
                Ok(Some(algorithm))
            }
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// `DELETE /admin/v1/signing-keys/{kid}`: removes the key from the key set at once, which
/// invalidates the tokens that it signed.
async fn withdraw(
    State(app): State<Arc<App>>,
    Path(key_id): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Write).await?;
        let event = event(&author, Outcome::Deleted, &key_id, &app);
        let withdrawn = app
            .keys
            .withdraw(&app.store, &key_id, app.clock.now(), Some(&event))
            .await;
        withdrawn.map_err(|error| rejected(error.into()))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// `POST /admin/v1/trusted-issuers/{name}/refresh-keys`
async fn refresh(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Write).await?;
        let stored = admin::find::<TrustedIssuerDocument>(&app, &name, &author)
            .await
            .map_err(rejected)?;
        let rules = app.rules();
        let issuer = rules
            .issuer_named(&stored.name)
            .ok_or_else(|| rejected(Rejected::NotFound))?;
        match app.upstream.refresh(issuer).await {
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

async fn shown(app: &App) -> Result<Response, Response> {
    let keys = app
        .store
        .signing_keys()
        .await
        .map_err(|error: StoreError| rejected(error.into()))?;
    let items: Vec<Value> = keys.iter().map(item).collect();
    Ok(Json(json!({ "items": items, "next_cursor": null })).into_response())
}

fn item(key: &StoredKey) -> Value {
    json!({
        "kid": key.key_id,
        "algorithm": key.algorithm,
        "state": key.state,
        "created_at": key.created_at.to_string(),
        "activated_at": key.activated_at.map(|at| at.to_string()),
        "published_until": key.published_until.map(|at| at.to_string()),
    })
}

fn event(author: &Author, outcome: Outcome, name: &str, app: &App) -> AuditEvent {
    let mut event = author.event(app.clock.now(), outcome);
    event.detail = json!({ "kind": "signing key", "name": name }).to_string();
    event
}
