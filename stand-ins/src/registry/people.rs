//! `GET /account`: a page on which a person signs in with Carnet, and sees the packages of the
//! principal that the registry may act for.
//!
//! The registry is a client of Carnet ([`sign_in`]). What it gets is an access token like that of a
//! job, so there is no second way to decide: a page is shown only if the token is valid at that
//! moment, and what may be published is asked of [`Registry::admit`].
//!
//! Sessions are in memory, under a cookie that no script reads and no other site sends in a form.

mod page;
mod sign_in;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, ORIGIN, REFERRER_POLICY, SET_COOKIE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use carnet_engine::ids::random;
use carnet_jose::base64url;
use carnet_resource_server::{AccessToken, Operation};
use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded;

use super::Registry;
use crate::cookies::cookie;
use crate::kept::Kept;
use page::{Account, Package};
pub use sign_in::NoSignIn;
use sign_in::{Answer, Attempt, Client, Failure};

/// The path of the page; the others are below it.
const PAGE: &str = "/account";
const CALLBACK: &str = "/account/callback";

/// Cookies ignore ports, so the names say whose they are.
const SESSION: &str = "example-registry-session";
const ATTEMPT: &str = "example-registry-sign-in";
/// How long a sign-in may take, in seconds.
const ATTEMPT_SECONDS: u64 = 600;

/// Signs people in, and remembers who is.
#[derive(Debug)]
pub(super) struct People {
    client: Client,
    /// Whether the registry is reached by https, so that its cookies never leave over http.
    is_secure: bool,
    attempts: Kept<Attempt>,
    sessions: Kept<Session>,
}

/// Somebody who signed in.
#[derive(Clone, Debug)]
struct Session {
    /// What the person let the registry have. The session ends with it.
    token: SecretString,
    /// In each form, so that no other site can send it.
    csrf: String,
}

impl People {
    /// Signs people in at the registry as this client, whose secret is in a file if it has one.
    pub(super) fn new(
        registry: &Registry,
        client: &str,
        secret: Option<PathBuf>,
    ) -> Result<Self, NoSignIn> {
        Ok(Self {
            client: Client::new(&registry.verifier, &registry.url, (client, secret))?,
            is_secure: registry.url.starts_with("https://"),
            attempts: Kept::default(),
            sessions: Kept::default(),
        })
    }

    /// The session of the browser, with its token, which is verified anew: it may have ended.
    async fn signed_in(
        &self,
        registry: &Registry,
        headers: &HeaderMap,
    ) -> Option<(Session, AccessToken)> {
        let session = self.sessions.get(&cookie(headers, SESSION)?)?;
        let token = session.token.expose_secret();
        let token = registry.verifier.verify_token(token).await.ok()?;
        Some((session, token))
    }

    /// A value of `Set-Cookie`. With an age of 0 the browser forgets the cookie.
    fn set_cookie(&self, name: &str, value: &str, age: Option<u64>) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let age = age.map(|age| format!("; Max-Age={age}"));
        let age = age.unwrap_or_default();
        format!("{name}={value}; Path={PAGE}; HttpOnly; SameSite=Lax{secure}{age}")
    }
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Desk(Arc<Registry>);

impl Desk {
    /// The router exists only if people can sign in.
    fn people(&self) -> Result<&People, StatusCode> {
        self.0.people.as_ref().ok_or(StatusCode::NOT_FOUND)
    }
}

pub(super) fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route(PAGE, get(show))
        .route("/account/sign-in", get(begin))
        .route(CALLBACK, get(callback))
        .route("/account/sign-out", post(sign_out))
        .with_state(Desk(registry))
}

/// `GET /account`
async fn show(State(desk): State<Desk>, headers: HeaderMap) -> Result<Response, Response> {
    let registry = &desk.0;
    let people = desk.people().map_err(StatusCode::into_response)?;
    let Some((session, token)) = people.signed_in(registry, &headers).await else {
        let issuer = registry.verifier.issuer();
        return Ok(shown(StatusCode::OK, page::signed_out(issuer)));
    };
    let packages = own_packages(registry, &token).await;
    let packages = packages.map_err(|error| super::Unanswered::from(error).into_response())?;
    let account = Account {
        token: &token,
        csrf: &session.csrf,
        packages,
    };
    Ok(shown(StatusCode::OK, page::account(&account)))
}

/// The packages that the principal of a token owns. The token itself need not cover them.
async fn own_packages(registry: &Registry, token: &AccessToken) -> std::io::Result<Vec<Package>> {
    let Some(principal) = &token.principal else {
        return Ok(Vec::new());
    };
    let mut own = Vec::new();
    for name in registry.storage.packages().await? {
        let owner = registry.storage.owner(&name).await?;
        if owner.as_ref() != Some(&principal.name) {
            continue;
        }
        let operation = Operation {
            action: "publish",
            package: &name,
            version: None,
            digest: None,
        };
        own.push(Package {
            may_publish: registry.admit(token, &operation).await.is_ok(),
            files: registry.storage.files(&name).await?,
            name,
        });
    }
    Ok(own)
}

/// `GET /account/sign-in`: sends the browser to Carnet.
async fn begin(State(desk): State<Desk>) -> Result<Response, Response> {
    let people = desk.people().map_err(StatusCode::into_response)?;
    let (to, attempt) = people
        .client
        .begin()
        .await
        .map_err(|failure| failed(&failure))?;
    let attempt = people.attempts.put(attempt);
    let cookie = people.set_cookie(ATTEMPT, &attempt, Some(ATTEMPT_SECONDS));
    let headers = [(SET_COOKIE, cookie), (LOCATION, to.into())];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// `GET /account/callback`: the browser comes back, with a code or an error.
async fn callback(
    State(desk): State<Desk>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Response> {
    let people = desk.people().map_err(StatusCode::into_response)?;
    // Only the browser that began the sign-in can end it, and only once.
    let attempt = cookie(&headers, ATTEMPT).and_then(|sent| people.attempts.take(&sent));
    let attempt = attempt.ok_or_else(|| {
        let why = "this browser has begun no sign-in, or it was answered already";
        failed(&Failure::Wrong(why.to_owned()))
    })?;
    let answer = Answer::read(&query.unwrap_or_default());
    let (token, subject) = people
        .client
        .finish(attempt, answer)
        .await
        .map_err(|failure| failed(&failure))?;
    let verified = desk.0.verifier.verify_token(token.expose_secret()).await;
    let verified = verified.map_err(|rejection| failed(&Failure::Wrong(rejection.to_string())))?;
    // The person who signed in is the one for whom the token was issued.
    if verified.person.map(|person| person.id) != Some(subject) {
        let why = "the access token is not that of the person in the ID token";
        return Err(failed(&Failure::Wrong(why.to_owned())));
    }
    let session = people.sessions.put(Session {
        token,
        csrf: base64url(random::<32>()),
    });
    let cookies = [
        (SET_COOKIE, people.set_cookie(ATTEMPT, "", Some(0))),
        (SET_COOKIE, people.set_cookie(SESSION, &session, None)),
    ];
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, PAGE)]).into_response();
    for (name, value) in cookies {
        if let Ok(value) = value.parse() {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

/// `POST /account/sign-out`: the form of the page.
async fn sign_out(
    State(desk): State<Desk>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Response> {
    let people = desk.people().map_err(StatusCode::into_response)?;
    let secret = cookie(&headers, SESSION).unwrap_or_default();
    let session = people.sessions.get(&secret);
    let sent = form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "csrf");
    let is_own = match (&session, sent) {
        (Some(session), Some((_, csrf))) => {
            let (own, sent) = (session.csrf.as_bytes(), csrf.as_bytes());
            own.len() == sent.len() && openssl::memcmp::eq(own, sent)
        }
        _ => false,
    };
    let origin = headers.get(ORIGIN);
    if !is_own || origin.is_some_and(|origin| origin != desk.0.url.as_str()) {
        let why = "the form is not one of this page, or the session has ended";
        return Err(failed(&Failure::Wrong(why.to_owned())));
    }
    people.sessions.take(&secret);
    let forget = people.set_cookie(SESSION, "", Some(0));
    let headers = [(SET_COOKIE, forget), (LOCATION, PAGE.to_owned())];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

fn failed(failure: &Failure) -> Response {
    let status = match failure {
        Failure::Declined(_) => StatusCode::FORBIDDEN,
        Failure::Wrong(_) => StatusCode::BAD_REQUEST,
        Failure::Unavailable(_) => StatusCode::BAD_GATEWAY,
    };
    shown(status, page::failed(&failure.to_string()))
}

fn shown(status: StatusCode, page: String) -> Response {
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "same-origin"),
    ];
    (status, headers, Html(page)).into_response()
}

#[cfg(test)]
mod tests;
