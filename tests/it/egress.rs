//! The way out, on real sockets with real certificates (decision D-27; attacks 7.8).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use carnet::upstream::{Egress, Fetch as _, FetchError, Fetched, HttpFetch, Lookup, Question};
use openssl::ssl::{SslAcceptor, SslMethod, SslStream, SslVersion};
use serde_json::json;
use url::Url;

use crate::support::{Authority, Flaw, ServerProcess, TestDb};

/// A TLS server that answers each request as told, on a thread of its own.
pub struct Server {
    pub port: u16,
    connections: Arc<AtomicUsize>,
}

pub type Stream = SslStream<TcpStream>;

impl Server {
    pub fn start(
        authority: &Authority,
        flaw: Flaw,
        answer: impl Fn(&str, &mut Stream) + Send + Sync + 'static,
    ) -> Self {
        Self::with_versions(authority, flaw, None, answer)
    }

    fn with_versions(
        authority: &Authority,
        flaw: Flaw,
        most: Option<SslVersion>,
        answer: impl Fn(&str, &mut Stream) + Send + Sync + 'static,
    ) -> Self {
        let (certificate, key) = authority.issue(flaw);
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&certificate).unwrap();
        if let Some(most) = most {
            acceptor.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
            acceptor.clear_options(
                openssl::ssl::SslOptions::NO_TLSV1 | openssl::ssl::SslOptions::NO_TLSV1_1,
            );
            acceptor.set_min_proto_version(None).unwrap();
            acceptor.set_max_proto_version(Some(most)).unwrap();
        }
        let acceptor = Arc::new(acceptor.build());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (connections.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                std::thread::spawn(move || {
                    let Ok(mut stream) = acceptor.accept(stream) else {
                        return;
                    };
                    let mut request = vec![0; 4096];
                    let read = stream.read(&mut request).unwrap_or(0);
                    let request = String::from_utf8_lossy(&request[..read]).into_owned();
                    answer(&request, &mut stream);
                    stream.shutdown().ok();
                });
            }
        });
        Self { port, connections }
    }

    pub fn url(&self, path: &str) -> Url {
        Url::parse(&format!("https://localhost:{}{path}", self.port)).unwrap()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

pub fn send(stream: &mut Stream, head: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body))
        .ok();
}

pub fn hello(_: &str, stream: &mut Stream) {
    send(
        stream,
        "200 OK\r\ncache-control: public, max-age=600",
        b"hello",
    );
}

pub fn egress(authority: Option<&Authority>) -> Egress {
    Egress {
        ca_pem: authority.map(Authority::pem),
        allow_private: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        allow_http_loopback: false,
    }
}

async fn fetch(url: &Url, egress: &Egress) -> Result<Fetched, FetchError> {
    HttpFetch::default()
        .fetch(url, egress, None, 1024 * 1024)
        .await
}

#[tokio::test]
async fn oidcd_4_6__a_document_is_fetched_with_the_issuers_own_authority() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, hello);
    let fetched = fetch(&server.url("/"), &egress(Some(&authority)))
        .await
        .unwrap();
    assert_eq!(
        (fetched.status, fetched.body.as_slice(), fetched.max_age),
        (200, &b"hello"[..], Some(600))
    );
}

/// Answers one question after another on one connection. A question ends with its body.
fn answer_on(first: &str, stream: &mut Stream) {
    let (mut request, mut more) = (first.as_bytes().to_vec(), [0; 4096]);
    loop {
        while !request.ends_with(b"}") {
            match stream.read(&mut more) {
                Ok(read) if read > 0 => request.extend_from_slice(&more[..read]),
                _ => return,
            }
        }
        request.clear();
        stream
            .write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}")
            .ok();
    }
}

#[tokio::test]
async fn requests_with_equal_egress_settings_share_a_connection_and_other_settings_do_not() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, answer_on);
    let asking = HttpFetch::default();
    let ask = async |egress: Egress| {
        let question = Question {
            credential: "secret".to_owned().into(),
            body: json!({ "q": 1 }),
        };
        asking.ask(&server.url("/"), &egress, &question, 1024).await
    };
    for _ in 0..3 {
        assert_eq!(ask(egress(Some(&authority))).await.unwrap().status, 201);
    }
    assert_eq!(server.connections(), 1);
    // What one may do, another may not.
    assert!(ask(egress(None)).await.is_err());
    assert!(
        ask(Egress {
            allow_private: Vec::new(),
            ..egress(Some(&authority))
        })
        .await
        .is_err()
    );
}

#[tokio::test]
async fn atk_117__expired_self_signed_and_wrong_host_certificates_are_refused() {
    let authority = Authority::new();
    for flaw in [Flaw::Expired, Flaw::OtherHost, Flaw::SelfSigned] {
        let server = Server::start(&authority, flaw, hello);
        assert!(matches!(
            fetch(&server.url("/"), &egress(Some(&authority))).await,
            Err(FetchError::Failed(..))
        ));
    }
    let server = Server::start(&authority, Flaw::None, hello);
    fetch(&server.url("/"), &egress(Some(&authority)))
        .await
        .unwrap();
    // An authority is trusted for the issuer that names it, and for no other.
    for other in [None, Some(&Authority::new())] {
        assert!(matches!(
            fetch(&server.url("/"), &egress(other)).await,
            Err(FetchError::Failed(..))
        ));
    }
}

#[tokio::test]
async fn rfc8414_6_1_1__old_versions_of_tls_are_refused() {
    let authority = Authority::new();
    let old = Server::with_versions(&authority, Flaw::None, Some(SslVersion::TLS1_1), hello);
    assert!(matches!(
        fetch(&old.url("/"), &egress(Some(&authority))).await,
        Err(FetchError::Failed(..))
    ));
    let new = Server::with_versions(&authority, Flaw::None, Some(SslVersion::TLS1_2), hello);
    fetch(&new.url("/"), &egress(Some(&authority)))
        .await
        .unwrap();
}

#[tokio::test]
async fn atk_104__a_name_that_resolves_to_a_private_address_is_not_connected_to() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, hello);
    let strict = Egress {
        allow_private: Vec::new(),
        ..egress(Some(&authority))
    };
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "127.1",
    ] {
        let url = Url::parse(&format!("https://{host}:{}/", server.port)).unwrap();
        assert!(fetch(&url, &strict).await.is_err(), "{host}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn atk_105__the_connected_address_is_the_checked_one() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, hello);
    let other_network = Egress {
        allow_private: vec!["10.0.0.0/8".parse().unwrap()],
        ..egress(Some(&authority))
    };
    let error = fetch(&server.url("/"), &other_network).await.unwrap_err();
    assert!(error.to_string().contains("no public address"), "{error}");
    assert_eq!(server.connections(), 0);
    fetch(&server.url("/"), &egress(Some(&authority)))
        .await
        .unwrap();
    // A name that is asked for twice has another address the second time: here the first is nobody's, and the second the server's.
    let rebinding = Arc::new(Rebinding::default());
    let fetching = HttpFetch::with_lookup(rebinding.clone());
    let before = server.connections();
    let error = fetching
        .fetch(&server.url("/"), &egress(Some(&authority)), None, 1024)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Failed(..)), "{error}");
    assert_eq!(
        (
            rebinding.0.load(Ordering::SeqCst),
            server.connections() - before
        ),
        (1, 0)
    );
}

/// Names whose address changes after the first answer.
#[derive(Debug, Default)]
struct Rebinding(AtomicUsize);

impl Lookup for Rebinding {
    fn addresses<'a>(
        &'a self,
        _: &'a str,
    ) -> carnet::upstream::Answer<'a, std::io::Result<Vec<SocketAddr>>> {
        let last = if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            9
        } else {
            1
        };
        Box::pin(async move { Ok(vec![SocketAddr::from(([127, 0, 0, last], 0))]) })
    }
}

#[tokio::test]
async fn rfc8725bis_3_10_3__names_are_resolved_and_judged_before_a_connection() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, hello);
    let none = Egress {
        allow_private: Vec::new(),
        ..egress(Some(&authority))
    };
    assert!(fetch(&server.url("/"), &none).await.is_err());
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn atk_106__redirects_are_followed_at_most_twice_and_only_to_the_same_host() {
    let authority = Authority::new();
    let other = Server::start(&authority, Flaw::None, hello);
    let elsewhere = other.url("/").to_string();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    plain.set_nonblocking(true).unwrap();
    let plain_url = format!("http://localhost:{}/", plain.local_addr().unwrap().port());
    let server = Server::start(&authority, Flaw::None, move |request, stream| {
        let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
        let location = match path.as_str() {
            "/1" => "/2".to_owned(),
            "/a" => "/b".to_owned(),
            "/b" => "/c".to_owned(),
            "/2" | "/c" => "/done".to_owned(),
            "/elsewhere" => elsewhere.clone(),
            "/plain" => plain_url.clone(),
            "/file" => "file:///etc/passwd".to_owned(),
            "/metadata" => "https://169.254.169.254/".to_owned(),
            _ => return send(stream, "200 OK", b"done"),
        };
        send(stream, &format!("302 Found\r\nlocation: {location}"), b"");
    });
    let egress = egress(Some(&authority));
    assert_eq!(
        fetch(&server.url("/1"), &egress).await.unwrap().body,
        b"done"
    );
    for path in ["/a", "/elsewhere", "/plain", "/file", "/metadata"] {
        let followed = fetch(&server.url(path), &egress)
            .await
            .is_ok_and(|fetched| fetched.status == 200);
        assert!(!followed, "{path}");
    }
    assert_eq!(other.connections(), 0);
    assert!(plain.accept().is_err());
}

#[tokio::test]
async fn atk_108__a_body_without_end_is_cut_off() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, |request, stream| {
        if request.contains("/slow") {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                .ok();
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        } else if request.contains("/endless") {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                .ok();
            let chunk = vec![b' '; 65536];
            while stream.write_all(&chunk).is_ok() {}
        } else {
            send(stream, "200 OK", &vec![b' '; 10 << 20]);
        }
    });
    let egress = egress(Some(&authority));
    for path in ["/endless", "/large"] {
        let error = fetch(&server.url(path), &egress).await.unwrap_err();
        assert!(
            matches!(error, FetchError::TooLarge(_, 1_048_576)),
            "{path}: {error}"
        );
    }
    let started = Instant::now();
    assert!(matches!(
        fetch(&server.url("/slow"), &egress).await,
        Err(FetchError::Failed(..))
    ));
    assert!(
        started.elapsed() < Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn atk_109__compressed_answers_are_not_asked_for_and_the_limit_counts_what_comes_out() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, |request, stream| {
        let asked = request.to_ascii_lowercase().contains("accept-encoding");
        let bomb = if asked {
            Vec::new()
        } else {
            gzip(&vec![0; 2 * 1024 * 1024])
        };
        send(stream, "200 OK\r\ncontent-encoding: gzip", &bomb);
    });
    let refused = fetch(&server.url("/"), &egress(Some(&authority))).await;
    assert!(
        matches!(refused, Err(FetchError::TooLarge(_, 1_048_576))),
        "{refused:?}"
    );
}

/// The bytes as gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn oidcd_4_6__fetching_a_document_sends_no_cookies_and_no_credentials() {
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, |request, stream| {
        send(
            stream,
            "200 OK\r\nset-cookie: a=b",
            request.to_ascii_lowercase().as_bytes(),
        );
    });
    // The same one every time, so that a cookie could come back.
    let fetching = HttpFetch::default();
    let (url, egress) = (server.url("/"), egress(Some(&authority)));
    let question = Question {
        credential: "secret".to_owned().into(),
        body: json!({ "q": 1 }),
    };
    for _ in 0..2 {
        let request = fetching
            .fetch(&url, &egress, None, 4096)
            .await
            .unwrap()
            .body;
        let request = String::from_utf8(request).unwrap();
        assert!(
            request.starts_with("get / http/1.1") && request.contains("user-agent: carnet/"),
            "{request}"
        );
        assert!(
            !request.contains("cookie") && !request.contains("authorization"),
            "{request}"
        );
        let asked = String::from_utf8(
            fetching
                .ask(&url, &egress, &question, 4096)
                .await
                .unwrap()
                .body,
        )
        .unwrap();
        assert!(
            asked.starts_with("post / http/1.1") && !asked.contains("cookie"),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn atk_107__plain_http_is_for_loopback_and_only_where_it_is_switched_on() {
    let db = TestDb::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 1024];
            let _read = stream.read(&mut buffer);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                .ok();
        }
    });
    assert!(matches!(
        fetch(&url, &egress(None)).await,
        Err(FetchError::Refused(..))
    ));
    let open = Egress {
        allow_http_loopback: true,
        ..Egress::default()
    };
    assert_eq!(fetch(&url, &open).await.unwrap().body, b"ok");
    let named = Url::parse(&format!("http://localhost:{}/", url.port().unwrap())).unwrap();
    assert!(
        matches!(fetch(&named, &open).await, Err(FetchError::Refused(..))),
        "a name is no address"
    );
    drop(db);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atk_115__proxies_of_the_environment_are_not_used() {
    let db = TestDb::new().await;
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
    let authority = Authority::new();
    let server = Server::start(&authority, Flaw::None, |request, stream| {
        let port = request
            .split("host: localhost:")
            .nth(1)
            .unwrap_or("")
            .split("\r\n")
            .next()
            .unwrap()
            .to_owned();
        let issuer = format!("https://localhost:{port}");
        let body = if request.contains("openid-configuration") {
            json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") })
        } else {
            json!({ "keys": [crate::support::TestKey::rsa(0).jwk()] })
        };
        send(stream, "200 OK", body.to_string().as_bytes());
    });
    let issuer = server.url("/").to_string().trim_end_matches('/').to_owned();
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("HTTPS_PROXY", proxy_url.as_str()),
        ("HTTP_PROXY", &proxy_url),
        ("ALL_PROXY", &proxy_url),
        ("https_proxy", &proxy_url),
    ];
    let running = ServerProcess::start(db.folder(), &settings).await;
    let file = db.folder().join("objects.json");
    let objects = json!({ "trusted_issuers": { "ci": {
        "profile": "generic", "issuer": issuer, "ca_pem": authority.pem(), "allow_private": ["127.0.0.0/8", "::1/128"],
    } } });
    std::fs::write(&file, objects.to_string()).unwrap();
    let mut apply = crate::support::carnet();
    apply
        .current_dir(db.folder())
        .args(["apply", "-f"])
        .arg(&file)
        .env("CARNET_DATA_DIR", db.folder())
        .envs(settings);
    let applied = crate::support::finished(apply.output().unwrap());
    assert_eq!(applied.code, 0, "{applied:?}");
    assert!(server.connections() >= 2);
    assert!(proxy.accept().is_err(), "nobody asked the proxy");
    assert_eq!(running.terminate(), 0);
}
