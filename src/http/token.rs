//! The token endpoint (RFC 6749 section 3.2).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use carnet_resource_server::Confirmation;
use serde::Serialize;
use serde_json::value::RawValue;

use super::nonce::with_nonce;
use super::received::FormRequest;
use crate::app::App;
use crate::grant::{ACCESS_TOKEN, TokenError, issue};
use crate::grant_type::GrantType;
use crate::store::Recorded;
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
    /// How many permitted entries did not fit into the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries_left_out: Option<usize>,
    /// OpenID Connect Core 1.0 section 3.1.3.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
}

impl<'a> TokenAnswer<'a> {
    /// Takes a recorded token only: a token must not be sent before its record is durable.
    fn of(token: &'a Recorded<Minted>, grant_type: GrantType) -> Self {
        let minted = token.get();
        Self {
            access_token: token.access_token(),
            token_type: token_type(minted.confirmation.as_ref()),
            expires_in: minted.expires_in,
            scope: &minted.scope,
            issued_token_type: (grant_type == GrantType::TokenExchange).then_some(ACCESS_TOKEN),
            authorization_details: minted.authorization_details.as_deref(),
            entries_left_out: minted.entries_left_out,
            id_token: token.id_token(),
        }
    }
}

/// The type of a token that is bound to this key (RFC 9449 section 5, RFC 8705 section 3).
pub fn token_type(confirmation: Option<&Confirmation>) -> &'static str {
    match confirmation {
        Some(Confirmation::Key(_)) => "DPoP",
        Some(Confirmation::Certificate(_)) | None => "Bearer",
    }
}

/// `POST /token`
pub async fn token(
    State(app): State<Arc<App>>,
    request: FormRequest,
) -> Result<Response, TokenError> {
    let form = request.token_form()?;
    let refused = |_: &TokenError| request.caller.sent.note_assertion(&form);
    let request = request.grant_request(&app, &form).inspect_err(refused)?;
    let token = issue(&app, &request).await.inspect_err(refused)?;
    metrics::counter!("carnet_tokens_issued_total").increment(1);
    tracing::debug!(token_id = token.get().token_id, "token issued");
    let answer = Json(TokenAnswer::of(&token, request.grant_type())).into_response();
    let nonces = app.proofs.required_nonces();
    Ok(with_nonce(nonces, app.clock.now(), answer))
}
