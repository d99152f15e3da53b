//! A fake authorization server, its tokens, and a strict reader of challenges.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, Response};
use carnet_jose::{Algorithm, SigningKey, base64url, sha256};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::claims::Unproven;
use crate::{Introspection, Verifier};

/// The resource URI of the registry in these tests.
pub(crate) const REGISTRY: &str = "https://registry.test/pypi/";
/// The time, in seconds since 1970, at which most tokens of these tests are verified.
pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const CLIENT: &str = "registry";
pub(crate) const SECRET: &str = "p:ss w\u{f6}rd%";

/// An authorization server with metadata, keys and introspection. A test can replace each response.
pub(crate) struct FakeServer {
    pub(crate) url: String,
    pub(crate) key: SigningKey,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    keys: RwLock<Vec<Value>>,
    replies: RwLock<HashMap<String, Reply>>,
    active: RwLock<HashMap<String, Value>>,
    seen: RwLock<Vec<Seen>>,
}

/// The response to every request of one path.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: String,
    pub(crate) delay: Duration,
}

/// A request that the server received.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(body: &Value) -> Self {
        Self {
            status: 200,
            location: None,
            body: body.to_string(),
            delay: Duration::ZERO,
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::json(&json!({ "error": "x" }))
        }
    }
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        Self::below("").await
    }

    /// A server whose issuer identifier has this path.
    pub(crate) async fn below(path: &str) -> Self {
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        let shared = Arc::new(Shared::default());
        shared
            .keys
            .write()
            .unwrap()
            .push(key.public().jwk().clone().into());
        let host = serve(Router::new().fallback(answer).with_state(shared.clone())).await;
        let server = Self {
            url: format!("{host}{path}"),
            key,
            shared,
        };
        server.reply(
            &format!("/.well-known/oauth-authorization-server{path}"),
            Reply::json(&server.metadata()),
        );
        server
    }

    pub(crate) fn metadata(&self) -> Value {
        let url = &self.url;
        json!({
            "issuer": url, "jwks_uri": format!("{url}/jwks"), "introspection_endpoint": format!("{url}/introspect"),
        })
    }

    pub(crate) fn publish_metadata(&self, metadata: &Value) {
        self.reply(
            "/.well-known/oauth-authorization-server",
            Reply::json(metadata),
        );
    }

    pub(crate) fn reply(&self, path: &str, reply: Reply) {
        self.shared
            .replies
            .write()
            .unwrap()
            .insert(path.to_owned(), reply);
    }

    pub(crate) fn restore(&self, path: &str) {
        self.shared.replies.write().unwrap().remove(path);
    }

    /// Makes introspection answer `answer` for an opaque token.
    pub(crate) fn activate(&self, token: &str, answer: Value) {
        self.shared
            .active
            .write()
            .unwrap()
            .insert(token.to_owned(), answer);
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.shared.active.write().unwrap().remove(token);
    }

    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.shared
            .seen
            .read()
            .unwrap()
            .iter()
            .filter(|seen| seen.path == path)
            .cloned()
            .collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.seen.read().unwrap().len()
    }

    /// Signs a token of another `typ` with a new key, which is published too.
    pub(crate) fn sign_typed(&self, token_type: &str, claims: &Value) -> String {
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        self.shared
            .keys
            .write()
            .unwrap()
            .push(key.public().jwk().clone().into());
        key.sign_typed(token_type, claims.to_string().as_bytes())
            .unwrap()
    }

    /// The claims of a valid token issued at `now`.
    pub(crate) fn claims_at(&self, now: i64) -> Value {
        json!({
            "iss": self.url, "aud": REGISTRY, "sub": "pr_joel", "principal": { "name": "joel", "kind": "user" },
            "client_id": "federated:fc_1", "iat": now, "exp": now.saturating_add(900), "jti": "id-1", "scope": "publish",
            "authorization_details": [{
                "type": "package", "actions": ["publish"], "packages": ["widgets"], "owner": "joel", "principal": "joel",
                "credential": "fc_1", "revision": 1, "locations": [REGISTRY],
            }],
            "workload": { "iss": "https://ci.test", "sub": "repo:o/r", "profile": "github-actions", "claims": { "run_id": "1" } },
        })
    }

    pub(crate) fn claims(&self) -> Value {
        self.claims_at(NOW)
    }

    /// The introspection response for a valid opaque token.
    pub(crate) fn active(&self) -> Value {
        let mut answer = self.claims();
        answer["active"] = json!(true);
        answer["token_type"] = json!("Bearer");
        answer
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.key.sign(claims.to_string().as_bytes()).unwrap()
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::new(&self.url, REGISTRY).unwrap()
    }

    pub(crate) fn introspecting(&self) -> Verifier {
        self.verifier()
            .introspecting(Introspection::new(CLIENT, SECRET))
    }
}

/// Serves `router` on a free port and returns its URL.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    let path = parts.uri.path().to_owned();
    let seen = Seen {
        method: parts.method,
        path: path.clone(),
        headers: parts.headers,
        body: body.clone(),
    };
    shared.seen.write().unwrap().push(seen);
    let prepared = shared.replies.read().unwrap().get(&path).cloned();
    let reply = prepared.unwrap_or_else(|| match path.rsplit('/').next().unwrap() {
        "jwks" => Reply::json(&json!({ "keys": *shared.keys.read().unwrap() })),
        "introspect" => {
            let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes())
                .into_owned()
                .collect();
            let active = shared.active.read().unwrap();
            Reply::json(
                active
                    .get(&form["token"])
                    .unwrap_or(&json!({ "active": false })),
            )
        }
        _ => Reply::status(404),
    });
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    if let Some(location) = reply.location {
        response = response.header("location", location);
    }
    response.body(reply.body.into()).unwrap()
}

/// A JWT with this header and these claims, and an arbitrary signature.
pub(crate) fn unsigned(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let input = format!(
        "{}.{}",
        base64url(header.to_string()),
        base64url(claims.to_string())
    );
    format!("{input}.{}", base64url(signature))
}

/// A verified token that expires at `exp`.
pub(crate) fn token_until(exp: i64) -> Unproven {
    let claims = json!({
        "iss": "https://as.test", "aud": REGISTRY, "sub": "s", "client_id": "c", "iat": 0, "exp": exp, "jti": "j",
    });
    Unproven(serde_json::from_value(claims).unwrap())
}

/// An HTTP client that ignores proxies of the environment.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The parameters of a challenge of the scheme Bearer.
pub(crate) fn parameters(challenge: &str) -> HashMap<String, String> {
    parameters_of("Bearer", challenge)
}

/// The parameters of a challenge of this scheme, read strictly: quoted strings without escapes, each
/// name at most once (RFC 9110 section 11.2).
pub(crate) fn parameters_of(scheme: &str, challenge: &str) -> HashMap<String, String> {
    let mut read = HashMap::new();
    let rest = challenge.strip_prefix(scheme).unwrap();
    let mut rest = rest.strip_prefix(' ').unwrap();
    loop {
        let (name, quoted) = rest.split_once("=\"").unwrap();
        let (value, after) = quoted.split_once('"').unwrap();
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{challenge}"
        );
        assert!(
            value
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\'),
            "{challenge}"
        );
        assert!(
            read.insert(name.to_owned(), value.to_owned()).is_none(),
            "{name} is repeated in {challenge}"
        );
        if after.is_empty() {
            return read;
        }
        rest = after.strip_prefix(", ").unwrap();
    }
}

/// HMAC-SHA-256 (RFC 2104).
pub(crate) fn hmac(secret: &[u8], message: &[u8]) -> [u8; 32] {
    let digest = sha256(secret);
    let key = if secret.len() > 64 {
        &digest[..]
    } else {
        secret
    };
    let mut block = [0u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |byte: u8| block.map(|b| b ^ byte);
    sha256(&[&pad(0x5c)[..], &sha256(&[&pad(0x36)[..], message].concat())].concat())
}
