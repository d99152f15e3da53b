//! The production router over a real database, called without a socket.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, Request};
use carnet::app::{App, Background};
use carnet::clock::{ManualClock, Timestamp};
use carnet::config::Config;
use carnet::decision::named_principals;
use carnet::http;
use carnet::own_tokens::LOCAL_CLIENT;
use carnet::scope::ScopeSet;
use carnet::tls::ClientCertificate;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{CARNET, FakeNetwork, TestDb};

/// When the tests take place.
pub const START: i64 = 1_800_000_000;

/// A server of a test.
#[derive(Clone, Debug)]
pub struct TestServer {
    pub app: Arc<App>,
    pub clock: Arc<ManualClock>,
    pub network: Arc<FakeNetwork>,
    pub db: Arc<TestDb>,
    pub router: Router,
    settings: Vec<(String, String)>,
    _background: Arc<Background>,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With these environment variables.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::at(START, settings).await
    }

    /// At another time than the tests', in seconds since 1970.
    pub async fn at(now: i64, settings: &[(&str, &str)]) -> Self {
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(now)));
        Self::on(
            Arc::new(TestDb::migrated().await),
            clock,
            Arc::default(),
            settings,
        )
        .await
    }

    /// On a database that may have tables of a release of before.
    pub async fn on_database(db: TestDb) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        Self::on(Arc::new(db), clock, Arc::default(), Vec::new()).await
    }

    async fn on(
        db: Arc<TestDb>,
        clock: Arc<ManualClock>,
        network: Arc<FakeNetwork>,
        settings: Vec<(String, String)>,
    ) -> Self {
        let mut environment = vec![
            ("CARNET_ISSUER".to_owned(), CARNET.to_owned()),
            (
                "CARNET_DATA_DIR".to_owned(),
                db.folder().display().to_string(),
            ),
            ("CARNET_DATABASE__URL".to_owned(), db.url().to_owned()),
            (
                "CARNET_KEY_FILES_DIR".to_owned(),
                db.key_files().display().to_string(),
            ),
        ];
        environment.extend(settings.clone());
        let unset: Vec<&String> = settings
            .iter()
            .filter(|(_, value)| value.is_empty())
            .map(|(name, _)| name)
            .collect();
        environment.retain(|(name, _)| !unset.contains(&name));
        let config = Config::from_sources(None, environment).unwrap();
        let (app, background) = App::start(config, clock.clone(), network.clone())
            .await
            .unwrap();
        let router = http::router(app.clone());
        Self {
            app,
            clock,
            network,
            db,
            router,
            settings,
            _background: Arc::new(background),
        }
    }

    /// Another node on the same database, with the same keys, clock and network.
    pub async fn another_node(&self) -> Self {
        self.another_node_with(&[]).await
    }

    /// The same with these environment variables beside its own.
    pub async fn another_node_with(&self, settings: &[(&str, &str)]) -> Self {
        let more = settings.iter();
        let more = more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self::on(
            self.db.clone(),
            self.clock.clone(),
            self.network.clone(),
            self.settings.iter().cloned().chain(more).collect(),
        )
        .await
    }

    /// A command beside the server: on the same database, with the same keys, clock and network.
    pub async fn command(&self) -> (Arc<App>, Background) {
        let config = self.app.config.clone();
        App::join(config, self.clock.clone(), self.network.clone())
            .await
            .unwrap()
    }

    /// The time, in seconds since 1970.
    pub fn now(&self) -> i64 {
        use carnet::clock::Clock as _;
        self.clock.now().seconds()
    }

    /// Waits until no delivery to a webhook is under way, so that what came of each is noted: the clock may move then.
    pub async fn deliveries_noted(&self) {
        let under_way = format!(
            "SELECT COUNT(*) FROM notification WHERE busy_until > {}",
            self.now() * 1000
        );
        for _ in 0..600 {
            if self.db.column::<i64>(&under_way).await == [0] {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("a delivery takes longer than half a minute");
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// A form, as clients send it.
    pub async fn form(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.form_text(path, &encode(form)).await
    }

    /// A form, from this address.
    pub async fn form_from(&self, address: &str, path: &str, form: &[(&str, &str)]) -> Answer {
        let peer = std::net::SocketAddr::new(address.parse().unwrap(), 4000);
        let request = Request::post(path).extension(axum::extract::ConnectInfo(peer));
        self.send_form(request, encode(form)).await
    }

    /// A form, with these header fields beside.
    pub async fn form_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Answer {
        let request = headers
            .iter()
            .fold(Request::post(path), |request, (name, value)| {
                request.header(*name, *value)
            });
        self.send_form(request, encode(form)).await
    }

    /// A form over a TLS connection that was made with this certificate, with these header fields
    /// beside.
    pub async fn form_over(
        &self,
        certificate: ClientCertificate,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Answer {
        let request = Request::post(path).extension(Arc::new(certificate));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        self.send_form(request, encode(form)).await
    }

    /// A body that says it is a form.
    pub async fn form_text(&self, path: &str, body: &str) -> Answer {
        self.send_form(Request::post(path), body.to_owned()).await
    }

    async fn send_form(&self, request: Builder, body: String) -> Answer {
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// An admin token with this scope.
    pub fn admin_token(&self, scope: &str) -> String {
        let (now, own) = (self.now(), &self.app.config.own);
        let named = named_principals(&ScopeSet::parse(scope).unwrap(), &self.app.rules());
        let claims = json!({
            "rests_on": named.unwrap_or_default(),
            "iss": own.issuer(), "aud": own.admin_resource(), "sub": "tester", "client_id": LOCAL_CLIENT, "iat": now,
            "exp": now + 3600, "jti": uuid::Uuid::from_bytes(carnet::ids::random()).to_string(), "scope": scope,
        });
        // Signed as the server does and recorded nowhere, so that tests count no events of their own tokens.
        self.app
            .keys
            .ring()
            .unwrap()
            .active()
            .sign(claims.to_string().as_bytes())
            .unwrap()
    }

    /// A request of the admin API with all rights.
    pub async fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        self.admin_as("admin", method, path, body).await
    }

    /// A request of the admin API with this scope. `null` sends no body.
    pub async fn admin_as(&self, scope: &str, method: &str, path: &str, body: Value) -> Answer {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("{}/admin/v1/{path}", self.app.config.own.path()))
            .header(
                "authorization",
                format!("Bearer {}", self.admin_token(scope)),
            );
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap()).await
    }

    /// Saves an object; it has to work.
    pub async fn put(&self, path: &str, body: Value) -> Value {
        let answer = self.admin("PUT", path, body).await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{path}: {}",
            answer.text()
        );
        answer.json()
    }

    /// The audit events, the latest first, once all are written.
    pub async fn audit(&self, query: &str) -> Vec<Value> {
        self.app.flush_audit().await;
        let answer = self
            .admin("GET", &format!("audit-events?{query}"), Value::Null)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["items"].as_array().unwrap().clone()
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The `reason` of a refusal.
    pub fn reason(&self) -> String {
        self.json()["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The access token; it has to be there.
    pub fn token(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Checks all that holds for every refusal (assertion BE of the checklist).
    #[track_caller]
    pub fn refused(&self, status: u16, error: &str, reason: &str) -> &Self {
        let body = self.json();
        assert_eq!(
            (self.status, body["error"].as_str(), body["reason"].as_str()),
            (status, Some(error), Some(reason)),
            "{body:#}"
        );
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert!(body.get("access_token").is_none(), "{body:#}");
        assert!(
            body["error_id"]
                .as_str()
                .is_some_and(|id| id.starts_with("ev_")),
            "{body:#}"
        );
        assert_eq!(body["error_uri"], format!("{CARNET}/reasons/{reason}"));
        let description = body["error_description"].as_str().unwrap();
        assert!(
            description
                .bytes()
                .all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\')
        );
        self
    }
}

/// Encodes a form.
pub fn encode(form: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish()
}
