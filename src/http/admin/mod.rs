//! The admin API (`docs/src/reference/admin-api.md`): JSON below `/admin/v1`, authorized by tokens
//! of this server.

mod audit;
mod bound;
mod catalog;
mod clients;
mod counts;
mod described;
mod explanations;
mod guard;
mod issuers;
mod keys;
mod notifications;
mod objects;
mod openapi;
mod paging;
mod people;
mod problem;
mod providers;
mod publications;
mod resource_flow;
mod rotation;
mod snippets;
mod token;
mod tokens;
mod transfers;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;

use crate::app::App;
use crate::documents::{
    ClientDocument, FederatedCredentialDocument, IdentityProviderDocument, MembershipDocument,
    NotificationDocument, PrincipalDocument, ResourceServerDocument, TrustedIssuerDocument,
};

pub(super) use bound::spend as spend_proof;
use described::DescribedRoutes;
pub(super) use guard::AdminCaller;
pub use guard::LocalCommand;
pub(super) use problem::Problem;
pub use publications::publications;
pub(super) use resource_flow::invalid_token;

/// Most bytes that are read of a body. Documents are limited to 64 KiB; a longer body up to this
/// limit gets an answer that tells both sizes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The routes below `/admin/v1`.
pub fn routes() -> Router<Arc<App>> {
    let described = DescribedRoutes::default()
        .merge(objects::routes::<PrincipalDocument>())
        .merge(objects::routes::<TrustedIssuerDocument>())
        .merge(objects::routes::<ResourceServerDocument>())
        .merge(objects::routes::<FederatedCredentialDocument>())
        .merge(objects::routes::<ClientDocument>())
        .merge(objects::routes::<NotificationDocument>())
        .merge(objects::routes::<IdentityProviderDocument>())
        .merge(objects::routes::<MembershipDocument>())
        .merge(keys::routes())
        .merge(clients::routes())
        .merge(issuers::routes())
        .merge(providers::routes())
        .merge(token::routes())
        .merge(tokens::routes())
        .merge(transfers::routes())
        .merge(catalog::routes())
        .merge(counts::routes())
        .merge(snippets::routes())
        .merge(notifications::routes())
        .merge(people::routes())
        .merge(audit::routes())
        .merge(explanations::routes());
    openapi::with_document(described)
        .into_router()
        .fallback(async || {
            problem::Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
                .into_response()
        })
        .method_not_allowed_fallback(async || {
            problem::Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "not with this method",
            )
            .into_response()
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}
