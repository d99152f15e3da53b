//! Clusters that review their tokens themselves (checklist 2.9).

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::platforms::{Platform, changed};
use crate::support::{CARNET, TestKey};

const USER: &str = "system:serviceaccount:ci:publisher";

/// An API server: what it answers, and what it was asked.
#[derive(Clone, Default)]
struct ApiServer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    status: u16,
    review: Value,
    asked: Vec<(String, Value)>,
    gate: Option<Arc<Semaphore>>,
}

impl ApiServer {
    fn answers(&self, status: u16, review: Value) {
        let mut state = self.0.lock().unwrap();
        (state.status, state.review) = (status, review);
    }

    /// Answers no more until the gate has permits.
    fn hold(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.0.lock().unwrap().gate = Some(gate.clone());
        gate
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.0.lock().unwrap().asked.clone()
    }

    fn router(&self) -> Router {
        let api = self.clone();
        let answer = move |headers: HeaderMap, body: Bytes| async move {
            let credential = headers["authorization"].to_str().unwrap().to_owned();
            let mut answer: Value = serde_json::from_slice(&body).unwrap();
            let gate = {
                let mut state = api.0.lock().unwrap();
                state.asked.push((credential, answer.clone()));
                state.gate.clone()
            };
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            let state = api.0.lock().unwrap();
            // It sends the question back with the answer in it.
            answer["metadata"] = json!({ "creationTimestamp": null });
            answer["status"] = state.review.clone();
            let location = [("location", "https://evil.test/")];
            (
                StatusCode::from_u16(state.status).unwrap(),
                location,
                answer.to_string(),
            )
        };
        Router::new().route("/apis/authentication.k8s.io/v1/tokenreviews", post(answer))
    }
}

fn good() -> Value {
    json!({ "authenticated": true, "audiences": [CARNET], "user": { "username": USER } })
}

/// What an API server says of a token that it does not take, for whatever reason: `authenticated` is left out.
fn denied() -> Value {
    json!({ "user": {}, "error": "[invalid bearer token, service account token has been invalidated]" })
}

async fn cluster() -> (Platform, ApiServer) {
    let platform = Platform::new("kubernetes", "https://cluster.test", json!({})).await;
    platform
        .rule(json!({ "namespace": "ci", "service_account": "publisher" }))
        .await;
    let api = ApiServer::default();
    api.answers(201, good());
    platform
        .server
        .network
        .add_service("api.cluster.test", api.router());
    let token_file = platform.server.db.key_files().join("reviewer-token");
    std::fs::write(&token_file, "reviewer\n").unwrap();
    let keys = json!({ "source": "token_review", "api_server": "https://api.cluster.test", "token_file": token_file });
    let answer = platform
        .server
        .admin("PATCH", "trusted-issuers/platform", json!({ "keys": keys }))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (platform, api)
}

fn pod(platform: &Platform, changes: Value) -> Value {
    let token = platform.claims(json!({
        "aud": [CARNET], "sub": USER,
        "kubernetes.io": {
            "namespace": "ci", "serviceaccount": { "name": "publisher", "uid": "u" }, "pod": { "name": "p", "uid": "v" },
        },
    }));
    changed(&token, changes)
}

#[tokio::test]
async fn k8s_tr_1__a_token_review_asks_for_our_audience() {
    let (platform, api) = cluster().await;
    let token = platform.issuer.key().sign(&pod(&platform, json!({})));
    platform.present_text(&token).await.token();
    let (credential, review) = api.asked().pop().unwrap();
    assert_eq!(credential, "Bearer reviewer");
    assert_eq!(review["kind"], "TokenReview");
    assert_eq!(
        review["spec"],
        json!({ "token": token, "audiences": [CARNET] })
    );
}

#[tokio::test]
async fn k8s_tr_1__a_token_review_at_a_front_door_asks_for_the_doors_audience() {
    let (platform, api) = cluster().await;
    let door = json!({ "kind": "pypi", "hosts": ["pypi.test"] });
    let changed_server = platform
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "front_door": door }),
        )
        .await;
    assert_eq!(changed_server.status, 200, "{}", changed_server.text());
    api.answers(201, changed(&good(), json!({ "audiences": ["pypi.test"] })));
    let claims = pod(&platform, json!({ "aud": ["pypi.test"] }));
    let token = platform.issuer.key().sign(&claims);
    let request = Request::post("/_/oidc/mint-token")
        .header("host", "pypi.test")
        .body(Body::from(json!({ "token": token }).to_string()));
    let answer = platform.server.send(request.unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (_, review) = api.asked().pop().unwrap();
    assert_eq!(review["spec"]["audiences"], json!(["pypi.test"]));
}

#[tokio::test]
async fn k8s_tr_3__a_token_review_about_another_subject_is_refused() {
    let (platform, api) = cluster().await;
    api.answers(
        201,
        changed(
            &good(),
            json!({ "user": { "username": "system:serviceaccount:ci:other" } }),
        ),
    );
    platform
        .refuses(&pod(&platform, json!({})), "review_denied")
        .await;
    api.answers(201, good());
    platform.accepts(&pod(&platform, json!({}))).await;
}

#[tokio::test]
async fn atk_149__a_token_review_that_does_not_confirm_our_audience_is_refused() {
    let (platform, api) = cluster().await;
    for audiences in [
        json!([]),
        Value::Null,
        json!(["https://kubernetes.default.svc"]),
    ] {
        api.answers(201, changed(&good(), json!({ "audiences": audiences })));
        platform
            .refuses(&pod(&platform, json!({})), "review_denied")
            .await;
    }
    api.answers(201, good());
    platform.accepts(&pod(&platform, json!({}))).await;
}

#[tokio::test]
async fn k8s_tr_4__a_failed_token_review_is_answered_with_503() {
    let (platform, api) = cluster().await;
    for (status, review) in [
        (500, good()),
        (403, good()),
        (201, changed(&good(), json!({ "error": "lookup failed" }))),
        (201, json!("none")),
    ] {
        api.answers(status, review);
        let answer = platform.present(&pod(&platform, json!({}))).await;
        answer.refused(503, "temporarily_unavailable", "upstream_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn k8s_tr_4__a_token_unknown_to_the_cluster_is_refused_and_briefly_remembered() {
    let (platform, api) = cluster().await;
    let token = TestKey::rsa(3).sign(&pod(&platform, json!({})));
    let refused = async || {
        platform
            .present_text(&token)
            .await
            .refused(400, "invalid_grant", "review_denied");
        api.asked().len()
    };
    api.answers(201, denied());
    // Whoever sends it again causes nothing.
    let before = refused().await;
    assert_eq!((refused().await, refused().await), (before, before));
    // Another one is another question.
    platform
        .refuses(&pod(&platform, json!({})), "review_denied")
        .await;
    assert_eq!(api.asked().len(), before + 1);
    // The no is forgotten soon: the cluster may know the token by then.
    platform.server.clock.advance(11);
    assert_eq!(refused().await, before + 2);
    api.answers(201, good());
    platform.server.clock.advance(11);
    platform.present_text(&token).await.token();
}

#[tokio::test]
async fn k8s_tr_4__at_most_eight_token_reviews_are_under_way_at_once() {
    let (platform, api) = cluster().await;
    let before = api.asked().len();
    let gate = api.hold();
    let mut answers = JoinSet::new();
    for _ in 0..9 {
        let (router, text) = (
            platform.server.router.clone(),
            platform.issuer.key().sign(&pod(&platform, json!({}))),
        );
        answers.spawn(async move {
            let body = format!("grant_type={}&assertion={text}", crate::support::JWT_BEARER);
            let request =
                Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
            router
                .oneshot(request.body(Body::from(body)).unwrap())
                .await
                .unwrap()
        });
    }
    // Eight wait for the cluster; the ninth is told to come again.
    let ninth = answers.join_next().await.unwrap().unwrap();
    assert_eq!(
        (ninth.status(), ninth.headers().contains_key("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, true)
    );
    assert_eq!(api.asked().len(), before + 8);
    gate.add_permits(8);
    while let Some(answer) = answers.join_next().await {
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn k8s_tr_5__the_reviewers_credential_is_sent_only_to_the_api_server() {
    let (platform, api) = cluster().await;
    api.answers(302, good());
    platform.present(&pod(&platform, json!({}))).await.refused(
        503,
        "temporarily_unavailable",
        "upstream_unavailable",
    );
    assert!(
        platform
            .server
            .network
            .fetched()
            .iter()
            .all(|url| !url.contains("evil.test"))
    );
    // What can be judged here is judged before anything is sent.
    let before = api.asked().len();
    platform
        .refuses(
            &pod(&platform, json!({ "aud": ["https://other.test"] })),
            "aud_mismatch",
        )
        .await;
    platform
        .refuses(
            &pod(&platform, json!({ "sub": "system:serviceaccount:a:b" })),
            "claim_inconsistent",
        )
        .await;
    assert_eq!(api.asked().len(), before);
    let put = |keys: Value| json!({ "keys": changed(&json!({ "source": "token_review", "api_server": "https://api.cluster.test", "token_file": "/t" }), keys) });
    platform
        .cannot_trust(
            put(json!({ "api_server": "http://api.cluster.test" })),
            "/keys/api_server",
        )
        .await;
    platform
        .cannot_trust(put(json!({ "token_file": "t" })), "/keys/token_file")
        .await;
    platform
        .cannot_trust(put(json!({ "ca_file": "c" })), "/keys/ca_file")
        .await;
    let github = Platform::new("github-actions", "https://ci.test", json!({})).await;
    github.cannot_trust(put(json!({})), "/keys").await;
}

#[tokio::test]
async fn wimse_life_2__a_workload_that_is_gone_is_refused_at_once() {
    let (platform, api) = cluster().await;
    let token = pod(&platform, json!({}));
    platform.accepts(&token).await;
    api.answers(201, denied());
    platform.refuses(&token, "review_denied").await;
    // The cluster's own keys play no part: it says itself what is good.
    api.answers(201, good());
    platform
        .present_text(&TestKey::rsa(3).sign(&token))
        .await
        .token();
}
