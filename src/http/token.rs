//! The token endpoint (RFC 6749 section 3.2).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use super::address::ClientAddress;
use super::error::error_response;
use super::form::TokenForm;
use super::limit::Body;
use crate::app::App;
use crate::client;
use crate::grant::{self, GrantRequest, GrantType};
use crate::ids::EventId;
use crate::refusal::Refusal;
use crate::token::Minted;

/// A successful answer (RFC 6749 section 5.1, RFC 9396 section 7).
#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    scope: &'a str,
    authorization_details: &'a RawValue,
}

/// `POST /token`
pub async fn token(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let id = EventId::new(app.clock.now());
    let mut grant = None;
    let result = match body.admitted(&app, address) {
        Ok(body) => answer(&app, id, address, &uri, &headers, &body, &mut grant).await,
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(minted) => {
            metrics::counter!("carnet_tokens_issued_total").increment(1);
            tracing::debug!(token_id = minted.token_id, "token issued");
            Json(TokenAnswer {
                access_token: &minted.token,
                token_type: "Bearer",
                expires_in: minted.expires_in,
                scope: &minted.scope,
                authorization_details: &minted.authorization_details,
            })
            .into_response()
        }
        Err(refusal) => {
            app.limits.note_refusal(address);
            error_response(&app.config.own, grant, id, &refusal, app.clock.now())
        }
    }
}

async fn answer(
    app: &App,
    id: EventId,
    address: Option<std::net::IpAddr>,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
    grant: &mut Option<GrantType>,
) -> Result<Minted, Refusal> {
    let form = TokenForm::read(uri, headers, body)?;
    let request = grant_request(app, id, address, &form, headers, grant)?;
    grant::redeem(app, &request).await
}

/// Decision D-01, steps 3 to 7: grant type, client, parameters.
pub(super) fn grant_request(
    app: &App,
    id: EventId,
    address: Option<std::net::IpAddr>,
    form: &TokenForm,
    headers: &HeaderMap,
    grant: &mut Option<GrantType>,
) -> Result<GrantRequest, Refusal> {
    let grant_type = *grant.insert(grant::grant_type(form)?);
    let credentials = grant::client_credentials(form, headers)?;
    let client = client::authenticate(&credentials, grant_type, &app.rules())?;
    let assertion = form.require("assertion")?.to_owned();
    let access = grant::access_request(form)?;
    Ok(GrantRequest { id, grant_type, client, assertion, access, address })
}
