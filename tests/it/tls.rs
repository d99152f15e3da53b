//! The listener that speaks TLS itself: versions and suites, names, protocols, and requests for other hosts.

use std::process::{Command, Stdio};

use carnet::config::ConnectionLimits;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::surroundings::is_installed;
use crate::support::{Authority, Secure, Tls, may_skip, names_of};

const H2: &[u8] = b"\x02h2";
const BOTH: &[u8] = b"\x02h2\x08http/1.1";

/// A server with a key on P-256 for `ec.test` and an RSA key for `rsa.test`.
async fn with_both_kinds_of_keys() -> Secure {
    let authority = Authority::new();
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let days = 300 * 86_400;
    let certificates = [
        authority.certify(&["ec.test"], days),
        (authority.certify_key(&["rsa.test"], days, &rsa), rsa),
    ];
    Secure::with(authority, &certificates, ConnectionLimits::default(), &[]).await
}

/// What `openssl s_client` prints, with these options and this text on its standard input.
async fn s_client(server: &Secure, options: &[&str], input: &str) -> String {
    let mut command = tokio::process::Command::new("openssl");
    command
        .args(["s_client", "-connect", &server.address.to_string()])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The handshake comes first: what is typed before it is over is lost.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    stdin.write_all(input.as_bytes()).await.ok();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    drop(stdin);
    let output = child.wait_with_output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(20), output);
    let output = output.await.unwrap().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Whether a handshake was made: `s_client` then names the suite.
fn is_made(printed: &str) -> bool {
    printed.contains("Cipher is ") && !printed.contains("Cipher is (NONE)")
}

fn has_openssl() -> bool {
    let there = is_installed("openssl");
    there || !may_skip("openssl")
}

#[tokio::test]
async fn rfc8414_6_1_1__the_listener_refuses_versions_below_tls_1_2() {
    if !has_openssl() {
        return;
    }
    let server = Secure::new(&[&["as.test"]]).await;
    // A client that would speak any version.
    let lax = ["-cipher", "ALL:@SECLEVEL=0"];
    for old in ["-tls1", "-tls1_1"] {
        let printed = s_client(&server, &[&lax[..], &[old]].concat(), "").await;
        assert!(!is_made(&printed), "{old}: {printed}");
        assert!(printed.contains("alert protocol version"), "{printed}");
    }
    for (version, named) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let printed = s_client(&server, &[&lax[..], &[version]].concat(), "").await;
        assert!(is_made(&printed) && printed.contains(named), "{printed}");
    }
}

#[tokio::test]
async fn every_suite_has_forward_secrecy_and_authenticated_encryption() {
    if !has_openssl() {
        return;
    }
    let server = with_both_kinds_of_keys().await;
    let try_suite = async |name: &str, suite: &str| {
        let suite = format!("{suite}:@SECLEVEL=0");
        let options = ["-tls1_2", "-servername", name, "-cipher", &suite];
        s_client(&server, &options, "").await
    };
    for (name, suite) in [
        ("rsa.test", "AES128-GCM-SHA256"),
        ("rsa.test", "AES256-SHA"),
        ("rsa.test", "DHE-RSA-AES128-GCM-SHA256"),
        ("rsa.test", "ECDHE-RSA-AES128-SHA256"),
        ("ec.test", "ECDHE-ECDSA-AES128-SHA"),
        ("ec.test", "ECDHE-ECDSA-AES256-CCM8"),
        ("ec.test", "AECDH-AES128-SHA"),
    ] {
        let printed = try_suite(name, suite).await;
        assert!(!is_made(&printed), "{suite}: {printed}");
    }
    for (name, suite) in [
        ("rsa.test", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("rsa.test", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("ec.test", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ] {
        let printed = try_suite(name, suite).await;
        assert!(printed.contains(&format!("Cipher is {suite}")), "{printed}");
        for part in ["Compression: NONE", "Secure Renegotiation IS supported"] {
            assert!(printed.contains(part), "{part}: {printed}");
        }
        // Nothing that a later connection could resume, or a leaked key open.
        assert!(!printed.contains("session ticket"), "{printed}");
    }
    // The server's order decides: AES, unless the client prefers ChaCha20, having no AES in hardware.
    for (suites, chosen) in [
        (
            "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256",
            "AES128-GCM",
        ),
        (
            "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305",
            "AES256-GCM",
        ),
        (
            "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256",
            "CHACHA20",
        ),
    ] {
        let printed = try_suite("ec.test", suites).await;
        assert!(
            printed.contains(&format!("Cipher is ECDHE-ECDSA-{chosen}")),
            "{printed}"
        );
    }
}

#[tokio::test]
async fn sessions_are_not_resumed() {
    if !has_openssl() {
        return;
    }
    let server = Secure::new(&[&["as.test"]]).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let printed = s_client(&server, &[version, "-reconnect"], "").await;
        assert_eq!(printed.matches("New, TLS").count(), 6, "{printed}");
        assert!(!printed.contains("Reused, "), "{printed}");
    }
}

#[tokio::test]
async fn a_client_cannot_renegotiate() {
    if !has_openssl() {
        return;
    }
    let server = Secure::new(&[&["as.test"]]).await;
    let printed = s_client(&server, &["-tls1_2"], "R\n").await;
    assert!(
        is_made(&printed) && printed.contains("RENEGOTIATING"),
        "{printed}"
    );
    assert!(printed.contains("no renegotiation"), "{printed}");
}

#[tokio::test]
async fn the_server_name_selects_the_certificate() {
    let server = Secure::new(&[
        &["first.test", "also-first.test"],
        &["*.registry.test", "127.0.0.1"],
        &["npm.registry.test", "second.test"],
    ])
    .await;
    for (server_name, served) in [
        (Some("first.test"), "first.test"),
        (Some("also-first.test"), "first.test"),
        (Some("SECOND.test"), "npm.registry.test"),
        (Some("pypi.registry.test"), "*.registry.test"),
        // A name goes before a wildcard.
        (Some("npm.registry.test"), "npm.registry.test"),
        // A wildcard stands for one label.
        (Some("a.pypi.registry.test"), "first.test"),
        (Some("registry.test"), "first.test"),
        (Some("unknown.test"), "first.test"),
        (None, "first.test"),
    ] {
        for only_1_2 in [false, true] {
            let tls = Tls {
                server_name,
                only_1_2,
                ..Tls::default()
            };
            let stream = server.connect(tls).await.unwrap();
            assert_eq!(names_of(&stream), served, "{server_name:?}");
        }
    }
}

#[tokio::test]
async fn http_1_1_and_http_2_are_negotiated() {
    let server = Secure::new(&[&["as.test"]]).await;
    for (protocols, chosen) in [
        (BOTH, Some(H2)),
        (b"\x08http/1.1\x02h2", Some(H2)),
        (b"\x08http/1.1", Some(b"\x08http/1.1" as &[u8])),
        (b"", None),
    ] {
        let tls = Tls {
            server_name: Some("as.test"),
            protocols,
            ..Tls::default()
        };
        let mut stream = server.connect(tls).await.unwrap();
        let selected = stream.ssl().selected_alpn_protocol();
        assert_eq!(selected, chosen.map(|chosen| &chosen[1..]));
        if selected == Some(b"h2") {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            let request = hyper::Request::get("https://as.test/healthz");
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.version(), hyper::Version::HTTP_2);
        } else {
            assert_eq!(crate::support::status(&mut stream, "as.test").await, 200);
        }
    }
    // A client that wants something else is told so, and not answered in HTTP.
    let tls = Tls {
        protocols: b"\x04smtp",
        ..Tls::default()
    };
    let refused = server.connect(tls).await.err().unwrap();
    assert!(
        refused.to_string().contains("no application protocol"),
        "{refused}"
    );
}

#[tokio::test]
async fn curl_speaks_both_versions_of_http_with_the_server() {
    if !is_installed("curl") {
        may_skip("curl");
        return;
    }
    let server = Secure::new(&[&["as.test"]]).await;
    let authority = server.files[0][0].with_file_name("authority.pem");
    std::fs::write(&authority, server.authority.pem()).unwrap();
    let port = server.address.port();
    for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            option,
            "-w",
            "%{http_version} %{ssl_verify_result}",
            "-o",
            "/dev/null",
            "--cacert",
        ])
        .arg(&authority)
        .args(["--noproxy", "*", "--resolve"])
        .arg(format!("as.test:{port}:127.0.0.1"))
        .arg(format!(
            "https://as.test:{port}/.well-known/oauth-authorization-server"
        ));
        let output = tokio::task::spawn_blocking(move || curl.output().unwrap());
        let output = output.await.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{version} 0"),
            "{output:?}"
        );
    }
}

#[tokio::test]
async fn http_2_that_was_not_negotiated_is_closed() {
    let server = Secure::new(&[&["as.test"]]).await;
    for protocols in [b"".as_slice(), b"\x08http/1.1"] {
        let tls = Tls {
            server_name: Some("as.test"),
            protocols,
            ..Tls::default()
        };
        let mut stream = server.connect(tls).await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(
            std::time::Duration::from_secs(5),
            stream.read_to_end(&mut answer),
        );
        assert!(end.await.is_ok());
        // No frame of HTTP/2, which begins with the length of the server's settings.
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn http_2_connections_agreed_in_the_handshake_are_not_read_as_http_1_1() {
    let server = Secure::new(&[&["as.test"]]).await;
    let tls = Tls {
        protocols: H2,
        ..Tls::default()
    };
    let mut stream = server.connect(tls).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: as.test\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP/1"), "{answer:?}");
}

#[tokio::test]
async fn rfc9110_15_5_20__a_request_for_a_host_that_the_handshake_did_not_serve_is_misdirected() {
    let server = Secure::new(&[
        &["as.test", "*.registry.test"],
        &["other.test", "192.0.2.1"],
    ])
    .await;
    for (server_name, host, status) in [
        (Some("as.test"), "as.test", 200),
        (Some("as.test"), "AS.test.:8443", 200),
        // One certificate covers both, so one connection may be used for both (RFC 9113 section 9.1.1).
        (Some("as.test"), "npm.registry.test", 200),
        (Some("as.test"), "other.test", 421),
        (Some("as.test"), "as.test@other.test", 421),
        (Some("as.test"), "unknown.test", 421),
        (Some("other.test"), "other.test:443", 200),
        (Some("other.test"), "as.test", 421),
        // Without a name, or with an unknown one, the first certificate is served.
        (None, "as.test", 200),
        (None, "other.test", 421),
        (Some("unknown.test"), "as.test", 200),
        (Some("unknown.test"), "unknown.test", 421),
        // Probes and commands on the machine name an address or localhost, which no certificate names.
        (None, "127.0.0.1:8443", 200),
        (None, "[::1]:8443", 200),
        (Some("as.test"), "localhost", 200),
        // An address that another certificate names is a host like any other.
        (None, "192.0.2.1", 421),
        (Some("other.test"), "192.0.2.1", 200),
    ] {
        let answered = server.status(server_name, host).await;
        assert_eq!(answered, status, "{server_name:?} {host}");
    }
}

#[tokio::test]
async fn rfc9110_15_5_20__in_http_2_the_authority_counts_and_so_does_a_host_field_beside_it() {
    let server = Secure::new(&[&["as.test"], &["other.test"]]).await;
    let tls = Tls {
        server_name: Some("as.test"),
        protocols: H2,
        ..Tls::default()
    };
    let stream = server.connect(tls).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for (authority, host, status) in [
        ("as.test", None, 200),
        ("other.test", None, 421),
        ("as.test", Some("other.test"), 421),
        ("other.test", Some("as.test"), 421),
        ("as.test:8443", Some("as.test"), 200),
    ] {
        let mut request = hyper::Request::get(format!("https://{authority}/healthz"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status, "{authority} {host:?}");
        if status == 421 {
            let body = answer.collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"], "invalid_request");
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_send_requests_for_any_host_over_tls() {
    let authority = Authority::new();
    let certificates = [authority.certify(&["carnet.internal"], 86_400)];
    let trusted = [("CARNET_SERVER__TRUSTED_PROXIES", "[\"127.0.0.1\"]")];
    let limits = ConnectionLimits::default();
    let server = Secure::with(authority, &certificates, limits, &trusted).await;
    assert_eq!(server.status(Some("carnet.internal"), "as.test").await, 200);
}

#[tokio::test]
async fn rfc9112_3_2_2__a_request_with_several_host_fields_is_refused() {
    let server = Secure::new(&[&["as.test"]]).await;
    let mut stream = server.connect(Tls::default()).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: as.test\r\nhost: as.test\r\n\r\n")
        .await
        .unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 400");
}

#[tokio::test]
async fn plain_http_on_a_port_with_tls_is_told_to_use_https() {
    let server = Secure::new(&[&["as.test"]]).await;
    for request in [
        "GET / HTTP/1.1\r\nhost: as.test\r\n\r\n".to_owned(),
        format!(
            "POST /token HTTP/1.1\r\nhost: as.test\r\ncontent-length: 3000\r\n\r\n{}",
            "a".repeat(3000)
        ),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{answer}"
        );
        assert!(body.contains("https://"), "{answer}");
    }
    // Something else is closed without a word.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"\x80\x2e\x01\0\x02").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(answer.is_empty(), "{answer:?}");
}
