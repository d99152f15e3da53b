//! The connection to a registry, and which headers go to it and come back.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use carnet_outbound::causes;
use carnet_publish_protocols::Protocol;
use carnet_publish_protocols::credential::NUGET_API_KEY;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION,
    CONTENT_LENGTH, CONTENT_TYPE, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LOCATION, RANGE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    USER_AGENT,
};
use http::uri::InvalidUri;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_tls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use native_tls::{Certificate, TlsConnector};
use tokio::net::TcpStream;
use tower_service::Service;
use url::Url;

use crate::registry::Registry;
use crate::{Answered, BoxError};

/// How long connecting to a registry may take, with the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection to a registry is kept that nothing is sent on.
const IDLE: Duration = Duration::from_secs(90);
/// How many bytes are read at once: most pages of an index fit, so that they come in one piece.
const READ_AT_ONCE: usize = 32 * 1024;
/// How long a registry may send nothing while it answers a read.
pub(crate) const SILENCE: Duration = Duration::from_mins(1);
/// How long a registry may take over a publication, from the first byte sent to the head of its
/// answer. Registries unpack and index meanwhile.
pub(crate) const PUBLISHING: Duration = Duration::from_mins(15);
/// How long a client may wait for its answer without a byte moving on its connection.
pub const LONGEST_REQUEST: Duration = Duration::from_mins(30);

/// The headers of a read that reach the registry. `Forwarded`, the headers that name a user to a
/// registry behind a proxy, and those that override the method are not among them.
const READ_HEADERS: [HeaderName; 11] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CACHE_CONTROL,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    RANGE,
    USER_AGENT,
];

/// The headers of a publication that reach the registry, beside those that the gateway sets.
const PUBLISH_HEADERS: [HeaderName; 7] = [
    ACCEPT,
    IF_MATCH,
    USER_AGENT,
    HeaderName::from_static("npm-command"),
    HeaderName::from_static("x-nuget-client-version"),
    HeaderName::from_static("x-nuget-protocol-version"),
    HeaderName::from_static("x-nuget-session-id"),
];

/// The headers of answers that concern one connection (RFC 9110 section 7.6.1), and cookies.
const NOT_BACK: [HeaderName; 9] = [
    CONNECTION,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("alt-svc"),
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The HTTP client for all registries. It follows no redirects and keeps no cookies.
#[derive(Clone, Debug)]
pub(crate) struct Upstream(Client<Connect, Sent>);

/// The body of a request to a registry.
pub(crate) type Sent = UnsyncBoxBody<Bytes, BoxError>;

/// Why there is no answer of a registry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// No connection was made, so that nothing was sent.
    #[error("the registry cannot be reached: {0}")]
    Unreachable(String),
    /// Something was sent, and no whole answer came.
    #[error("the registry did not answer: {0}")]
    Silent(String),
    /// The answer is longer than it may be.
    #[error("the registry's answer is too long")]
    TooLong,
}

/// Who sends a request, for the registry's log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct For<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) address: Option<IpAddr>,
}

impl Upstream {
    /// A client that trusts the system's authorities and these (PEM).
    pub(crate) fn trusting(authorities: &[Vec<u8>]) -> Result<Self, native_tls::Error> {
        let mut tls = TlsConnector::builder();
        tls.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
        for pem in authorities {
            for authority in Certificate::stack_from_pem(pem)? {
                tls.add_root_certificate(authority);
            }
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connect = Connect(HttpsConnector::from((tcp, tls.build()?.into())));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_read_buf_exact_size(READ_AT_ONCE)
            .build(connect);
        Ok(Self(client))
    }

    /// Sends a read and returns the registry's answer.
    pub(crate) async fn read(
        &self,
        to: (Method, Url),
        headers: HeaderMap,
    ) -> Result<Answered, NoAnswer> {
        let nothing = Full::default().map_err(BoxError::from).boxed_unsync();
        self.send(to, headers, nothing, SILENCE).await
    }

    /// Sends a publication and returns the registry's answer.
    pub(crate) async fn publish(
        &self,
        to: (Method, Url),
        headers: HeaderMap,
        body: Sent,
    ) -> Result<Answered, NoAnswer> {
        self.send(to, headers, body, PUBLISHING).await
    }

    /// Sends a request. The head of the answer has to come in time.
    async fn send(
        &self,
        (method, url): (Method, Url),
        headers: HeaderMap,
        body: Sent,
        most: Duration,
    ) -> Result<Answered, NoAnswer> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|error: InvalidUri| NoAnswer::Unreachable(error.to_string()))?;
        match tokio::time::timeout(most, self.0.request(request)).await {
            Err(_) => Err(NoAnswer::Silent("it took too long".to_owned())),
            Ok(Err(error)) if error.is_connect() => Err(NoAnswer::Unreachable(causes(&error))),
            Ok(Err(error)) => Err(NoAnswer::Silent(causes(&error))),
            Ok(Ok(answer)) => Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync())),
        }
    }
}

/// Makes connections, with TLS, within [`CONNECT`].
#[derive(Clone, Debug)]
struct Connect(HttpsConnector<HttpConnector>);

type Connected = MaybeHttpsStream<TokioIo<TcpStream>>;

impl Service<Uri> for Connect {
    type Response = Connected;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move { tokio::time::timeout(CONNECT, connecting).await? })
    }
}

/// The headers of a read for the registry. `credential` says whether those of the client go along.
pub(crate) fn of_read(sent: &HeaderMap, of: For<'_>, with_credential: bool) -> HeaderMap {
    let mut headers = allowed(sent, &READ_HEADERS);
    if with_credential {
        headers.extend(credentials_of(of.registry.protocol, sent));
    }
    described(headers, of)
}

/// The headers in which the tools of a protocol send credentials.
pub(crate) fn credentials_of(protocol: Protocol, sent: &HeaderMap) -> HeaderMap {
    match protocol {
        Protocol::Nuget => allowed(sent, &[AUTHORIZATION, NUGET_API_KEY]),
        _ => allowed(sent, &[AUTHORIZATION]),
    }
}

/// The headers of a publication for the registry, with the one that carries its credential.
pub(crate) fn of_publication(
    sent: &HeaderMap,
    of: For<'_>,
    credential: Option<(HeaderName, HeaderValue)>,
    (kind, length): (Option<HeaderValue>, Option<u64>),
) -> HeaderMap {
    let mut headers = allowed(sent, &PUBLISH_HEADERS);
    headers.extend(credential);
    headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
    headers.extend(length.map(|length| (CONTENT_LENGTH, length.into())));
    described(headers, of)
}

fn allowed(sent: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in names {
        for value in sent.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Adds how clients reach the registry: its own URLs in answers name the gateway then.
fn described(mut headers: HeaderMap, of: For<'_>) -> HeaderMap {
    let public = &of.registry.bases.public;
    let host = match (public.host_str(), public.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(HOST, &host);
    set(HeaderName::from_static("x-forwarded-host"), &host);
    set(
        HeaderName::from_static("x-forwarded-proto"),
        public.scheme(),
    );
    if let Some(address) = of.address {
        set(FORWARDED_FOR, &address.to_string());
    }
    headers
}

/// Removes from the answer to a request for `asked` what concerns the connection to the registry, and
/// brings redirects to the registry back to the gateway.
pub(crate) fn bring_back(answer: &mut Answered, registry: &Registry, asked: &Url) {
    let headers = answer.headers_mut();
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in NOT_BACK.iter().chain(&named) {
        headers.remove(name);
    }
    let location = headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .map(|value| registry.bases.publish_location(value, asked));
    if let Some(Ok(location)) = location.map(|location| HeaderValue::from_str(&location)) {
        headers.insert(LOCATION, location);
    }
}

/// The headers of a request at a front door for the server. The address of the client is what its
/// limits count by: the gateway has to be among its `server.trusted_proxies`.
pub(crate) fn of_door(sent: &HeaderMap, address: Option<IpAddr>) -> HeaderMap {
    let dpop = HeaderName::from_static("dpop");
    let mut headers = allowed(
        sent,
        &[ACCEPT, AUTHORIZATION, CONTENT_TYPE, dpop, USER_AGENT],
    );
    let address = address.map(|address| HeaderValue::from_str(&address.to_string()));
    if let Some(Ok(address)) = address {
        headers.insert(FORWARDED_FOR, address);
    }
    headers
}

/// The next piece of the body of an answer; `None` at its end.
pub(crate) async fn next_piece(answer: &mut Answered) -> Result<Option<Bytes>, NoAnswer> {
    loop {
        let frame = tokio::time::timeout(SILENCE, answer.body_mut().frame()).await;
        let frame = frame.map_err(|_| NoAnswer::Silent("its answer stopped".to_owned()))?;
        let Some(frame) = frame else {
            return Ok(None);
        };
        let frame = frame.map_err(|error| NoAnswer::Silent(causes(error.as_ref())))?;
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
    }
}

/// Reads the body of an answer, of at most `most` bytes.
pub(crate) async fn whole(answer: &mut Answered, most: u64) -> Result<Bytes, NoAnswer> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut body = BytesMut::new();
    while let Some(piece) = next_piece(answer).await? {
        if body.len().saturating_add(piece.len()) > most {
            return Err(NoAnswer::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}
