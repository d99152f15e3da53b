//! `POST /revoke`: ends a token, and every token that was exchanged from it (RFC 7009;
//! decision D-46).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::error::{Caller, CountsAsRefusal};
use super::received::FormRequest;
use super::token_status::StatusRequest;
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::client::ClientIdentity;
use crate::grant::{TokenError, parts_of_token};
use crate::own_tokens::{FEDERATED, LOCAL_CLIENT, OwnToken};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// Revokes a token. Unknown and expired tokens are answered with 200 too (RFC 7009 section 2.2).
pub async fn revoke(
    State(app): State<Arc<App>>,
    request: FormRequest,
) -> Result<Response, TokenError> {
    let question = StatusRequest::read(&app, &request).await?;
    let text = question.token(&app).await?;
    let tokens = app.own_tokens(&question.context);
    let own = tokens.recognise(text).await.map_err(Refusal::from)?;
    let Some(token) = own.filter(|token| token.expires_at() > question.context.now) else {
        // The answer does not tell whether a token exists. It counts as a refusal, which limits the
        // rate of guesses.
        return Ok((Extension(CountsAsRefusal), StatusCode::OK).into_response());
    };
    let identity = question.client.identity();
    check_ownership(identity, &token)?;
    let parts = parts_of_token(&question.context.rules, token.claims());
    let event = AuditEvent {
        parts,
        ..event(&request.caller, identity, &token)
    };
    app.store
        .revoke(&token.claims().jti, token.expires_at(), &event)
        .await
        .map_err(Refusal::from)?;
    metrics::counter!("carnet_tokens_revoked_total").increment(1);
    Ok(StatusCode::OK.into_response())
}

/// Only the client to which a token was issued may revoke it. A token that was issued without a
/// client, or by the command line, may be revoked by its holder.
fn check_ownership(identity: &ClientIdentity, token: &OwnToken) -> Result<(), Refusal> {
    let owner = &token.claims().client_id;
    match identity.id() {
        _ if owner.starts_with(FEDERATED) || owner == LOCAL_CLIENT => Ok(()),
        Some(client_id) if client_id == owner => Ok(()),
        Some(_) => Err(Reason::TokenOfAnotherClient.into()),
        None => Err(Reason::ClientAuthenticationFailed.into()),
    }
}

fn event(caller: &Caller, identity: &ClientIdentity, token: &OwnToken) -> AuditEvent {
    let claims = token.claims();
    AuditEvent {
        credential: claims
            .authorization_details
            .iter()
            .find_map(|entry| entry.credential.parse().ok()),
        principal: claims
            .principal
            .as_ref()
            .map(|principal| principal.name.clone()),
        resource: Some(claims.aud.clone()),
        client_id: Some(claims.client_id.clone()),
        token_id: Some(claims.jti.clone()),
        address: caller.address,
        detail: json!({ "revoked_by": identity.id() }).to_string(),
        ..AuditEvent::with_id(caller.id, Outcome::Revoked)
    }
}
