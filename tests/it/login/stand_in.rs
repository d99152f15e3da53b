//! An authorization server on a real socket that signs everybody in, and can be made to lie.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::response::{IntoResponse as _, Response};
use carnet_jose::{Algorithm, SigningKey, base64url, sha256};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use url::form_urlencoded;

pub const TOKEN_SECONDS: i64 = 3600;

/// What a stand-in does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    // In the metadata.
    AnotherIssuer,
    NoProvider,
    // In the callback.
    NoIss,
    OtherIss,
    Error(&'static str),
    // At the token endpoint.
    Refuses(&'static str),
    OtherTokenType,
    NoExpiry,
    NoIdToken,
    // In the ID token.
    WrongNonce,
    NoNonce,
    WrongAudience,
    TwoAudiences,
    WrongIssuer,
    Expired,
    ForeignKey,
    WrongAccessTokenHash,
    Unsigned,
    // At the admin API.
    TokenEnded,
    ProofTooOld,
}

/// The server. It ends when it is dropped.
#[derive(Debug)]
pub struct StandIn {
    pub url: String,
    state: Arc<Mutex<Inner>>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Inner {
    url: String,
    key: SigningKey,
    stranger: SigningKey,
    fault: Option<Fault>,
    /// The authorization requests, by code.
    asked: HashMap<String, HashMap<String, String>>,
    /// The parameters of authorization, token and revocation requests so far, by path.
    seen: Vec<(String, HashMap<String, String>)>,
    /// The `Authorization` of requests to the admin API so far.
    tokens: Vec<String>,
}

impl StandIn {
    pub async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = || SigningKey::generate(Algorithm::ES256).unwrap();
        let state = Arc::new(Mutex::new(Inner {
            url: url.clone(),
            key: key(),
            stranger: key(),
            fault: None,
            asked: HashMap::new(),
            seen: Vec::new(),
            tokens: Vec::new(),
        }));
        let router = Router::new().fallback(answer).with_state(state.clone());
        Self {
            url,
            state,
            serving: tokio::spawn(async { axum::serve(listener, router).await.unwrap() }),
        }
    }

    pub async fn doing(fault: Fault) -> Self {
        let server = Self::new().await;
        server.does(fault);
        server
    }

    pub fn does(&self, fault: Fault) {
        self.state.lock().fault = Some(fault);
    }

    /// The parameters of the requests to a path so far.
    pub fn seen(&self, path: &str) -> Vec<HashMap<String, String>> {
        let state = self.state.lock();
        let seen = state.seen.iter().filter(|(at, _)| at == path);
        seen.map(|(_, parameters)| parameters.clone()).collect()
    }

    /// The tokens that came to the admin API so far.
    pub fn tokens(&self) -> Vec<String> {
        self.state.lock().tokens.clone()
    }

    /// Goes away. Its port is free then.
    pub async fn leave(mut self) {
        self.serving.abort();
        (&mut self.serving).await.ok();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn parameters(text: &str) -> HashMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

async fn answer(State(state): State<Arc<Mutex<Inner>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = parts.uri.path().to_owned();
    let mut inner = state.lock();
    let sent = match parts.uri.query() {
        Some(query) => parameters(query),
        None => parameters(&String::from_utf8_lossy(&body)),
    };
    inner.seen.push((path.clone(), sent.clone()));
    match path.as_str() {
        "/.well-known/oauth-authorization-server" => axum::Json(inner.metadata()).into_response(),
        "/jwks" => axum::Json(json!({ "keys": [inner.key.public().jwk()] })).into_response(),
        "/authorize" => inner.authorize(sent),
        "/token" => inner.token(&sent),
        "/revoke" => StatusCode::OK.into_response(),
        _ => {
            let token = parts.headers.get(AUTHORIZATION).unwrap();
            let token = token.to_str().unwrap().trim_start_matches("Bearer ");
            inner.tokens.push(token.to_owned());
            inner.admin(&path)
        }
    }
}

fn problem(status: u16, code: &str, detail: &str) -> Response {
    let body = json!({ "type": "about:blank", "status": status, "code": code, "detail": detail });
    let status = StatusCode::from_u16(status).unwrap();
    (status, axum::Json(body)).into_response()
}

impl Inner {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.url);
        let issuer = if self.has(Fault::AnotherIssuer) {
            "https://other.test".to_owned()
        } else {
            self.url.clone()
        };
        let mut metadata = json!({
            "issuer": issuer, "token_endpoint": at("/token"), "jwks_uri": at("/jwks"),
            "authorization_endpoint": at("/authorize"),
            "authorization_response_iss_parameter_supported": true,
        });
        if self.has(Fault::NoProvider) {
            let members = metadata.as_object_mut().unwrap();
            members.remove("authorization_endpoint");
        }
        metadata
    }

    fn authorize(&mut self, request: HashMap<String, String>) -> Response {
        let mut location = url::Url::parse(&request["redirect_uri"]).unwrap();
        let state = request["state"].clone();
        let code = format!("code-{}", self.asked.len());
        let iss = match self.fault {
            Some(Fault::NoIss) => None,
            Some(Fault::OtherIss) => Some("https://other.test"),
            _ => Some(self.url.as_str()),
        };
        let mut query = location.query_pairs_mut();
        match self.fault {
            Some(Fault::Error(error)) => query
                .append_pair("error", error)
                .append_pair("error_description", "not today,\n\u{1b}[31mPeter"),
            _ => query.append_pair("code", &code),
        };
        query.append_pair("state", &state);
        query.extend_pairs(iss.map(|iss| ("iss", iss)));
        drop(query);
        self.asked.insert(code, request);
        (StatusCode::FOUND, [(LOCATION, location.to_string())]).into_response()
    }

    fn token(&mut self, form: &HashMap<String, String>) -> Response {
        let refused = |error: &str| {
            let body = json!({ "error": error, "error_description": "said the stand-in" });
            (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
        };
        if let Some(Fault::Refuses(error)) = self.fault {
            return refused(error);
        }
        let Some(request) = self.asked.remove(&form["code"]) else {
            return refused("invalid_grant");
        };
        let challenge = base64url(sha256(form["code_verifier"].as_bytes()));
        if form["grant_type"] != "authorization_code"
            || form["client_id"] != request["client_id"]
            || form["redirect_uri"] != request["redirect_uri"]
            || challenge != request["code_challenge"]
        {
            return refused("invalid_grant");
        }
        let access_token = format!("canary.token-{}", base64url(sha256(challenge.as_bytes())));
        let kind = if self.has(Fault::OtherTokenType) {
            "mac"
        } else {
            "Bearer"
        };
        let mut answer = json!({
            "access_token": access_token, "token_type": kind, "expires_in": TOKEN_SECONDS,
            "scope": request.get("scope").map_or("publish", |_| "openid profile admin:credentials:octo-org"),
        });
        let members = answer.as_object_mut().unwrap();
        if self.has(Fault::NoExpiry) {
            members.remove("expires_in");
        }
        if request.contains_key("nonce") && !self.has(Fault::NoIdToken) {
            let id_token = self.id_token(&request, &access_token);
            members.insert("id_token".to_owned(), id_token.into());
        }
        axum::Json(answer).into_response()
    }

    fn id_token(&self, request: &HashMap<String, String>, access_token: &str) -> String {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let half = &sha256(access_token.as_bytes())[..16];
        let mut claims = json!({
            "iss": self.url, "sub": "ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD", "aud": request["client_id"],
            "iat": now, "exp": now + 300, "auth_time": now, "nonce": request["nonce"],
            "at_hash": base64url(half), "name": "Peter Publisher", "preferred_username": "peter",
        });
        match self.fault {
            Some(Fault::WrongNonce) => claims["nonce"] = "another".into(),
            Some(Fault::NoNonce) => drop(claims.as_object_mut().unwrap().remove("nonce")),
            Some(Fault::WrongAudience) => claims["aud"] = "another".into(),
            Some(Fault::TwoAudiences) => {
                claims["aud"] = json!([request["client_id"], "another"]);
            }
            Some(Fault::WrongIssuer) => claims["iss"] = "https://other.test".into(),
            Some(Fault::Expired) => claims["exp"] = (now - 120).into(),
            Some(Fault::WrongAccessTokenHash) => {
                claims["at_hash"] = base64url(&sha256(b"another")[..16]).into();
            }
            _ => {}
        }
        let claims = claims.to_string();
        if self.has(Fault::Unsigned) {
            let header = base64url(br#"{"alg":"none","typ":"JWT"}"#);
            return format!("{header}.{}.", base64url(&claims));
        }
        let key = if self.has(Fault::ForeignKey) {
            &self.stranger
        } else {
            &self.key
        };
        key.sign_typed("JWT", claims.as_bytes()).unwrap()
    }

    fn admin(&self, path: &str) -> Response {
        if self.has(Fault::TokenEnded) {
            return problem(401, "invalid_token", "the token was revoked");
        }
        if self.has(Fault::ProofTooOld) && path != "/admin/v1/token" {
            return problem(401, "auth_too_old", "the proof of identity is too old");
        }
        match path {
            "/admin/v1/token" => axum::Json(json!({
                "subject": "ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD",
                "person": {
                    "id": "ps_01KB9Y5R3ZJ1V8QW6M2T4N7XCD", "name": "Peter P.", "username": "peter",
                },
                "client_id": "carnet-cli", "scope": "openid profile admin:credentials:octo-org",
                "expires_at": "2030-01-02T03:04:05Z",
                "writes": "now", "writes_until": "2030-01-01T00:00:00Z",
            }))
            .into_response(),
            "/admin/v1/people" => axum::Json(json!({ "items": [] })).into_response(),
            _ => problem(404, "not_found", "there is no such thing"),
        }
    }
}
