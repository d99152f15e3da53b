//! A connection whose TLS handshake, if it has one, is over: the wait for its first request, and the
//! requests.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

use super::budget::ConnectionSlot;
use super::handshake::Secured;
use super::misdirected::{self, HandshakeHost};
use super::{GRACE, UnixPeer};
use crate::config::ConnectionLimits;
use crate::http::opening::{Opened, open};
use crate::tls::ClientCertificate;

/// How long a peer may take to read an answer: one that never reads must not hold memory.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request head, and of answers that wait to be written.
const MAX_BUFFER: usize = 64 * 1024;
/// Concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// HTTP/2 streams that a peer opened and reset before they were begun (CVE-2023-44487), and streams that
/// the server reset for an error of the peer. More of either end the connection.
const MAX_RESETS: usize = 20;
const MAX_FAULTY_STREAMS: usize = 100;
/// Requests of a connection that the peer abandoned, beyond those that were answered. More end the
/// connection: their work is wasted, and each makes room for the next one.
const MAX_ABANDONED: u32 = 200;
/// While requests run on an HTTP/2 connection, the peer is asked at this interval whether it is there,
/// and has this long to answer.
const PING: Duration = Duration::from_secs(20);
/// Age at which a connection is closed gracefully, so that no peer keeps its slot for ever.
const MAX_AGE: Duration = Duration::from_mins(10);

/// A TCP, Unix or TLS connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection with timeouts for reading and writing.
type Timed = Pin<Box<TimeoutStream<Box<dyn Io>>>>;

/// What serves the requests of all connections of a listener.
#[derive(Clone)]
pub(super) struct Serving {
    protocols: Arc<Protocols>,
    router: Router,
    idle: Duration,
}

/// The server of each version of HTTP.
struct Protocols {
    /// HTTP/1.1, and HTTP/2 for reverse proxies that use it without TLS: what the first bytes say.
    either: auto::Builder<TokioExecutor>,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

/// Where a connection comes from.
pub(super) struct Origin {
    /// Only TCP peers have an address.
    pub peer: Option<SocketAddr>,
    /// Held until the connection ends.
    pub place: ConnectionSlot,
    /// What was agreed in the TLS handshake.
    pub tls: Option<Agreed>,
}

/// What was agreed in the TLS handshake of a connection.
pub(super) struct Agreed {
    pub http2: bool,
    /// The host for which the handshake was made. `None` for a trusted proxy, which forwards requests
    /// for hosts of its own.
    pub host: Option<Arc<HandshakeHost>>,
    /// The certificate of the client.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Serving {
    pub(super) fn new(router: Router, limits: &ConnectionLimits) -> Self {
        let protocols = Protocols {
            either: builder(limits),
            http1: builder(limits).http1_only(),
            http2: builder(limits).http2_only(),
        };
        Self {
            protocols: Arc::new(protocols),
            router,
            idle: limits.idle,
        }
    }

    fn builder(&self, tls: Option<&Agreed>) -> &auto::Builder<TokioExecutor> {
        match tls {
            None => &self.protocols.either,
            Some(Agreed { http2: false, .. }) => &self.protocols.http1,
            Some(Agreed { http2: true, .. }) => &self.protocols.http2,
        }
    }
}

/// Limits that hold for all connections.
fn builder(limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The next head may take as long as the connection may be idle.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_buf_size(MAX_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_FAULTY_STREAMS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_header_list_size(u32::try_from(MAX_BUFFER).unwrap_or(u32::MAX))
        .max_send_buf_size(MAX_BUFFER);
    builder
}

/// Serves a connection after its TLS handshake.
pub(super) fn begin_secured(
    Secured { stream, agreed }: Secured,
    (peer, place): (SocketAddr, ConnectionSlot),
    serving: Serving,
    stopped: watch::Receiver<bool>,
) {
    let origin = Origin {
        peer: Some(peer),
        place,
        tls: Some(agreed),
    };
    // In a task of its own, since the one of the handshake is larger.
    tokio::spawn(opened(Box::new(stream), origin, serving, stopped));
}

/// Waits for the first head of a connection, then serves it and the requests that follow.
pub(super) async fn opened(
    stream: Box<dyn Io>,
    origin: Origin,
    serving: Serving,
    mut stopped: watch::Receiver<bool>,
) {
    let idle = serving.idle;
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(idle));
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let begun = AtomicBool::default();
    // The first head has the same time limit as later ones.
    let mut opening = std::pin::pin!(tokio::time::timeout(idle, open(Box::pin(stream), &begun)));
    let opened = tokio::select! {
        biased;
        opened = opening.as_mut() => Some(opened),
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    let opened = match opened {
        Some(opened) => opened,
        // A head that is arriving when the server stops is waited for, like a running request.
        None if begun.load(Ordering::Relaxed) => tokio::time::timeout(GRACE, opening)
            .await
            .unwrap_or(Ok(Ok(None))),
        None => return,
    };
    // Requests run in a second task, so that the task of an idle connection stays small.
    if let Ok(Ok(Some(stream))) = opened {
        tokio::spawn(connection(stream, origin, serving, stopped));
    }
}

async fn connection(
    stream: Opened<Timed>,
    origin: Origin,
    serving: Serving,
    mut stopped: watch::Receiver<bool>,
) {
    let abandoned = Arc::new(Abandoned::default());
    // A proxy abandons the requests of callers that hang up. One of them must not end the connection
    // that all of them share.
    let counted = (!origin.place.is_of_many()).then(|| abandoned.clone());
    let service = service(&origin, serving.router.clone(), counted);
    let builder = serving.builder(origin.tls.as_ref());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        grace = to_be_ended(&mut stopped, serving.idle) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(grace, connection).await.unwrap_or(Ok(()))
        }
        () = abandoned.too_many.notified() => Err("too many requests were abandoned".into()),
    };
    // The peer causes these errors, so they are no warnings.
    if let Err(error) = outcome {
        tracing::debug!(error, "a connection ended");
    }
    drop(origin);
}

/// The service of one connection: tells the router where requests come from.
fn service(
    origin: &Origin,
    router: Router,
    abandoned: Option<Arc<Abandoned>>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future: Future<Output = Result<Response, Infallible>> + Send + 'static,
> + use<> {
    let (peer, tls) = (origin.peer, origin.tls.as_ref());
    let host = tls.and_then(|tls| tls.host.clone());
    let certificate = tls.and_then(|tls| tls.certificate.clone());
    let with_peer = move |mut request: Request<Incoming>| {
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        match peer {
            Some(peer) => drop(request.extensions_mut().insert(ConnectInfo(peer))),
            None => drop(request.extensions_mut().insert(UnixPeer)),
        }
        request.map(Body::new)
    };
    let router = TowerToHyperService::new(router.map_request(with_peer));
    service_fn(move |request: Request<Incoming>| {
        let is_misdirected = host.as_ref().is_some_and(|host| !host.serves(&request));
        let running = Running(abandoned.clone());
        let answer = (!is_misdirected).then(|| router.call(request));
        async move {
            let answer = match answer {
                Some(answer) => answer.await,
                None => Ok(misdirected::refusal()),
            };
            running.answered();
            answer
        }
    })
}

/// Counts the requests of a connection that the peer abandoned.
#[derive(Debug, Default)]
struct Abandoned {
    /// Requests that were abandoned, minus those that were answered; not below 0.
    balance: AtomicU32,
    too_many: Notify,
}

/// A request without an answer. Dropped as such, it was abandoned. `None` if that is not counted.
struct Running(Option<Arc<Abandoned>>);

impl Running {
    fn answered(mut self) {
        if let Some(abandoned) = self.0.take() {
            let less = |balance: u32| balance.checked_sub(1);
            abandoned
                .balance
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .unwrap_or_default();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(abandoned) = self.0.take()
            && abandoned.balance.fetch_add(1, Ordering::Relaxed) >= MAX_ABANDONED
        {
            abandoned.too_many.notify_one();
        }
    }
}

/// Waits until the server stops or the connection reaches `MAX_AGE`, and returns how long its last
/// requests may take. For an old connection that is the idle timeout, which is longer than the
/// request deadline.
async fn to_be_ended(stopped: &mut watch::Receiver<bool>, idle: Duration) -> Duration {
    tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => GRACE,
        () = tokio::time::sleep(MAX_AGE) => idle,
    }
}
