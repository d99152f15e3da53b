//! A whole server, asked over its router: forms, front doors, documents of the admin API, searches of the audit log, and what a
//! platform answers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use carnet::app::{App, Background};
use carnet::clock::{ManualClock, Timestamp};
use carnet::config::Config;
use carnet::http;
use carnet::upstream::{Answer, Egress, Fetch, FetchError, Fetched, Message, Outgoing, Question};
use http_body_util::BodyExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;
use url::Url;

const NOW: i64 = 1_800_000_000;
/// The registry's front doors: protocol, host, path, and the member with the assertion's place.
const DOORS: [(&str, &str, &str); 5] = [
    ("pypi", "pypi.test", "/_/oidc/mint-token"),
    (
        "npm",
        "npm.test",
        "/-/npm/v1/oidc/token/exchange/package/widgets",
    ),
    (
        "crates-io",
        "crates.test",
        "/api/v1/trusted_publishing/tokens",
    ),
    ("nuget", "nuget.test", "/api/v2/token"),
    (
        "rubygems",
        "gems.test",
        "/api/v1/oidc/trusted_publisher/exchange_token",
    ),
];
/// The kinds of objects of the admin API.
const KINDS: [&str; 8] = [
    "principals",
    "trusted-issuers",
    "resource-servers",
    "clients",
    "federated-credentials",
    "notifications",
    "identity-providers",
    "memberships",
];

struct Server {
    runtime: Runtime,
    router: Router,
    token: String,
    platform: Arc<Platform>,
    _app: Arc<App>,
    _background: Background,
}

/// A platform that answers what the input says: its metadata, and its keys.
#[derive(Debug, Default)]
struct Platform(Mutex<(Vec<u8>, Vec<u8>)>);

impl Fetch for Platform {
    fn fetch<'a>(
        &'a self,
        url: &'a Url,
        _: &'a Egress,
        _: Option<&'a SecretString>,
        _: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let documents = self.0.lock().unwrap();
            let body = if url.path().starts_with("/.well-known/") {
                documents.0.clone()
            } else {
                documents.1.clone()
            };
            Ok(Fetched {
                status: 200,
                body,
                max_age: None,
            })
        })
    }

    fn ask<'a>(
        &'a self,
        url: &'a Url,
        _: &'a Egress,
        _: &'a Question,
        _: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move { Err(FetchError::Failed(url.to_string(), "nobody".into())) })
    }

    fn post<'a>(
        &'a self,
        url: &'a Url,
        _: &'a Egress,
        _: &'a Message,
    ) -> Answer<'a, Result<u16, FetchError>> {
        Box::pin(async move { Err(FetchError::Failed(url.to_string(), "nobody".into())) })
    }

    fn send<'a>(
        &'a self,
        url: &'a Url,
        _: &'a Egress,
        _: &'a Outgoing,
        _: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move { Err(FetchError::Failed(url.to_string(), "nobody".into())) })
    }
}

/// The folder of the server's database. Whoever runs the targets removes it.
pub fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("carnet-fuzz-{}", std::process::id()))
}

/// One server for all inputs: none of them is to change anything in it. It is used by one input at a time.
fn with_server<T>(use_it: impl FnOnce(&Server) -> T) -> T {
    static SERVER: OnceLock<Mutex<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| Mutex::new(Server::start()));
    let server = server
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    use_it(&server)
}

impl Server {
    fn start() -> Self {
        let folder = folder();
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("carnet.db");
        let settings = [
            ("CARNET_ISSUER", "https://as.test".to_owned()),
            ("CARNET_DATA_DIR", folder.display().to_string()),
            (
                "CARNET_DATABASE__URL",
                format!("sqlite://{}", file.display()),
            ),
            (
                "CARNET_RATE_LIMITS__ADMIN_WRITES_PER_MINUTE_PER_SUBJECT",
                "0".to_owned(),
            ),
        ];
        let settings = settings
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec();
        let config = Config::from_sources(None, settings).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let platform = Arc::new(Platform::default());
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(NOW)));
        let started = runtime.block_on(App::start(config, clock, platform.clone()));
        let (app, background) = started.unwrap();
        let claims = json!({
            "rests_on": [], "iss": "https://as.test", "aud": app.config.own.admin_resource(), "sub": "fuzz",
            "client_id": carnet::own_tokens::LOCAL_CLIENT, "iat": NOW, "exp": NOW + 1_000_000, "jti": "fuzz",
            "scope": "admin",
        });
        let ring = app.keys.ring().unwrap();
        let server = Self {
            token: ring.active().sign(claims.to_string().as_bytes()).unwrap(),
            router: http::router(app.clone()),
            runtime,
            platform,
            _app: app,
            _background: background,
        };
        server.fill();
        server
    }

    /// Saves what the targets need.
    fn fill(&self) {
        let put = |path: &str, body: Value| {
            let (status, text) = self.admin("PUT", path, body.to_string());
            assert_eq!(status, 201, "{path}: {text}");
        };
        put("principals/joel", json!({ "kind": "user" }));
        let issuer = json!({ "profile": "github-actions", "issuer": "https://ci.test" });
        put("trusted-issuers/github?validate=offline", issuer);
        for (kind, host, _) in DOORS {
            put(
                &format!("resource-servers/{kind}"),
                json!({
                    "resource": format!("https://{host}/"), "actions": ["create", "publish"],
                    "front_door": { "kind": kind, "hosts": [host] },
                }),
            );
        }
        put(
            "federated-credentials/release",
            json!({
                "principal": "joel", "trusted_issuer": "github",
                "match": {
                    "repository": "octo-org/octo-repo", "repository_owner_id": "65", "repository_id": "74",
                    "workflow_file": "release.yml",
                },
                "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
            }),
        );
    }

    fn admin(&self, method: &str, path: &str, body: impl Into<Body>) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1/{path}"))
            .header("authorization", format!("Bearer {}", self.token));
        self.send(request.body(body.into()).unwrap())
    }

    /// The status and the body of the answer, which is never a failure of the server's.
    fn send(&self, request: Request<Body>) -> (u16, String) {
        let answered = self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            (
                status,
                response.into_body().collect().await.unwrap().to_bytes(),
            )
        });
        let text = String::from_utf8(answered.1.to_vec()).unwrap();
        assert_ne!(answered.0, 500, "{text}");
        (answered.0, text)
    }
}

/// Nobody has an assertion of a platform, so no form gives a token.
pub fn token_form(input: &[u8]) {
    with_server(|server| {
        let request =
            Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        let (status, text) = server.send(request.body(Body::from(input.to_vec())).unwrap());
        assert!(
            (400..500).contains(&status) || status == 503,
            "{status}: {text}"
        );
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(
            answer["error"].is_string() && answer["reason"].is_string(),
            "{text}"
        );
    });
}

/// Input: a byte for the front door, and the body. Nobody gets a key.
pub fn front_door(input: &[u8]) {
    let Some((door, body)) = input.split_first() else {
        return;
    };
    let (_, host, path) = DOORS[usize::from(*door) % DOORS.len()];
    with_server(|server| {
        let request = Request::post(path)
            .header("host", host)
            .header("content-type", "application/json")
            .body(Body::from(body.to_vec()));
        let (status, text) = server.send(request.unwrap());
        assert!(
            (400..500).contains(&status) || status == 503,
            "{status}: {text}"
        );
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer["reason"].is_string(), "{text}");
    });
}

/// Input: a byte for the kind of object, and the document. It is judged alike however it is written.
pub fn admin_document(input: &[u8]) {
    let Some((kind, document)) = input.split_first() else {
        return;
    };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let path = format!("{kind}/fuzz?dry_run=true&validate=offline");
    with_server(|server| {
        let (status, text) = server.admin("PUT", &path, document.to_vec());
        assert!(status < 500, "{status}: {text}");
        let Ok(read) = serde_json::from_slice::<Value>(document) else {
            assert!(status >= 400, "no JSON was taken: {text}");
            return;
        };
        let written = serde_json::to_string(&read).unwrap();
        let (again, other) = server.admin("PUT", &path, written);
        // What is no document for its repeated members is one when they are gone.
        if status < 400 {
            assert_eq!(again, status, "{text} {other}");
        }
    });
}

/// Input: the query. A search finds events that there are, whatever it asks for.
pub fn audit_search(input: &[u8]) {
    let query: String = input
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'&'
            | b'='
            | b'%'
            | b'+'
            | b'_'
            | b'-'
            | b'.'
            | b':' => char::from(*byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    // Longer ones are no URIs.
    if query.len() > 60_000 {
        return;
    }
    with_server(|server| {
        let (status, text) = server.admin("GET", &format!("audit-events?{query}"), Body::empty());
        assert!(
            matches!(status, 200 | 400 | 404 | 414),
            "{status} {query}: {text}"
        );
        if status == 200 {
            let (_, all) = server.admin("GET", "audit-events?limit=500", Body::empty());
            let ids = |text: &str| -> Vec<String> {
                let page: Value = serde_json::from_str(text).unwrap();
                let items = page["items"].as_array().unwrap();
                items.iter().map(|event| event["id"].to_string()).collect()
            };
            let all = ids(&all);
            assert!(
                ids(&text).iter().all(|id| all.contains(id)),
                "{query}: {text}"
            );
        }
    });
}

/// Input: the metadata of a platform, a line of its own with `---`, and its keys. Saving the platform fetches both.
pub fn metadata(input: &[u8]) {
    let mark = b"\n---\n";
    let at = input.windows(mark.len()).position(|part| part == mark);
    let (metadata, keys) = match at {
        Some(at) => (&input[..at], &input[at + mark.len()..]),
        None => (input, &b"{\"keys\":[]}"[..]),
    };
    with_server(|server| {
        *server.platform.0.lock().unwrap() = (metadata.to_vec(), keys.to_vec());
        let issuer =
            json!({ "profile": "generic", "issuer": "https://issuer.test", "audiences": ["fuzz"] });
        let (status, text) = server.admin(
            "PUT",
            "trusted-issuers/fuzz?dry_run=true",
            issuer.to_string(),
        );
        assert!(status < 500, "{status}: {text}");
        *server.platform.0.lock().unwrap() = (Vec::new(), Vec::new());
    });
}
