//! The front door for the action that gets a key for `gem push`, as RubyGems.org has it:
//! `/api/v1/oidc/trusted_publisher/exchange_token`.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::super::told::Told;
use super::request::{DoorRequest, missing, text};
use super::{Mistake, mistake, wrong_method};
use crate::app::App;
use crate::form::{Parameters, TokenForm};
use crate::grant::TokenError;

const FORM: Parameters = Parameters {
    known: &[&["jwt"]],
    repeatable: &[],
};

pub fn routes() -> Router<Arc<App>> {
    Router::new().route(
        "/api/v1/oidc/trusted_publisher/exchange_token",
        post(exchange).fallback(wrong_method),
    )
}

async fn exchange(request: DoorRequest) -> Result<Response, TokenError> {
    let token = if request.is_typed("application/x-www-form-urlencoded") {
        let form = TokenForm::parse(request.bytes(), &FORM)?;
        let assertion = form.get("jwt").ok_or_else(|| missing("jwt"))?;
        request.issue(assertion, None).await?
    } else {
        request
            .issue(text(&request.object()?, "jwt")?, None)
            .await?
    };
    let minted = token.get();
    // The action refuses an answer without one of these members.
    let body = json!({
        "rubygems_api_key": token.access_token(),
        "name": format!("carnet {}", minted.token_id),
        "scopes": ["push_rubygem"],
        "expires_at": minted.expires_at.to_string(),
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// The action takes 404 for an assertion that no trusted publisher matches.
pub fn refused(told: &Told, text: &str) -> (StatusCode, Value) {
    let status = match mistake(told) {
        Mistake::Temporary => told.status,
        Mistake::Request if told.status == StatusCode::METHOD_NOT_ALLOWED => told.status,
        Mistake::Request => StatusCode::BAD_REQUEST,
        Mistake::Assertion | Mistake::Used | Mistake::Rules => StatusCode::NOT_FOUND,
    };
    (status, json!({ "error": text }))
}
