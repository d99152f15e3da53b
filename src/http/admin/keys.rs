//! This server's signing keys.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use carnet_jose::Algorithm;
use serde_json::{Value, json};

use super::described::{DescribedRoutes, Method, Operation};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{document, rejected, respond};
use super::problem::Problem;
use crate::admin::{self, Rejected};
use crate::app::App;

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
        let rotated = admin::rotate_signing_key(&app, algorithm, &author).await;
        rotated.map_err(rejected)?;
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
        let withdrawn = admin::withdraw_signing_key(&app, &key_id, &author).await;
        withdrawn.map_err(rejected)?;
        // The caller cannot ask for the list itself if this key signed its token.
        shown(&app).await
    })
    .await
}

async fn shown(app: &App) -> Result<Response, Response> {
    let items = admin::signing_keys(app).await.map_err(rejected)?;
    Ok(Json(json!({ "items": items, "next_cursor": null })).into_response())
}
