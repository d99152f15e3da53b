//! Ways out that are not straight: through the operator's proxy, and answers that are compressed.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use carnet::config::Config;
use carnet::upstream::{Egress, Fetch as _, FetchError, Fetched, HttpFetch, Message};
use url::Url;

use crate::egress::{Server, egress, gzip, hello, send};
use crate::support::{Authority, Flaw};

/// A proxy that leads every tunnel to one port of this machine, and keeps what it was asked.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(target: u16, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = seen.clone();
                std::thread::spawn(move || tunnel(stream, target, answer, &seen));
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The server's own client, configured with this proxy.
    fn client(&self) -> HttpFetch {
        let proxy = format!("http://joel:hunter2@localhost:{}", self.port);
        let settings = [("CARNET_UPSTREAM__PROXY".to_owned(), proxy)];
        HttpFetch::of(&Config::from_sources(None, settings).unwrap())
    }
}

fn tunnel(mut stream: TcpStream, target: u16, answer: &str, seen: &Mutex<Vec<String>>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    seen.lock().unwrap().push(String::from_utf8(head).unwrap());
    stream.write_all(answer.as_bytes()).unwrap();
    if !answer.contains(" 200 ") {
        return;
    }
    let mut server = TcpStream::connect(("127.0.0.1", target)).unwrap();
    let (mut from, mut to) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from, &mut to).ok());
    std::io::copy(&mut server, &mut stream).ok();
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

fn public(authority: &Authority) -> Egress {
    Egress {
        ca_pem: Some(authority.pem()),
        ..Egress::default()
    }
}

async fn get(client: &HttpFetch, url: &str, egress: &Egress) -> Result<Fetched, FetchError> {
    client
        .fetch(&Url::parse(url).unwrap(), egress, None, 1024)
        .await
}

#[tokio::test]
async fn pub_k4__keys_are_fetched_through_the_configured_proxy_with_the_issuers_own_certificates() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::OtherHost, hello);
    let proxy = Proxy::start(server.port, OPEN);
    let (client, egress) = (proxy.client(), public(&authority));
    let fetched = get(&client, "https://elsewhere.test/jwks", &egress).await;
    assert_eq!(fetched.unwrap().body, b"hello");
    let asked = proxy.asked();
    assert!(
        asked[0].starts_with("CONNECT elsewhere.test:443 HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(
        asked[0]
            .to_lowercase()
            .contains("proxy-authorization: basic ")
    );
    // The proxy sees a tunnel; who answers in it still has to have the certificate.
    let other = get(&client, "https://another.test/jwks", &egress).await;
    assert!(matches!(other, Err(FetchError::Failed(..))), "{other:?}");
    let untrusted = get(&client, "https://elsewhere.test/", &Egress::default()).await;
    assert!(matches!(untrusted, Err(FetchError::Failed(..))));
    // Messages to webhooks take the same way.
    let message = Message {
        headers: Vec::new(),
        body: "{}".to_owned(),
    };
    let hook = Url::parse("https://elsewhere.test/hook").unwrap();
    assert_eq!(client.post(&hook, &egress, &message).await, Ok(200));
}

#[tokio::test]
async fn urls_that_may_not_be_fetched_never_reach_the_proxy() {
    let authority = Authority::new();
    let proxy = Proxy::start(1, OPEN);
    let (client, egress) = (proxy.client(), public(&authority));
    for url in [
        "http://ci.test/",
        "https://10.0.0.1/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest",
        "https://u:p@ci.test/",
        "https://localhost/",
        "https://kubernetes.default.svc.cluster.local/",
        "https://metadata.google.internal./",
        "https://intranet/",
    ] {
        let refused = get(&client, url, &egress).await;
        assert!(
            matches!(refused, Err(FetchError::Refused(..))),
            "{url}: {refused:?}"
        );
    }
    assert_eq!(proxy.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn an_issuer_with_allow_private_is_reached_without_the_proxy() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, hello);
    let proxy = Proxy::start(server.port, OPEN);
    let inside = egress(Some(&authority));
    let fetched = get(&proxy.client(), server.url("/").as_str(), &inside).await;
    assert_eq!(fetched.unwrap().body, b"hello");
    assert_eq!((proxy.asked().len(), server.connections()), (0, 1));
}

#[tokio::test]
async fn a_proxy_that_refuses_is_an_error_without_its_password() {
    let authority = Authority::new();
    let proxy = Proxy::start(1, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    let refused = get(&proxy.client(), "https://ci.test/", &public(&authority)).await;
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("https://ci.test/") && !error.contains("hunter2"),
        "{error}"
    );
}

#[tokio::test]
async fn pub_k4__an_answer_in_gzip_is_read_within_the_limit_of_what_comes_out() {
    let authority = Authority::new();
    let answer = async |coding: &'static str, body: Vec<u8>| {
        let server = Server::start(&authority, Flaw::None, move |_, stream| {
            send(
                stream,
                &format!("200 OK\r\ncontent-encoding: {coding}"),
                &body,
            );
        });
        let inside = egress(Some(&authority));
        get(&HttpFetch::default(), server.url("/").as_str(), &inside).await
    };
    for coding in ["gzip", "GZIP", "x-gzip"] {
        assert_eq!(answer(coding, gzip(b"hello")).await.unwrap().body, b"hello");
    }
    assert_eq!(
        answer("identity", b"hello".to_vec()).await.unwrap().body,
        b"hello"
    );
    let exact = answer("gzip", gzip(&[0; 1024])).await.unwrap();
    assert_eq!(exact.body.len(), 1024);
    for bomb in [1025, 10 * 1024 * 1024] {
        let refused = answer("gzip", gzip(&vec![0; bomb])).await;
        assert!(
            matches!(refused, Err(FetchError::TooLarge(..))),
            "{refused:?}"
        );
    }
    let mut broken = gzip(b"hello");
    broken.truncate(12);
    for (coding, body) in [
        ("gzip", broken),
        ("gzip", b"hello".to_vec()),
        ("br", b"x".to_vec()),
    ] {
        let refused = answer(coding, body).await;
        assert!(
            matches!(refused, Err(FetchError::Failed(..))),
            "{refused:?}"
        );
    }
}
