//! The pages for people, below `/console`: sign-in, one's own account and sessions, sign-out.
//!
//! They stand on the issuer's origin alone, work without scripts, and change nothing by GET. What
//! they show and do is decided in [`people`](crate::people): nothing here uses the store.

mod account;
mod assets;
mod chart;
mod cookies;
mod inside;
mod links;
mod page;
mod posted;
mod principal;
mod refused;
mod rules;
mod runs;
mod sign_in;
mod test;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts as _, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, PRAGMA, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use carnet_gateway::host;
use url::Url;

use self::refused::failed;
use self::visitor::Visitor;
use super::address::ClientAddress;
use super::error::not_found;
use crate::app::App;
use crate::config::OwnUrls;
use crate::limits::AddressAdmission;
use crate::people::session::is_https;

/// Most bytes of a form.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// Scripts, styles, images and forms are our own, and nobody shows our pages in theirs.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
/// A year, for this host alone.
const TRANSPORT_SECURITY: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// Most characters of a host in the log.
const MAX_LOGGED_HOST: usize = 100;
/// The end of the path at which providers answer: its URL holds a code.
const CALLBACK: &str = "/callback";
/// Where the stylesheet and the icon lie, which cost nothing.
const ASSETS: &str = "/console/assets/";

/// The routes below the issuer's path.
pub fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/console", get(account::home))
        .route("/console/sign-in", get(sign_in::choose))
        .route("/console/sign-in/{provider}", get(sign_in::begin))
        .route(
            "/console/sign-in/{provider}/callback",
            get(sign_in::callback),
        )
        .route("/console/step-up", post(sign_in::step_up))
        .route("/console/sign-out", post(account::sign_out))
        .route("/console/signed-out", get(account::signed_out))
        .route("/console/sessions/{id}/end", post(account::end_session))
        .merge(of_principals())
        .route("/console/assets/{name}", get(assets::asset))
        .route_layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route_layer(from_fn_with_state(app.clone(), around_pages))
}

/// The pages about one principal.
fn of_principals() -> Router<Arc<App>> {
    let below = |path: &str| format!("/console/principals/{{principal}}{path}");
    Router::new()
        .route(&below(""), get(principal::show))
        .route(&below("/rules/new"), get(rules::begin).post(rules::create))
        .route(&below("/rules/{rule}"), get(rules::show))
        .route(
            &below("/rules/{rule}/edit"),
            get(rules::edit).post(rules::replace),
        )
        .route(&below("/rules/{rule}/change"), post(rules::change))
        .route(&below("/rules/{rule}/delete"), post(rules::delete))
        .route(&below("/rules/{rule}/history"), get(rules::history))
        .route(&below("/rules/{rule}/snippets"), get(rules::snippets))
        .route(&below("/test"), get(test::show).post(test::judge))
        .route(&below("/runs"), get(runs::list))
        .route(&below("/runs/{event}"), get(runs::show))
}

/// Where there is no provider to sign in with, or at another host than the issuer's, there are no
/// pages. Requests are admitted by their address, as at the token endpoint, since each may cost a
/// read of the database. All answers have the headers of pages.
async fn around_pages(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let has_pages = has_providers(&app);
    let is_elsewhere = !is_at_issuer(&parts, &app.config.own);
    if has_pages && is_elsewhere {
        let host: String = host(&parts)
            .into_iter()
            .flat_map(str::chars)
            .take(MAX_LOGGED_HOST)
            .collect();
        tracing::info!(
            host,
            "pages are served for the host of the issuer alone; a proxy has to pass on Host"
        );
    }
    if !has_pages || is_elsewhere {
        let Ok(address) = ClientAddress::from_request_parts(&mut parts, &app).await;
        let whole = parts.extensions.get().cloned();
        let uri = whole.map_or(parts.uri, |axum::extract::OriginalUri(uri)| uri);
        return not_found(State(app), address, uri).await;
    }
    let has_code = parts.uri.path().ends_with(CALLBACK);
    let Ok(visitor) = Visitor::from_request_parts(&mut parts, &app).await;
    let admitted = if parts.uri.path().starts_with(ASSETS) {
        Ok(AddressAdmission::default())
    } else {
        app.limits.admit(visitor.address).await
    };
    let mut response = match &admitted {
        Ok(_) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => failed(&app, &visitor, &refusal.clone().into()),
    };
    secure(response.headers_mut(), &app.config.own, has_code);
    response
}

fn secure(headers: &mut HeaderMap, own: &OwnUrls, has_code: bool) {
    // Where the URL holds no code, our own forms send their `Origin`.
    let referrer = if has_code {
        "no-referrer"
    } else {
        "same-origin"
    };
    headers.insert(REFERRER_POLICY, HeaderValue::from_static(referrer));
    headers.insert(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    if is_https(own) {
        headers.insert(STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    }
}

fn has_providers(app: &App) -> bool {
    let rules = app.rules();
    app.config.console.enabled && rules.identity_providers().any(|provider| provider.enabled)
}

/// Whether the host of a request is the issuer's, with its port.
fn is_at_issuer(parts: &Parts, own: &OwnUrls) -> bool {
    let Ok(issuer) = Url::parse(own.issuer()) else {
        return false;
    };
    let with_port = |port: Option<u16>| match port {
        Some(port) => format!("{}:{port}", own.host()),
        None => own.host().to_owned(),
    };
    let implied = issuer.port_or_known_default();
    host(parts).is_some_and(|host| {
        let is = |name: String| host.eq_ignore_ascii_case(&name);
        is(with_port(issuer.port())) || is(with_port(implied))
    })
}
