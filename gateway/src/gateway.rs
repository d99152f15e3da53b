//! The gateway itself: which registry a request is for, and what kind of request it is.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use carnet_dpop::offer_nonce;
use carnet_publish_protocols::credential::{Presented, presented};
use carnet_publish_protocols::dialect::{self, Refused};
use carnet_publish_protocols::{Limits, RequestHead, classify};
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE,
    RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, Limited};
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;

use crate::authority::Authority;
use crate::framing::discard;
use crate::host::{at_host, host};
use crate::possession;
use crate::refusal::{Kind, Refusal, USE_NONCE};
use crate::registry::{Registry, below};
use crate::rewrite;
use crate::spool::Spool;
use crate::upstream::{For, SILENCE, Upstream, bring_back, of_door, of_read, whole};
use crate::{Answered, BoxError};

/// The longest body of a request at a front door.
const MOST_AT_DOOR: usize = 64 * 1024;
/// The longest document of a registry whose URLs are rewritten.
const MOST_REWRITTEN: u64 = 1024 * 1024;

/// A reverse proxy for some registries.
#[derive(Debug)]
pub struct Gateway<A> {
    pub(crate) authority: A,
    pub(crate) registries: Vec<Arc<Registry>>,
    pub(crate) spool: Spool,
    pub(crate) limits: Limits,
    pub(crate) upstream: Upstream,
    /// Turns for reading publications: it takes a processor each.
    pub(crate) reading: Semaphore,
}

/// The HTTP client for registries cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for registries cannot be set up: {0}")]
pub struct SetUpError(#[from] native_tls::Error);

/// The text of a refusal as the reason phrase of the status line, in the extensions of an answer:
/// twine and NuGet print it and not the body.
#[derive(Clone, Debug)]
pub struct Reason(pub String);

/// A registry that a request is for, and who sends it.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) registry: Arc<Registry>,
    pub(crate) address: Option<IpAddr>,
}

impl Visit {
    pub(crate) fn as_for(&self) -> For<'_> {
        For {
            registry: &self.registry,
            address: self.address,
        }
    }
}

impl<A: Authority> Gateway<A> {
    /// A gateway for these registries, which trusts the system's certificate authorities and these
    /// (PEM).
    ///
    /// # Errors
    ///
    /// [`SetUpError`] if an authority cannot be read.
    pub fn new(
        authority: A,
        registries: Vec<Registry>,
        spool: Spool,
        authorities: &[Vec<u8>],
    ) -> Result<Self, SetUpError> {
        Ok(Self {
            authority,
            registries: registries.into_iter().map(Arc::new).collect(),
            limits: Limits {
                body: spool.most(),
                ..Limits::default()
            },
            spool,
            upstream: Upstream::trusting(authorities)?,
            reading: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
        })
    }

    /// Answers a request. `address` is that of the client, as far as it is known.
    pub async fn answer<B>(
        self: &Arc<Self>,
        request: Request<B>,
        address: Option<IpAddr>,
    ) -> Answered
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, mut body) = request.into_parts();
        let at = |host| at_host(&self.registries, |registry| &registry.hosts, host);
        let Some(registry) = host(&parts).and_then(at).cloned() else {
            return nowhere();
        };
        let visit = Visit { registry, address };
        let Some(path) = parts
            .uri
            .path_and_query()
            .map(|path| path.as_str().to_owned())
        else {
            return refuse(&visit.registry, &Refusal::unknown());
        };
        if path.starts_with(visit.registry.protocol.front_door_path()) {
            return self.at_front_door(&visit, (parts, &path), body).await;
        }
        if matches!(parts.method, Method::GET | Method::HEAD) {
            return self.read(&visit, &parts, &path).await;
        }
        let head = RequestHead {
            method: parts.method.as_str(),
            path: &path,
            content_type: text(&parts.headers, CONTENT_TYPE.as_str()),
            content_length: length(&parts.headers),
        };
        if let Some(call) = classify(visit.registry.protocol, &head) {
            return self.publish(visit, (parts, path), call, body).await;
        }
        discard(&parts.headers, &mut body).await;
        refuse(&visit.registry, &Refusal::unknown())
    }

    /// Passes a read through, without our tokens, cookies, and the operator's credential.
    async fn read(&self, visit: &Visit, parts: &Parts, path: &str) -> Answered {
        let registry = &visit.registry;
        match self.passed(visit, parts, path).await {
            Ok(answer) => answer,
            Err(refusal) => refuse(registry, &refusal),
        }
    }

    async fn passed(&self, visit: &Visit, parts: &Parts, path: &str) -> Result<Answered, Refusal> {
        let registry = &visit.registry;
        if has_body(&parts.headers) {
            return Err(Refusal::unknown());
        }
        let path = registry.readable(path).ok_or_else(Refusal::unknown)?;
        let bare = path.split('?').next().unwrap_or(path);
        let url = registry.upstream_url(path).ok_or_else(Refusal::unknown)?;
        let with_credential = self.is_registrys_own(registry, &parts.headers);
        let mut headers = of_read(&parts.headers, visit.as_for(), with_credential);
        let is_rewritten = rewrite::names_urls(registry.protocol, bare);
        if is_rewritten {
            // The document is needed whole and readable.
            for name in [ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE] {
                headers.remove(name);
            }
        }
        let to = (parts.method.clone(), url.clone());
        let read = self.upstream.read(to, headers).await;
        let mut answer = read.map_err(|error| Refusal::no_answer(registry, &error))?;
        bring_back(&mut answer, registry, &url);
        if is_rewritten && answer.status().is_success() && parts.method == Method::GET {
            return rewritten(answer, registry).await;
        }
        Ok(answer)
    }

    /// Whether the credentials of a read are the registry's own: whatever is or holds a token of
    /// ours does not go there, and neither does what cannot be read.
    fn is_registrys_own(&self, registry: &Registry, headers: &HeaderMap) -> bool {
        let ours = |secret: &str| self.authority.is_own_form(secret);
        match presented(registry.protocol, headers) {
            Ok(Presented::Nothing) => true,
            Ok(Presented::Token(token)) => !ours(token.expose_secret()),
            Ok(Presented::User { name, password }) => {
                !ours(password.expose_secret()) && !ours(&name)
            }
            Err(_) => false,
        }
    }

    /// Forwards a request to the registry's front door at the server.
    async fn at_front_door<B>(
        &self,
        visit: &Visit,
        (parts, path): (Parts, &str),
        body: B,
    ) -> Answered
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let registry = &visit.registry;
        let forwarded = async {
            let base = format!("{}/", registry.front_door);
            let base = base.parse().map_err(|_| Refusal::unknown())?;
            let url = below(&base, path).ok_or_else(Refusal::unknown)?;
            let body = tokio::time::timeout(SILENCE, Limited::new(body, MOST_AT_DOOR).collect());
            let body = body.await.ok().and_then(Result::ok);
            let too_large = || {
                Refusal::new(
                    Kind::TooLarge,
                    "limit_exceeded",
                    format!("the request must not exceed {MOST_AT_DOOR} bytes"),
                )
            };
            let body = body.ok_or_else(too_large)?.to_bytes();
            let headers = of_door(&parts.headers, visit.address);
            let to = (parts.method, url.clone());
            let sent = self.upstream.publish(to, headers, full(body));
            let mut answer = sent.await.map_err(|error| {
                tracing::error!(
                    server = %base, %error,
                    "the server with the front doors (gateway.server) cannot be reached"
                );
                Refusal::new(
                    Kind::Upstream,
                    "server_unreachable",
                    "the gateway cannot reach the server that issues tokens; try again",
                )
            })?;
            bring_back(&mut answer, registry, &url);
            Ok(answer)
        };
        forwarded
            .await
            .unwrap_or_else(|refusal| refuse(registry, &refusal))
    }
}

pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The announced length of a body.
pub(crate) fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, CONTENT_LENGTH.as_str())?.parse().ok()
}

/// Whether a body comes with a request.
pub(crate) fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || length(headers).is_some_and(|length| length > 0)
}

/// A document of the registry with its own URLs brought to the gateway.
async fn rewritten(mut answer: Answered, registry: &Registry) -> Result<Answered, Refusal> {
    let body = whole(&mut answer, MOST_REWRITTEN).await;
    let body = body.map_err(|error| Refusal::no_answer(registry, &error))?;
    let body = Bytes::from(registry.bases.publish_json(&body));
    let (mut parts, _) = answer.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(ETAG);
    Ok(Response::from_parts(parts, full(body)))
}

pub(crate) fn full(body: Bytes) -> http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError> {
    Full::new(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The answer at a host of no registry.
fn nowhere() -> Answered {
    let body = Bytes::from_static(b"{\"error\":\"no registry has this host\"}\n");
    let mut answer = Response::new(full(body));
    *answer.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// The answer of a refusal, in the form whose text the registry's tools print.
pub(crate) fn refuse(registry: &Registry, refusal: &Refusal) -> Answered {
    let refused = match refusal.kind {
        Kind::Token => Refused::Unauthenticated,
        Kind::Denied => Refused::Denied,
        Kind::Malformed | Kind::Unknown | Kind::NoLength => Refused::Malformed,
        Kind::TooLarge => Refused::TooLarge,
        Kind::Later => Refused::Unavailable,
        Kind::Upstream => Refused::BadGateway,
    };
    let said = dialect::refusal(registry.protocol, refused, &refusal.text);
    let mut answer = Response::new(full(said.body.into()));
    let status = match refusal.kind {
        Kind::Unknown => StatusCode::NOT_FOUND,
        Kind::NoLength => StatusCode::LENGTH_REQUIRED,
        // Clients that make proofs know nothing of the protocol's own statuses.
        _ if refusal.code == USE_NONCE => StatusCode::UNAUTHORIZED,
        _ => StatusCode::from_u16(said.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(said.content_type));
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"registry\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
        if refusal.is_about_proof()
            && let Some(challenge) = possession::challenge(refusal.code)
        {
            headers.append(WWW_AUTHENTICATE, challenge);
        }
    }
    if let Some(nonce) = &refusal.nonce {
        offer_nonce(headers, nonce);
    }
    if refusal.kind == Kind::Later {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("30"));
    }
    if let Some(phrase) = said.reason_phrase {
        answer.extensions_mut().insert(Reason(phrase));
    }
    answer
}
