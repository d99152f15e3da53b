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

/// `GET /readyz`: a token could be recorded now, there is a key to sign with, the clocks agree, and the server is not about to end.
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let database = app.store.can_write().await;
    let signing_key = app.keys.ring().is_some();
    let clock = app.clock_agrees();
    let draining = app.is_draining();
    let is_ready = database && signing_key && clock && !draining;
    let (status, word) =
        if is_ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let body = json!({
        "status": word, "database": database, "signing_key": signing_key, "clock": clock, "draining": draining,
    });
    (status, Json(body)).into_response()
}
