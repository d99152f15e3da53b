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
use carnet_resource_server::ClientCertificate;
use openssl::error::ErrorStack;
use openssl::ssl::{
    Ssl, SslAcceptor, SslFiletype, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode,
};
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

/// The peer of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Its certificate, whoever issued it.
    pub(crate) certificate: Option<ClientCertificate>,
}

/// A TCP or TLS connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Accepted connections. A slow handshake does not keep others waiting.
pub(crate) struct Connections {
    accepted: mpsc::Receiver<(Box<dyn Io>, Peer)>,
    address: SocketAddr,
}

impl Tls {
    /// Reads a certificate chain and its private key from PEM files. Clients are asked for a
    /// certificate of theirs, and any will do: a token is bound to one certificate (RFC 8705 section
    /// 3). Sessions are not resumed, so that each connection shows the private key anew.
    ///
    /// # Errors
    ///
    /// [`ErrorStack`] if a file cannot be read or the key is not that of the certificate.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, ErrorStack> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_certificate_chain_file(certificate)?;
        builder.set_private_key_file(key, SslFiletype::PEM)?;
        builder.check_private_key()?;
        // Certificates that come along with the client's own are not verified.
        builder.set_verify_depth(0);
        builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_options(SslOptions::NO_TICKET);
        builder.set_num_tickets(0)?;
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
    sender: &mpsc::Sender<(Box<dyn Io>, Peer)>,
) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("a connection cannot be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (tls, sender) = (tls.clone(), sender.clone());
        tokio::spawn(async move {
            let mut peer = Peer {
                address,
                certificate: None,
            };
            let connection: Box<dyn Io> = match tls {
                None => Box::new(stream),
                Some(tls) => match tls.handshake(stream).await {
                    Ok(stream) => {
                        let sent = stream.ssl().peer_certificate();
                        let der = sent.and_then(|certificate| certificate.to_der().ok());
                        peer.certificate = der.map(|der| ClientCertificate::from_der(&der));
                        Box::new(stream)
                    }
                    Err(error) => {
                        return eprintln!("the TLS handshake of {address} failed: {error}");
                    }
                },
            };
            sender.send((connection, peer)).await.ok();
        });
    }
}

impl Listener for Connections {
    type Io = Box<dyn Io>;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The task that accepts never ends before its receiver.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer {
            address: self.address,
            certificate: None,
        })
    }
}

impl Connected<IncomingStream<'_, Connections>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        stream.remote_addr().clone()
    }
}
