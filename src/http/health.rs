//! Liveness and readiness probes.

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

/// `GET /readyz`: 200 if the database accepts writes, a signing key is loaded, the clocks of server
/// and database agree, and the server is not shutting down; otherwise 503.
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let database = app.store.can_write().await;
    let signing_key = app.keys.ring().is_some();
    let clock = app.clock_agrees();
    let draining = app.is_draining();
    let is_ready = database && signing_key && clock && !draining;
    let (status, word) = if is_ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let body = json!({
        "status": word, "database": database, "signing_key": signing_key, "clock": clock, "draining": draining,
    });
    (status, Json(body)).into_response()
}
