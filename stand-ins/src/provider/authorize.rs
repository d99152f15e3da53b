//! The authorization endpoint (OpenID Connect Core 1.0 section 3.1.2), its log-in form, and the
//! log-out (RP-Initiated Logout 1.0 section 2).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State as Extract};
use axum::http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use url::{Url, form_urlencoded};

use super::state::{Code, LogIn};
use super::{SECOND_FACTOR, StandInProvider, pages};

/// An authentication request.
pub(super) struct Request {
    /// The query that it came with.
    query: String,
    redirect_uri: Url,
    /// The redirect URI as it was sent.
    redirect_text: String,
    state: Option<String>,
    nonce: Option<String>,
    challenge: String,
    acr_values: Vec<String>,
    prompts: Vec<String>,
    max_age: Option<i64>,
}

enum Refused {
    /// It is not known where to send the answer.
    Page(&'static str),
    Redirect(Box<Url>, Option<String>, &'static str),
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

fn words(text: Option<&String>) -> Vec<String> {
    let words = text.map(|text| text.split_ascii_whitespace());
    words.into_iter().flatten().map(str::to_owned).collect()
}

impl Request {
    fn read(provider: &StandInProvider, query: String) -> Result<Self, Refused> {
        let given = parameters(&query);
        let text = |name: &str| given.get(name).cloned();
        if text("client_id").as_ref() != Some(&provider.client.id) {
            return Err(Refused::Page("The client is not known."));
        }
        let redirect_text = text("redirect_uri").unwrap_or_default();
        let redirect_uri = Url::parse(&redirect_text).ok();
        let is_registered = provider.client.redirect_uris.contains(&redirect_text);
        let Some(redirect_uri) = redirect_uri.filter(|_| is_registered) else {
            return Err(Refused::Page("The redirect URI is not registered."));
        };
        let state = text("state");
        let refused = |error| {
            Err(Refused::Redirect(
                Box::new(redirect_uri.clone()),
                state.clone(),
                error,
            ))
        };
        if text("response_type").as_deref() != Some("code") {
            return refused("unsupported_response_type");
        }
        if !words(given.get("scope"))
            .iter()
            .any(|scope| scope == "openid")
        {
            return refused("invalid_scope");
        }
        let challenge = text("code_challenge").unwrap_or_default();
        if text("code_challenge_method").as_deref() != Some("S256") || challenge.len() != 43 {
            return refused("invalid_request");
        }
        Ok(Self {
            redirect_text,
            redirect_uri,
            state,
            nonce: text("nonce"),
            challenge,
            acr_values: words(given.get("acr_values")),
            prompts: words(given.get("prompt")),
            max_age: given.get("max_age").and_then(|age| age.parse().ok()),
            query,
        })
    }

    fn has_prompt(&self, wanted: &str) -> bool {
        self.prompts.iter().any(|prompt| prompt == wanted)
    }

    /// Whether a log-in at this time need not be repeated.
    fn is_met_by(&self, log_in: &LogIn, now: i64) -> bool {
        let is_recent = self
            .max_age
            .is_none_or(|most| now.saturating_sub(log_in.at) < most);
        let is_strong = self.acr_values.is_empty() || log_in.second_factor;
        is_recent && is_strong && !self.has_prompt("login")
    }

    fn acr(&self, log_in: &LogIn) -> Option<String> {
        log_in.second_factor.then(|| {
            let asked = self.acr_values.first().cloned();
            asked.unwrap_or_else(|| SECOND_FACTOR.to_owned())
        })
    }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    crate::cookies::cookie(headers, StandInProvider::COOKIE)
}

fn redirect(mut to: Url, parameters: &[(&str, &str)]) -> Response {
    if !parameters.is_empty() {
        to.query_pairs_mut().extend_pairs(parameters);
    }
    let headers = [
        (LOCATION, to.to_string()),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn answer(refused: Refused, issuer: &str) -> Response {
    match refused {
        Refused::Page(why) => (StatusCode::BAD_REQUEST, Html(pages::message(why))).into_response(),
        Refused::Redirect(to, state, error) => {
            let mut parameters = vec![("error", error), ("iss", issuer)];
            parameters.extend(state.as_deref().map(|state| ("state", state)));
            redirect(*to, &parameters)
        }
    }
}

pub(super) async fn authorize(
    Extract(provider): Extract<Arc<StandInProvider>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let request = match Request::read(&provider, query.unwrap_or_default()) {
        Ok(request) => request,
        Err(refused) => return answer(refused, &provider.issuer),
    };
    let logged_in = cookie(&headers).and_then(|cookie| provider.state.logged_in(&cookie));
    match logged_in {
        Some(log_in) if request.is_met_by(&log_in, provider.now()) => {
            granted(&provider, &request, log_in)
        }
        _ if request.has_prompt("none") => {
            let refused = Refused::Redirect(
                Box::new(request.redirect_uri),
                request.state,
                "login_required",
            );
            answer(refused, &provider.issuer)
        }
        _ => Html(pages::log_in(&request.query)).into_response(),
    }
}

fn granted(provider: &StandInProvider, request: &Request, log_in: LogIn) -> Response {
    let code = provider.state.make_code(Code {
        acr: request.acr(&log_in),
        log_in,
        redirect_uri: request.redirect_text.clone(),
        challenge: request.challenge.clone(),
        nonce: request.nonce.clone(),
        made_at: provider.now(),
    });
    let mut parameters = vec![("code", code.as_str()), ("iss", &provider.issuer)];
    parameters.extend(request.state.as_deref().map(|state| ("state", state)));
    redirect(request.redirect_uri.clone(), &parameters)
}

/// The form of the log-in page: `person`, `second_factor`, and `request`, the query of the
/// authentication request.
pub(super) async fn log_in(
    Extract(provider): Extract<Arc<StandInProvider>>,
    body: String,
) -> Response {
    let given = parameters(&body);
    let query = given.get("request").cloned().unwrap_or_default();
    let request = match Request::read(&provider, query) {
        Ok(request) => request,
        Err(refused) => return answer(refused, &provider.issuer),
    };
    let Some(person) = given
        .get("person")
        .and_then(|sub| StandInProvider::person(sub))
    else {
        let refused = Refused::Redirect(
            Box::new(request.redirect_uri),
            request.state,
            "access_denied",
        );
        return answer(refused, &provider.issuer);
    };
    let log_in = LogIn {
        sub: person.sub.to_owned(),
        at: provider.now(),
        second_factor: given
            .get("second_factor")
            .is_some_and(|given| given == "yes"),
    };
    let cookie = format!(
        "{}={}; Path=/; HttpOnly; SameSite=Lax",
        StandInProvider::COOKIE,
        provider.state.log_in(log_in.clone())
    );
    let mut response = granted(&provider, &request, log_in);
    if let Ok(cookie) = cookie.parse() {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

pub(super) async fn end_session(
    Extract(provider): Extract<Arc<StandInProvider>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    if let Some(cookie) = cookie(&headers) {
        provider.state.log_out(&cookie);
    }
    let given = parameters(&query.unwrap_or_default());
    let back = given.get("post_logout_redirect_uri");
    let back = back.filter(|uri| provider.client.post_logout_redirect_uris.contains(uri));
    match back.and_then(|uri| Url::parse(uri).ok()) {
        Some(back) => {
            let state = given.get("state").map(|state| ("state", state.as_str()));
            redirect(back, state.as_slice())
        }
        None => Html(pages::message("You are logged out.")).into_response(),
    }
}
