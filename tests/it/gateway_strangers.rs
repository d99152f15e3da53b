//! The gateway among strangers: hostile uploads that the registry never sees, reads that carry nothing they should not, and the
//! registry's own credentials.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::gateway::form_type;
use crate::support::{GatewayServer, HOST, OPERATORS, basic, recorded};

/// Names and values of headers.
type Headers<'h> = &'h [(&'h str, &'h str)];

/// A wheel as uv sends it, with its content type.
fn wheel() -> (Vec<u8>, String) {
    let body = recorded("pypi-uv-0.13.9-wheel.form");
    let kind = form_type(&body);
    (body, kind)
}

/// The body with a text replaced by one of the same or another length.
fn replaced(body: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = body
        .windows(from.len())
        .position(|part| part == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("no {from}"));
    [&body[..at], to.as_bytes(), &body[at + from.len()..]].concat()
}

/// A field of a form, to be put before its first.
fn with_field(body: &[u8], head: &str, value: &str) -> Vec<u8> {
    let end = body.windows(2).position(|pair| pair == b"\r\n").unwrap();
    let boundary = std::str::from_utf8(&body[..end]).unwrap();
    let field = format!("{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n");
    [field.as_bytes(), body].concat()
}

#[tokio::test]
async fn hostile_uploads_are_refused_before_the_registry_sees_a_byte() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    let authorization = basic("__token__", &token);
    let (body, kind) = wheel();
    let changed = [
        (
            "another name in the form",
            replaced(&body, "carnet-fixture\r\n", "carnet-fixturf\r\n"),
        ),
        (
            "another file name",
            replaced(
                &body,
                "carnet_fixture-1.0.0rc1-py3",
                "carnet_fixturf-1.0.0rc1-py3",
            ),
        ),
        (
            "a path as file name",
            replaced(
                &body,
                "filename=\"carnet_fixture",
                "filename=\"../net_fixture",
            ),
        ),
        (
            "a second action",
            with_field(&body, "name=\":action\"", "remove_pkg"),
        ),
        (
            "another action",
            replaced(&body, "file_upload", "remove__pkg"),
        ),
        (
            "a second name",
            with_field(&body, "name=\"name\"", "carnet-fixture"),
        ),
        (
            "an extended file name",
            replaced(
                &body,
                "filename=\"carnet_fixture",
                "filename*=utf-8''a; filename=\"carnet_fixture",
            ),
        ),
        ("a form cut off", body[..body.len() - 40].to_vec()),
        (
            "something behind the form",
            [&body[..], b"GET / HTTP/1.1\r\n\r\n"].concat(),
        ),
        ("no form", b"hello".to_vec()),
    ];
    let first = kind.split_once("boundary=").unwrap().1.to_owned();
    for other in [
        format!("{kind}; boundary =BBBB"),
        format!("{kind}; boundary*=BBBB"),
        format!("{kind}; charset=utf-7"),
        format!("multipart/form-data; boundary =BBBB; boundary={first}"),
        format!("multipart/mixed; boundary={first}"),
    ] {
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", other.as_str()),
        ];
        let answer = server.send("POST", "/legacy/", &headers, &body).await;
        assert_eq!(answer.status, 400, "{other}: {}", answer.text());
    }
    let twice = [
        ("authorization", authorization.as_str()),
        ("content-type", kind.as_str()),
        ("content-type", "multipart/form-data; boundary=BBBB"),
    ];
    let answer = server.send("POST", "/legacy/", &twice, &body).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    for (what, body) in changed {
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", kind.as_str()),
        ];
        let answer = server.send("POST", "/legacy/", &headers, &body).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    }
    assert!(
        server.back.written().is_empty(),
        "{:?}",
        server.back.written()
    );
}

#[tokio::test]
async fn the_registry_reads_the_type_that_the_gateway_read() {
    for (protocol, path, fixture, expected) in [
        (
            "rubygems",
            "/api/v1/gems",
            "rubygems-3.3.15-push.gem",
            "application/octet-stream",
        ),
        (
            "crates-io",
            "/api/v1/crates/new",
            "cargo-1.95.0-publish.body",
            "application/octet-stream",
        ),
        (
            "npm",
            "/@carnet%2ffixture",
            "npm-11.19.1-publish.json",
            "application/json",
        ),
    ] {
        let server = GatewayServer::of(protocol).await;
        let token = server.token().await;
        let authorization = match protocol {
            "npm" => format!("Bearer {token}"),
            _ => token,
        };
        let kind = match protocol {
            "npm" => "Application/JSON; charset=UTF-8",
            _ => "multipart/form-data; boundary=abc",
        };
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", kind),
        ];
        let method = if protocol == "rubygems" {
            "POST"
        } else {
            "PUT"
        };
        let answer = server
            .send(method, path, &headers, &recorded(fixture))
            .await;
        assert_eq!(answer.status, 200, "{protocol}: {}", answer.text());
        let written = server.back.written();
        let kinds: Vec<_> = written[0].headers.get_all("content-type").iter().collect();
        assert_eq!(kinds, [expected], "{protocol}");
    }
    // Bytes that are no text would hide the rest of a type from whoever reads it as text.
    let server = GatewayServer::of("rubygems").await;
    let (token, gem) = (server.token().await, recorded("rubygems-3.3.15-push.gem"));
    let head = format!(
        "POST /api/v1/gems HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAuthorization: {token}\r\nContent-Length: {}\r\nContent-Type: application/octet-stream; x=",
        gem.len()
    );
    let request = [head.as_bytes(), b"\xe9\r\n\r\n", &gem].concat();
    let answer = server.raw(&request).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(server.back.written().is_empty());
}

#[tokio::test]
async fn a_packument_that_lacks_versions_needs_the_right_to_delete() {
    let server = GatewayServer::of("npm").await;
    let of = |versions: &[&str]| {
        let manifest = |version: &&str| {
            let manifest = json!({ "name": "octo", "version": version, "deprecated": "old" });
            ((*version).to_owned(), manifest)
        };
        let versions: serde_json::Map<_, _> = versions.iter().map(manifest).collect();
        json!({ "_id": "octo", "name": "octo", "versions": versions }).to_string()
    };
    let path = "/octo";
    server
        .back
        .answers("GET", path, 200, of(&["1.0.0", "1.1.0"]));
    super::gateway::import_as(&server, ("octo", "octo"), "joel").await;
    for (actions, kept, status) in [
        (&["publish"][..], &["1.0.0", "1.1.0"][..], 200),
        (&["publish"], &["1.0.0"], 403),
        (&["delete"], &["1.0.0"], 200),
    ] {
        let token = server.token_for(json!({ "actions": actions })).await;
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let answer = server
            .send("PUT", path, &headers, of(kept).as_bytes())
            .await;
        assert_eq!(
            answer.status,
            status,
            "{actions:?} {kept:?}: {}",
            answer.text()
        );
    }
    // Who cannot be asked lets nothing go.
    server.back.answers("GET", path, 500, "");
    let token = server.token_for(json!({ "actions": ["publish"] })).await;
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let answer = server
        .send("PUT", path, &headers, of(&["1.0.0", "1.1.0"]).as_bytes())
        .await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(server.back.written().len(), 2);
}

#[tokio::test]
async fn the_framing_of_an_upload_is_the_gateways_own() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    let (body, kind) = wheel();
    let length = body.len().to_string();
    let shorter = (body.len() - 10).to_string();
    let chunked = [
        format!("{:x}\r\n", body.len()).into_bytes(),
        body.clone(),
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat();
    let with_trailer = [
        &chunked[..chunked.len() - 2],
        b"X-Http-Method-Override: DELETE\r\n\r\n",
    ]
    .concat();
    let cases: [(&str, Headers<'_>, &[u8]); 9] = [
        ("chunks", &[("transfer-encoding", "chunked")], &chunked),
        (
            "chunks and a length",
            &[
                ("transfer-encoding", "chunked"),
                ("content-length", &length),
            ],
            &chunked,
        ),
        (
            "a length and chunks",
            &[
                ("content-length", &length),
                ("transfer-encoding", "chunked"),
            ],
            &chunked,
        ),
        (
            "a trailer",
            &[("transfer-encoding", "chunked")],
            &with_trailer,
        ),
        (
            "two codings",
            &[("transfer-encoding", "gzip, chunked")],
            &chunked,
        ),
        (
            "two lengths",
            &[("content-length", &length), ("content-length", &shorter)],
            &body,
        ),
        ("a coding", &[("content-encoding", "gzip")], &body),
        ("an expectation", &[("expect", "200-ok")], &body),
        ("too short", &[("content-length", &shorter)], &body),
    ];
    let authorization = basic("__token__", &token);
    for (what, framing, body) in cases {
        let mut headers = vec![
            ("authorization", authorization.as_str()),
            ("content-type", kind.as_str()),
        ];
        headers.extend(framing);
        let answer = server.send("POST", "/", &headers, body).await;
        assert!(
            matches!(answer.status, 400 | 411),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
    }
    assert!(
        server.back.written().is_empty(),
        "{:?}",
        server.back.written()
    );
    // What curl and others ask before a large body is answered.
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", kind.as_str()),
        ("expect", "100-continue"),
    ];
    let answer = server.send("POST", "/", &headers, &body).await;
    assert_eq!(answer.status, 100, "{answer:?}");
}

#[tokio::test]
async fn who_sends_everything_first_is_told_why_it_is_refused() {
    // As nginx does: it answers 502 if it cannot send on.
    let server = GatewayServer::of("pypi").await;
    let body = vec![b'x'; 16 << 20];
    for (path, status) in [("/", "401"), ("/legacy", "404")] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
}

#[tokio::test]
async fn http_2_is_read_as_strictly() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    let (body, kind) = wheel();
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    let authorization = basic("__token__", &token);
    let publication = |host: &str| {
        hyper::Request::post(format!("http://{host}/"))
            .header("authorization", &authorization)
            .header("content-type", &kind)
    };
    let cut = &body[..body.len() - 10];
    let trailers = hyper::HeaderMap::from_iter([(
        "x-http-method-override".parse().unwrap(),
        "DELETE".parse().unwrap(),
    )]);
    let trailed = Full::new(Bytes::from(body.clone()))
        .with_trailers(async move { Some(Ok(trailers)) })
        .boxed();
    let whole = |body: &[u8]| Full::new(Bytes::from(body.to_vec())).boxed();
    let cases = [
        ("another host", 421, publication("as.test"), whole(&body)),
        (
            "a host beside the authority",
            421,
            publication(HOST).header("host", "as.test"),
            whole(&body),
        ),
        ("a form without its end", 400, publication(HOST), whole(cut)),
        ("trailers", 400, publication(HOST), trailed),
        (
            "a coding",
            400,
            publication(HOST).header("content-encoding", "gzip"),
            whole(&body),
        ),
    ];
    for (what, status, head, body) in cases {
        let request = head.body(body).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status, "{what}");
        assert!(server.back.written().is_empty(), "{what}");
    }
    // The frames tell where the body ends; the registry gets a length, over HTTP/1.1.
    let request = publication(HOST).body(whole(&body)).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let written = server.back.written();
    let [one] = written.as_slice() else {
        panic!("{written:?}");
    };
    assert_eq!(one.body, body);
    assert_eq!(
        one.header("content-length"),
        Some(body.len().to_string().as_str())
    );
    assert_eq!(one.header("transfer-encoding"), None);
}

#[tokio::test]
async fn chunks_of_nuget_are_counted_and_go_on_with_a_length() {
    let server = GatewayServer::of("nuget").await;
    let token = server.token().await;
    let body = recorded("nuget-2.8.7-push.form");
    let kind = form_type(&body);
    let head = format!("{:x}\r\n", body.len());
    let chunked = [head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let next = b"PUT /smuggled HTTP/1.1\r\nHost: registry.test\r\nContent-Length: 0\r\n\r\n";
    let smuggled = [&chunked[..], next].concat();
    let both = [("transfer-encoding", "chunked"), ("content-length", "10")];
    for (framing, sent) in [(&both[..1], &chunked), (&both[..], &smuggled)] {
        let mut headers = vec![
            ("x-nuget-apikey", token.as_str()),
            ("content-type", kind.as_str()),
        ];
        headers.extend(framing);
        let answer = server.send("PUT", "/api/v2/package", &headers, sent).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let written = server.back.written();
        let last = written.last().unwrap();
        let length = body.len().to_string();
        assert_eq!(last.header("content-length"), Some(length.as_str()));
        assert_eq!(last.header("transfer-encoding"), None);
        assert_eq!(last.body, body);
    }
    let written = server.back.written();
    assert!(written.iter().all(|one| one.target == "/api/v2/package"));
    // A trailer is a header that nobody looked at.
    let trailer = [&chunked[..chunked.len() - 2], b"X-Override: 1\r\n\r\n"].concat();
    let headers = [
        ("x-nuget-apikey", token.as_str()),
        ("content-type", kind.as_str()),
        ("transfer-encoding", "chunked"),
    ];
    let answer = server
        .send("PUT", "/api/v2/package", &headers, &trailer)
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(server.back.written().len(), written.len());
}

#[tokio::test]
async fn uploads_have_a_size_and_the_spool_a_quota() {
    let settings = [
        ("CARNET_GATEWAY__MAX_UPLOAD", "8192"),
        ("CARNET_GATEWAY__SPOOL_QUOTA", "4096"),
    ];
    let server = GatewayServer::with("pypi", json!({}), &settings).await;
    let token = server.token().await;
    let authorization = basic("__token__", &token);
    let (body, kind) = wheel();
    let headers = |length: &'static str| {
        vec![
            ("authorization", authorization.clone()),
            ("content-type", kind.clone()),
            ("content-length", length.to_owned()),
        ]
    };
    for (length, status) in [("8193", 413), ("99999999999", 413), ("8192", 503)] {
        let headers = headers(length);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = server.send("POST", "/", &headers, b"").await;
        assert_eq!(answer.status, status, "{length}: {}", answer.text());
    }
    // There is room for one that is smaller than the quota, and the room is given back.
    for _ in 0..3 {
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", kind.as_str()),
        ];
        assert_eq!(server.send("POST", "/", &headers, &body).await.status, 200);
    }
}

#[tokio::test]
async fn methods_and_paths_that_no_tool_uses_are_refused() {
    let server = GatewayServer::with("pypi", json!({ "passthrough": true }), &[]).await;
    let credential = basic("octo", "the registry's own");
    let odd = [
        ("POST", "/legacy"),
        ("POST", "//"),
        ("POST", "/legacy/?:action=remove_pkg"),
        ("POST", "/admin"),
        ("PUT", "/"),
        ("DELETE", "/simple/widgets/"),
        ("PATCH", "/"),
        ("OPTIONS", "/"),
        ("TRACE", "/"),
        ("PROPFIND", "/"),
        ("GET", "/admin"),
        ("GET", "/simple/../admin"),
        ("GET", "/simple/%2e%2e/admin"),
        ("GET", "/simple/..;/admin"),
        ("GET", "/simple//widgets/"),
        ("GET", "/simple/a%2fb/"),
        ("GET", "/simple\\widgets"),
        ("HEAD", "/server-status"),
    ];
    for (method, target) in odd {
        let headers = [("authorization", credential.as_str())];
        let answer = server.send(method, target, &headers, b"").await;
        assert!(
            matches!(answer.status, 400 | 404),
            "{method} {target}: {} {}",
            answer.status,
            answer.text()
        );
    }
    assert!(
        server.back.reached().is_empty(),
        "{:?}",
        server.back.reached()
    );
    let elsewhere = server
        .send("GET", "/simple/", &[("host", "as.test")], b"")
        .await;
    assert_eq!(elsewhere.status, 421, "{}", elsewhere.text());
}

#[tokio::test]
async fn reads_pass_without_tokens_cookies_and_the_headers_that_make_somebody_else_of_them() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    let path = "/packages/widgets-1.0-py3-none-any.whl";
    let back = [
        ("etag", "\"1\""),
        ("content-range", "bytes 0-3/9"),
        ("set-cookie", "session=1"),
        ("cache-control", "max-age=60"),
    ];
    server
        .back
        .answers_with("GET", path, (206, &back, b"PK\x03\x04".to_vec()));
    let headers = [
        ("authorization", basic("__token__", &token)),
        ("cookie", "session=admin".to_owned()),
        ("range", "bytes=0-3".to_owned()),
        ("if-none-match", "\"0\"".to_owned()),
        ("x-webauth-user", "admin".to_owned()),
        ("x-remote-user", "admin".to_owned()),
        ("x-http-method-override", "DELETE".to_owned()),
        ("x-outside-url", "https://evil.test".to_owned()),
        ("forwarded", "for=10.0.0.1;host=evil.test".to_owned()),
        ("x-forwarded-host", "evil.test".to_owned()),
        ("x-forwarded-for", "10.0.0.1".to_owned()),
    ];
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let answer = server.send("GET", path, &headers, b"").await;
    assert_eq!((answer.status, &answer.body[..]), (206, &b"PK\x03\x04"[..]));
    assert_eq!(answer.header("content-range"), Some("bytes 0-3/9"));
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert_eq!(answer.header("set-cookie"), None);
    let reached = server.back.reached();
    let read = reached.last().unwrap();
    let mut names: Vec<&str> = read
        .headers
        .keys()
        .map(axum::http::HeaderName::as_str)
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "host",
            "if-none-match",
            "range",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto"
        ]
    );
    assert_eq!(read.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(read.header("x-forwarded-host"), Some(HOST));
    // The registry's own credentials reach it: a private registry is read with them.
    let own = basic("octo", "pw");
    server
        .send("GET", path, &[("authorization", &own)], b"")
        .await;
    assert_eq!(
        server
            .back
            .reached()
            .last()
            .unwrap()
            .header("authorization"),
        Some(own.as_str())
    );
    // A body with a read is none of the protocol's.
    let answer = server.send("GET", path, &[], b"x").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn redirects_of_the_registry_lead_back_to_the_gateway() {
    let server = GatewayServer::of("pypi").await;
    let upstream = format!("{}simple/widgets/", server.back.url);
    let cases = [
        (upstream.as_str(), "https://registry.test/simple/widgets/"),
        (
            "http://registry.test/simple/widgets/",
            "https://registry.test/simple/widgets/",
        ),
        ("/simple/widgets/", "https://registry.test/simple/widgets/"),
        (
            "https://pypi.org/simple/widgets/",
            "https://pypi.org/simple/widgets/",
        ),
    ];
    for (location, expected) in cases {
        let headers = [("location", location)];
        server
            .back
            .answers_with("GET", "/simple/Widgets/", (301, &headers, Vec::new()));
        let answer = server.send("GET", "/simple/Widgets/", &[], b"").await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (301, Some(expected))
        );
    }
}

#[tokio::test]
async fn the_registrys_own_credentials_pass_only_where_the_operator_says_so() {
    let (body, kind) = wheel();
    let sent = async |server: &GatewayServer, authorization: &str| {
        let headers = [
            ("authorization", authorization),
            ("content-type", kind.as_str()),
        ];
        let headers = &headers[usize::from(authorization.is_empty())..];
        server.send("POST", "/", headers, &body).await
    };
    let closed = GatewayServer::of("pypi").await;
    let own = basic("octo", "pw");
    let answer = sent(&closed, &own).await;
    assert!(matches!(answer.status, 401 | 403), "{}", answer.text());
    let why = "takes no passwords or keys any more";
    assert!(answer.text().contains(why), "{}", answer.text());
    assert!(closed.back.written().is_empty());

    let open = GatewayServer::with("pypi", json!({ "passthrough": true }), &[]).await;
    let token = open.token().await;
    open.world.server.clock.advance(3600);
    let refused = [
        ("nothing", String::new()),
        ("a token of ours that ended", basic("__token__", &token)),
        ("the same as password of a user", basic("octo", &token)),
        ("the same as user name", basic(&token, "")),
        ("the same as user name with a password", basic(&token, "x")),
        ("one that never was", basic("octo", "cnt_0123456789")),
        ("the gateway's own", basic("carnet", OPERATORS)),
        (
            "the gateway's own under another name",
            basic("octo", OPERATORS),
        ),
    ];
    for (what, authorization) in refused {
        let answer = sent(&open, &authorization).await;
        assert!(
            matches!(answer.status, 401 | 403),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
    }
    assert!(open.back.written().is_empty(), "{:?}", open.back.written());
    // It is read as strictly as any other.
    let headers = [
        ("authorization", own.as_str()),
        ("content-type", kind.as_str()),
    ];
    let half = server_half(&body);
    assert_eq!(open.send("POST", "/", &headers, &half).await.status, 400);
    // The registry decides, by the client's own credential.
    open.back.answers("POST", "/", 403, "not octo's");
    let answer = sent(&open, &own).await;
    assert_eq!((answer.status, answer.text().as_str()), (403, "not octo's"));
    open.back.answers("POST", "/", 200, "");
    assert_eq!(sent(&open, &own).await.status, 200);
    let written = open.back.written();
    assert_eq!(written.len(), 2);
    assert!(
        written
            .iter()
            .all(|one| one.header("authorization") == Some(own.as_str()))
    );
    let events = open.world.server.audit("outcome=published").await;
    assert!(events[0].to_string().contains("octo"), "{events:?}");
    let states: Vec<String> = open
        .world
        .server
        .db
        .column("SELECT state FROM gateway_package")
        .await;
    assert_eq!(states, ["unowned"]);
    // A token gets no package that nobody owns.
    let token = open.token().await;
    let answer = sent(&open, &basic("__token__", &token)).await;
    assert!(
        answer.text().contains("package_not_imported"),
        "{}",
        answer.text()
    );
}

fn server_half(body: &[u8]) -> Vec<u8> {
    body[..body.len() / 2].to_vec()
}

#[tokio::test]
async fn documents_with_urls_of_the_registry_name_the_gateway() {
    let cargo = GatewayServer::of("crates-io").await;
    let config = format!(
        "{{\"dl\":\"{0}api/v1/crates\",\"api\":\"{0}\",\"auth-required\":true}}",
        cargo.back.url
    );
    cargo.back.answers_with(
        "GET",
        "/index/config.json",
        (200, &[("etag", "\"1\"")], config.into_bytes()),
    );
    let headers = [("if-none-match", "\"1\""), ("accept-encoding", "gzip")];
    let answer = cargo.send("GET", "/index/config.json", &headers, b"").await;
    let expected = json!({ "dl": "https://registry.test/api/v1/crates", "api": "https://registry.test/", "auth-required": true });
    let mut config = answer.json();
    if config["api"] == "https://registry.test" {
        config["api"] = json!("https://registry.test/");
    }
    assert_eq!(config, expected);
    assert_eq!(answer.header("etag"), None);
    let reached = cargo.back.reached();
    assert_eq!(reached[0].header("accept-encoding"), None);
    assert_eq!(reached[0].header("if-none-match"), None);
}
