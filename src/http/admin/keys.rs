//! This server's signing keys.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use carnet_jose::Algorithm;
use serde_json::{Map, Value, json};

use super::described::{DescribedRoutes, Method, Operation};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{document, rejected, respond};
use super::problem::Problem;
use crate::admin::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::store::{StoreError, StoredKey};

pub fn routes() -> DescribedRoutes {
    let any = || json!({ "type": "object" });
    let listing = Operation::new("List our signing keys").answer("200", "The keys.", &any());
    let algorithm = json!({ "type": "object", "properties": { "algorithm": { "enum": ["ES256", "RS256", "EdDSA"] } } });
    let rotating = Operation::new("Let the next key sign")
        .optional_body(&algorithm)
        .answer("200", "The keys.", &any());
    let withdrawing = Operation::new("Withdraw a signing key at once").answer(
        "200",
        "The keys that are left.",
        &any(),
    );
    DescribedRoutes::default()
        .route(Method::Get, "/signing-keys", list, listing)
        .route(Method::Post, "/signing-keys/rotate", rotate, rotating)
        .route(Method::Delete, "/signing-keys/{kid}", withdraw, withdrawing)
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
        let event = event(&author, Outcome::Updated, None, &app);
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
        let event = event(&author, Outcome::Deleted, Some(&key_id), &app);
        let withdrawn = app
            .keys
            .withdraw(&app.store, &key_id, app.clock.now(), Some(&event))
            .await;
        withdrawn.map_err(|error| rejected(error.into()))?;
        // The caller cannot ask for the list itself if this key signed its token.
        shown(&app).await
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

/// The event of a change to the signing keys. The store adds which keys were changed.
fn event(author: &Author, outcome: Outcome, key_id: Option<&str>, app: &App) -> AuditEvent {
    let mut event = author.event(app.clock.now(), outcome);
    let mut detail = Map::new();
    detail.insert("kind".to_owned(), "signing key".into());
    detail.extend(key_id.map(|key_id| ("name".to_owned(), key_id.into())));
    event.detail = Value::Object(detail).to_string();
    event
}
