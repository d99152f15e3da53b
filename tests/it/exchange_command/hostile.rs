//! Servers that are not what they should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{REGISTRY, bare, fails, fails_with, stand_in, token_for};
use crate::support::{Finished, finished};

const METADATA: &str = "/.well-known/oauth-authorization-server";

fn exchange(server: &str) -> Finished {
    exchange_in(server, &[])
}

/// Runs the command with a token for this server, and with this environment besides.
pub(super) fn exchange_in(server: &str, environment: &[(&str, &str)]) -> Finished {
    let token = token_for(server);
    let mut command = bare(&[environment, &[("TOKEN", &token)]].concat());
    command.args([
        "exchange",
        "--server",
        server,
        "--resource",
        REGISTRY,
        "--assertion-env",
        "TOKEN",
    ]);
    finished(command.output().unwrap())
}

/// A server with this answer of its token endpoint, and the count of requests there.
pub(super) async fn answering(
    answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let count: Arc<AtomicUsize> = Arc::default();
    let counted = count.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let metadata = json!({ "issuer": url, "token_endpoint": format!("{url}/token") });
    let router = Router::new()
        .route(METADATA, get(|| async move { axum::Json(metadata) }))
        .route(
            "/token",
            post(move || {
                let answer = answer(counted.fetch_add(1, Ordering::SeqCst));
                async move { answer }
            }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, count)
}

/// A server with these metadata.
pub(super) async fn described(metadata: impl Fn(&str) -> Value) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let metadata = metadata(&url);
    let answer = move || async move { axum::Json(metadata) };
    let router = Router::new()
        .route(METADATA, get(answer.clone()))
        .route(&format!("{METADATA}/tenant"), get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn good(token: &str) -> Value {
    json!({ "access_token": token, "token_type": "Bearer", "expires_in": 900 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_compares_the_issuer_exactly() {
    for named in ["https://as.test", "", "/"] {
        let url = described(|url| {
            let issuer = if named == "/" {
                format!("{url}/")
            } else {
                named.to_owned()
            };
            json!({ "issuer": issuer, "token_endpoint": format!("{url}/token") })
        })
        .await;
        fails_with(2, &exchange(&url), &["compared exactly"]);
        fails_with(
            2,
            &exchange(&format!("{url}/tenant")),
            &["compared exactly"],
        );
    }
    for endpoint in [
        "http://as.test/token",
        "ftp://as.test/token",
        "/token",
        "https://u@as.test/token",
    ] {
        let url = described(|url| json!({ "issuer": url, "token_endpoint": endpoint })).await;
        fails_with(3, &exchange(&url), &["token_endpoint"]);
    }
    let url = described(|url| json!({ "issuer": url })).await;
    fails_with(3, &exchange(&url), &["token_endpoint"]);
    fails_with(3, &exchange(&format!("{url}/elsewhere")), &["404"]);
    let large = described(|url| json!({ "issuer": url, "x": "x".repeat(2_000_000) })).await;
    fails_with(3, &exchange(&large), &["more than"]);
    let redirecting = stand_in(Router::new().route(
        METADATA,
        get(move || async move { Redirect::temporary(&large) }),
    ))
    .await;
    fails_with(3, &exchange(&format!("http://{redirecting}")), &["307"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_takes_only_a_bearer_token() {
    for (answer, says) in [
        (json!({}), "the type ``"),
        (json!([]), "without a JSON object"),
        (
            json!({ "access_token": "t", "token_type": "mac" }),
            "the type `mac`",
        ),
        (json!({ "token_type": "Bearer" }), "no access token"),
        (good(""), "no access token"),
        (good("a b"), "no access token"),
        (good("a\n::stop-commands::x"), "no access token"),
        (
            json!({ "access_token": 1, "token_type": "Bearer" }),
            "no access token",
        ),
    ] {
        let (url, _) = answering(move |_| axum::Json(answer.clone()).into_response()).await;
        fails_with(3, &exchange(&url), &[says]);
    }
    let (url, _) = answering(|_| "<html>".into_response()).await;
    fails_with(3, &exchange(&url), &["200 OK without a JSON object"]);
    let (url, _) = answering(|_| {
        (
            StatusCode::BAD_GATEWAY,
            [("retry-after", "0")],
            axum::Json(json!({ "message": "x" })),
        )
            .into_response()
    })
    .await;
    fails_with(3, &exchange(&url), &["502"]);
    // A redirect would hand the assertion to somebody else.
    let (elsewhere, asked) = answering(|_| axum::Json(good("stolen")).into_response()).await;
    let (url, _) =
        answering(move |_| Redirect::temporary(&format!("{elsewhere}/token")).into_response())
            .await;
    fails_with(3, &exchange(&url), &["307"]);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_retries_temporary_answers_and_no_other_refusal() {
    let (url, asked) = answering(|count| match count {
        0 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "").into_response(),
        1 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "").into_response(),
        _ => axum::Json(good("token-of-the-third-try")).into_response(),
    })
    .await;
    let run = exchange(&url);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "token-of-the-third-try\n"),
        "{run:?}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let refusal = json!({ "error": "temporarily_unavailable", "error_description": "busy", "reason": "busy" });
    let (url, asked) = answering(move |_| {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [("retry-after", "0")],
            axum::Json(refusal.clone()),
        )
            .into_response()
    })
    .await;
    fails_with(
        3,
        &exchange(&url),
        &["the server refused: busy", "tried 3 times"],
    );
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    // A refusal is final.
    let refusal = json!({ "error": "invalid_grant", "error_description": "no\n::add-mask::x", "reason": "unheard_of" });
    let (url, asked) =
        answering(move |_| (StatusCode::BAD_REQUEST, axum::Json(refusal.clone())).into_response())
            .await;
    let run = exchange(&url);
    fails(
        &run,
        &["the server refused: unheard_of - no ::add-mask::x\n"],
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// A server on TLS with a certificate that nobody vouches for, which answers everything alike. The address, and the certificate.
fn on_tls() -> (String, Vec<u8>) {
    let key = openssl::pkey::PKey::from_ec_key(
        openssl::ec::EcKey::generate(
            &openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap(),
        )
        .unwrap(),
    )
    .unwrap();
    let mut name = openssl::x509::X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "a server of a test")
        .unwrap();
    let name = name.build();
    let mut certificate = openssl::x509::X509Builder::new().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_subject_name(&name).unwrap();
    certificate.set_issuer_name(&name).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate
        .set_not_before(&openssl::asn1::Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    certificate
        .set_not_after(&openssl::asn1::Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    let mut names = openssl::x509::extension::SubjectAlternativeName::new();
    let extension = names
        .ip("127.0.0.1")
        .build(&certificate.x509v3_context(None, None))
        .unwrap();
    certificate.append_extension(extension).unwrap();
    certificate
        .sign(&key, openssl::hash::MessageDigest::sha256())
        .unwrap();
    let certificate = certificate.build();

    let mut acceptor =
        openssl::ssl::SslAcceptor::mozilla_intermediate_v5(openssl::ssl::SslMethod::tls()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let body = json!({
        "issuer": url, "token_endpoint": format!("{url}/token"), "access_token": "over-tls", "token_type": "Bearer",
    })
    .to_string();
    std::thread::spawn(move || {
        use std::io::{BufRead as _, BufReader, Read as _, Write as _};
        for stream in listener.incoming() {
            let Ok(stream) = acceptor.accept(stream.unwrap()) else {
                continue;
            };
            // All of the request is read: a connection that is closed before that takes the answer with it.
            let mut stream = BufReader::new(stream);
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {
                let field = line.trim_end().to_lowercase();
                length = field
                    .strip_prefix("content-length: ")
                    .map_or(length, |value| value.parse().unwrap());
                line.clear();
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let mut stream = stream.into_inner();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
            stream.shutdown().ok();
        }
    });
    (url, certificate.to_pem().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_checks_the_servers_certificate() {
    let (url, certificate) = on_tls();
    fails_with(
        3,
        &exchange(&url),
        &["cannot be reached", "certificate verify failed"],
    );
    let db = crate::support::TestDb::new().await;
    let path = db.folder().join("authority.pem");
    std::fs::write(&path, certificate).unwrap();
    let token = token_for(url.as_str());
    let mut command = bare(&[("TOKEN", &token), ("SSL_CERT_FILE", path.to_str().unwrap())]);
    command.args([
        "exchange",
        "--server",
        &url,
        "--resource",
        REGISTRY,
        "--assertion-env",
        "TOKEN",
    ]);
    let run = finished(command.output().unwrap());
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "over-tls\n"),
        "{run:?}"
    );
}
