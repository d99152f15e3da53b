//! A server that restarts, and answers that are lost on their way: what is sent again, and what the job reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse as _;
use carnet_exchange::Tries;
use serde_json::{Value, json};

use super::hostile::{answering, exchange_in};
use super::platforms::endpoint;
use super::retries::{SHORT, exchange};
use super::{Ground, fails, free_address, stand_in, token_for};

/// A proxy in front of a server, which loses requests or answers as it is told.
struct Proxy {
    url: String,
    /// How many requests are answered 502 in place of the server.
    refuses: Arc<AtomicUsize>,
    /// How many answers of the token endpoint become this status.
    loses: Arc<AtomicUsize>,
}

impl Proxy {
    async fn before(server: String) -> Self {
        let (refuses, loses) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let take = |count: &AtomicUsize| {
            count
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
        };
        let (refusing, losing) = (refuses.clone(), loses.clone());
        let router = Router::new().fallback(move |request: Request<Body>| {
            let (server, refusing, losing) = (server.clone(), refusing.clone(), losing.clone());
            async move {
                if take(&refusing) {
                    return StatusCode::BAD_GATEWAY.into_response();
                }
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let mut sent = reqwest::Client::new()
                    .request(head.method, format!("{server}{}", head.uri))
                    .body(body);
                for name in ["content-type", "authorization"] {
                    if let Some(value) = head.headers.get(name) {
                        sent = sent.header(name, value);
                    }
                }
                let answer = sent.send().await.unwrap();
                let status = answer.status();
                let body = answer.bytes().await.unwrap();
                if head.uri.path() == "/token" && take(&losing) {
                    return StatusCode::GATEWAY_TIMEOUT.into_response();
                }
                (status, [("content-type", "application/json")], body).into_response()
            }
        });
        Self {
            url: format!("http://{}", stand_in(router).await),
            refuses,
            loses,
        }
    }
}

async fn behind_a_proxy() -> (Proxy, Ground) {
    let address = free_address();
    let proxy = Proxy::before(format!("http://{address}")).await;
    let ground = Ground::behind(&proxy.url, &address).await;
    (proxy, ground)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_a28__exchange_waits_for_a_server_whose_proxy_answers_502_while_it_restarts() {
    let (proxy, _ground) = behind_a_proxy().await;
    let token = token_for(proxy.url.as_str());
    let environment = [("CARNET_ID_TOKEN", token.as_str())];
    // The metadata twice.
    proxy.refuses.store(2, Ordering::SeqCst);
    let answer = exchange(&proxy.url, &environment, SHORT).await;
    assert!(answer.is_ok(), "{answer:?}");
    proxy.refuses.store(3, Ordering::SeqCst);
    let error = exchange(&proxy.url, &environment, SHORT).await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(
        error
            .to_string()
            .contains("the answer was 502 Bad Gateway (tried 3 times"),
        "{error}"
    );
    // Nobody listens for a moment.
    let address = free_address();
    let later = tokio::spawn({
        let address = address.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(150)).await;
            Ground::behind(&format!("http://{address}"), &address).await
        }
    });
    let patient = Tries {
        count: 100,
        total: Duration::from_mins(1),
        pause: Duration::from_millis(50),
        ..SHORT
    };
    let issuer = format!("http://{address}");
    let token = token_for(issuer.as_str());
    let answer = exchange(&issuer, &[("CARNET_ID_TOKEN", &token)], patient).await;
    assert!(answer.is_ok(), "{answer:?}");
    later.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_a28__a_token_request_is_sent_again_with_the_same_assertion_if_its_answer_was_lost() {
    let (proxy, _ground) = behind_a_proxy().await;
    // The assertion was used, and the source has no other one.
    let token = token_for(proxy.url.as_str());
    proxy.loses.store(1, Ordering::SeqCst);
    let error = exchange(&proxy.url, &[("CARNET_ID_TOKEN", &token)], SHORT)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert_eq!(error.exit_code(), 1, "{text}");
    for says in [
        "the server refused: replay",
        "used at: 20",
        "used in the audit event: ev_",
        "tried 2 times; before that: 504 Gateway Timeout",
        "most likely recorded a token at an earlier try whose answer was lost",
        "start the job again",
    ] {
        assert!(text.contains(says), "{says} is missing: {text}");
    }
    assert!(!text.contains("eyJ"), "{text}");
    // A platform that makes tokens is asked for a new one.
    let (url, notes) =
        endpoint(|audience| axum::Json(json!({ "value": token_for(audience) })).into_response())
            .await;
    let environment = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
    ];
    proxy.loses.store(1, Ordering::SeqCst);
    let answer = exchange(&proxy.url, &environment, SHORT).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(notes.lock().unwrap().len(), 2);
    // A replay that no lost answer explains is a refusal like others: somebody else had the token.
    let used = token_for(proxy.url.as_str());
    let environment = [("CARNET_ID_TOKEN", used.as_str())];
    assert!(exchange(&proxy.url, &environment, SHORT).await.is_ok());
    let error = exchange(&proxy.url, &environment, SHORT).await.unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    assert!(!error.to_string().contains("most likely"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_a28__token_requests_are_repeated_for_temporary_answers_only() {
    let refusal =
        |error: &str| json!({ "error": error, "error_description": "x", "reason": "of_a_test" });
    for (status, body, times, code) in [
        (503, json!({}), 3, 3),
        (503, refusal("temporarily_unavailable"), 3, 3),
        (502, Value::Null, 3, 3),
        (504, json!({ "message": "of a proxy" }), 3, 3),
        (429, refusal("temporarily_unavailable"), 3, 3),
        (408, Value::Null, 3, 3),
        (500, Value::Null, 1, 3),
        (500, refusal("server_error"), 1, 3),
        (400, refusal("invalid_grant"), 1, 1),
        (401, refusal("invalid_client"), 1, 1),
        (404, Value::Null, 1, 3),
    ] {
        let answer = body.clone();
        let (url, asked) = answering(move |_| {
            let status = StatusCode::from_u16(status).unwrap();
            (status, axum::Json(answer.clone())).into_response()
        })
        .await;
        let token = token_for(url.as_str());
        let error = exchange(&url, &[("CARNET_ID_TOKEN", &token)], SHORT)
            .await
            .unwrap_err();
        assert_eq!(
            (asked.load(Ordering::SeqCst), error.exit_code()),
            (times, code),
            "{status} {body}: {error}"
        );
        assert_eq!(
            error.to_string().contains("tried 3 times"),
            times == 3,
            "{error}"
        );
    }
    fails(
        &exchange_in(
            &answering(move |_| {
                (StatusCode::FORBIDDEN, axum::Json(refusal("access_denied"))).into_response()
            })
            .await
            .0,
            &[],
        ),
        &["of_a_test"],
    );
}
