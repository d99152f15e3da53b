//! The endpoints that the client asks: metadata, keys, tokens (OpenID Connect Core 1.0 section 3.1.3)
//! and userinfo (section 5.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use carnet_jose::{base64url, constant_time_eq, from_base64, sha256};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::state::Code;
use super::{CODE_SECONDS, StandInProvider, TOKEN_SECONDS};

pub(super) async fn metadata(Extract(provider): Extract<Arc<StandInProvider>>) -> Json<Value> {
    Json(provider.metadata())
}

pub(super) async fn jwks(Extract(provider): Extract<Arc<StandInProvider>>) -> Json<Value> {
    Json(json!({ "keys": [provider.key.public().jwk()] }))
}

fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// Id and secret of the client, from the header or the form (RFC 6749 section 2.3.1).
fn credentials(
    headers: &HeaderMap,
    form: &BTreeMap<String, String>,
) -> Option<(String, Option<String>)> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Some((
            form.get("client_id")?.clone(),
            form.get("client_secret").cloned(),
        ));
    };
    let basic = header.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(from_base64(basic)?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decoded = |text: &str| {
        let mut pairs = form_urlencoded::parse(text.as_bytes());
        pairs.next().map(|(name, _)| name.into_owned())
    };
    Some((decoded(id)?, decoded(secret)))
}

fn is_client(provider: &StandInProvider, sent: &(String, Option<String>)) -> bool {
    let secret = match (&provider.client.secret, &sent.1) {
        (None, None) => true,
        (Some(ours), Some(sent)) => constant_time_eq(ours.as_bytes(), sent.as_bytes()),
        _ => false,
    };
    sent.0 == provider.client.id && secret
}

pub(super) async fn token(
    Extract(provider): Extract<Arc<StandInProvider>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let form: BTreeMap<String, String> = form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    if !credentials(&headers, &form).is_some_and(|sent| is_client(&provider, &sent)) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let text = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if text("grant_type") != "authorization_code" {
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let code = provider.state.take_code(text("code"));
    let is_good = |code: &Code| {
        provider.now().saturating_sub(code.made_at) <= CODE_SECONDS
            && code.redirect_uri == text("redirect_uri")
            && code.challenge == base64url(sha256(text("code_verifier").as_bytes()))
    };
    let Some(code) = code.filter(is_good) else {
        return refused(StatusCode::BAD_REQUEST, "invalid_grant");
    };
    let until = provider.now().saturating_add(TOKEN_SECONDS);
    let access_token = provider.state.make_token(code.log_in.sub.clone(), until);
    match id_token(&provider, &code, &access_token) {
        Some(id_token) => {
            let answer = json!({
                "access_token": access_token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS,
                "id_token": id_token,
            });
            ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        None => refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    }
}

fn id_token(provider: &StandInProvider, code: &Code, access_token: &str) -> Option<String> {
    let now = provider.now();
    let mut claims = StandInProvider::person(&code.log_in.sub)?.claims();
    let half = sha256(access_token.as_bytes()).into_iter().take(16);
    let amr: &[&str] = if code.log_in.second_factor {
        &["mfa"]
    } else {
        &[]
    };
    let of_token = json!({
        "iss": provider.issuer, "aud": provider.client.id,
        "iat": now, "exp": now.saturating_add(TOKEN_SECONDS),
        "auth_time": code.log_in.at, "amr": amr, "at_hash": base64url(half.collect::<Vec<u8>>()),
    });
    let all = claims.as_object_mut()?;
    all.extend(of_token.as_object()?.clone());
    all.extend(
        code.nonce
            .clone()
            .map(|nonce| ("nonce".to_owned(), nonce.into())),
    );
    all.extend(code.acr.clone().map(|acr| ("acr".to_owned(), acr.into())));
    let signed = provider
        .key
        .sign_typed("JWT", claims.to_string().as_bytes());
    signed.ok()
}

pub(super) async fn userinfo(
    Extract(provider): Extract<Arc<StandInProvider>>,
    headers: HeaderMap,
) -> Response {
    let sent = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = sent.and_then(|value| value.strip_prefix("Bearer "));
    let sub = token.and_then(|token| provider.state.sub_of_token(token, provider.now()));
    match sub.and_then(|sub| StandInProvider::person(&sub)) {
        Some(person) => Json(person.claims()).into_response(),
        None => refused(StatusCode::UNAUTHORIZED, "invalid_token"),
    }
}
