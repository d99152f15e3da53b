//! Listens for connections, with TLS if there is a certificate.
//!
//! uv and twine upload over https only, and uv asks for its token at the same host and port.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use openssl::error::ErrorStack;
use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_openssl::SslStream;

/// The longest time that a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after an error of `accept`, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that may wait until the server takes them.
const WAITING: usize = 16;

/// A certificate with its key, for a server with TLS 1.2 or 1.3.
#[derive(Clone)]
pub struct Tls(Arc<SslAcceptor>);

/// The address of the peer of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A TCP or TLS connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Accepted connections. A slow handshake does not keep others waiting.
pub(crate) struct Connections {
    accepted: mpsc::Receiver<(Box<dyn Io>, SocketAddr)>,
    address: SocketAddr,
}

impl Tls {
    /// Reads a certificate chain and its private key from PEM files.
    ///
    /// # Errors
    ///
    /// [`ErrorStack`] if a file cannot be read or the key is not that of the certificate.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, ErrorStack> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_certificate_chain_file(certificate)?;
        builder.set_private_key_file(key, SslFiletype::PEM)?;
        builder.check_private_key()?;
        Ok(Self(Arc::new(builder.build())))
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<SslStream<TcpStream>> {
        let ssl = Ssl::new(self.0.context())?;
        let mut stream = SslStream::new(ssl, stream)?;
        tokio::time::timeout(HANDSHAKE, Pin::new(&mut stream).accept())
            .await?
            .map_err(io::Error::other)?;
        Ok(stream)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Connections {
    /// Accepts the connections of a bound listener from now on.
    pub(crate) fn of(listener: TcpListener, tls: Option<Tls>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = accept(&listener, tls, &sender) => {}
            }
        });
        Ok(Self { accepted, address })
    }
}

async fn accept(
    listener: &TcpListener,
    tls: Option<Tls>,
    sender: &mpsc::Sender<(Box<dyn Io>, SocketAddr)>,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("a connection cannot be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (tls, sender) = (tls.clone(), sender.clone());
        tokio::spawn(async move {
            let connection: Box<dyn Io> = match tls {
                None => Box::new(stream),
                Some(tls) => match tls.handshake(stream).await {
                    Ok(stream) => Box::new(stream),
                    Err(error) => return eprintln!("the TLS handshake of {peer} failed: {error}"),
                },
            };
            sender.send((connection, peer)).await.ok();
        });
    }
}

impl Listener for Connections {
    type Io = Box<dyn Io>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The task that accepts never ends before its receiver.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self(*stream.remote_addr())
    }
}
