//! A server with an identity provider, and a browser that keeps cookies.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use serde_json::{Value, json};
use url::Url;

use crate::support::{Answer, TestKey, TestServer, encode};

pub const PROVIDER: &str = "https://login.test";
const CLIENT: &str = "carnet-at-login";

/// A well-behaved provider. People do not see its pages: the test says who signs in.
#[derive(Clone, Debug)]
pub struct Provider {
    key: TestKey,
    /// The claims that a code stands for.
    codes: Arc<Mutex<HashMap<String, Value>>>,
    /// Every ID token that was issued.
    pub id_tokens: Arc<Mutex<Vec<String>>>,
    pub is_away: Arc<Mutex<bool>>,
    /// Whether its metadata names `auth_time`.
    pub names_auth_time: Arc<Mutex<bool>>,
    /// Every code verifier that came.
    pub verifiers: Arc<Mutex<Vec<String>>>,
    /// Its metadata and tokens are answered while nobody holds this.
    pub gate: Arc<tokio::sync::Mutex<()>>,
    /// How many requests came to the gate.
    pub came: Arc<AtomicUsize>,
}

impl Provider {
    pub fn new() -> Self {
        Self {
            key: TestKey::rsa(5),
            codes: Arc::default(),
            id_tokens: Arc::default(),
            is_away: Arc::default(),
            names_auth_time: Arc::new(Mutex::new(true)),
            verifiers: Arc::default(),
            gate: Arc::default(),
            came: Arc::default(),
        }
    }

    async fn pass_the_gate(&self) {
        self.came.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().await);
    }

    /// Waits until so many requests came to the gate.
    pub async fn has_come(&self, number: usize) {
        while self.came.load(Ordering::SeqCst) < number {
            tokio::task::yield_now().await;
        }
    }

    pub fn router(&self) -> Router {
        let (tokens, keys, gate) = (self.clone(), self.clone(), self.clone());
        let metadata = json!({
            "issuer": PROVIDER, "authorization_endpoint": format!("{PROVIDER}/authorize"), "token_endpoint": format!("{PROVIDER}/token"),
            "jwks_uri": format!("{PROVIDER}/jwks"), "end_session_endpoint": format!("{PROVIDER}/logout"), "response_types_supported": ["code"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
            "claims_supported": ["sub", "auth_time"],
        });
        let (away, names_auth_time) = (self.is_away.clone(), self.names_auth_time.clone());
        Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || {
                    gate.pass_the_gate().await;
                    if *away.lock().unwrap() {
                        return StatusCode::BAD_GATEWAY.into_response();
                    }
                    let mut metadata = metadata.clone();
                    if !*names_auth_time.lock().unwrap() {
                        metadata["claims_supported"] = json!(["sub"]);
                    }
                    axum::Json(metadata).into_response()
                }),
            )
            .route(
                "/jwks",
                get(async move || axum::Json(json!({ "keys": [keys.key.jwk()] }))),
            )
            .route(
                "/token",
                post(async move |body: Bytes| {
                    tokens.pass_the_gate().await;
                    tokens.exchange(&body)
                }),
            )
    }

    fn exchange(&self, body: &[u8]) -> axum::response::Response {
        let form: HashMap<String, String> =
            url::form_urlencoded::parse(body).into_owned().collect();
        let verifier = form["code_verifier"].clone();
        self.verifiers.lock().unwrap().push(verifier);
        let Some(claims) = self.codes.lock().unwrap().remove(&form["code"]) else {
            return (
                StatusCode::BAD_REQUEST,
                axum::Json(json!({ "error": "invalid_grant" })),
            )
                .into_response();
        };
        let id_token = self.key.sign(&claims);
        self.id_tokens.lock().unwrap().push(id_token.clone());
        axum::Json(json!({ "access_token": "canary-access-token", "token_type": "Bearer", "id_token": id_token }))
            .into_response()
    }

    /// The query with which the person comes back whom these claims describe, from this request.
    pub fn answer(&self, location: &str, now: i64, claims: &Value) -> String {
        let url = Url::parse(location).unwrap();
        let sent: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(sent["client_id"], CLIENT);
        assert_eq!(sent["code_challenge_method"], "S256");
        let mut all = json!({
            "iss": PROVIDER, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": sent["nonce"], "auth_time": now, "amr": ["pwd", "otp"],
        });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let code = format!(
            "canary-code-{}",
            carnet_jose::base64url(carnet::ids::random::<12>())
        );
        self.codes.lock().unwrap().insert(code.clone(), all);
        encode(&[("code", &code), ("state", &sent["state"])])
    }
}

/// A server at which people sign in: those of the group `owners` own `octo-org`.
pub struct People {
    pub server: TestServer,
    pub provider: Provider,
}

impl People {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::at(TestServer::with(settings).await).await
    }

    /// At a server that there is already.
    pub async fn at(server: TestServer) -> Self {
        let provider = Provider::new();
        server.network.add_service("login.test", provider.router());
        let people = Self { server, provider };
        people.put_provider(json!({})).await;
        people
            .put("principals/octo-org", json!({ "kind": "organization" }))
            .await;
        let owners = json!({ "identity_provider": "corp", "match": { "groups": ["owners"] }, "principal": "octo-org", "role": "owner" });
        people.put("memberships/owners", owners).await;
        people
    }

    pub async fn put(&self, path: &str, body: Value) {
        self.server.put(path, body).await;
    }

    /// Saves the provider with these members instead of the usual ones.
    pub async fn put_provider(&self, changes: Value) {
        let mut document = json!({
            "display_name": "Corp login", "issuer": PROVIDER, "client_id": CLIENT, "auth_method": "none", "second_factor": { "amr": ["otp"] },
        });
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        self.put("identity-providers/corp", document).await;
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser {
            server: &self.server,
            cookies: BTreeMap::new(),
            seen: Vec::new(),
            address: None,
        }
    }

    /// The claims of the person whom most tests are about.
    pub fn ada() -> Value {
        json!({ "sub": "ada-1", "name": "Ada <Lovelace>", "preferred_username": "ada", "email": "ada@corp.test", "email_verified": true, "groups": ["owners"] })
    }

    /// Ada's browser, signed in.
    pub async fn signed_in(&self) -> Browser<'_> {
        let mut browser = self.browser();
        let answer = browser.sign_in(self, &Self::ada()).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("https://as.test/console")),
            "{}",
            answer.text()
        );
        browser
    }

    /// The id of the only person.
    pub async fn person(&self) -> String {
        let people = self.server.admin("GET", "people", Value::Null).await.json();
        people["items"][0]["id"].as_str().unwrap().to_owned()
    }

    pub async fn count(&self, table: &str) -> i64 {
        self.server
            .db
            .column(&format!("SELECT COUNT(*) FROM {table}"))
            .await[0]
    }
}

/// A browser: it keeps cookies, and what it has seen.
#[derive(Clone)]
pub struct Browser<'s> {
    pub server: &'s TestServer,
    pub cookies: BTreeMap<String, String>,
    /// Every page and header field that came.
    pub seen: Vec<String>,
    pub address: Option<&'static str>,
}

pub const SESSION: &str = "__Host-carnet-session";

impl Browser<'_> {
    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[("host", "as.test")], Vec::new())
            .await
    }

    /// Submits a form as a page of ours does.
    pub async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Answer {
        let ours = [
            ("origin", "https://as.test"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.post_with(path, &ours, form).await
    }

    pub async fn post_with(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Answer {
        let usual = [
            ("host", "as.test"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.send(
            "POST",
            path,
            &[&usual, headers].concat(),
            encode(form).into_bytes(),
        )
        .await
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !self.cookies.is_empty() {
            let cookies = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            request = request.header("cookie", cookies.collect::<Vec<_>>().join("; "));
        }
        if let Some(address) = self.address {
            let peer = std::net::SocketAddr::new(address.parse().unwrap(), 4000);
            request = request.extension(axum::extract::ConnectInfo(peer));
        }
        let answer = self
            .server
            .send(request.body(Body::from(body)).unwrap())
            .await;
        self.keep(&answer.headers);
        let is_cookie = |name: &str| name == "set-cookie" || name == "location";
        let fields = answer
            .headers
            .iter()
            .filter(|(name, _)| !is_cookie(name.as_str()));
        let fields: Vec<String> = fields
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        self.seen
            .push(format!("{}\n{}", fields.join("\n"), answer.text()));
        answer
    }

    pub fn keep(&mut self, headers: &HeaderMap) {
        for set in headers.get_all("set-cookie") {
            let text = set.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Signs in as the person with these claims.
    pub async fn sign_in(&mut self, people: &People, claims: &Value) -> Answer {
        let location = self.begin("/console/sign-in/corp").await;
        self.come_back(people, &location, claims).await
    }

    /// Where this page, which begins a sign-in, sends the browser.
    pub async fn begin(&mut self, path: &str) -> String {
        let begun = self.get(path).await;
        assert_eq!(begun.status, 303, "{}", begun.text());
        begun.header("location").unwrap().to_owned()
    }

    /// Proves anew who one is.
    pub async fn step_up(&mut self, people: &People, claims: &Value) -> Answer {
        let location = self.begin_step_up(&[]).await;
        self.come_back(people, &location, claims).await
    }

    /// Where the browser is sent to prove anew who one is.
    pub async fn begin_step_up(&mut self, fields: &[(&str, &str)]) -> String {
        let csrf = self.csrf().await;
        let form = [&[("csrf", csrf.as_str())], fields].concat();
        let page = self.post("/console/step-up", &form).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let location = link(&page.text());
        assert!(
            location.starts_with(&format!("{PROVIDER}/authorize?")),
            "{location}"
        );
        location
    }

    pub async fn come_back(&mut self, people: &People, location: &str, claims: &Value) -> Answer {
        let query = people
            .provider
            .answer(location, people.server.now(), claims);
        self.get(&format!("/console/sign-in/corp/callback?{query}"))
            .await
    }

    /// The token in the forms of the first page.
    pub async fn csrf(&mut self) -> String {
        let page = self.get("/console").await;
        token_in(&page.text()).unwrap_or_else(|| panic!("{} {}", page.status, page.text()))
    }

    pub fn session(&self) -> Option<String> {
        self.cookies.get(SESSION).cloned()
    }
}

/// The token in the first form of a page.
pub fn token_in(page: &str) -> Option<String> {
    let rest = page.split("name=\"csrf\" value=\"").nth(1)?;
    rest.split('"').next().map(str::to_owned)
}

/// Where the button of a page that leads on leads to, which is where the browser goes by itself.
pub fn link(page: &str) -> String {
    let href = page
        .split("class=\"button\" href=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let refresh = format!("<meta http-equiv=\"refresh\" content=\"0; url={href}\">");
    assert!(page.contains(&refresh), "{page}");
    href.replace("&#38;", "&").replace("&amp;", "&")
}
