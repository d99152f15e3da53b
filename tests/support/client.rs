//! Registered clients, each with what it proves itself with.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Answer, CARNET, CLIENT_ASSERTION, TestKey, TestServer};

/// A registered client.
#[derive(Clone, Debug)]
pub struct TestClient {
    pub id: String,
    proof: Proof,
}

#[derive(Clone, Debug)]
enum Proof {
    Nothing,
    Basic(String),
    Post(String),
    Key(Box<TestKey>),
}

impl TestClient {
    /// Registers a client with these members beside its method; its key is made here, its secret by the server.
    pub async fn register(server: &TestServer, id: &str, method: &str, members: Value) -> Self {
        let key = TestKey::ec(id, "ES256");
        let mut document = members;
        document["auth_method"] = json!(method);
        if method == "private_key_jwt" {
            document["jwks"] = json!({ "keys": [key.jwk()] });
        }
        let saved = server.put(&format!("clients/{id}"), document).await;
        let secret = || saved["client_secret"].as_str().unwrap().to_owned();
        let proof = match method {
            "none" => Proof::Nothing,
            "client_secret_basic" => Proof::Basic(secret()),
            "client_secret_post" => Proof::Post(secret()),
            _ => Proof::Key(Box::new(key)),
        };
        Self {
            id: id.to_owned(),
            proof,
        }
    }

    /// A client with this permission of `joel`'s packages at the first registry.
    pub async fn publisher(server: &TestServer, id: &str, method: &str) -> Self {
        Self::register(
            server,
            id,
            method,
            json!({ "permissions": [permission(&["publish", "unlist"])] }),
        )
        .await
    }

    /// The client that the first registry is.
    pub async fn registry(server: &TestServer) -> Self {
        Self::register(
            server,
            "registry",
            "client_secret_basic",
            json!({ "resource_server": "pypi" }),
        )
        .await
    }

    /// The same client with another secret.
    pub fn with_secret(&self, secret: &str) -> Self {
        let proof = match &self.proof {
            Proof::Post(_) => Proof::Post(secret.to_owned()),
            _ => Proof::Basic(secret.to_owned()),
        };
        Self {
            proof,
            ..self.clone()
        }
    }

    pub fn secret(&self) -> &str {
        match &self.proof {
            Proof::Basic(secret) | Proof::Post(secret) => secret,
            Proof::Nothing | Proof::Key(_) => panic!("{} has no secret", self.id),
        }
    }

    pub fn key(&self) -> &TestKey {
        match &self.proof {
            Proof::Key(key) => key,
            _ => panic!("{} has no key", self.id),
        }
    }

    /// The claims of a good assertion of its own.
    pub fn claims(&self, now: i64) -> Value {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let jti = COUNT.fetch_add(1, Ordering::Relaxed);
        json!({ "iss": self.id, "sub": self.id, "aud": CARNET, "jti": format!("c-{jti}"), "iat": now, "exp": now + 60 })
    }

    /// Sends a form as this client.
    pub async fn send(&self, server: &TestServer, path: &str, form: &[(&str, &str)]) -> Answer {
        let authorization;
        let assertion;
        let (mut form, mut headers) = (form.to_vec(), Vec::new());
        match &self.proof {
            Proof::Nothing => form.push(("client_id", &self.id)),
            Proof::Basic(secret) => {
                authorization = basic(&self.id, secret);
                headers.push(("authorization", authorization.as_str()));
            }
            Proof::Post(secret) => {
                form.extend([("client_id", self.id.as_str()), ("client_secret", secret)]);
            }
            Proof::Key(key) => {
                assertion = key.sign(&self.claims(server.now()));
                form.extend([
                    ("client_assertion_type", CLIENT_ASSERTION),
                    ("client_assertion", &assertion),
                ]);
            }
        }
        server.form_with(path, &headers, &form).await
    }

    /// Asks for a token for itself, with these parameters beside.
    pub async fn ask(&self, server: &TestServer, parameters: &[(&str, &str)]) -> Answer {
        self.send(
            server,
            "/token",
            &[&[("grant_type", "client_credentials")], parameters].concat(),
        )
        .await
    }

    /// What it is told of a token.
    pub async fn introspect(&self, server: &TestServer, token: &str) -> Value {
        let answer = self.send(server, "/introspect", &[("token", token)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Ends a token.
    pub async fn revoke(&self, server: &TestServer, token: &str) -> Answer {
        self.send(server, "/revoke", &[("token", token)]).await
    }
}

/// The header of HTTP Basic with these as they are.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A permission of a client on `joel`'s packages at the first registry.
pub fn permission(actions: &[&str]) -> Value {
    json!({ "resource_server": "pypi", "actions": actions, "packages": ["widgets", "widgets-*"], "owner": "joel" })
}
