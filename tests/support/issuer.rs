//! A platform: discovery and keys over HTTP, with every fault a test wants, and a count of what was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode, Uri};
use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use super::{Claims, TestKey};

/// A platform.
#[derive(Clone, Debug)]
pub struct FakeIssuer {
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    key: TestKey,
    jwks: Value,
    raw_jwks: Option<Vec<u8>>,
    metadata: Option<Vec<u8>>,
    metadata_path: Option<String>,
    status: StatusCode,
    cache_control: Option<String>,
    delay: Duration,
    asked: Vec<String>,
}

impl FakeIssuer {
    /// A platform with one RSA key, which every platform in a test should have for itself.
    pub fn new(url: &str, key: TestKey) -> Self {
        let state = State {
            jwks: json!({ "keys": [key.jwk()] }),
            key,
            raw_jwks: None,
            metadata: None,
            metadata_path: None,
            status: StatusCode::OK,
            cache_control: None,
            delay: Duration::ZERO,
            asked: Vec::new(),
        };
        Self {
            url: url.to_owned(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub fn key(&self) -> TestKey {
        self.state.lock().unwrap().key.clone()
    }

    /// Signs with the present key.
    pub fn sign(&self, claims: &Claims) -> String {
        self.key().sign(&claims.value())
    }

    /// Signs with the present key, as a token of this type.
    pub fn sign_as(&self, claims: &Claims, kind: &str) -> String {
        let key = self.key();
        let mut header = key.header();
        header["typ"] = json!(kind);
        key.sign_with_header(&header, &claims.value())
    }

    /// Signs with another key from now on and publishes it alone.
    pub fn rotate(&self, key: TestKey) {
        self.change(|state| {
            state.jwks = json!({ "keys": [key.jwk()] });
            state.key = key;
        });
    }

    /// Publishes these keys.
    pub fn publish(&self, keys: &[Value]) {
        self.change(|state| state.jwks = json!({ "keys": keys }));
    }

    /// Publishes these bytes in place of a key set.
    pub fn publish_raw(&self, bytes: impl Into<Vec<u8>>) {
        self.change(|state| state.raw_jwks = Some(bytes.into()));
    }

    pub fn publish_properly(&self) {
        self.change(|state| state.raw_jwks = None);
    }

    /// Answers discovery with this document.
    pub fn metadata(&self, document: Value) {
        self.metadata_raw(document.to_string());
    }

    /// Answers discovery with these bytes.
    pub fn metadata_raw(&self, bytes: impl Into<Vec<u8>>) {
        self.change(|state| state.metadata = Some(bytes.into()));
    }

    /// Has its metadata at this path only.
    pub fn metadata_at(&self, path: &str) {
        self.change(|state| state.metadata_path = Some(path.to_owned()));
    }

    /// Answers everything with this status.
    pub fn answer(&self, status: u16) {
        self.change(|state| state.status = StatusCode::from_u16(status).unwrap());
    }

    pub fn cache_control(&self, value: &str) {
        self.change(|state| state.cache_control = Some(value.to_owned()));
    }

    /// Waits before each answer.
    pub fn slow(&self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    /// The paths that were asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// How often its keys were asked for.
    pub fn key_fetches(&self) -> usize {
        self.asked()
            .iter()
            .filter(|path| path.ends_with("/jwks"))
            .count()
    }

    /// Its endpoints.
    pub fn router(&self) -> Router {
        let issuer = self.clone();
        Router::new()
            .fallback(move |uri: Uri| async move { issuer.respond(uri.path().to_owned()).await })
    }

    async fn respond(&self, path: String) -> Response<Body> {
        let delay = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(path.clone());
            state.delay
        };
        tokio::time::sleep(delay).await;
        let state = self.state.lock().unwrap();
        if state.status != StatusCode::OK {
            return state.status.into_response();
        }
        let base = url::Url::parse(&self.url).unwrap();
        let own_path = base.path().trim_end_matches('/').to_owned();
        let metadata_path = state
            .metadata_path
            .clone()
            .unwrap_or(format!("{own_path}/.well-known/openid-configuration"));
        let body = if path == metadata_path {
            let proper = json!({
                "issuer": self.url, "jwks_uri": format!("{}/jwks", self.url.trim_end_matches('/')),
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            });
            state
                .metadata
                .clone()
                .unwrap_or_else(|| proper.to_string().into_bytes())
        } else if path == format!("{own_path}/jwks") {
            state
                .raw_jwks
                .clone()
                .unwrap_or_else(|| state.jwks.to_string().into_bytes())
        } else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let mut response = ([("content-type", "application/json")], body).into_response();
        if let Some(value) = &state.cache_control {
            response
                .headers_mut()
                .insert("cache-control", value.parse().unwrap());
        }
        response
    }
}
