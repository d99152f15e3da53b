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
use crate::grant::{TokenError, parts_of_token, person_of};
use crate::model::DecisionContext;
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
    let by = (&request.caller, identity.id());
    revoke_by_holder(&app, &question.context, &token, by).await?;
    Ok(StatusCode::OK.into_response())
}

/// Ends a token that is in force, for its holder; the client is the one that asked, if one did.
pub(super) async fn revoke_by_holder(
    app: &App,
    context: &DecisionContext<'_>,
    token: &OwnToken,
    by: (&Caller, Option<&str>),
) -> Result<(), Refusal> {
    let event = AuditEvent {
        parts: parts_of_token(&context.rules, token.claims()),
        ..event(by, token)
    };
    let is_revoked_now = app
        .store
        .revoke(&token.claims().jti, token.expires_at(), &event)
        .await?;
    // A repetition revokes nothing.
    if is_revoked_now {
        metrics::counter!("carnet_tokens_revoked_total").increment(1);
    }
    Ok(())
}

/// Whether whoever holds a token may revoke it: it was issued without a client, or by the command
/// line.
pub(super) fn is_of_holder(token: &OwnToken) -> bool {
    let owner = &token.claims().client_id;
    owner.starts_with(FEDERATED) || owner == LOCAL_CLIENT
}

/// Only the client to which a token was issued may revoke it, unless [`is_of_holder`].
fn check_ownership(identity: &ClientIdentity, token: &OwnToken) -> Result<(), Refusal> {
    let owner = &token.claims().client_id;
    match identity.id() {
        _ if is_of_holder(token) => Ok(()),
        Some(client_id) if client_id == owner => Ok(()),
        Some(_) => Err(Reason::TokenOfAnotherClient.into()),
        None => Err(Reason::ClientAuthenticationFailed.into()),
    }
}

fn event((caller, client): (&Caller, Option<&str>), token: &OwnToken) -> AuditEvent {
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
        person: person_of(claims),
        address: caller.address,
        detail: json!({ "revoked_by": client }).to_string(),
        ..AuditEvent::with_id(caller.id, Outcome::Revoked)
    }
}
