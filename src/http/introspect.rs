//! `POST /introspect`: is a token in force, and what does it allow (RFC 7662), on request as a signed answer (RFC 9701).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::about_a_token::Question;
use super::error::error_response;
use super::received::Received;
use crate::app::App;
use crate::model::Client;
use crate::own_tokens::LiveToken;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The media type of signed answers (RFC 9701 section 4).
const SIGNED: &str = "application/token-introspection+jwt";

/// Answers a registry, or a token's own client.
pub async fn introspect(State(app): State<Arc<App>>, received: Received) -> Response {
    match answer(&app, &received).await {
        Ok(response) => response,
        Err(refusal) => {
            if refusal.reason.is_callers_fault() {
                app.limits.note_refusal(received.address);
            }
            error_response(&app.config.own, None, received.id, &refusal, app.clock.now())
        }
    }
}

async fn answer(app: &App, received: &Received) -> Result<Response, Refusal> {
    let question = Question::read(app, received).await?;
    let client = question.identity.authenticated().ok_or(Refusal::new(Reason::ClientAuthenticationFailed))?;
    let found = find(app, client, question.token(app).await?).await?;
    if found.is_none() {
        // Only questions about nothing are held off: strangers send those to a registry, and its good tokens must not suffer for it.
        app.limits.check_introspection(&client.client_id)?;
        app.limits.note_inactive(&client.client_id);
    }
    let body = found.as_ref().map_or_else(|| json!({ "active": false }), active);
    if !wants_signed(&received.headers) {
        return Ok(Json(body).into_response());
    }
    let signed = app.tokens.sign_introspection(&client.client_id, &body, app.clock.now());
    let signed = signed.map_err(|error| Refusal::new(Reason::Internal).with_detail(error.to_string()))?;
    Ok(([(CONTENT_TYPE, SIGNED)], signed).into_response())
}

/// The token, if it is in force and the client's business: it is the registry in `aud`, or the token's own client (decision D-45).
async fn find(app: &App, client: &Client, text: &str) -> Result<Option<LiveToken>, Refusal> {
    let rules = app.rules();
    let tokens = app.own_tokens(&rules, app.clock.now());
    let Some(own) = tokens.recognise(text).await.map_err(|error| Refusal::unavailable(&error))? else {
        return Ok(None);
    };
    let registry = client.resource_server.as_deref().and_then(|name| rules.resource_server(name));
    let is_registry = registry.is_some_and(|server| server.resource == own.claims().aud);
    if !is_registry && own.claims().client_id != client.client_id {
        return Ok(None);
    }
    Ok(tokens.in_force(own).await.map_err(|error| Refusal::unavailable(&error))?.ok())
}

/// The members of RFC 7662 section 2.2, with the values that the token has as a JWT.
fn active(token: &LiveToken) -> Value {
    let mut body = json!(token.claims());
    if let Some(members) = body.as_object_mut() {
        members.insert("active".to_owned(), true.into());
        members.insert("token_type".to_owned(), "Bearer".into());
        if let Some(cnf) = token.confirmation() {
            members.insert("cnf".to_owned(), cnf.clone());
        }
    }
    body
}

fn wants_signed(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let mut ranges = accepted.map(|range| range.split(';').map(str::trim));
    ranges.any(|mut range| {
        let signed = range.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case(SIGNED));
        // A weight of nothing says what is not wanted (RFC 9110 section 12.4.2).
        let weight = range.find_map(|parameter| parameter.strip_prefix("q=")?.parse::<f32>().ok());
        signed && weight.is_none_or(|weight| weight > 0.0)
    })
}
