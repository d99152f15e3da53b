//! The TLS listener under peers that are slow, many or hostile.

use std::time::{Duration, Instant};

use carnet::config::ConnectionLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Authority, JWT_BEARER, Secure, Tls, status};

const H2: Tls<'_> = Tls {
    server_name: Some("as.test"),
    protocols: b"\x02h2",
    only_1_2: false,
};
/// A record that announces more of a handshake than it holds.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Whether the other side closes the connection within this time.
async fn closes(stream: &mut TcpStream, within: Duration) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(within, stream.read_to_end(&mut rest))
        .await
        .is_ok()
}

#[tokio::test]
async fn a_handshake_has_ten_seconds_and_slow_ones_keep_nobody_waiting() {
    let server = Secure::new(&[&["as.test"]]).await;
    let began = Instant::now();
    let mut slow = Vec::new();
    // More than the machine has processors, so that slow peers would take every turn.
    for sent in [&b""[..], b"\x16", HALF_A_HELLO].repeat(50) {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        slow.push(stream);
    }
    // A whole hello, and then nothing: the server has answered and waits.
    let hello = client_hello();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(server.status(Some("as.test"), "as.test").await, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(9));
    for stream in &mut slow {
        assert!(closes(stream, Duration::from_secs(15)).await);
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(9), "{took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// The first flight of a client.
fn client_hello() -> Vec<u8> {
    use openssl::ssl::{SslConnector, SslMethod};
    /// Keeps what is written, and has nothing to read.
    #[derive(Debug, Default)]
    struct Written(Vec<u8>);
    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl std::io::Read for Written {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::WouldBlock.into())
        }
    }
    let connector = SslConnector::builder(SslMethod::tls_client())
        .unwrap()
        .build();
    match connector.connect("as.test", Written::default()) {
        Err(openssl::ssl::HandshakeError::WouldBlock(waiting)) => waiting.get_ref().0.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_are_answered_during_a_flood_of_handshakes() {
    let limits = ConnectionLimits {
        unshared_peers: vec!["127.0.0.0/8".parse().unwrap()],
        ..ConnectionLimits::default()
    };
    let authority = Authority::new();
    // Signatures with a key of 4096 bits take milliseconds.
    let rsa = openssl::rsa::Rsa::generate(4096).unwrap();
    let key = openssl::pkey::PKey::from_rsa(rsa).unwrap();
    let certificate = authority.certify_key(&["as.test"], 300 * 86_400, &key);
    let server = Secure::with(authority, &[(certificate, key)], limits, &[]).await;
    let mut before = server.connect(Tls::default()).await.unwrap();
    let hello = client_hello();
    let address = server.address;
    let flood: Vec<_> = (0..400)
        .map(|_| {
            let hello = hello.clone();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(&hello).await.unwrap();
                let mut some = [0; 1024];
                stream.read(&mut some).await.unwrap_or_default()
            })
        })
        .collect();
    let mut worst = Duration::ZERO;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(status(&mut before, "as.test").await, 200);
        worst = worst.max(began.elapsed());
    }
    let still_running = flood.iter().filter(|one| !one.is_finished()).count();
    assert!(
        still_running > 0,
        "the flood was over before the requests were"
    );
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    let mut answered = 0;
    for one in flood {
        answered += usize::from(one.await.unwrap() > 0);
    }
    assert_eq!(answered, 400, "all of them have their turn");
}

#[tokio::test]
async fn connections_count_before_their_handshake() {
    let authority = Authority::new();
    let certificates = [authority.certify(&["as.test"], 86_400)];
    let limits = ConnectionLimits {
        max: 8,
        ..ConnectionLimits::default()
    };
    let server = Secure::with(authority, &certificates, limits, &[]).await;
    let _held = [
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ];
    tokio::time::sleep(Duration::from_millis(100)).await;
    // A quarter of eight is the share of one address.
    let mut third = TcpStream::connect(server.address).await.unwrap();
    assert!(closes(&mut third, Duration::from_secs(3)).await);
}

#[tokio::test]
async fn a_tls_connection_is_closed_when_it_was_idle_for_as_long_as_configured() {
    let authority = Authority::new();
    let certificates = [authority.certify(&["as.test"], 86_400)];
    let limits = ConnectionLimits {
        idle: Duration::from_secs(1),
        ..ConnectionLimits::default()
    };
    let server = Secure::with(authority, &certificates, limits, &[]).await;
    for protocols in [&b""[..], b"\x02h2"] {
        let tls = Tls {
            protocols,
            ..Tls::default()
        };
        let mut stream = server.connect(tls).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
        assert!(end.await.is_ok());
    }
}

#[tokio::test]
async fn a_tls_handshake_does_not_keep_the_server_from_ending() {
    let mut server = Secure::new(&[&["as.test"]]).await;
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(HALF_A_HELLO).await.unwrap();
    let mut idle = server.connect(Tls::default()).await.unwrap();
    let mut begun = server.connect(Tls::default()).await.unwrap();
    begun.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ending = tokio::spawn(async move {
        server.stop().await;
        server
    });
    assert!(closes(&mut half, Duration::from_secs(3)).await);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.ok();
    // A request whose head is arriving is answered.
    begun.write_all(b"host: as.test\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    begun.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    ending.await.unwrap();
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head.as_slice(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// `GET` of this path of `https://as.test` as HPACK: two entries of the static table, and two names of it
/// with values.
fn get(path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    let fields = [&[0x82, 0x87, 0x44, length], path.as_bytes()].concat();
    [&fields, &[0x41, 7][..], b"as.test"].concat()
}

fn cancel(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &8u32.to_be_bytes())
}

#[tokio::test]
async fn a_client_that_opens_and_resets_streams_by_the_thousand_is_cut_off() {
    let server = Secure::new(&[&["as.test"]]).await;
    let mut attacker = server.connect(H2).await.unwrap();
    attacker.write_all(PREFACE).await.unwrap();
    let mut sent = 0;
    for batch in 0..100 {
        let pairs = (0..100).map(|n| {
            let stream = 2 * (batch * 100 + n) + 1;
            let headers = frame(1, END_HEADERS | END_STREAM, stream, &get("/"));
            [headers, cancel(stream)].concat()
        });
        let bytes = pairs.collect::<Vec<_>>().concat();
        if attacker.write_all(&bytes).await.is_err() {
            break;
        }
        sent += 100;
    }
    let mut read = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), attacker.read_to_end(&mut read));
    assert!(end.await.is_ok(), "cut off after {sent} streams");
    // GOAWAY, because the client should calm down (RFC 9113 section 7).
    let goes_away = read.windows(17).any(|frame| {
        frame[3] == 7 && frame[..3] != [0, 0, 0] && frame[13..17] == 11u32.to_be_bytes()
    });
    assert!(goes_away, "{read:?}");
    assert_eq!(server.status(Some("as.test"), "as.test").await, 200);
}

/// A request that needs the database, and waits while it is locked.
fn waiting(stream: u32) -> Vec<u8> {
    frame(1, END_HEADERS | END_STREAM, stream, &get("/readyz"))
}

/// Begins requests and resets them while they run, up to 600. The number after which the server closed the
/// connection, if it did.
async fn abandon(server: &Secure) -> Option<usize> {
    let mut attacker = server.connect(H2).await.unwrap();
    attacker.write_all(PREFACE).await.unwrap();
    let mut abandoned = 0;
    for first in (1..1200).step_by(32) {
        let streams: Vec<u32> = (0..16).map(|n| first + 2 * n).collect();
        let open: Vec<u8> = streams.iter().flat_map(|stream| waiting(*stream)).collect();
        let reset: Vec<u8> = streams.iter().flat_map(|stream| cancel(*stream)).collect();
        let mut is_closed = attacker.write_all(&open).await.is_err();
        tokio::time::sleep(Duration::from_millis(30)).await;
        is_closed |= attacker.write_all(&reset).await.is_err();
        let mut some = [0; 4096];
        let reading = tokio::time::timeout(Duration::from_millis(30), attacker.read(&mut some));
        is_closed |= matches!(reading.await, Ok(Ok(0) | Err(_)));
        if is_closed {
            return Some(abandoned);
        }
        abandoned += streams.len();
    }
    None
}

#[tokio::test]
async fn the_connection_of_a_proxy_is_not_closed_for_requests_that_its_callers_abandon() {
    let authority = Authority::new();
    let certificates = [authority.certify(&["as.test"], 300 * 86_400)];
    let limits = ConnectionLimits {
        unshared_peers: vec!["127.0.0.0/8".parse().unwrap()],
        ..ConnectionLimits::default()
    };
    let server = Secure::with(authority, &certificates, limits, &[]).await;
    let lock = server.world.server.db.lock().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(abandon(&server).await, None);
    lock.release().await;
}

#[tokio::test]
async fn a_client_that_abandons_one_request_after_the_other_is_cut_off() {
    let server = Secure::new(&[&["as.test"]]).await;
    let lock = server.world.server.db.lock().await;
    // What was written a moment ago tells that the database can be written.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let abandoned = abandon(&server).await;
    assert!(
        abandoned.is_some_and(|count| (150..400).contains(&count)),
        "{abandoned:?}"
    );
    // A client that abandons every second request goes on.
    let mut patient = server.connect(H2).await.unwrap();
    patient.write_all(PREFACE).await.unwrap();
    for n in 0..300 {
        let (first, second) = (4 * n + 1, 4 * n + 3);
        let bytes = [
            frame(1, END_HEADERS | END_STREAM, first, &get("/healthz")),
            waiting(second),
        ];
        patient.write_all(&bytes.concat()).await.unwrap();
        // The answer to the first.
        let mut some = [0; 16 * 1024];
        assert!(patient.read(&mut some).await.unwrap() > 0, "after {n}");
        patient.write_all(&cancel(second)).await.unwrap();
    }
    lock.release().await;
}

#[tokio::test]
async fn a_token_is_issued_over_tls() {
    let server = Secure::new(&[&["as.test"]]).await;
    let mut stream = server.connect(Tls::default()).await.unwrap();
    let body = format!(
        "grant_type={}&assertion={}",
        JWT_BEARER.replace(':', "%3A"),
        server.world.good()
    );
    let request = format!(
        "POST /token HTTP/1.1\r\nhost: as.test\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\"access_token\""), "{answer}");
}
