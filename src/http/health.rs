//! Liveness and readiness probes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::app::{App, Readiness};

/// `GET /healthz`
pub async fn healthz() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// `GET /readyz`: 200 if the database accepts writes, a signing key is loaded, the clocks of server
/// and database agree, and the server is not shutting down; otherwise 503. `warnings` names TLS
/// certificates that expire within 14 days.
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let readiness = app.readiness().await;
    let (status, word) = if readiness.is_complete() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let Readiness {
        database,
        signing_key,
        clock,
        draining,
    } = readiness;
    let mut body = json!({
        "status": word, "database": database, "signing_key": signing_key, "clock": clock, "draining": draining,
    });
    // A server with an old certificate still issues tokens, so this does not make it unready.
    let set = app.certificates.as_ref().map(|all| all.current());
    let now = app.clock.now();
    let warnings = set.map_or_else(Vec::new, |set| {
        [set.expired(now), set.expires_soon(now)].concat()
    });
    if let (Some(body), false) = (body.as_object_mut(), warnings.is_empty()) {
        body.insert("warnings".to_owned(), json!(warnings));
    }
    (status, Json(body)).into_response()
}
