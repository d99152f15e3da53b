//! The front door for `uv publish`, `twine` and the PyPI action, as warehouse has it:
//! `/_/oidc/audience`, `/_/oidc/mint-token` and `/_/oidc/burn-token`.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use super::super::error::CountsAsRefusal;
use super::super::told::Told;
use super::request::{DoorRequest, text};
use super::{Mistake, mistake, wrong_method};
use crate::app::App;
use crate::grant::TokenError;
use crate::reason::Reason;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/_/oidc/audience", get(audience).fallback(wrong_method))
        .route("/_/oidc/mint-token", post(mint).fallback(wrong_method))
        // What the first releases of the PyPI action ask.
        .route(
            "/_/oidc/github/mint-token",
            post(mint).fallback(wrong_method),
        )
        .route("/_/oidc/burn-token", post(burn).fallback(wrong_method))
}

/// The audience that the tool has to ask its platform for.
async fn audience(request: DoorRequest) -> Response {
    let door = request.server.front_door.as_ref();
    let audience = door.and_then(|door| door.audiences.first());
    if let Some(audience) = audience.filter(|_| request.server.enabled) {
        return Json(json!({ "audience": audience })).into_response();
    }
    // Tools take 403 for a registry that has trusted publishing switched off.
    let message = "trusted publishing is switched off for this registry";
    (StatusCode::FORBIDDEN, Json(json!({ "message": message }))).into_response()
}

async fn mint(request: DoorRequest) -> Result<Response, TokenError> {
    let body = request.object()?;
    let token = request.issue(text(&body, "token")?, None).await?;
    let minted = token.get();
    Ok(Json(json!({
        "success": true,
        "token": token.access_token(),
        "expires": minted.expires_at.seconds(),
    }))
    .into_response())
}

/// Ends a key. The answer does not tell whether there was one, and guesses count as refusals.
async fn burn(request: DoorRequest) -> Result<Response, TokenError> {
    let body = request.object()?;
    let is_ended = request.revoke(text(&body, "token")?).await?;
    Ok(if is_ended {
        StatusCode::ACCEPTED.into_response()
    } else {
        (Extension(CountsAsRefusal), StatusCode::ACCEPTED).into_response()
    })
}

/// Every refusal is a 422 here, but those that pass by themselves.
pub fn refused(told: &Told, text: &str) -> (StatusCode, Value) {
    let code = match mistake(told) {
        Mistake::Request => "invalid-payload",
        _ if told.refusal.reason == Reason::IssUnknown => "invalid-payload",
        // Its registry is disabled.
        _ if told.refusal.reason == Reason::TargetUnknown => "not-enabled",
        Mistake::Assertion => "invalid-token",
        Mistake::Used => "invalid-reuse-token",
        Mistake::Rules => "invalid-publisher",
        Mistake::Temporary => "temporarily-unavailable",
    };
    let keeps_status =
        mistake(told) == Mistake::Temporary || told.status == StatusCode::METHOD_NOT_ALLOWED;
    let status = if keeps_status {
        told.status
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    let body = json!({
        "message": "Token request failed",
        "errors": [{ "code": code, "description": text }],
    });
    (status, body)
}
