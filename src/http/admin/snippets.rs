//! The job files for the workload of a rule.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{rejected, respond};
use crate::admin::{self, Rejected};
use crate::app::App;
use crate::documents::FederatedCredentialDocument;
use crate::snippets::{Publisher, offered};

pub fn routes() -> DescribedRoutes {
    let reading = Operation::new("Read the job files for the workload of a federated credential")
        .answer(
            "200",
            "The snippets, and what is not offered.",
            &reference("Snippets"),
        );
    DescribedRoutes::default().route(
        Method::Get,
        "/federated-credentials/{name}/snippets",
        snippets,
        reading,
    )
}

/// `GET /admin/v1/federated-credentials/{name}/snippets`
async fn snippets(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::ReadCredentials).await?;
        let found = admin::find::<FederatedCredentialDocument>(&app, &name, &author).await;
        let rule = found.map_err(rejected)?;
        let rules = app.rules();
        // Another replica may have saved the rule a moment ago.
        let unknown = || {
            rejected(Rejected::Unavailable(
                "the rule's trusted issuer is not known yet".to_owned(),
            ))
        };
        let publisher = Publisher::of_rule(&rules, &rule).ok_or_else(unknown)?;
        Ok(Json(offered(&app.config.own, &publisher)).into_response())
    })
    .await
}
