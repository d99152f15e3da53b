//! The pages for people, below `/console`: sign-in, one's own account and sessions, sign-out; and the
//! authorization endpoint, at which clients ask them.
//!
//! They stand on the issuer's origin alone, work without scripts, and change nothing by GET. What
//! they show and do is decided in [`people`]: nothing here uses the store.

mod account;
mod assets;
mod authorize;
mod chart;
mod consent;
mod cookies;
mod inside;
mod links;
mod page;
mod posted;
mod principal;
mod refused;
mod rules;
mod runs;
mod server;
mod sign_in;
mod test;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts as _, OriginalUri, Request, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get, post};
use carnet_gateway::host;

use self::refused::{Failure, failed, failed_uncounted, no_page};
use self::visitor::{Turn, Visitor};
use super::address::ClientAddress;
use super::error::{admit, not_found};
use crate::app::App;
use crate::config::OwnUrls;
use crate::people;
use crate::reason::Reason;

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
/// The ends of the paths at which clients ask, and people answer.
const AUTHORIZATION: [&str; 2] = ["/authorize", "/authorize/consent"];
/// Where the stylesheet and the icon lie, which cost nothing.
const ASSETS: &str = "/console/assets/";
/// Where a sign-in is begun and finished: that has limits of its own, and waits for the provider.
const SIGN_INS: &str = "/console/sign-in/";

/// Marks an answer whose URL, or the one to which it leads, may hold a code.
#[derive(Clone, Copy, Debug)]
struct HoldsCode;

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
        .merge(server::routes())
        .route("/console/assets/{name}", get(assets::asset))
        .route("/authorize", get(authorize::authorize))
        .route("/authorize/consent", post(authorize::consent))
        .route("/console/", any(unknown))
        .route("/console/{*path}", any(unknown))
        .route_layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route_layer(from_fn_with_state(app.clone(), around_pages))
}

/// The pages about one principal.
fn of_principals() -> Router<Arc<App>> {
    let below = |path: &str| format!("/console/principals/{{principal}}{path}");
    Router::new()
        .route(&below(""), get(principal::show))
        .route(&below("/add-rule"), get(rules::begin).post(rules::create))
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
/// pages. All answers of the pages have their headers.
async fn around_pages(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let has_pages = people::can_sign_in(&app);
    let own = &app.config.own;
    let is_elsewhere = !host(&parts).is_some_and(|host| own.is_host(host));
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
        let uri = whole.map_or(parts.uri, |OriginalUri(uri)| uri);
        return not_found(State(app), address, uri).await;
    }
    let has_code = parts.uri.path().ends_with(CALLBACK);
    let is_authorization = AUTHORIZATION
        .iter()
        .any(|end| parts.uri.path().ends_with(end));
    let Ok(visitor) = Visitor::from_request_parts(&mut parts, &app).await;
    let request = Request::from_parts(parts, body);
    let mut response = match admitted(&app, &visitor, request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => *refused,
    };
    let has_code = has_code || response.extensions().get::<HoldsCode>().is_some();
    secure(response.headers_mut(), own, (has_code, is_authorization));
    response
}

/// Admits a request. A form of another site is refused before anything of it is read, and uses up no
/// limit, since any web page can make the browsers of others send it. The rest is admitted by the
/// address, as at the token endpoint, because each may cost a read of the database.
async fn admitted(
    app: &App,
    visitor: &Visitor,
    request: Request,
) -> Result<Request, Box<Response>> {
    if request.method() == Method::POST && !visitor.sender().may_be_ours(&app.config.own) {
        let failure = Failure {
            detail: Some("another site sent the form".to_owned()),
            ..Failure::of(Reason::CsrfInvalid)
        };
        return Err(Box::new(failed_uncounted(app, visitor, &failure)));
    }
    let path = request.uri().path();
    if path.starts_with(ASSETS) || path.starts_with(SIGN_INS) {
        return Ok(request);
    }
    let admission = admit(app, visitor.address, request, MAX_BODY_BYTES).await;
    let (mut request, admission) =
        admission.map_err(|refusal| Box::new(failed(app, visitor, &refusal.into())))?;
    request.extensions_mut().insert(Turn::of(admission));
    Ok(request)
}

/// Paths below `/console` at which there is nothing.
async fn unknown(
    State(app): State<Arc<App>>,
    OriginalUri(uri): OriginalUri,
    visitor: Visitor,
) -> Response {
    no_page(app, &visitor, uri).await
}

fn secure(headers: &mut HeaderMap, own: &OwnUrls, (has_code, is_authorization): (bool, bool)) {
    // Where the URL holds no code, our own forms send their `Origin`.
    let referrer = if has_code {
        "no-referrer"
    } else {
        "same-origin"
    };
    headers.insert(REFERRER_POLICY, HeaderValue::from_static(referrer));
    headers.insert(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    // A client that opened the authorization endpoint in a window of its own waits for it.
    if !is_authorization {
        headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    }
    if own.is_https() {
        headers.insert(STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
    }
}
