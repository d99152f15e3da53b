//! `POST /revoke`: ends a token, and every token that was made from it (RFC 7009; decision D-46).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::about_a_token::Question;
use super::error::error_response;
use super::received::Received;
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::client::ClientIdentity;
use crate::own_tokens::{FEDERATED, LOCAL_CLIENT, OwnToken};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// Ends a token. What is no token of ours, or is over, is as good as ended (RFC 7009 section 2.2).
pub async fn revoke(State(app): State<Arc<App>>, received: Received) -> Response {
    match answer(&app, &received).await {
        Ok(true) => StatusCode::OK.into_response(),
        Ok(false) => {
            // Nobody learns whether a guess was right, and guessing is slowed down as refusals are.
            app.limits.note_refusal(received.address);
            StatusCode::OK.into_response()
        }
        Err(refusal) => {
            if refusal.reason.is_callers_fault() {
                app.limits.note_refusal(received.address);
            }
            error_response(&app.config.own, None, received.id, &refusal, app.clock.now())
        }
    }
}

/// Whether there was something to end.
async fn answer(app: &App, received: &Received) -> Result<bool, Refusal> {
    let question = Question::read(app, received).await?;
    let text = question.token(app).await?;
    let (rules, now) = (app.rules(), app.clock.now());
    let tokens = app.own_tokens(&rules, now);
    let own = tokens.recognise(text).await.map_err(|error| Refusal::unavailable(&error))?;
    let Some(token) = own.filter(|token| token.expires_at() > now) else {
        return Ok(false);
    };
    check_ownership(&question.identity, &token)?;
    let event = event(received, &question.identity, &token);
    app.store
        .revoke(&token.claims().jti, token.expires_at(), &event)
        .await
        .map_err(|error| Refusal::unavailable(&error))?;
    metrics::counter!("carnet_tokens_revoked_total").increment(1);
    Ok(true)
}

/// A token is its client's to end; one that no client was issued is its holder's, and so is one of our own command line.
fn check_ownership(identity: &ClientIdentity, token: &OwnToken) -> Result<(), Refusal> {
    let owner = &token.claims().client_id;
    match identity.id() {
        _ if owner.starts_with(FEDERATED) || owner == LOCAL_CLIENT => Ok(()),
        Some(client_id) if client_id == owner => Ok(()),
        Some(_) => Err(Reason::TokenOfAnotherClient.into()),
        None => Err(Reason::ClientAuthenticationFailed.into()),
    }
}

fn event(received: &Received, identity: &ClientIdentity, token: &OwnToken) -> AuditEvent {
    let claims = token.claims();
    AuditEvent {
        credential: claims.authorization_details.iter().find_map(|entry| entry.credential.parse().ok()),
        principal: claims.principal.as_ref().map(|principal| principal.name.clone()),
        resource: Some(claims.aud.clone()),
        client_id: Some(claims.client_id.clone()),
        token_id: Some(claims.jti.clone()),
        address: received.address,
        detail: json!({ "revoked_by": identity.id() }).to_string(),
        ..AuditEvent::with_id(received.id, Outcome::Revoked)
    }
}
