//! Connections and deadlines: whatever ends a request without an answer, nothing is lost by it, and nobody takes the server from others.

use std::time::Duration;

use carnet::config::ConnectionLimits;
use carnet::http::{Serving, serve_within};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{JWT_BEARER, ServerProcess, TestDb, World};

/// Longer than anything here takes; what is still open then is open for good.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves a world on a socket.
pub async fn serving(world: &World, limits: ConnectionLimits) -> (Serving, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (
        serve_within(world.server.router.clone(), listener, limits),
        address,
    )
}

/// A token request as bytes.
fn token_request(assertion: &str) -> String {
    let body = format!(
        "grant_type={}&assertion={assertion}",
        JWT_BEARER.replace(':', "%3A")
    );
    format!(
        "POST /token HTTP/1.1\r\nhost: as.test\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends bytes and reads one answer's head.
pub async fn head(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut read = Vec::new();
    let answer = async {
        let mut byte = [0];
        while !read.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) > 0 {
            read.push(byte[0]);
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, answer).await.is_ok(),
        "an answer"
    );
    String::from_utf8(read).unwrap()
}

/// Whether the other side closes the connection.
async fn closes(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .is_ok()
}

#[tokio::test]
async fn srv_1__bytes_after_a_request_do_not_cost_its_answer() {
    let world = World::new().await;
    let (_serving, address) = serving(&world, ConnectionLimits::default()).await;
    for after in [
        "\r\n",
        "\r\n\r\n",
        "GET /he",
        "POST /token HTTP/1.1\r\nhost: as.test\r\ncontent-length: 5\r\n\r\nab",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{}{after}", token_request(&world.good()));
        let answer = head(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{after:?}: {answer}");
    }
}

#[tokio::test]
async fn srv_2__a_request_that_cannot_be_parsed_is_answered() {
    let world = World::new().await;
    let (_serving, address) = serving(&world, ConnectionLimits::default()).await;
    let many = "x: 1\r\n".repeat(101);
    let long = "a".repeat(100_000);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost : as.test\r\n\r\n".to_owned(), "400"),
        (
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".to_owned(),
            "400",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: as.test\r\n{many}\r\n"),
            "431",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: as.test\r\nx: {long}\r\n\r\n"),
            "431",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nhost: as.test\r\n\r\n"),
            "414",
        ),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = head(&mut stream, request.as_bytes()).await;
        let expected = format!("HTTP/1.1 {status} ");
        // What does not fit the buffer any more is too large, whichever part of it.
        let fits = answer.starts_with(&expected)
            || (status == "414" && answer.starts_with("HTTP/1.1 431 "));
        assert!(fits, "{status}: {answer} for {request:.40}");
    }
}

#[tokio::test]
async fn srv_3__a_database_that_is_locked_is_answered_503_and_nothing_is_used_up() {
    let world = World::with(&[("CARNET_SERVER__REQUEST_SECONDS", "1")]).await;
    let assertion = world.good();
    let lock = world.server.db.lock().await;
    let answer = world.exchange(&assertion).await;
    answer.refused(503, "temporarily_unavailable", "overloaded");
    assert!(answer.header("retry-after").is_some(), "{}", answer.text());
    lock.release().await;
    world.exchange(&assertion).await.token();
}

#[tokio::test]
async fn srv_4__the_assertion_of_a_caller_that_hung_up_is_not_used_up() {
    let world = World::new().await;
    let (_serving, address) = serving(&world, ConnectionLimits::default()).await;
    let (given_up, waiting) = (world.good(), world.good());
    let lock = world.server.db.lock().await;
    // One hangs up before its turn, one waits on.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(token_request(&given_up).as_bytes())
        .await
        .unwrap();
    let mut other = TcpStream::connect(address).await.unwrap();
    let other =
        tokio::spawn(async move { head(&mut other, token_request(&waiting).as_bytes()).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(300)).await;
    lock.release().await;
    assert!(other.await.unwrap().starts_with("HTTP/1.1 200 "));
    world.exchange(&given_up).await.token();
}

#[tokio::test]
async fn srv_10__a_connection_is_closed_when_it_was_idle_for_as_long_as_configured() {
    assert_eq!(
        ConnectionLimits::default().idle,
        Duration::from_secs(75),
        "longer than balancers keep theirs"
    );
    let world = World::new().await;
    let limits = ConnectionLimits {
        idle: Duration::from_secs(1),
        ..ConnectionLimits::default()
    };
    let (_serving, address) = serving(&world, limits).await;
    let mut fresh = TcpStream::connect(address).await.unwrap();
    let mut used = TcpStream::connect(address).await.unwrap();
    assert!(
        head(&mut used, b"GET /healthz HTTP/1.1\r\nhost: as.test\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    // The head of a request may not take longer either.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTT").await.unwrap();
    assert!(closes(&mut fresh).await && closes(&mut used).await && closes(&mut slow).await);
}

#[tokio::test]
async fn srv_37__http_2_without_tls_is_served() {
    let world = World::new().await;
    let (_serving, address) = serving(&world, ConnectionLimits::default()).await;
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    let body = format!(
        "grant_type={}&assertion={}",
        JWT_BEARER.replace(':', "%3A"),
        world.good()
    );
    let request = hyper::Request::post("http://as.test/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body: serde_json::Value =
        serde_json::from_slice(&answer.collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(body["token_type"], "Bearer");
}

#[tokio::test]
async fn sec_h1__one_address_gets_a_quarter_of_the_connections_unless_it_is_a_proxy() {
    let world = World::new().await;
    let limits = ConnectionLimits {
        max: 8,
        ..ConnectionLimits::default()
    };
    let (_serving, address) = serving(&world, limits.clone()).await;
    let get = b"GET /healthz HTTP/1.1\r\nhost: as.test\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(head(&mut stream, get).await.starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
    // A quarter of eight is the share of one address.
    let mut third = TcpStream::connect(address).await.unwrap();
    assert!(closes(&mut third).await);
    // Whoever closes one has room for another.
    drop(held.pop());
    let mut answered = false;
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(get).await.ok();
        let mut start = [0; 12];
        if stream.read_exact(&mut start).await.is_ok() {
            assert_eq!(&start, b"HTTP/1.1 200");
            answered = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answered, "the place is given back");
    // A proxy brings everybody's connections, and has no share.
    let limits = ConnectionLimits {
        unshared_peers: vec!["127.0.0.0/8".parse().unwrap()],
        ..limits
    };
    let (_proxied, address) = serving(&world, limits).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(head(&mut stream, get).await.starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
}

#[tokio::test]
async fn sec_h1__readers_that_never_read_hold_little_memory() {
    let db = TestDb::new().await;
    let server = ServerProcess::start(db.folder(), &[("CARNET_DATABASE__URL", db.url())]).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let before = server.memory();
    let request = "GET /admin/v1/openapi.json HTTP/1.1\r\nhost: as.test\r\n\r\n".repeat(3000);
    let mut connections = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // What the server does not take is not sent: it stops reading while nobody reads its answers.
        tokio::time::timeout(
            Duration::from_millis(200),
            stream.write_all(request.as_bytes()),
        )
        .await
        .ok();
        connections.push(stream);
    }
    // Another caller is served meanwhile, and the memory is bounded.
    let answer = reqwest::get(format!("{}/healthz", server.url))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    // What the server goes on making for them has to end soon: it is looked at until nothing is added any more.
    let (mut grown, mut quiet) = (0, 0);
    while quiet < 20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = server.memory().saturating_sub(before);
        quiet = if now > grown { 0 } else { quiet + 1 };
        grown = grown.max(now);
        assert!(grown < 100 * 1024, "{grown} KiB more than before");
    }
    drop(connections);
}

#[tokio::test]
async fn sec_l10__a_slow_sender_does_not_block_other_requests_of_a_limited_address() {
    let world = World::with(&[("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "1")]).await;
    let (_serving, address) = serving(&world, ConnectionLimits::default()).await;
    let ask = async |request: String| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        head(&mut stream, request.as_bytes())
            .await
            .split(' ')
            .nth(1)
            .unwrap()
            .to_owned()
    };
    assert_eq!(ask(token_request("forged")).await, "400");
    assert_eq!(
        ask(token_request("forged")).await,
        "429",
        "over its limit a refusal is not told"
    );
    let slow = token_request(&world.good());
    let mut held = TcpStream::connect(address).await.unwrap();
    held.write_all(&slow.as_bytes()[..slow.len() - 5])
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(ask(token_request(&world.good())).await, "200");
    assert_eq!(
        head(&mut held, &slow.as_bytes()[slow.len() - 5..])
            .await
            .split(' ')
            .nth(1),
        Some("200")
    );
}

#[tokio::test]
async fn srv_9__a_request_that_was_begun_is_answered_when_the_server_ends() {
    let world = World::new().await;
    let (serving, address) = serving(&world, ConnectionLimits::default()).await;
    let request = token_request(&world.good());
    let (head_begun, body_begun) = (20, request.len() - 5);
    let mut streams = Vec::new();
    for sent in [head_begun, body_begun] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&request.as_bytes()[..sent]).await.unwrap();
        streams.push((stream, sent));
    }
    let mut idle = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ended = tokio::spawn(serving.stop());
    assert!(
        closes(&mut idle).await,
        "whoever sent nothing is not waited for"
    );
    // The same assertion twice: one is a token, one is told of it.
    let mut answers = Vec::new();
    for (stream, sent) in &mut streams {
        answers.push(
            head(stream, &request.as_bytes()[*sent..])
                .await
                .split(' ')
                .nth(1)
                .unwrap()
                .to_owned(),
        );
    }
    assert_eq!(answers, ["200", "400"]);
    assert!(
        tokio::time::timeout(PATIENCE, ended).await.is_ok(),
        "the server ends"
    );
}
