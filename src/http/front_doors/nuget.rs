//! The front door for the action that gets a key for `dotnet nuget push`, as NuGet.org has it:
//! `/api/v2/token`. The only one whose requests name a principal (`username`).

use std::sync::Arc;

use axum::http::header::USER_AGENT;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::super::told::Told;
use super::request::{DoorRequest, malformed, missing, text};
use super::{Mistake, mistake, wrong_method};
use crate::access_request::principal;
use crate::app::App;
use crate::grant::TokenError;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The one kind of key that can be asked for.
const API_KEY: &str = "ApiKey";

pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v2/token", post(exchange).fallback(wrong_method))
}

async fn exchange(request: DoorRequest) -> Result<Response, TokenError> {
    let agent = request.headers.get(USER_AGENT);
    if agent.is_none_or(HeaderValue::is_empty) {
        return Err(missing("user-agent").into());
    }
    let assertion = request.bearer()?;
    if !request.is_typed("application/json") {
        return Err(Refusal::from(Reason::MediaType)
            .malformed("its Content-Type must be application/json")
            .mended_by("Send a JSON object with Content-Type: application/json.")
            .into());
    }
    let body = request.object()?;
    let kind = text(&body, "tokenType")?;
    if !kind.eq_ignore_ascii_case(API_KEY) {
        // Without the value: a caller that mixes up the members sends a secret.
        return Err(malformed("tokenType must be ApiKey").into());
    }
    let principal = principal(text(&body, "username")?)?;
    let token = request.issue(assertion, Some(principal)).await?;
    let minted = token.get();
    Ok(Json(json!({
        "tokenType": API_KEY,
        "expires": minted.expires_at.to_string(),
        "apiKey": token.access_token(),
    }))
    .into_response())
}

pub fn refused(told: &Told, text: &str) -> (StatusCode, Value) {
    let reason = told.refusal.reason;
    let status = match mistake(told) {
        _ if reason == Reason::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ if reason == Reason::TargetUnknown => StatusCode::NOT_FOUND,
        _ if told.refusal.parameter == Some("authorization") => StatusCode::UNAUTHORIZED,
        Mistake::Temporary => told.status,
        Mistake::Request
            if matches!(
                reason,
                Reason::AssertionMalformed | Reason::AssertionWhitespace
            ) =>
        {
            StatusCode::UNAUTHORIZED
        }
        Mistake::Request if told.status == StatusCode::METHOD_NOT_ALLOWED => told.status,
        Mistake::Request => StatusCode::BAD_REQUEST,
        Mistake::Assertion | Mistake::Used | Mistake::Rules => StatusCode::UNAUTHORIZED,
    };
    (status, json!({ "error": text }))
}
