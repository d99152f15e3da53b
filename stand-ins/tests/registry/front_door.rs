//! The requests of the tools for their tokens, which the registry forwards.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use carnet_stand_ins::Protocol;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::net::TcpStream;

use crate::support::{Served, listen};
use crate::tls::status_line;

/// What Carnet received: method, path with query, headers and body.
type Received = Arc<Mutex<Vec<(String, String, HeaderMap, String)>>>;

/// A front door that answers every request in the same way.
async fn front_door() -> (String, Received) {
    let received = Received::default();
    let (listener, url) = listen().await;
    let router = Router::new().fallback(answer).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, received)
}

async fn answer(State(received): State<Received>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path_and_query().unwrap().to_string();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let seen = (parts.method.to_string(), path, parts.headers, body);
    received.lock().unwrap().push(seen);
    let headers = [
        ("content-type", "application/problem+json"),
        ("retry-after", "7"),
        ("www-authenticate", "Bearer"),
        ("dpop-nonce", "nonce"),
        ("set-cookie", "a=b"),
    ];
    (StatusCode::TOO_MANY_REQUESTS, headers, "{\"later\":1}").into_response()
}

#[tokio::test]
async fn the_paths_of_each_protocol_reach_carnet_and_its_answer_comes_back() {
    let paths = [
        (Protocol::Pypi, "GET", "/_/oidc/audience"),
        (Protocol::Pypi, "POST", "/_/oidc/mint-token"),
        (Protocol::Pypi, "POST", "/_/oidc/burn-token"),
        (
            Protocol::Npm,
            "POST",
            "/-/npm/v1/oidc/token/exchange/package/@octo%2fwidgets",
        ),
        (
            Protocol::Npm,
            "POST",
            "/-/npm/v1/oidc/token/exchange/package/widgets?a=%2F",
        ),
        (
            Protocol::CratesIo,
            "POST",
            "/api/v1/trusted_publishing/tokens",
        ),
        (
            Protocol::CratesIo,
            "DELETE",
            "/api/v1/trusted_publishing/tokens",
        ),
        (
            Protocol::Rubygems,
            "POST",
            "/api/v1/oidc/trusted_publisher/exchange_token",
        ),
        (Protocol::Nuget, "POST", "/api/v2/token"),
    ];
    for (protocol, method, path) in paths {
        let (url, received) = front_door().await;
        let registry = Served::serve(protocol, Some(&url), None).await;
        let request = registry
            .request(method, path)
            .header("host", "registry.test")
            .header("authorization", "Bearer assertion")
            .header("content-type", "application/json")
            .header("x-forwarded-for", "192.0.2.1")
            .header("dpop", "proof")
            .header("cookie", "a=b")
            .body("{}");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers()["retry-after"], "7");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        assert_eq!(answer.headers()["dpop-nonce"], "nonce");
        assert!(!answer.headers().contains_key("set-cookie"));
        assert_eq!(answer.text().await.unwrap(), "{\"later\":1}");

        let received = received.lock().unwrap();
        let [(got, at, headers, body)] = received.as_slice() else {
            panic!("{path}: {} requests", received.len());
        };
        assert_eq!(
            (got.as_str(), at.as_str(), body.as_str()),
            (method, path, "{}")
        );
        assert_eq!(headers["host"], "registry.test");
        assert_eq!(headers["authorization"], "Bearer assertion");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
        assert_eq!(headers["dpop"], "proof");
        assert!(!headers.contains_key("cookie"));
    }
}

#[tokio::test]
async fn nothing_else_reaches_carnet() {
    let (url, received) = front_door().await;
    let npm = Served::serve(Protocol::Npm, Some(&url), None).await;
    let exchange = "/-/npm/v1/oidc/token/exchange/package";
    let requests = [
        ("POST", "/token".to_owned()),
        ("GET", "/admin/v1/clients".to_owned()),
        ("GET", "/_/oidc/audience".to_owned()),
        ("GET", format!("{exchange}/widgets")),
        // A client library resolves `..` itself; `%2e` gets through to the registry.
        (
            "POST",
            format!("{exchange}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/token"),
        ),
    ];
    for (method, path) in requests {
        let address = npm.url.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close");
        let line = status_line(stream, &format!("{head}\r\nContent-Length: 0\r\n\r\n")).await;
        assert!(
            line.contains(" 404 ") || line.contains(" 405 "),
            "{method} {path}: {line}"
        );
    }
    assert_eq!(received.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn requests_for_tokens_are_bounded_and_a_silent_front_door_is_named() {
    let (url, received) = front_door().await;
    let registry = Served::serve(Protocol::Pypi, Some(&url), None).await;
    let large = registry
        .request("POST", "/_/oidc/mint-token")
        .body(vec![b'a'; 70_000]);
    assert_eq!(
        large.send().await.unwrap().status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert_eq!(received.lock().unwrap().len(), 0);

    let (listener, url) = listen().await;
    drop(listener);
    let registry = Served::serve(Protocol::Pypi, Some(&url), None).await;
    let answer = registry
        .request("POST", "/_/oidc/mint-token")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
}
