//! The TLS handshake of a connection: its deadline, its share of the processors, and what is told to
//! those who speak something else.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ipnet::IpNet;
use openssl::ssl::{NameType, Ssl, SslRef};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_openssl::SslStream;

use super::connection::Agreed;
use super::misdirected::HandshakeHost;
use crate::http::opening::{Opened, read_some};
use crate::tls::{Certificates, ClientCertificate, ClientCertificates};

/// How long a handshake may take, from the connection on.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes before the content of a record, and the most bytes of a record (RFC 8446 section 5.1).
const RECORD_HEAD: usize = 5;
const MAX_RECORD: usize = RECORD_HEAD + 16 * 1024;
/// The content type of the first record of a handshake.
const HANDSHAKE: u8 = 22;
/// How long the rest of a request without TLS is read after its answer.
const LAST_READ: Duration = Duration::from_secs(1);
const WITHOUT_TLS: &str = "HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 63\r\n\
    connection: close\r\n\r\n\
    This port speaks HTTPS only: write https:// instead of http://\n";

/// How a listener speaks TLS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls {
    certificates: Arc<Certificates>,
    /// Steps of handshakes that may be computed at a time. A flood of handshakes, whose key exchanges
    /// and signatures are most of the cost of a connection, thus leaves processors for requests.
    steps: Arc<Semaphore>,
    /// Peers that forward requests for hosts of their own.
    proxies: Arc<[IpNet]>,
    asked: ClientCertificates,
    /// The thumbprints of the certificates that a peer must have one of: those of reverse proxies.
    pinned: Option<Arc<[String]>>,
}

/// A connection after its handshake.
pub(super) struct Secured {
    pub stream: SslStream<Opened<TcpStream>>,
    pub agreed: Agreed,
}

/// Why a handshake failed: the label `why` of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It was not complete within its deadline.
    Timeout,
    /// The peer spoke HTTP without TLS.
    WithoutTls,
    /// The peer speaks no version from TLS 1.2 on.
    Version,
    /// There is no common cipher suite, group or signature algorithm.
    Parameters,
    /// The peer speaks neither HTTP/1.1 nor HTTP/2 (ALPN).
    Protocol,
    /// The peer does not accept the certificate.
    Certificate,
    /// The peer's own certificate cannot be read, or is not that of a reverse proxy where one has to
    /// be.
    ClientCertificate,
    /// The peer closed the connection.
    Closed,
    Other,
}

impl HandshakeFailure {
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::WithoutTls,
        Self::Version,
        Self::Parameters,
        Self::Protocol,
        Self::Certificate,
        Self::ClientCertificate,
        Self::Closed,
        Self::Other,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::WithoutTls => "without_tls",
            Self::Version => "version",
            Self::Parameters => "parameters",
            Self::Protocol => "protocol",
            Self::Certificate => "certificate",
            Self::ClientCertificate => "client_certificate",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }

    /// The failure that an error of OpenSSL stands for, by its reason code (`openssl/sslerr.h`). Codes
    /// from 1000 on are alerts of the peer (RFC 8446 section 6).
    fn of(error: &openssl::ssl::Error) -> Self {
        let errors = error.ssl_error().map(openssl::error::ErrorStack::errors);
        let Some(first) = errors.and_then(<[_]>::first) else {
            return Self::Closed;
        };
        match first.reason_code() {
            // wrong version number, unsupported protocol, inappropriate fallback, version too low,
            // alert protocol version
            267 | 258 | 373 | 396 | 1070 => Self::Version,
            // no suitable key share, signature algorithm or groups; no shared cipher, no shared
            // signature algorithms; alert handshake failure
            101 | 118 | 295 | 193 | 376 | 1040 => Self::Parameters,
            // no application protocol
            235 => Self::Protocol,
            // unexpected end
            294 => Self::Closed,
            // alerts: bad, unsupported, revoked, expired, unknown certificate; unknown authority
            1042..=1046 | 1048 => Self::Certificate,
            _ => Self::Other,
        }
    }
}

impl Tls {
    /// TLS with these certificates. Requests of the peers in `proxies` may name any host.
    pub fn new(certificates: Arc<Certificates>, proxies: &[IpNet]) -> Self {
        Self {
            certificates,
            steps: turns(),
            proxies: proxies.into(),
            asked: ClientCertificates::Unasked,
            pinned: None,
        }
    }

    /// The same for a listener that asks for client certificates. Its handshakes have turns of their
    /// own: strangers choose what there is to compute in them.
    #[must_use]
    pub fn asking(&self) -> Self {
        Self {
            asked: ClientCertificates::Optional,
            steps: turns(),
            ..self.clone()
        }
    }

    /// The same for a listener to which only reverse proxies with one of these certificates connect,
    /// by their thumbprints. What their connections prove, they prove of the proxies.
    #[must_use]
    pub fn for_proxies(&self, thumbprints: &[String]) -> Self {
        Self {
            pinned: Some(thumbprints.into()),
            ..self.asking()
        }
    }

    /// Makes the handshake. `None` if it failed, which has then been counted.
    pub(super) async fn handshake(&self, stream: TcpStream, peer: SocketAddr) -> Option<Secured> {
        let made = tokio::time::timeout(DEADLINE, self.greeted(stream, peer)).await;
        match made.unwrap_or(Err(Some(HandshakeFailure::Timeout))) {
            Ok(secured) => {
                let version = match secured.stream.ssl().version_str() {
                    "TLSv1.2" => "1.2",
                    _ => "1.3",
                };
                metrics::counter!("carnet_tls_handshakes_total", "version" => version).increment(1);
                Some(secured)
            }
            Err(failure) => {
                if let Some(failure) = failure {
                    metrics::counter!("carnet_tls_handshakes_failed_total", "why" => failure.code())
                        .increment(1);
                    // The peer causes these errors, so they are no warnings.
                    tracing::debug!(%peer, why = failure.code(), "a TLS handshake failed");
                }
                None
            }
        }
    }

    /// Waits for the first record before anything is set up, so that connections that send nothing stay
    /// small. An error without a failure is a peer that closed before it sent anything, as probes of
    /// balancers do.
    async fn greeted(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<Secured, Option<HandshakeFailure>> {
        let mut read = Vec::new();
        while !is_whole_record(&read) {
            let before = read.len();
            let some =
                poll_fn(|context| read_some(Pin::new(&mut stream), context, &mut read)).await;
            if some.is_err() || read.len() == before {
                return Err((before > 0).then_some(HandshakeFailure::Closed));
            }
        }
        match read.first() {
            Some(&HANDSHAKE) => self
                .secured(Opened::replaying(read, stream), peer)
                .await
                .map_err(Some),
            Some(first) if first.is_ascii_uppercase() => {
                tell_to_use_tls(stream).await.unwrap_or_default();
                Err(Some(HandshakeFailure::WithoutTls))
            }
            _ => Err(Some(HandshakeFailure::Other)),
        }
    }

    async fn secured(
        &self,
        stream: Opened<TcpStream>,
        peer: SocketAddr,
    ) -> Result<Secured, HandshakeFailure> {
        let set = self.certificates.current();
        let ssl = Ssl::new(set.context(self.asked)).map_err(|_| HandshakeFailure::Other)?;
        let mut stream = SslStream::new(ssl, stream).map_err(|_| HandshakeFailure::Other)?;
        in_turns(&self.steps, |context| {
            Pin::new(&mut stream).poll_accept(context)
        })
        .await
        .map_err(|error| HandshakeFailure::of(&error))?;
        let ssl = stream.ssl();
        let server_name = ssl.servername(NameType::HOST_NAME);
        let certificate = client_certificate(ssl)?;
        let is_proxy = match &self.pinned {
            None => self
                .proxies
                .iter()
                .any(|network| network.contains(&peer.ip().to_canonical())),
            Some(pinned) => {
                let thumbprint = certificate.as_ref().map(ClientCertificate::thumbprint);
                let is_pinned = pinned.iter().any(|one| Some(one.as_str()) == thumbprint);
                if !is_pinned {
                    return Err(HandshakeFailure::ClientCertificate);
                }
                true
            }
        };
        let agreed = Agreed {
            http2: ssl.selected_alpn_protocol() == Some(b"h2"),
            host: (!is_proxy).then(|| Arc::new(HandshakeHost::new(set, server_name))),
            // A proxy's own certificate is none of its clients'.
            certificate: certificate.filter(|_| !is_proxy).map(Arc::new),
        };
        Ok(Secured { stream, agreed })
    }
}

/// As many turns as half of the processors.
fn turns() -> Arc<Semaphore> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new((processors / 2).max(1)))
}

/// The certificate whose private key the peer proved to have.
fn client_certificate(ssl: &SslRef) -> Result<Option<ClientCertificate>, HandshakeFailure> {
    let Some(certificate) = ssl.peer_certificate() else {
        return Ok(None);
    };
    let read = ClientCertificate::of(&certificate);
    read.map(Some).ok_or(HandshakeFailure::ClientCertificate)
}

/// Computes something step by step, each when its turn comes. No turn is held while a step waits for the
/// peer, so slow peers hinder nobody.
async fn in_turns<T>(turns: &Semaphore, mut step: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    loop {
        let turn = turns.acquire().await;
        let polled = poll_fn(|context| Poll::Ready(step(context))).await;
        drop(turn);
        match polled {
            Poll::Ready(made) => return made,
            Poll::Pending => until_woken().await,
        }
    }
}

/// Lets the task sleep once. What it waits for has already been registered with its waker.
async fn until_woken() {
    let mut has_slept = false;
    poll_fn(|_| {
        if std::mem::replace(&mut has_slept, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Whether these bytes are a whole record of a handshake, or cannot become one.
fn is_whole_record(bytes: &[u8]) -> bool {
    match bytes {
        [HANDSHAKE, _, _, high, low, content @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            content.len() >= length.min(MAX_RECORD)
        }
        [] | [HANDSHAKE, ..] => false,
        _ => true,
    }
}

/// Answers a request without TLS. What is left of the request is read, because to close a connection
/// with unread bytes resets it, and the answer is lost.
async fn tell_to_use_tls(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(WITHOUT_TLS.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    let reading = async { while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(LAST_READ, reading)
        .await
        .unwrap_or_default();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use parking_lot::Mutex;

    use super::*;

    async fn let_others_run() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn steps_of_handshakes_wait_for_their_turn_and_hold_none_while_the_peer_is_waited_for() {
        let (turns, steps) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicUsize::new(0)));
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let turn = turns.acquire().await.unwrap();
        let computing = {
            let (turns, steps, waker) = (turns.clone(), steps.clone(), waker.clone());
            tokio::spawn(async move {
                in_turns(&turns, |context| {
                    *waker.lock() = Some(context.waker().clone());
                    match steps.fetch_add(1, Ordering::Relaxed) {
                        2 => Poll::Ready("made"),
                        _ => Poll::Pending,
                    }
                })
                .await
            })
        };
        let_others_run().await;
        assert_eq!(steps.load(Ordering::Relaxed), 0, "the turn is another's");
        drop(turn);
        for step in 1..3 {
            let_others_run().await;
            assert_eq!(steps.load(Ordering::Relaxed), step);
            // No turn is held while the peer is waited for.
            let turn = turns.try_acquire().unwrap();
            waker.lock().take().unwrap().wake();
            let_others_run().await;
            assert_eq!(steps.load(Ordering::Relaxed), step, "the turn is another's");
            drop(turn);
        }
        assert_eq!(computing.await.unwrap(), "made");
    }

    #[test]
    fn a_record_is_whole_once_its_content_is_there() {
        for (bytes, is_whole) in [
            (&b""[..], false),
            (b"\x16", false),
            (b"\x16\x03\x01\0\x02", false),
            (b"\x16\x03\x01\0\x02a", false),
            (b"\x16\x03\x01\0\x02ab", true),
            (b"G", true),
            (b"\x80", true),
        ] {
            assert_eq!(is_whole_record(bytes), is_whole, "{bytes:?}");
        }
    }
}
