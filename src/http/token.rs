//! The token endpoint (RFC 6749 section 3.2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::error_response;
use super::received::Received;
use crate::app::App;
use crate::form::OF_TOKEN;
use crate::grant::{self, ACCESS_TOKEN};
use crate::grant_type::GrantType;
use crate::refusal::Refusal;
use crate::token::Minted;

/// A successful answer (RFC 6749 section 5.1, RFC 8693 section 2.2.1, RFC 9396 section 7).
#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<&'a RawValue>,
}

/// `POST /token`
pub async fn token(State(app): State<Arc<App>>, received: Received) -> Response {
    let mut grant = None;
    match answer(&app, &received, &mut grant).await {
        Ok(minted) => {
            metrics::counter!("carnet_tokens_issued_total").increment(1);
            tracing::debug!(token_id = minted.token_id, "token issued");
            Json(TokenAnswer {
                access_token: &minted.token,
                token_type: "Bearer",
                expires_in: minted.expires_in,
                scope: &minted.scope,
                issued_token_type: (grant == Some(GrantType::TokenExchange)).then_some(ACCESS_TOKEN),
                authorization_details: minted.authorization_details.as_deref(),
            })
            .into_response()
        }
        Err(refusal) => {
            if refusal.reason.is_callers_fault() {
                app.limits.note_refusal(received.address);
            }
            error_response(&app.config.own, grant, received.id, &refusal, app.clock.now())
        }
    }
}

async fn answer(app: &App, received: &Received, grant: &mut Option<GrantType>) -> Result<Minted, Refusal> {
    let form = received.form(app, &OF_TOKEN)?;
    let request = received.grant_request(app, &form, grant).await?;
    grant::grant(app, &request).await
}
