//! HTTP: the routes of the server. This module reads requests, calls the modules that decide, and
//! turns refusals into answers. Outside of `command`, no other module depends on axum.

mod address;
mod admin;
mod console;
mod error;
mod explain;
mod front_doors;
mod gateway;
mod health;
mod introspect;
mod media;
mod metadata;
pub mod metrics;
mod nonce;
mod opening;
mod reasons;
mod received;
mod revoke;
mod sent;
mod serve;
mod token;
mod token_status;
mod told;
mod tracked;
mod userinfo;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, PRAGMA, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures_util::FutureExt as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::time::Instant;

pub use admin::LocalCommand;
pub use gateway::gateway_router;
pub use serve::{
    HandshakeFailure, Serving, Tls, serve, serve_on, serve_proxies, serve_secured_on, serve_within,
};

use crate::app::App;
use crate::grant::TokenError;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::telemetry::within;

/// All routes. The endpoints lie below the path of the issuer identifier; in the URLs of well-known
/// documents that path comes last (RFC 8414 section 3.1).
pub fn router(app: Arc<App>) -> Router {
    let path = app.config.own.path().to_owned();
    let below = Router::new()
        .route("/token", post(token::token).fallback(wrong_method))
        .route("/explain", post(explain::explain).fallback(wrong_method))
        .route(
            "/introspect",
            post(introspect::introspect).fallback(wrong_method),
        )
        .route("/revoke", post(revoke::revoke).fallback(wrong_method))
        .route_layer(from_fn_with_state(app.clone(), error::layer))
        .route(
            "/userinfo",
            get(userinfo::userinfo).post(userinfo::userinfo),
        )
        .route("/jwks", get(metadata::jwks).options(metadata::preflight))
        .route("/reasons/{reason}", get(reasons::reason))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .nest("/registry/{resource_server}", front_doors::routes(&app))
        .nest("/admin/v1", admin::routes())
        .merge(console::routes(&app));
    let mut root = Router::new()
        .route(
            &app.config.own.admin_metadata_path(),
            get(metadata::protected_resource).options(metadata::preflight),
        )
        .route(
            &format!("/.well-known/oauth-authorization-server{path}"),
            get(metadata::metadata).options(metadata::preflight),
        )
        .route(
            &format!("/.well-known/openid-configuration{path}"),
            get(metadata::openid).options(metadata::preflight),
        );
    root = if path.is_empty() {
        root.merge(below)
    } else {
        // Health probes use the root, and some clients append the well-known path to the issuer.
        root.route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route(
                &format!("{path}/.well-known/oauth-authorization-server"),
                get(metadata::metadata).options(metadata::preflight),
            )
            .route(
                &format!("{path}/.well-known/openid-configuration"),
                get(metadata::openid).options(metadata::preflight),
            )
            .nest(&path, below)
    };
    root.merge(front_doors::routes(&app))
        .fallback(error::not_found)
        .layer(from_fn_with_state(app.clone(), around_everything))
        .with_state(app)
}

/// Metrics in Prometheus' text format and the health probes, for the listener
/// `server.metrics_listen`.
pub fn metrics_router(handle: PrometheusHandle, app: Arc<App>) -> Router {
    let health = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz));
    Router::new()
        .route(
            "/metrics",
            get(async move |State(app): State<Arc<App>>| metrics::render(&handle, &app).await),
        )
        .merge(health)
        .with_state(app)
}

/// Every answer has a deadline, the id of its request, and `no-store` unless the endpoint set
/// `Cache-Control` (decision D-14). A panic ends only the request in which it happens. One layer does
/// all of it, because each layer costs a token request as much as the lookup of its rules.
async fn around_everything(
    State(app): State<Arc<App>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let durations = metrics::durations(&request, app.config.own.path());
    let began = Instant::now();
    let current = tracked::current(&app, &request);
    let work = async {
        let answer = AssertUnwindSafe(error::within_deadline(&app, request, next)).catch_unwind();
        let mut response = answer.await.unwrap_or_else(panicked);
        tracked::answered(&mut response);
        response
    };
    let mut response = within(current, work).await;
    metrics::observe(durations, began.elapsed());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    }
    response
}

async fn wrong_method() -> TokenError {
    Refusal::from(Reason::MethodNotAllowed).into()
}

/// The answer of a request that panicked. The message is logged and not sent.
fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response {
    let text = cause.downcast::<String>().map_or_else(
        |cause| {
            cause
                .downcast_ref::<&str>()
                .copied()
                .unwrap_or_default()
                .to_owned()
        },
        |text| *text,
    );
    tracing::error!(panic = text, "a request panicked");
    let body = serde_json::json!({
        "error": "server_error", "error_description": Reason::Internal.sentence(), "reason": Reason::Internal,
    });
    (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(body)).into_response()
}
