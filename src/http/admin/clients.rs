//! Rotation of client secrets.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{document, object, rejected, respond};
use crate::admin::{MAX_SECRET_OVERLAP_SECONDS, Rejected, SECRET_OVERLAP_SECONDS, rotate_secret};
use crate::app::App;
use crate::documents::Reader;

pub fn routes() -> DescribedRoutes {
    let overlap = json!({
        "type": "integer", "minimum": 0, "maximum": MAX_SECRET_OVERLAP_SECONDS, "default": SECRET_OVERLAP_SECONDS,
    });
    let rotating = Operation::new("Make a client's next secret, shown this once")
        .optional_body(&json!({ "type": "object", "properties": { "overlap_seconds": overlap } }))
        .answer(
            "200",
            "The client, with its new secret.",
            &reference("Client"),
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
        let members = if body.is_empty() {
            Map::new()
        } else {
            document(&body)?
        };
        let overlap = overlap(&members).map_err(rejected)?;
        let saved = rotate_secret(&app, &name, overlap, &author)
            .await
            .map_err(rejected)?;
        Ok(object(&app, StatusCode::OK, &saved.object))
    })
    .await
}

fn overlap(members: &Map<String, Value>) -> Result<i64, Rejected> {
    let mut reader = Reader::new(members);
    let seconds = reader.integer("overlap_seconds", 0..=MAX_SECRET_OVERLAP_SECONDS);
    reader
        .finish(seconds.unwrap_or(SECRET_OVERLAP_SECONDS))
        .map_err(Rejected::Invalid)
}
