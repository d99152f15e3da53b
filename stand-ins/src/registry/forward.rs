//! Sends the requests of the registry's own tools for a token on to Carnet's front door.
//!
//! npm, uv and the others ask for their tokens at the registry's host. A registry behind a reverse
//! proxy lets that proxy send these paths to Carnet; this registry does it itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use carnet_outbound::{causes, client, is_safe, is_this_machine, read};
use url::Url;

use super::Protocol;
use crate::serve::Peer;

/// For one request to Carnet, which itself answers within 20 seconds.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REQUEST_BYTES: usize = 64 * 1024;
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The headers of a request that Carnet needs. It finds the front door by `Host`.
const SENT_ON: [HeaderName; 6] = [
    HOST,
    AUTHORIZATION,
    CONTENT_TYPE,
    ACCEPT,
    USER_AGENT,
    HeaderName::from_static("dpop"),
];
/// The headers of Carnet's answer that tools read.
const PASSED_BACK: [HeaderName; 4] = [
    CONTENT_TYPE,
    RETRY_AFTER,
    WWW_AUTHENTICATE,
    HeaderName::from_static("dpop-nonce"),
];
/// Carnet believes it from the addresses in `server.trusted_proxies`.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where requests for tokens are sent.
#[derive(Clone, Debug)]
pub(crate) struct FrontDoor {
    base: Url,
    http: reqwest::Client,
}

/// Why requests for tokens cannot be forwarded to a URL.
#[derive(Debug, thiserror::Error)]
pub enum NoFrontDoor {
    /// The tools' assertions must not be sent over plain http, except on this machine.
    #[error("the front door must be an https URL without query (http is for loopback addresses)")]
    Url,
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

impl FrontDoor {
    /// Requests go to the same path below `base`: Carnet's origin, or
    /// `ISSUER/registry/RESOURCE-SERVER` if the front door has no host.
    pub(crate) fn new(base: &Url) -> Result<Self, NoFrontDoor> {
        if !is_safe(base) || base.query().is_some() || base.fragment().is_some() {
            return Err(NoFrontDoor::Url);
        }
        // The environment of the registry's process must not redirect assertions, so no proxies.
        let http = client(TIMEOUT, !is_this_machine(base)).no_proxy().build()?;
        Ok(Self {
            base: base.clone(),
            http,
        })
    }

    /// The paths at which the tools of `protocol` ask for tokens.
    pub(crate) fn router(self, protocol: Protocol) -> Router {
        let door = Arc::new(self);
        let forward = move |request| forward(door.clone(), request);
        match protocol {
            Protocol::Generic => Router::new(),
            Protocol::Pypi => Router::new()
                .route("/_/oidc/audience", get(forward.clone()))
                .route("/_/oidc/mint-token", post(forward.clone()))
                .route("/_/oidc/burn-token", post(forward)),
            Protocol::Npm => Router::new().route(
                "/-/npm/v1/oidc/token/exchange/package/{*name}",
                post(forward),
            ),
            Protocol::CratesIo => Router::new().route(
                "/api/v1/trusted_publishing/tokens",
                post(forward.clone()).delete(forward),
            ),
            Protocol::Rubygems => Router::new().route(
                "/api/v1/oidc/trusted_publisher/exchange_token",
                post(forward),
            ),
            Protocol::Nuget => Router::new().route("/api/v2/token", post(forward)),
        }
    }

    /// The URL of the same path and query at Carnet. `None` if the path has segments like `..`,
    /// which would lead elsewhere.
    fn target(&self, request: &Request) -> Option<Url> {
        let mut url = self.base.clone();
        let prefix = self.base.path().trim_end_matches('/');
        let path = format!("{prefix}{}", request.uri().path());
        url.set_path(&path);
        url.set_query(request.uri().query());
        (url.path() == path).then_some(url)
    }
}

/// Answers as Carnet does.
async fn forward(door: Arc<FrontDoor>, request: Request) -> Response {
    let Some(url) = door.target(&request) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_REQUEST_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let mut sent = door.http.request(parts.method, url).body(body);
    for name in SENT_ON {
        if let Some(value) = parts.headers.get(&name) {
            sent = sent.header(name, value);
        }
    }
    if let Some(ConnectInfo(Peer { address: peer, .. })) = parts.extensions.get() {
        sent = sent.header(FORWARDED_FOR, address(*peer));
    }
    match answer(sent).await {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("the front door does not answer: {error}");
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

/// A peer's address without its port.
fn address(peer: SocketAddr) -> String {
    peer.ip().to_canonical().to_string()
}

async fn answer(sent: reqwest::RequestBuilder) -> Result<Response, String> {
    let mut answer = sent.send().await.map_err(|error| causes(&error))?;
    let mut passed = Response::new(Body::empty());
    *passed.status_mut() = answer.status();
    for name in PASSED_BACK {
        for value in answer.headers().get_all(&name) {
            passed.headers_mut().append(name.clone(), value.clone());
        }
    }
    let body = read(&mut answer, MAX_ANSWER_BYTES)
        .await
        .map_err(|error| error.to_string())?;
    *passed.body_mut() = Body::from(body);
    Ok(passed)
}
