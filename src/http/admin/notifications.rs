//! Rotation of webhook secrets, and test messages.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::described::{DescribedRoutes, Method, Operation};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{object, rejected, respond};
use super::rotation::{described, overlap};
use crate::admin::{rotate_webhook_secret, send_test};
use crate::app::App;

pub fn routes() -> DescribedRoutes {
    let rotating = described(
        "Make a notification's next secret, shown this once",
        "The notification, with its new secret.",
        "Notification",
    );
    let tried = json!({
        "type": "object", "required": ["delivered", "status", "error"],
        "properties": {
            "delivered": { "type": "boolean", "description": "Whether the receiver answered with a status from 200 to 299." },
            "status": { "type": ["integer", "null"], "description": "The status of its answer." },
            "error": { "type": ["string", "null"] },
        },
    });
    let testing = Operation::new("Send a test message now").answer(
        "200",
        "What the receiver answered.",
        &tried,
    );
    DescribedRoutes::default()
        .route(
            Method::Post,
            "/notifications/{name}/rotate-secret",
            rotate,
            rotating,
        )
        .route(Method::Post, "/notifications/{name}/test", test, testing)
}

/// `POST /admin/v1/notifications/{name}/rotate-secret`, optionally with
/// `{"overlap_seconds": 3600}`: creates the next secret, which only this answer shows.
async fn rotate(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
    body: Bytes,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::WriteCredentials).await?;
        let overlap = overlap(&body)?;
        let saved = rotate_webhook_secret(&app, &name, overlap, &author)
            .await
            .map_err(rejected)?;
        Ok(object(&app, StatusCode::OK, &saved.object))
    })
    .await
}

/// `POST /admin/v1/notifications/{name}/test`
async fn test(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::WriteCredentials).await?;
        let tried = send_test(&app, &name, &author).await.map_err(rejected)?;
        let answer = json!({
            "delivered": tried.is_delivered(), "status": tried.status, "error": tried.error,
        });
        Ok(Json(answer).into_response())
    })
    .await
}
