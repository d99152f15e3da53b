//! The state of an identity provider's metadata and keys in this process.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{rejected, respond};
use crate::admin::{self, Rejected};
use crate::app::App;
use crate::documents::IdentityProviderDocument;

pub fn routes() -> DescribedRoutes {
    let summary = "Read what this process knows of an identity provider's metadata and keys";
    let reading = Operation::new(summary).answer(
        "200",
        "Its metadata, its keys and the last fetches.",
        &reference("ProviderStatus"),
    );
    let path = "/identity-providers/{name}/status";
    DescribedRoutes::default().route(Method::Get, path, status, reading)
}

/// `GET /admin/v1/identity-providers/{name}/status`
async fn status(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Read).await?;
        let stored = admin::find::<IdentityProviderDocument>(&app, &name, &author)
            .await
            .map_err(rejected)?;
        let rules = app.rules();
        let provider = rules.identity_provider_named(&stored.name);
        let provider = provider.ok_or_else(|| rejected(Rejected::NotFound))?;
        let status = app.providers.status(provider, &app.upstream).await;
        Ok(Json(status).into_response())
    })
    .await
}
