//! Rotation of client secrets.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::described::{DescribedRoutes, Method};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{object, rejected, respond};
use super::rotation::{described, overlap};
use crate::admin::rotate_secret;
use crate::app::App;

pub fn routes() -> DescribedRoutes {
    let rotating = described(
        "Make a client's next secret, shown this once",
        "The client, with its new secret.",
        "Client",
    );
    DescribedRoutes::default().route(
        Method::Post,
        "/clients/{name}/rotate-secret",
        rotate,
        rotating,
    )
}

/// `POST /admin/v1/clients/{name}/rotate-secret`, optionally with `{"overlap_seconds": 3600}`:
/// creates the next client secret, which only this answer shows.
async fn rotate(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
    body: Bytes,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Write).await?;
        let overlap = overlap(&body)?;
        let saved = rotate_secret(&app, &name, overlap, &author)
            .await
            .map_err(rejected)?;
        Ok(object(&app, StatusCode::OK, &saved.object))
    })
    .await
}
