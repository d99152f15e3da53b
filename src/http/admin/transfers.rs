//! Transfers of repositories to other owners.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{object, rejected, respond};
use crate::admin;
use crate::app::App;

pub fn routes() -> DescribedRoutes {
    let accepting = Operation::new(
        "Accept that the repository of a federated credential went to another owner",
    )
    .answer(
        "200",
        "The rule with the names and the owner of the latest refused assertion of the repository.",
        &reference("FederatedCredential"),
    );
    DescribedRoutes::default().route(
        Method::Post,
        "/federated-credentials/{name}/accept-transfer",
        accept,
        accepting,
    )
}

/// `POST /admin/v1/federated-credentials/{name}/accept-transfer`
async fn accept(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::WriteCredentials).await?;
        // Boxed because saving is a large future.
        let accepted = Box::pin(admin::accept_transfer(&app, &name, &author));
        let saved = accepted.await.map_err(rejected)?;
        Ok(object(&app, StatusCode::OK, &saved.object))
    })
    .await
}
