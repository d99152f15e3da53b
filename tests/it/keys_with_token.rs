//! Keys that a server gives only to those with a bearer token, as some Kubernetes clusters do.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::{Value, json};

use crate::platforms::Platform;
use crate::support::CARNET;

const USER: &str = "system:serviceaccount:ci:publisher";

/// A cluster whose API server gives its keys for the token in the cell.
async fn cluster() -> (Platform, Arc<Mutex<String>>) {
    let platform = Platform::new("kubernetes", "https://cluster.test", json!({})).await;
    platform
        .rule(json!({ "namespace": "ci", "service_account": "publisher" }))
        .await;
    let accepted = Arc::new(Mutex::new("Bearer first".to_owned()));
    let (wanted, issuer) = (accepted.clone(), platform.issuer.clone());
    let keys = move |headers: HeaderMap| async move {
        let sent = headers
            .get("authorization")
            .map(|value| value.to_str().unwrap());
        if sent != Some(wanted.lock().unwrap().as_str()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        json!({ "keys": [issuer.key().jwk()] })
            .to_string()
            .into_response()
    };
    let router = Router::new().route("/openid/v1/jwks", get(keys));
    platform
        .server
        .network
        .add_service("api.cluster.test", router);
    (platform, accepted)
}

async fn keys(platform: &Platform, token_file: &str) -> crate::support::Answer {
    let keys = json!({
        "source": "jwks_uri", "uri": "https://api.cluster.test/openid/v1/jwks", "token_file": token_file,
    });
    platform
        .server
        .admin("PATCH", "trusted-issuers/platform", json!({ "keys": keys }))
        .await
}

fn pod(platform: &Platform) -> Value {
    platform.claims(json!({
        "aud": [CARNET], "sub": USER,
        "kubernetes.io": {
            "namespace": "ci", "serviceaccount": { "name": "publisher", "uid": "u-1" },
            "pod": { "name": "job", "uid": "p-1" },
        },
    }))
}

#[tokio::test]
async fn keys_behind_a_bearer_token_are_fetched_with_the_token_of_a_file_that_is_read_each_time() {
    let (platform, accepted) = cluster().await;
    let file = platform.server.db.key_files().join("token");
    std::fs::write(&file, "first\n").unwrap();
    let path = file.to_str().unwrap();
    let answer = keys(&platform, path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.json()["keys"]["token_file"],
        path,
        "{}",
        answer.text()
    );
    platform.accepts(&pod(&platform)).await;
    // The kubelet renews the token.
    *accepted.lock().unwrap() = "Bearer second".to_owned();
    let refresh = async || {
        platform
            .server
            .admin("POST", "trusted-issuers/platform/refresh-keys", Value::Null)
            .await
    };
    let answer = refresh().await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(
        answer.text().contains("the server answered 401"),
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("first"), "{}", answer.text());
    std::fs::write(&file, "second").unwrap();
    let answer = refresh().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    platform.accepts(&pod(&platform)).await;
}

#[tokio::test]
async fn a_token_file_outside_of_the_configured_folder_is_refused() {
    let (platform, _) = cluster().await;
    for path in ["/etc/passwd", "/var/run/../etc/passwd"] {
        let answer = keys(&platform, path).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert_eq!(
            answer.json()["errors"][0]["pointer"],
            "/keys/token_file",
            "{}",
            answer.text()
        );
    }
    let answer = keys(&platform, "token").await;
    assert_eq!(answer.status, 422, "{}", answer.text());
}
