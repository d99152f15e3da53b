//! Whether the process lives, and whether it can serve.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::app::App;

/// `GET /healthz`
pub async fn healthz() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// `GET /readyz`: the database answers, there is a key to sign with, and the server is not about to end.
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let database = app.store.ping().await.is_ok();
    let signing_key = app.keys.ring().is_some();
    let draining = app.is_draining();
    let status = if database && signing_key && !draining { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if status == StatusCode::OK { "ready" } else { "not ready" };
    let body = json!({ "status": word, "database": database, "signing_key": signing_key, "draining": draining });
    (status, Json(body)).into_response()
}
