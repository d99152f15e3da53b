//! The front door for `npm`, `pnpm` and `yarn`, as the npm registry has it:
//! `/-/npm/v1/oidc/token/exchange/package/{name}`. The key is good for that package only.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::super::told::Told;
use super::request::DoorRequest;
use super::{Mistake, mistake, wrong_method};
use crate::app::App;
use crate::clock::Timestamp;
use crate::grant::TokenError;

pub fn routes() -> Router<Arc<App>> {
    let exchange = || post(exchange).fallback(wrong_method);
    Router::new()
        .route(
            "/-/npm/v1/oidc/token/exchange/package/{package}",
            exchange(),
        )
        // A scoped name whose slash was decoded on the way.
        .route(
            "/-/npm/v1/oidc/token/exchange/package/{scope}/{package}",
            exchange(),
        )
}

async fn exchange(request: DoorRequest) -> Result<Response, TokenError> {
    let token = request.issue(request.bearer()?, None).await?;
    let minted = token.get();
    let created = minted
        .expires_at
        .plus_seconds(minted.expires_in.saturating_neg());
    let body = json!({
        "token_type": "oidc",
        "token": token.access_token(),
        "created": date(created),
        "expires": date(minted.expires_at),
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

fn date(time: Timestamp) -> String {
    time.to_string()
}

/// npm reads `message`, pnpm `body.message`.
pub fn refused(told: &Told, text: &str) -> (StatusCode, Value) {
    let status = match mistake(told) {
        Mistake::Request if told.status == StatusCode::METHOD_NOT_ALLOWED => told.status,
        Mistake::Request => StatusCode::BAD_REQUEST,
        Mistake::Assertion | Mistake::Used => StatusCode::UNAUTHORIZED,
        Mistake::Rules => StatusCode::NOT_FOUND,
        Mistake::Temporary => told.status,
    };
    let message = format!("OIDC token exchange error - {text}");
    (
        status,
        json!({ "message": message, "body": { "message": message } }),
    )
}
