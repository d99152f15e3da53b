//! Listeners and connections: limits on their number, time and memory, and a shutdown that lets
//! running requests finish.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::HOST;
use axum::http::{StatusCode, Version};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

use super::opening::{Opened, open};
use crate::config::{ConnectionLimits, Listen};
use crate::limits::network_of;

/// How long a peer may take to read an answer: one that never reads must not hold memory.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests may take to finish when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after an error of `accept`, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request head, and of answers that wait to be written.
const MAX_BUFFER: usize = 64 * 1024;
/// Concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// Age at which a connection is closed gracefully, so that no peer keeps its slot for ever.
const MAX_AGE: Duration = Duration::from_mins(10);

/// A running listener with its connections.
#[derive(Debug)]
pub struct Serving {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    /// Stops accepting connections, and waits up to `GRACE` for running requests.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.ok();
    }

    /// Ready once the task that accepts connections has ended.
    pub fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.task).poll(context).map(drop)
    }
}

/// Binds the configured address and serves on it.
pub async fn serve(
    router: Router,
    listen: &Listen,
    limits: ConnectionLimits,
) -> io::Result<Serving> {
    let listener = match listen {
        Listen::Address(address) => Listener::Tcp(TcpListener::bind(address).await?),
        Listen::Host(host, port) => Listener::Tcp(TcpListener::bind((host.as_str(), *port)).await?),
        Listen::Unix(path) => Listener::Unix(bind_unix(path).await?),
    };
    Ok(begin(router, listener, limits))
}

/// Binds a Unix socket, in place of a socket file that no server listens on any more. Mode 0660
/// lets owner and group connect, as far as the directory lets them reach the file.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another server listens there",
        ));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves on a bound listener with the default limits.
pub fn serve_on(router: Router, listener: TcpListener) -> Serving {
    serve_within(router, listener, ConnectionLimits::default())
}

/// Serves on a bound listener.
pub fn serve_within(router: Router, listener: TcpListener, limits: ConnectionLimits) -> Serving {
    begin(router, Listener::Tcp(listener), limits)
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A TCP or Unix connection.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection with timeouts for reading and writing.
type Timed = Pin<Box<TimeoutStream<Box<dyn Io>>>>;

/// Marks a request that came over a Unix socket: file permissions admitted its peer, which is on
/// this machine.
#[derive(Clone, Copy, Debug)]
pub struct UnixPeer;

impl Listener {
    /// The next connection. Only TCP peers have an address.
    async fn accept(&self) -> io::Result<(Box<dyn Io>, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true).ok();
                Ok((Box::new(stream), Some(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), None))
            }
        }
    }
}

fn begin(router: Router, listener: Listener, limits: ConnectionLimits) -> Serving {
    let (stop, stopped) = watch::channel(false);
    let router = router.layer(from_fn(require_host));
    Serving {
        stop,
        task: tokio::spawn(accept(listener, router, limits, stopped)),
    }
}

async fn accept(
    listener: Listener,
    router: Router,
    limits: ConnectionLimits,
    mut stopped: watch::Receiver<bool>,
) {
    let builder = Arc::new(builder(&limits));
    let room = Arc::new(ConnectionBudget::new(limits));
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &room) => accepted,
            _ = stopped.changed() => break,
        };
        let (stream, peer, place) = match accepted {
            Ok(Some(accepted)) => accepted,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        tokio::spawn(opened(
            stream,
            peer,
            place,
            (builder.clone(), router.clone(), room.limits.idle),
            stopped.clone(),
        ));
    }
    drop(listener);
    // Each connection holds a permit, so all permits are free once every connection has ended.
    let all = u32::try_from(room.limits.max).unwrap_or(u32::MAX);
    if tokio::time::timeout(GRACE, room.permits.acquire_many(all))
        .await
        .is_err()
    {
        tracing::warn!("requests were cut off at the end");
    }
}

/// Waits for the first head of a connection, then serves it and the requests that follow.
async fn opened(
    stream: Box<dyn Io>,
    peer: Option<SocketAddr>,
    place: ConnectionSlot,
    (builder, router, idle): (Arc<auto::Builder<TokioExecutor>>, Router, Duration),
    mut stopped: watch::Receiver<bool>,
) {
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
        tokio::spawn(connection(
            stream,
            peer,
            place,
            (builder, router, idle),
            stopped,
        ));
    }
}

async fn connection(
    stream: Opened<Timed>,
    peer: Option<SocketAddr>,
    place: ConnectionSlot,
    (builder, router, idle): (Arc<auto::Builder<TokioExecutor>>, Router, Duration),
    mut stopped: watch::Receiver<bool>,
) {
    let with_peer = move |mut request: axum::http::Request<hyper::body::Incoming>| {
        match peer {
            Some(peer) => drop(request.extensions_mut().insert(ConnectInfo(peer))),
            None => drop(request.extensions_mut().insert(UnixPeer)),
        }
        request.map(axum::body::Body::new)
    };
    let service = TowerToHyperService::new(router.map_request(with_peer));
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let outcome = tokio::select! {
        biased;
        outcome = connection.as_mut() => outcome,
        grace = to_be_ended(&mut stopped, idle) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(grace, connection).await.unwrap_or(Ok(()))
        }
    };
    // The peer causes these errors, so they are no warnings.
    if let Err(error) = outcome {
        tracing::debug!(error, "a connection ended");
    }
    drop(place);
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

/// Refuses HTTP/1.1 requests that name no host (RFC 9112 section 3.2).
async fn require_host(request: Request, next: Next) -> Response {
    let names_one = request.headers().contains_key(HOST) || request.uri().authority().is_some();
    if request.version() == Version::HTTP_11 && !names_one {
        return StatusCode::BAD_REQUEST.into_response();
    }
    next.run(request).await
}

/// HTTP/1.1, and HTTP/2 without TLS for reverse proxies that use it.
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
        .max_header_list_size(u32::try_from(MAX_BUFFER).unwrap_or(u32::MAX))
        .max_send_buf_size(MAX_BUFFER);
    builder
}

/// Waits for a free slot and the next connection. `None` if the connection was closed because its
/// address has used up its share.
async fn next(
    listener: &Listener,
    room: &Arc<ConnectionBudget>,
) -> io::Result<Option<(Box<dyn Io>, Option<SocketAddr>, ConnectionSlot)>> {
    let permit = room
        .permits
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok(
        ConnectionBudget::take(room, peer.map(|peer| peer.ip()), permit)
            .map(|place| (stream, peer, place)),
    )
}

/// The slots for connections: a total for all peers, and a share for each address.
#[derive(Debug)]
struct ConnectionBudget {
    limits: ConnectionLimits,
    permits: Arc<Semaphore>,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// The slot of one connection, which is released on drop.
#[derive(Debug)]
struct ConnectionSlot {
    room: Arc<ConnectionBudget>,
    peer: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionBudget {
    fn new(limits: ConnectionLimits) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.max)),
            taken: Mutex::default(),
            limits,
        }
    }

    fn take(
        room: &Arc<Self>,
        peer: Option<IpAddr>,
        permit: OwnedSemaphorePermit,
    ) -> Option<ConnectionSlot> {
        // No share for proxies and Unix peers, which bring the connections of many callers.
        let is_shared = |peer: &IpAddr| {
            !room
                .limits
                .unshared_peers
                .iter()
                .any(|network| network.contains(peer))
        };
        let peer = peer
            .map(|peer| peer.to_canonical())
            .filter(is_shared)
            .map(network_of);
        if let Some(peer) = peer {
            let mut taken = room.taken.lock();
            let count = taken.entry(peer).or_default();
            if *count >= room.limits.share() {
                tracing::debug!(%peer, "a connection was turned away: its address has its share");
                return None;
            }
            *count = count.saturating_add(1);
        }
        Some(ConnectionSlot {
            room: room.clone(),
            peer,
            _permit: permit,
        })
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut taken = self.room.taken.lock();
        if let Some(count) = taken.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&peer);
            }
        }
    }
}
