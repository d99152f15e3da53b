//! A registry on a free port, an authorization server whose tokens it accepts, and the uploads.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use carnet_dpop::ProofKey;
use carnet_jose::{Algorithm, SigningKey};
use carnet_resource_server::{Introspection, Proofs, Verifier};
use carnet_stand_ins::{Protocol, Registry, Tls};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

/// Every protocol with tools of its own.
pub const TOOLS: [Protocol; 5] = [
    Protocol::Pypi,
    Protocol::Npm,
    Protocol::CratesIo,
    Protocol::Rubygems,
    Protocol::Nuget,
];

/// The only opaque key that is active, and the registry's own credentials for introspection.
pub const OPAQUE: &str = "rg_opaque";
const CLIENT: &str = "registry";
const SECRET: &str = "secret";

/// The upload of a real client: version 1.0.0 of a package.
#[derive(Clone, Copy)]
pub struct Sample {
    pub package: &'static str,
    pub sha256: &'static str,
    method: &'static str,
    path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

impl Sample {
    /// Method and path of the upload.
    pub fn target(&self) -> (&'static str, &'static str) {
        (self.method, self.path)
    }

    pub fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Generic => Self {
                package: "octo-widgets",
                sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
                method: "PUT",
                path: "/packages/octo-widgets/1.0.0",
                content_type: "application/octet-stream",
                body: b"hello",
            },
            Protocol::Pypi => Self {
                package: "Octo.Widgets",
                sha256: "4b1ff6ff0b191431d7a389d5b3e0cf602c106ea4da753e6e0b8b70891bc1d530",
                method: "POST",
                path: "/legacy/",
                content_type: "multipart/form-data; boundary=ca0700e26d4d579e-d5a22fd70d1d5493-a96cfe89ef2830e0-c66c97b5c341d2d4",
                body: include_bytes!("../data/pypi-uv.body"),
            },
            Protocol::Npm => Self {
                package: "@octo/widgets",
                sha256: "c668690f6762a7132a80be76299722438c777e53501553b49904fb76c3f9d2a6",
                method: "PUT",
                path: "/@octo%2fwidgets",
                content_type: "application/json",
                body: include_bytes!("../data/npm.json"),
            },
            Protocol::CratesIo => Self {
                package: "octo-widgets",
                sha256: "35e2fa4d82f154f316759745b8501b04065407192ef1d9da52670cece4465d67",
                method: "PUT",
                path: "/api/v1/crates/new",
                content_type: "application/octet-stream",
                body: include_bytes!("../data/cargo.body"),
            },
            Protocol::Rubygems => Self {
                package: "octo-widgets",
                sha256: "8798a3eca8aa005bb2d75ecf68c87d086619bb71ebbf1866aafd4fc66ddeee1d",
                method: "POST",
                path: "/api/v1/gems",
                content_type: "application/octet-stream",
                body: include_bytes!("../data/octo-widgets-1.0.0.gem"),
            },
            Protocol::Nuget => Self {
                package: "Octo.Widgets",
                sha256: "514efde3f988a143133179bee80b6815d9fd830269f18bf91ebbcbe1dd965282",
                method: "PUT",
                path: "/api/v2/package/",
                content_type: "multipart/form-data; boundary=---------------------------8df4da3e7f2da58",
                body: include_bytes!("../data/nuget.body"),
            },
        }
    }
}

/// An authorization server with metadata, a key and introspection of [`OPAQUE`].
pub struct Authority {
    pub url: String,
    key: Arc<SigningKey>,
}

#[derive(Clone)]
struct Answers {
    url: String,
    key: Arc<SigningKey>,
    resource: String,
}

impl Authority {
    async fn start(resource: &str) -> Self {
        let key = Arc::new(SigningKey::generate(Algorithm::ES256).unwrap());
        let (listener, url) = listen().await;
        let answers = Answers {
            url: url.clone(),
            key: key.clone(),
            resource: resource.to_owned(),
        };
        let router = Router::new()
            .route("/.well-known/oauth-authorization-server", get(metadata))
            .route("/jwks", get(jwks))
            .route("/introspect", post(introspect))
            .with_state(answers);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, key }
    }
}

async fn metadata(State(answers): State<Answers>) -> Json<Value> {
    let url = &answers.url;
    let (jwks, introspect) = (format!("{url}/jwks"), format!("{url}/introspect"));
    Json(json!({ "issuer": url, "jwks_uri": jwks, "introspection_endpoint": introspect }))
}

async fn jwks(State(answers): State<Answers>) -> Json<Value> {
    Json(json!({ "keys": [answers.key.public().jwk()] }))
}

async fn introspect(State(answers): State<Answers>, form: String) -> Json<Value> {
    let mut pairs = url::form_urlencoded::parse(form.as_bytes());
    if !pairs.any(|(name, value)| name == "token" && value == OPAQUE) {
        return Json(json!({ "active": false }));
    }
    let mut claims = claims(
        &answers.url,
        &answers.resource,
        &[entry(&["*"], &["publish", "create"])],
    );
    claims["active"] = json!(true);
    claims["token_type"] = json!("Bearer");
    Json(claims)
}

/// An entry of `octo` for these packages and actions.
pub fn entry(packages: &[&str], actions: &[&str]) -> Value {
    json!({
        "type": "package", "actions": actions, "packages": packages, "owner": "octo", "principal": "octo",
        "credential": "fc_1", "revision": 1,
    })
}

/// The entry with another member.
pub fn with(mut entry: Value, member: &str, value: &str) -> Value {
    entry[member] = json!(value);
    entry
}

fn claims(issuer: &str, resource: &str, entries: &[Value]) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let here = |entry: &Value| {
        let mut entry = entry.clone();
        entry["locations"] = json!([resource]);
        entry
    };
    json!({
        "iss": issuer, "aud": resource, "sub": "pr_octo", "client_id": "federated:fc_1", "iat": now, "exp": now + 900,
        "jti": "id-1", "scope": "publish", "authorization_details": entries.iter().map(here).collect::<Vec<_>>(),
    })
}

/// A registry that serves, with its authorization server and its folder, which it removes.
pub struct Served {
    pub url: String,
    pub authority: Authority,
    pub http: reqwest::Client,
    resource: String,
    protocol: Protocol,
    folder: PathBuf,
}

impl Served {
    pub async fn start(protocol: Protocol) -> Self {
        Self::serve(protocol, None, None).await
    }

    /// A registry whose tools' requests for tokens go to `front_door`, with TLS if there is a
    /// certificate for 127.0.0.1.
    pub async fn serve(protocol: Protocol, front_door: Option<&str>, tls: Option<Tls>) -> Self {
        let (listener, url) = listen().await;
        let url = match tls {
            Some(_) => url.replace("http://", "https://"),
            None => url,
        };
        let resource = format!("{url}/");
        let authority = Authority::start(&resource).await;
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(uuid::Uuid::now_v7().to_string());
        let verifier = Verifier::new(&authority.url, &resource).unwrap();
        let verifier = verifier.introspecting(Introspection::new(CLIENT, SECRET));
        let verifier = verifier.taking_proofs(Proofs::single_process()).unwrap();
        let registry = Registry::speaking(protocol, verifier, folder.clone());
        let registry = match front_door {
            Some(url) => registry.with_front_door(&Url::parse(url).unwrap()).unwrap(),
            None => registry,
        };
        tokio::spawn(async move { registry.serve(listener, tls).await.unwrap() });
        Self {
            url,
            authority,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            resource,
            protocol,
            folder,
        }
    }

    /// A signed access token with these entries.
    pub fn token(&self, entries: &[Value]) -> String {
        self.sign(&claims(&self.authority.url, &self.resource, entries))
    }

    /// An access token with these entries that is bound to the key.
    pub fn bound_token(&self, entries: &[Value], key: &ProofKey) -> String {
        let mut claims = claims(&self.authority.url, &self.resource, entries);
        claims["cnf"] = json!({ "jkt": key.thumbprint() });
        self.sign(&claims)
    }

    /// An access token with these entries that is bound to the certificate with this thumbprint.
    pub fn certified_token(&self, entries: &[Value], thumbprint: &str) -> String {
        let mut claims = claims(&self.authority.url, &self.resource, entries);
        claims["cnf"] = json!({ "x5t#S256": thumbprint });
        self.sign(&claims)
    }

    fn sign(&self, claims: &Value) -> String {
        let claims = claims.to_string();
        self.authority.key.sign(claims.as_bytes()).unwrap()
    }

    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("{}{path}", self.url))
    }

    /// The upload of the protocol's tool, without a token.
    pub fn bare_upload(&self) -> RequestBuilder {
        let sample = Sample::of(self.protocol);
        self.request(sample.method, sample.path)
            .header("content-type", sample.content_type)
            .body(sample.body)
    }

    /// Sends the upload of the protocol's tool, with the token where the tool puts it.
    pub async fn upload(&self, token: Option<&str>) -> Response {
        let request = self.bare_upload();
        let request = match token {
            Some(token) => present(self.protocol, request, token),
            None => request,
        };
        request.send().await.unwrap()
    }

    /// Publishes the sample with a token that may do anything.
    pub async fn publish(&self) {
        let answer = self.upload(Some(OPAQUE)).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{:?} {status}: {text}", self.protocol);
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request("GET", path).send().await.unwrap()
    }

    pub async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }

    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    /// Asserts that the file at `url` is the one that was published.
    pub async fn has_the_file_at(&self, url: &str) {
        let path = url.strip_prefix(&self.url).unwrap();
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let digest = carnet_jose::sha256(&answer.bytes().await.unwrap());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, Sample::of(self.protocol).sha256, "{path}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Puts the token where the tools of the protocol do.
pub fn present(protocol: Protocol, request: RequestBuilder, token: &str) -> RequestBuilder {
    match protocol {
        Protocol::Generic | Protocol::Npm => request.bearer_auth(token),
        Protocol::Pypi => request.basic_auth("__token__", Some(token)),
        Protocol::CratesIo | Protocol::Rubygems => request.header("authorization", token),
        Protocol::Nuget => request.header("x-nuget-apikey", token),
    }
}

/// A listener on a free port, and its URL.
pub async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, format!("http://{address}"))
}
