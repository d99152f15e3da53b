//! The front door for the action that gets a token for `cargo publish`, as crates.io has it:
//! `/api/v1/trusted_publishing/tokens`.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use super::super::error::CountsAsRefusal;
use super::super::told::Told;
use super::request::{DoorRequest, malformed, text};
use super::{Mistake, mistake, wrong_method};
use crate::app::App;
use crate::grant::TokenError;

pub fn routes() -> Router<Arc<App>> {
    Router::new().route(
        "/api/v1/trusted_publishing/tokens",
        post(exchange).delete(revoke).fallback(wrong_method),
    )
}

async fn exchange(request: DoorRequest) -> Result<Response, TokenError> {
    if !request.is_typed("application/json") {
        return Err(malformed("its Content-Type must be application/json").into());
    }
    let body = request.object()?;
    let token = request.issue(text(&body, "jwt")?, None).await?;
    Ok(Json(json!({ "token": token.access_token() })).into_response())
}

/// Ends the token of the `Authorization` header, which has no scheme, or `Bearer`. The answer does
/// not tell whether there was one, and guesses count as refusals.
async fn revoke(request: DoorRequest) -> Result<Response, TokenError> {
    let Ok(token) = request.bare_or_bearer() else {
        let errors =
            json!({ "errors": [{ "detail": "the Authorization header must hold the token" }] });
        return Ok((
            StatusCode::UNAUTHORIZED,
            Extension(CountsAsRefusal),
            Json(errors),
        )
            .into_response());
    };
    Ok(if request.revoke(token).await? {
        StatusCode::NO_CONTENT.into_response()
    } else {
        (Extension(CountsAsRefusal), StatusCode::NO_CONTENT).into_response()
    })
}

pub fn refused(told: &Told, text: &str) -> (StatusCode, Value) {
    let keeps_status =
        mistake(told) == Mistake::Temporary || told.status == StatusCode::METHOD_NOT_ALLOWED;
    let status = if keeps_status {
        told.status
    } else {
        StatusCode::BAD_REQUEST
    };
    (status, json!({ "errors": [{ "detail": text }] }))
}
