//! No secret leaves the server but to whom it is for (ATK-202), and no caller's text breaks a line of the log (ATK-203): every
//! endpoint of a server process is driven at the level `trace` with secrets that are looked for afterwards.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use carnet_dpop::ProofKey;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::operation::log;
use crate::support::{
    CLIENT_ASSERTION, Collector, Installed, JWT, JWT_BEARER, Receiver, ServerProcess,
    TOKEN_EXCHANGE, TestKey, carnet, finished, free_address,
};

const ENCRYPTION_KEY: &str = "c0ffee00c0ffee01c0ffee02c0ffee03c0ffee04c0ffee05c0ffee06c0ffee07";
const PROXY_PASSWORD: &str = "canary-proxy-password";
const COLLECTOR_SECRET: &str = "canary-collector-secret";

/// The texts that must not be found, by what they are.
#[derive(Default)]
struct Canaries(BTreeMap<String, String>);

impl Canaries {
    fn add(&mut self, what: &str, text: impl Into<String>) {
        let text = text.into();
        assert!(
            text.len() > 12,
            "{what} is too short to be looked for: {text}"
        );
        self.0.insert(what.to_owned(), text);
    }

    /// A JWT is a secret by its signature, and its payload is not to be copied either.
    fn add_jwt(&mut self, what: &str, token: &str) {
        let mut parts = token.split('.').skip(1);
        self.add(&format!("payload of {what}"), parts.next().unwrap());
        self.add(&format!("signature of {what}"), parts.next().unwrap());
    }

    fn add_bytes(&mut self, what: &str, bytes: &[u8]) {
        self.add(&format!("{what} in base64"), STANDARD.encode(bytes));
        self.add(
            &format!("{what} in base64url"),
            URL_SAFE_NO_PAD.encode(bytes),
        );
        self.add(&format!("{what} as a list"), format!("{bytes:?}"));
    }

    #[track_caller]
    fn are_not_in(&self, place: &str, text: &str) {
        for (what, canary) in &self.0 {
            if let Some(at) = text.find(canary.as_str()) {
                let line = text[..at].rfind('\n').map_or(0, |start| start + 1);
                let shown: String = text[line..].chars().take(600).collect();
                panic!("{what} is in {place}: {shown}");
            }
        }
    }
}

/// A server process with everything on, and what is sent to it.
struct Target {
    installed: Installed,
    _server: ServerProcess,
    _folder: tempfile::TempDir,
    collector: Collector,
    metrics: String,
    http: reqwest::Client,
    admin: String,
    canaries: Canaries,
    /// The answers to requests that hold secrets of others.
    answers: String,
}

impl Target {
    async fn start() -> Self {
        let metrics = free_address();
        let collector = Collector::start().await;
        let folder = tempfile::tempdir().unwrap();
        let headers = folder.path().join("otlp-headers");
        std::fs::write(
            &headers,
            format!("Authorization: Bearer {COLLECTOR_SECRET}\n"),
        )
        .unwrap();
        let headers = headers.display().to_string();
        let audit = format!("file:{}", folder.path().join("audit.jsonl").display());
        let proxy = format!("http://carnet:{PROXY_PASSWORD}@{}", free_address());
        let installed = Installed::new(&[
            ("CARNET_KEYS__ENCRYPTION_KEY", ENCRYPTION_KEY),
            ("CARNET_LOG__FORMAT", "json"),
            ("CARNET_LOG__LEVEL", "trace"),
            ("CARNET_SERVER__METRICS_LISTEN", &metrics),
            ("CARNET_TELEMETRY__OTLP_ENDPOINT", &collector.url),
            ("CARNET_TELEMETRY__OTLP_HEADERS_FILE", &headers),
            ("CARNET_TELEMETRY__METRICS_INTERVAL_SECONDS", "1"),
            ("CARNET_AUDIT__EXPORT", &audit),
            ("CARNET_UPSTREAM__PROXY", &proxy),
            ("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true"),
        ])
        .await;
        let server = installed.start().await;
        let printed = command(&installed, &["admin-token"]);
        let mut canaries = Canaries::default();
        canaries.add("the encryption key", ENCRYPTION_KEY);
        let bytes: Vec<u8> = ENCRYPTION_KEY
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        canaries.add_bytes("the encryption key", &bytes);
        canaries.add("the proxy's password", PROXY_PASSWORD);
        canaries.add("the collector's secret", COLLECTOR_SECRET);
        canaries.add_jwt("the admin token", printed.trim());
        Self {
            installed,
            _server: server,
            _folder: folder,
            collector,
            metrics,
            http: reqwest::Client::new(),
            admin: printed.trim().to_owned(),
            canaries,
            answers: String::new(),
        }
    }

    fn at(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.installed.address))
    }

    async fn answer(request: RequestBuilder) -> (u16, String) {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends a request whose answer must not hold what was sent.
    async fn refused(&mut self, request: RequestBuilder) {
        let (status, text) = Self::answer(request).await;
        assert!(status >= 400, "{status} {text}");
        self.answers.push_str(&text);
        self.answers.push('\n');
    }

    async fn form(&self, path: &str, form: &[(&str, &str)]) -> (u16, String) {
        Self::answer(self.at(Method::POST, path).form(form)).await
    }

    async fn admin(&self, method: Method, path: &str, body: Value) -> Value {
        let request = self
            .at(method, &format!("/admin/v1/{path}"))
            .bearer_auth(&self.admin);
        let (status, text) = Self::answer(request.json(&body)).await;
        assert!(status < 300, "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A client whose secret the server makes.
    async fn client(&mut self, name: &str, method: &str) -> String {
        let document = json!({ "auth_method": method, "scopes": ["admin:read"] });
        let saved = self
            .admin(Method::PUT, &format!("clients/{name}"), document)
            .await;
        let secret = saved["client_secret"].as_str().unwrap().to_owned();
        self.canaries.add(&format!("the secret of {name}"), &secret);
        secret
    }

    fn good(&mut self, what: &str) -> String {
        let assertion = self.installed.good();
        self.canaries.add_jwt(what, &assertion);
        assertion
    }
}

fn command(installed: &Installed, arguments: &[&str]) -> String {
    let mut command = carnet();
    command
        .current_dir(installed.db.folder())
        .args(arguments)
        .envs(installed.settings());
    let done = finished(command.output().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    done.stdout
}

fn access_token(answer: &(u16, String)) -> String {
    let body: Value = serde_json::from_str(&answer.1).unwrap();
    body["access_token"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

/// Every grant and every front door, accepted and refused.
async fn drive_tokens(target: &mut Target) -> String {
    let assertion = target.good("an assertion");
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let token = access_token(&target.form("/token", &form).await);
    target.canaries.add_jwt("an access token", &token);
    // Used, forged, cut, in a wrong place, and by a wrong method.
    let request = target.at(Method::POST, "/token").form(&form);
    target.refused(request).await;
    let forged = format!("{}AAAA", &assertion[..assertion.len() - 4]);
    let request = target
        .at(Method::POST, "/token")
        .form(&[form[0], ("assertion", &forged)]);
    target.refused(request).await;
    let query = format!("/token?assertion={assertion}");
    for (method, path) in [
        (Method::GET, query.as_str()),
        (Method::POST, &query),
        (Method::GET, &format!("/nothing/{assertion}")),
    ] {
        let request = target.at(method, path);
        target.refused(request).await;
    }
    // A refused workload, whose event has its claims.
    let claims = target
        .installed
        .claims()
        .with("event_name", "pull_request_target");
    let elsewhere = target.installed.sign(&claims);
    target.canaries.add_jwt("a refused assertion", &elsewhere);
    let request = target
        .at(Method::POST, "/token")
        .form(&[form[0], ("assertion", &elsewhere)]);
    target.refused(request).await;
    // Bound to a key.
    let key = ProofKey::generate().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let url = format!("http://{}/token", target.installed.address);
    let proof = key
        .prove(("POST", &url), None, None, now.try_into().unwrap())
        .unwrap();
    target.canaries.add_jwt("a proof", &proof);
    let assertion = target.good("an assertion with a proof");
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let request = target
        .at(Method::POST, "/token")
        .header("dpop", &proof)
        .form(&form);
    let bound = access_token(&Target::answer(request).await);
    target.canaries.add_jwt("a bound token", &bound);
    let request = target
        .at(Method::POST, "/token")
        .header("dpop", &proof)
        .form(&form);
    target.refused(request).await;
    // Exchanged.
    let assertion = target.good("an exchanged assertion");
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", assertion.as_str()),
        ("subject_token_type", JWT),
    ];
    let exchanged = access_token(&target.form("/token", &form).await);
    target.canaries.add_jwt("an exchanged token", &exchanged);
    // Explained, and at the front doors.
    let assertion = target.good("an explained assertion");
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    assert_eq!(target.form("/explain", &form).await.0, 200);
    for (door, member) in [
        ("/_/oidc/mint-token", "token"),
        ("/api/v1/trusted_publishing/tokens", "jwt"),
        ("/-/npm/v1/oidc/token/exchange/package/widgets", "token"),
        ("/api/v1/oidc/trusted_publisher/exchange_token", "jwt"),
        ("/api/v2/token", "token"),
        ("/_/oidc/burn-token", "token"),
    ] {
        for path in [door.to_owned(), format!("/registry/pypi{door}")] {
            let assertion = target.good(&format!("an assertion at {path}"));
            let request = target
                .at(Method::POST, &path)
                .bearer_auth(&assertion)
                .json(&json!({ member: assertion }));
            target.answers.push_str(&Target::answer(request).await.1);
        }
    }
    token
}

/// Clients with good and wrong credentials, at every endpoint that takes them.
async fn drive_clients(target: &mut Target, token: &str) {
    let basic = target.client("basic-client", "client_secret_basic").await;
    let post = target.client("post-client", "client_secret_post").await;
    target.canaries.add(
        "the basic credentials",
        STANDARD.encode(format!("basic-client:{basic}")),
    );
    let resource = format!("http://{}/admin", target.installed.address);
    let grant = [
        ("grant_type", "client_credentials"),
        ("resource", resource.as_str()),
    ];
    let request = target
        .at(Method::POST, "/token")
        .basic_auth("basic-client", Some(&basic))
        .form(&grant);
    let admin = access_token(&Target::answer(request).await);
    target.canaries.add_jwt("a client's admin token", &admin);
    let with_secret = [
        grant[0],
        grant[1],
        ("client_id", "post-client"),
        ("client_secret", &post),
    ];
    let admin = access_token(&target.form("/token", &with_secret).await);
    target
        .canaries
        .add_jwt("another client's admin token", &admin);
    let wrong = "canary-wrong-client-secret";
    target.canaries.add("a wrong client secret", wrong);
    let odd = "canary-odd-authorization-scheme-value";
    target.canaries.add("the value of an odd scheme", odd);
    let registry = json!({ "auth_method": "client_secret_basic", "resource_server": "pypi" });
    let saved = target
        .admin(Method::PUT, "clients/registry", registry)
        .await;
    let secret = saved["client_secret"].as_str().unwrap().to_owned();
    target.canaries.add("the registry's secret", &secret);
    let about = [("token", token)];
    for path in ["/introspect", "/revoke", "/token", "/explain"] {
        let request = target
            .at(Method::POST, path)
            .basic_auth("basic-client", Some(wrong))
            .form(&about);
        target.refused(request).await;
        let request = target
            .at(Method::POST, path)
            .header("authorization", format!("Odd {odd}"))
            .form(&about);
        target.refused(request).await;
        let request = target.at(Method::POST, path).form(&[
            ("client_id", "post-client"),
            ("client_secret", wrong),
            ("client_secret", wrong),
        ]);
        target.refused(request).await;
    }
    let assertion = TestKey::ec("other", "ES256")
        .sign(&json!({ "iss": "basic-client", "sub": "basic-client", "jti": "canary-jti" }));
    target.canaries.add_jwt("a client assertion", &assertion);
    let request = target.at(Method::POST, "/token").form(&[
        grant[0],
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", &assertion),
    ]);
    target.refused(request).await;
    let request = target
        .at(Method::POST, "/introspect")
        .basic_auth("registry", Some(&secret))
        .form(&about);
    let (status, text) = Target::answer(request).await;
    assert!(status == 200 && text.contains("\"active\":true"), "{text}");
    let rotated = target
        .admin(
            Method::POST,
            "clients/basic-client/rotate-secret",
            json!({}),
        )
        .await;
    target.canaries.add(
        "a rotated secret",
        rotated["client_secret"].as_str().unwrap(),
    );
}

/// The admin API: secrets in its answers, in what it is told, and in what it refuses.
async fn drive_admin(target: &mut Target, token: &str) {
    let receiver = Receiver::start().await;
    let url = format!(
        "{}/canary-secret-path?key=canary-secret-query",
        receiver.url
    );
    target
        .canaries
        .add("the path of a webhook", "canary-secret-path");
    target
        .canaries
        .add("the query of a webhook", "canary-secret-query");
    let notification = json!({ "url": url });
    let request = target
        .at(Method::PUT, "/admin/v1/notifications/ops")
        .bearer_auth(&target.admin)
        .json(&notification);
    let (status, text) = Target::answer(request).await;
    assert_eq!(status, 201, "{text}");
    let saved: Value = serde_json::from_str(&text).unwrap();
    let of_hook = |saved: &Value| {
        saved["secret"]
            .as_str()
            .unwrap_or_else(|| panic!("{saved:#}"))
            .strip_prefix("whsec_")
            .unwrap()
            .to_owned()
    };
    target.canaries.add("a webhook's secret", of_hook(&saved));
    let rotated = target
        .admin(Method::POST, "notifications/ops/rotate-secret", json!({}))
        .await;
    target
        .canaries
        .add("a webhook's next secret", of_hook(&rotated));
    target
        .admin(Method::POST, "notifications/ops/test", json!({}))
        .await;
    target
        .admin(Method::POST, "tokens/inspect", json!({ "token": token }))
        .await;
    for (method, path, body) in [
        // Its keys are fetched through the proxy.
        (
            Method::PUT,
            "trusted-issuers/other",
            "{\"profile\": \"github-actions\", \"issuer\": \"https://ci.example\"}",
        ),
        (
            Method::PUT,
            "principals/x",
            "{\"kind\": \"canary-unclosed-document",
        ),
        (
            Method::PUT,
            "clients/x",
            "{\"auth_method\": 1, \"client_secret\": \"canary-made-up-secret\"}",
        ),
        (
            Method::POST,
            "tokens/revoke",
            "{\"token\": \"canary-token-that-is-none\"}",
        ),
        (
            Method::POST,
            "explanations",
            "{\"assertion\": \"canary-explained-text\"}",
        ),
    ] {
        let request = target
            .at(method, &format!("/admin/v1/{path}"))
            .bearer_auth(&target.admin)
            .body(body)
            .header("content-type", "application/json");
        let (status, text) = Target::answer(request).await;
        assert!(
            status != 500 && (status >= 400) != (path == "explanations"),
            "{path}: {status} {text}"
        );
    }
    target
        .canaries
        .add("a secret in a refused document", "canary-made-up-secret");
    target
        .canaries
        .add("a token that is none", "canary-token-that-is-none");
    target
        .canaries
        .add("an assertion that is none", "canary-explained-text");
    target
        .canaries
        .add("an admin token that is none", "canary-no-admin-token");
    for path in ["clients", "audit-events", "keys", "openapi.json"] {
        let request = target
            .at(Method::GET, &format!("/admin/v1/{path}"))
            .bearer_auth("canary-no-admin-token");
        target.answers.push_str(&Target::answer(request).await.1);
    }
    for path in [
        "clients",
        "notifications",
        "federated-credentials",
        "trusted-issuers",
        "audit-events?limit=500",
    ] {
        let request = target
            .at(Method::GET, &format!("/admin/v1/{path}"))
            .bearer_auth(&target.admin);
        let (status, text) = Target::answer(request).await;
        assert_eq!(status, 200, "{path}: {text}");
        // The administrator reads the URL of a webhook, and no secret.
        if path != "notifications" {
            target.answers.push_str(&text);
        }
    }
    target
        .admin(Method::POST, "tokens/revoke", json!({ "token": token }))
        .await;
    let (status, text) = target
        .form("/revoke", &[("token", "canary-token-that-is-none")])
        .await;
    assert!(status < 500, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn atk_202__no_secret_is_in_logs_metrics_traces_answers_command_output_or_audit_events() {
    let mut target = Target::start().await;
    let token = drive_tokens(&mut target).await;
    drive_clients(&mut target, &token).await;
    drive_admin(&mut target, &token).await;
    for path in [
        "/jwks",
        "/healthz",
        "/readyz",
        "/.well-known/oauth-authorization-server",
        "/reasons/replay",
    ] {
        let (status, text) = Target::answer(target.at(Method::GET, path)).await;
        assert_eq!(status, 200);
        target.answers.push_str(&text);
    }
    let metrics = reqwest::get(format!("http://{}/metrics", target.metrics))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let replays = "carnet_refusals_total{reason=\"replay\"} 2";
    assert!(
        metrics.contains(replays) || metrics.contains("reason=\"proof_replayed\"} 1"),
        "{metrics}"
    );
    target
        .collector
        .metric("carnet_tokens_issued_total", |_| true)
        .await;
    command(&target.installed, &["audit"]);
    let printed = [
        "check",
        "config show",
        "audit --json",
        "export",
        "list clients",
        "issuers status",
    ];
    let printed =
        printed.map(|line| command(&target.installed, &line.split(' ').collect::<Vec<_>>()));
    // What is exported has the URLs of webhooks.
    let printed = printed
        .join("\n")
        .replace("canary-secret-path?key=canary-secret-query", "");
    let text = log(target.installed.db.folder());
    assert!(
        text.contains("\"level\":\"TRACE\""),
        "the log says everything"
    );
    assert!(text.contains("\"request_id\":\""));
    for line in text.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line.is_object());
    }
    let canaries = &target.canaries;
    canaries.are_not_in("the log", &text);
    canaries.are_not_in("the metrics", &metrics);
    canaries.are_not_in("the traces", &format!("{:?}", target.collector.spans()));
    canaries.are_not_in("the answers", &target.answers);
    canaries.are_not_in("the output of commands", &printed);
    let columns = "CAST(detail AS TEXT) || ' ' || COALESCE(parts, '') || ' ' || COALESCE(subject, '') || ' ' || COALESCE(assertion_jti, '') || ' ' || COALESCE(workload, '')";
    let events = target
        .installed
        .db
        .column::<String>(&format!("SELECT {columns} FROM audit_event"))
        .await;
    assert!(events.len() > 10, "{events:?}");
    canaries.are_not_in("the audit events", &events.join("\n"));
    // The check can fail: what is known to be in the log is found there.
    let mut known = Canaries::default();
    known.add("a known text", "request refused");
    assert!(std::panic::catch_unwind(|| known.are_not_in("the log", &text)).is_err());
}

#[test]
fn atk_202__no_password_is_in_what_check_and_config_show_print() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = free_address();
    let database = format!(
        "postgres://carnet:canary-database-password@{nobody}/carnet?sslpassword=canary-other-password"
    );
    for arguments in [&["check"][..], &["config", "show"], &["serve"]] {
        let mut command = carnet();
        command
            .current_dir(folder.path())
            .args(arguments)
            .env("CARNET_DATABASE__URL", &database)
            .env("CARNET_DATABASE__WAIT_SECONDS", "0")
            .env("CARNET_KEYS__ENCRYPTION_KEY", ENCRYPTION_KEY)
            .env("CARNET_LOG__LEVEL", "trace")
            .env("CARNET_LOG__FORMAT", "json")
            .env(
                "CARNET_UPSTREAM__PROXY",
                format!("http://u:{PROXY_PASSWORD}@proxy.test:1"),
            );
        let done = finished(command.output().unwrap());
        let printed = format!("{}{}", done.stdout, done.stderr);
        assert!(
            printed.contains(nobody.split(':').next_back().unwrap()),
            "{arguments:?}: {printed}"
        );
        for canary in [
            "canary-database-password",
            "canary-other-password",
            ENCRYPTION_KEY,
            PROXY_PASSWORD,
        ] {
            assert!(!printed.contains(canary), "{arguments:?}: {printed}");
        }
    }
}

#[tokio::test]
async fn atk_203__a_hostile_claim_value_breaks_no_line_of_the_log() {
    let hostile = "a\n{\"level\":\"ERROR\"}\r\u{1b}[2J\u{9b}31m%s${jndi:ldap://x}\u{0}\"\\";
    for format in ["json", "text"] {
        let installed = Installed::new(&[
            ("CARNET_LOG__FORMAT", format),
            ("CARNET_LOG__LEVEL", "debug"),
        ])
        .await;
        let server = installed.start().await;
        let before = log(installed.db.folder()).lines().count();
        let claims = installed
            .claims()
            .with("sub", hostile)
            .with("iss", format!("https://{hostile}"));
        let (status, body) = installed.exchange(&installed.sign(&claims)).await;
        assert_eq!(status, 400, "{body:#}");
        let claims = installed
            .claims()
            .with("sub", hostile)
            .with("event_name", hostile);
        installed.exchange(&installed.sign(&claims)).await;
        let form = [
            ("grant_type", hostile),
            ("client_id", hostile),
            ("resource", hostile),
        ];
        let request = reqwest::Client::new()
            .post(format!("{}/token", server.url))
            .form(&form);
        assert_eq!(request.send().await.unwrap().status(), 400);
        server.terminate();
        let text = log(installed.db.folder());
        let refusals: Vec<&str> = text
            .lines()
            .skip(before)
            .filter(|line| line.contains("request refused"))
            .collect();
        assert_eq!(refusals.len(), 3, "{text}");
        for line in text.lines() {
            assert!(!line.contains(char::is_control), "{line:?}");
            if format == "json" {
                let read: Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(read["fields"]["message"].is_string(), "{line}");
            } else {
                assert!(
                    line.starts_with("20"),
                    "each line begins with its time: {line}"
                );
            }
        }
        assert!(
            refusals[0].contains("${jndi:ldap://x}"),
            "kept, and escaped: {}",
            refusals[0]
        );
    }
}
