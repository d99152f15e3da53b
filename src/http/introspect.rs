//! `POST /introspect`: tells a registry or a client whether a token is in force and what it allows
//! (RFC 7662), on request as a signed JWT (RFC 9701).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::received::FormRequest;
use super::token::token_type;
use super::token_status::StatusRequest;
use crate::app::App;
use crate::grant::TokenError;
use crate::model::{Client, DecisionContext};
use crate::own_tokens::LiveToken;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The media type of signed answers (RFC 9701 section 4).
const SIGNED: &str = "application/token-introspection+jwt";

/// Answers authenticated clients only: a public client is refused.
pub async fn introspect(
    State(app): State<Arc<App>>,
    request: FormRequest,
) -> Result<Response, TokenError> {
    let question = StatusRequest::read(&app, &request).await?;
    let identity = question.client.identity();
    let client = identity
        .authenticated()
        .ok_or(Refusal::from(Reason::ClientAuthenticationFailed))?;
    let found = find(&app, &question.context, client, question.token(&app).await?).await?;
    if found.is_none() {
        // Rate-limit only inactive answers: callers of a registry choose what it introspects.
        app.limits.check_introspection(&client.client_id)?;
        app.limits.note_inactive(&client.client_id);
    }
    let body = found
        .as_ref()
        .map_or_else(|| json!({ "active": false }), active);
    if !wants_signed(&request.headers) {
        return Ok(Json(body).into_response());
    }
    let signed = app
        .tokens
        .sign_introspection(&client.client_id, &body, question.context.now);
    Ok(([(CONTENT_TYPE, SIGNED)], signed.map_err(Refusal::from)?).into_response())
}

/// The token, if it is in force and the client may ask about it: the client is the registry in
/// `aud`, or the client to which the token was issued (decision D-45).
async fn find(
    app: &App,
    context: &DecisionContext<'_>,
    client: &Client,
    text: &str,
) -> Result<Option<LiveToken>, Refusal> {
    let tokens = app.own_tokens(context);
    let Some(own) = tokens.recognise(text).await? else {
        return Ok(None);
    };
    let registry = client
        .resource_server
        .as_deref()
        .and_then(|name| context.rules.resource_server(name));
    let is_registry = registry.is_some_and(|server| server.resource == own.claims().aud);
    if !is_registry && own.claims().client_id != client.client_id {
        return Ok(None);
    }
    Ok(tokens.in_force(own).await?.ok())
}

/// The members of RFC 7662 section 2.2. Opaque tokens are answered with the same claims as JWTs.
fn active(token: &LiveToken) -> Value {
    let mut body = json!(token.claims());
    if let Some(members) = body.as_object_mut() {
        members.insert("active".to_owned(), true.into());
        let token_type = token_type(token.confirmation());
        members.insert("token_type".to_owned(), token_type.into());
    }
    body
}

/// Whether `Accept` names the signed answer with at least the weight of the plain one
/// (RFC 9110 section 12.4.2).
fn wants_signed(headers: &HeaderMap) -> bool {
    let signed = weight_of(headers, SIGNED);
    // At equal weights the signed answer is sent: a caller that names it can read it.
    signed > 0.0 && signed >= weight_of(headers, "application/json")
}

/// The highest weight of a media type that `Accept` names literally: 1 without `q`, 0 if it is not
/// named. Wildcards do not count.
fn weight_of(headers: &HeaderMap, wanted: &str) -> f32 {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(','));
    let weights = accepted.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|media_type| media_type.eq_ignore_ascii_case(wanted));
        named.then(|| {
            parts
                .find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok())
                .unwrap_or(1.0)
        })
    });
    weights.fold(0.0, f32::max)
}
