//! Listeners and connections: limits on their number, time and memory, and a shutdown that lets
//! running requests finish.

mod budget;
mod client_cert;
mod connection;
mod handshake;
mod misdirected;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::{StatusCode, Version};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use carnet_jose::{base64url, fill_random};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

pub use handshake::{HandshakeFailure, Tls};

use budget::{ConnectionBudget, ConnectionSlot};
use connection::{Origin, begin_secured, opened};

use crate::config::{ConnectionLimits, Listen};

/// How long requests may take to finish when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// Modes of a Unix socket: for the user and the group of the server, or for the user alone.
const SHARED_SOCKET: u32 = 0o660;
const PRIVATE_SOCKET: u32 = 0o600;
/// Pause after an error of `accept`, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

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

/// Binds the configured address and serves on it, with TLS if `tls` is given and the address is a TCP
/// address.
pub async fn serve(
    router: Router,
    listen: &Listen,
    limits: ConnectionLimits,
    tls: Option<&Tls>,
) -> io::Result<Serving> {
    let listener = bind(listen, tls, SHARED_SOCKET).await?;
    Ok(begin(router, listener, limits))
}

/// The same for a listener to which only reverse proxies connect, which say in the header
/// `Client-Cert` with which certificate a client connected to them (RFC 9440): on a Unix socket of
/// this user alone, or with TLS and a certificate of the proxy ([`Tls::for_proxies`]).
pub async fn serve_proxies(
    router: Router,
    listen: &Listen,
    limits: ConnectionLimits,
    tls: Option<&Tls>,
) -> io::Result<Serving> {
    let listener = bind(listen, tls, PRIVATE_SOCKET).await?;
    let router = router.layer(from_fn(client_cert::layer));
    Ok(begin(router, listener, limits))
}

async fn bind(listen: &Listen, tls: Option<&Tls>, mode: u32) -> io::Result<Listener> {
    let bound = match listen {
        Listen::Address(address) => TcpListener::bind(address).await?,
        Listen::Host(host, port) => TcpListener::bind((host.as_str(), *port)).await?,
        Listen::Unix(path) => return Ok(Listener::Unix(bind_unix(path, mode).await?)),
    };
    Ok(match tls {
        None => Listener::Tcp(bound),
        Some(tls) => Listener::Tls(bound, tls.clone()),
    })
}

/// Binds a Unix socket, in place of a socket file that no server listens on any more. Its mode says
/// who may connect, as far as the directory lets them reach the file.
async fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another server listens there",
        ));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    // Bound out of reach first: between binding and the mode, anybody could connect.
    let folder = private_folder_beside(path)?;
    let hidden = folder.join("s");
    let bound = UnixListener::bind(&hidden).and_then(|listener| {
        std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(mode))?;
        std::fs::rename(&hidden, path)?;
        Ok(listener)
    });
    std::fs::remove_dir_all(&folder)?;
    bound
}

/// Makes a folder that nobody else can enter, where a file can be renamed to this path.
fn private_folder_beside(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 6];
    fill_random(&mut random).map_err(io::Error::other)?;
    let name = format!(".carnet-{}", base64url(random));
    let folder = path.parent().unwrap_or(Path::new("/")).join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Serves on a bound listener with the default limits.
pub fn serve_on(router: Router, listener: TcpListener) -> Serving {
    serve_within(router, listener, ConnectionLimits::default())
}

/// Serves on a bound listener with TLS and the default limits.
pub fn serve_secured_on(router: Router, listener: TcpListener, tls: Tls) -> Serving {
    let limits = ConnectionLimits::default();
    begin(router, Listener::Tls(listener, tls), limits)
}

/// Serves on a bound listener.
pub fn serve_within(router: Router, listener: TcpListener, limits: ConnectionLimits) -> Serving {
    begin(router, Listener::Tcp(listener), limits)
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Tls(TcpListener, Tls),
    Unix(UnixListener),
}

/// A connection that was accepted.
enum Accepted {
    Tcp(TcpStream, SocketAddr),
    /// Its handshake comes first.
    Tls(TcpStream, SocketAddr, Tls),
    Unix(UnixStream),
}

/// Marks a request that came over a Unix socket: file permissions admitted its peer, which is on
/// this machine.
#[derive(Clone, Copy, Debug)]
pub struct UnixPeer;

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true).ok();
                Ok(Accepted::Tcp(stream, peer))
            }
            Self::Tls(listener, tls) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true).ok();
                Ok(Accepted::Tls(stream, peer, tls.clone()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream))
            }
        }
    }
}

impl Accepted {
    /// Only TCP peers have an address.
    const fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, peer) | Self::Tls(_, peer, _) => Some(*peer),
            Self::Unix(_) => None,
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
    let serving = connection::Serving::new(router, &limits);
    let room = Arc::new(ConnectionBudget::new(limits));
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &room) => accepted,
            _ = stopped.changed() => break,
        };
        let (accepted, place) = match accepted {
            Ok(Some(accepted)) => accepted,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        begin_connection(accepted, place, serving.clone(), stopped.clone());
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

/// Serves a connection in a task of its own.
fn begin_connection(
    accepted: Accepted,
    place: ConnectionSlot,
    serving: connection::Serving,
    mut stopped: watch::Receiver<bool>,
) {
    let origin = |peer, place| Origin {
        peer,
        place,
        tls: None,
    };
    match accepted {
        Accepted::Tcp(stream, peer) => {
            let origin = origin(Some(peer), place);
            drop(tokio::spawn(opened(
                Box::new(stream),
                origin,
                serving,
                stopped,
            )));
        }
        Accepted::Unix(stream) => {
            let origin = origin(None, place);
            drop(tokio::spawn(opened(
                Box::new(stream),
                origin,
                serving,
                stopped,
            )));
        }
        Accepted::Tls(stream, peer, tls) => drop(tokio::spawn(async move {
            let secured = tokio::select! {
                biased;
                secured = tls.handshake(stream, peer) => secured,
                _ = stopped.wait_for(|stopped| *stopped) => None,
            };
            if let Some(secured) = secured {
                begin_secured(secured, (peer, place), serving, stopped);
            }
        })),
    }
}

/// Refuses HTTP/1.1 requests that name no host, or several (RFC 9112 section 3.2).
async fn require_host(request: Request, next: Next) -> Response {
    let named = request.headers().get_all(HOST).iter().take(2).count();
    let names_one = named == 1 || (named == 0 && request.uri().authority().is_some());
    if request.version() == Version::HTTP_11 && !names_one {
        return StatusCode::BAD_REQUEST.into_response();
    }
    next.run(request).await
}

/// Waits for a free slot and the next connection. `None` if the connection was closed because its
/// address has used up its share.
async fn next(
    listener: &Listener,
    room: &Arc<ConnectionBudget>,
) -> io::Result<Option<(Accepted, ConnectionSlot)>> {
    let permit = room
        .permits
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let accepted = listener.accept().await?;
    let peer = accepted.peer().map(|peer| peer.ip());
    Ok(ConnectionBudget::take(room, peer, permit).map(|place| (accepted, place)))
}
