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

/// `GET /readyz`: the database answers and there is a key to sign with.
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let database = app.store.ping().await.is_ok();
    let signing_key = app.keys.ring().is_some();
    let status = if database && signing_key { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if status == StatusCode::OK { "ready" } else { "not ready" };
    (status, Json(json!({ "status": word, "database": database, "signing_key": signing_key }))).into_response()
}
