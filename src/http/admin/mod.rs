//! The admin API (contract, section 6): JSON, guarded by our own tokens.

mod audit;
mod clients;
mod explanations;
mod guard;
mod keys;
mod objects;
mod openapi;
mod problem;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};

use crate::app::App;
use crate::objects::{
    ClientDocument, FederatedCredentialDocument, PrincipalDocument, ResourceServerDocument, TrustedIssuerDocument,
};

pub use guard::LocalCommand;
pub use openapi::document as openapi_document;

/// Documents with certificates and key sets are long; nothing is longer than this.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The routes below `/admin/v1`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .merge(objects::routes::<PrincipalDocument>())
        .merge(objects::routes::<TrustedIssuerDocument>())
        .merge(objects::routes::<ResourceServerDocument>())
        .merge(objects::routes::<FederatedCredentialDocument>())
        .merge(objects::routes::<ClientDocument>())
        .route("/trusted-issuers/{name}/refresh-keys", post(keys::refresh))
        .route("/clients/{name}/rotate-secret", post(clients::rotate))
        .route("/signing-keys", get(keys::list))
        .route("/signing-keys/rotate", post(keys::rotate))
        .route("/signing-keys/{kid}", delete(keys::withdraw))
        .route("/audit-events", get(audit::list))
        .route("/explanations", post(explanations::explain))
        .route("/openapi.json", openapi::route())
        .fallback(async || {
            problem::Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here").into_response()
        })
        .method_not_allowed_fallback(async || {
            problem::Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "not with this method")
                .into_response()
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}
