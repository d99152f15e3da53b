//! `GET` and `POST /userinfo` (OpenID Connect Core 1.0 section 5.3): who the person is on whose behalf
//! a client acts, by a token that is for this endpoint alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use carnet_engine::code_grant::OpenIdScope;
use carnet_engine::people::{PersonPermit, SignedInPerson};
use serde_json::{Map, Value};

use super::admin::{AdminCaller, Problem, invalid_token, spend_proof};
use crate::admin::Rejected;
use crate::app::App;
use crate::own_tokens::{OwnToken, read_jwt};
use crate::people::session;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::store::StoreError;

/// Answers with the claims that the token's scope asks for.
pub async fn userinfo(State(app): State<Arc<App>>, caller: AdminCaller) -> Response {
    let limited = |refusal: Refusal| Problem::limited(&refusal).into_response();
    let admission = match app.limits.admit(caller.address).await {
        Ok(admission) => admission,
        Err(refusal) => return limited(refusal),
    };
    let answer = claims(&app, &caller).await;
    let response = answer.map_or_else(|refused| *refused, |claims| Json(claims).into_response());
    if response.status().is_client_error() {
        app.limits.note_refusal(caller.address);
        let over = caller
            .address
            .filter(|_| admission.is_on_probation())
            .map(|address| app.limits.check_address(address));
        if let Some(Err(refusal)) = over {
            return limited(refusal);
        }
    }
    response
}

async fn claims(app: &App, caller: &AdminCaller) -> Result<Map<String, Value>, Box<Response>> {
    let own = &app.config.own;
    let Some(text) = caller.token() else {
        return Err(Box::new(challenge()));
    };
    let token = read_jwt(&app.keys, own, text);
    let token = token.filter(|token| token.claims().aud == own.userinfo());
    let other = || invalid(app, "the token is not one for this endpoint");
    let token = token.ok_or_else(other).map_err(Box::new)?;
    let proof = caller.check_proof(app, &token)?;
    let scope = ScopeSet::parse(&token.claims().scope);
    let openid = scope.map(|scope| OpenIdScope::split(&scope).0);
    let person = in_force(app, token).await;
    let person = person.map_err(unavailable).map_err(Box::new)?;
    let ended = || invalid(app, "the token is not in force any more");
    let person = person.ok_or_else(ended).map_err(Box::new)?;
    if let Some(proof) = &proof {
        spend_proof(app, proof).await.map_err(Box::new)?;
    }
    Ok(of(&person, openid.unwrap_or_default()))
}

/// The person of the token, if the token is in force, the session lasts and some membership still lets
/// the person in.
async fn in_force(app: &App, token: OwnToken) -> Result<Option<SignedInPerson>, StoreError> {
    let context = app.decision_context();
    let Ok(live) = app.own_tokens(&context).in_force(token).await? else {
        return Ok(None);
    };
    let session = live.claims().sid.as_ref();
    let Some(session) = session.and_then(|session| session.parse().ok()) else {
        return Ok(None);
    };
    let person = session::person_of(app, session).await?;
    let permit = person.and_then(|person| PersonPermit::new(person, &context).ok());
    Ok(permit.map(|permit| permit.person().clone()))
}

/// The standard claims (OpenID Connect Core 1.0 section 5.1) that the scope asks for.
fn of(person: &SignedInPerson, openid: OpenIdScope) -> Map<String, Value> {
    let profile = Some(()).filter(|()| openid.profile);
    let email = Some(()).filter(|()| openid.email);
    let claims = [
        ("sub", Some(person.id.to_string())),
        ("name", profile.and(person.name.clone())),
        ("preferred_username", profile.and(person.username.clone())),
        ("email", email.and(person.email.clone())),
    ];
    let given = claims.into_iter();
    given
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect()
}

/// The answer without a token (RFC 6750 section 3.1).
fn challenge() -> Response {
    let challenge = [(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    (StatusCode::UNAUTHORIZED, challenge).into_response()
}

fn invalid(app: &App, why: &str) -> Response {
    invalid_token(&app.config.own, why)
}

fn unavailable(error: StoreError) -> Response {
    Problem::from(Rejected::from(error)).into_response()
}
