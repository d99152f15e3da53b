//! `carnet exchange` (contract section 2), as a job runs it: the built binary, a server process, and stand-ins for platforms.

mod bound;
mod explains;
mod hostile;
mod mistakes;
mod platforms;
mod refusals;
mod restarts;
mod retries;
mod snippets;
mod templates;
mod without_program;

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::{
    Finished, ServerProcess, TestDb, TestKey, carnet, carnet_in, finished, first_start,
    free_address, github,
};

const REGISTRY: &str = "https://registry.test/pypi/";
const BUILDS: &str = "https://builds.test";

/// The variables that a GitHub Action gives its script, from these inputs; nothing for the others.
fn variables_of(action: &str, inputs: &[(&str, &str)]) -> Vec<(String, String)> {
    let lines = action.lines().filter_map(|line| {
        line.trim()
            .strip_prefix("EXCHANGE_")?
            .split_once(": ${{ inputs.")
    });
    let variables = lines.map(|(name, input)| {
        let input = input.strip_suffix(" }}").unwrap();
        assert!(
            action.contains(&format!("\n  {input}:\n    description: ")),
            "{input} is no input"
        );
        let mut given = inputs.iter().filter(|(name, _)| *name == input);
        let value = given.next().map_or("", |(_, value)| value);
        (format!("EXCHANGE_{name}"), value.to_owned())
    });
    variables.collect()
}

/// A server that trusts GitHub and a build system of its own.
struct Ground {
    db: TestDb,
    server: ServerProcess,
    /// The server's configuration as environment variables, for commands on its database.
    settings: Vec<(String, String)>,
}

impl Ground {
    async fn new() -> Self {
        Self::holding(objects()).await
    }

    /// A server with these objects.
    async fn holding(objects: Value) -> Self {
        let address = free_address();
        let issuer = format!("http://{address}");
        Self::set_up(&issuer, &address, objects).await
    }

    /// A server that listens at `address` and is known to the world as `issuer`.
    async fn behind(issuer: &str, address: &str) -> Self {
        Self::set_up(issuer, address, objects()).await
    }

    async fn set_up(issuer: &str, address: &str, objects: Value) -> Self {
        let db = TestDb::new().await;
        let settings = [
            ("CARNET_DATABASE__URL", db.url()),
            ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
            ("CARNET_ISSUER", issuer),
            ("CARNET_SERVER__LISTEN", address),
        ];
        std::fs::write(db.folder().join("objects.json"), objects.to_string()).unwrap();
        first_start(db.folder(), &settings);
        let mut apply = carnet();
        apply
            .current_dir(db.folder())
            .args(["apply", "-f", "objects.json"])
            .envs(settings);
        let applied = finished(apply.output().unwrap());
        assert_eq!(applied.code, 0, "{applied:?}");
        let server = ServerProcess::start_at(db.folder(), address, &settings).await;
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            settings: settings.to_vec(),
            db,
            server,
        }
    }

    /// Runs a command on the server's database, with this environment besides.
    fn locally(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let mut command = bare(environment);
        command
            .current_dir(self.folder())
            .envs(self.settings.iter().cloned());
        finished(command.args(arguments).output().unwrap())
    }

    fn folder(&self) -> &Path {
        self.db.folder()
    }

    /// One that the server takes.
    fn token(&self) -> String {
        token_for(self.server.url.as_str())
    }

    /// Runs the command as a job with this environment and no other, for [`REGISTRY`] unless the
    /// arguments name another.
    fn exchange(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let mut command = bare(environment);
        command
            .current_dir(self.folder())
            .args(["exchange", "--server", &self.server.url]);
        if !arguments.contains(&"--resource") {
            command.args(["--resource", REGISTRY]);
        }
        finished(command.args(arguments).output().unwrap())
    }

    /// The same with a file for the token.
    fn exchange_file(&self, token: &str, arguments: &[&str]) -> Finished {
        let path = self.write("assertion.jwt", token);
        self.exchange(
            &[&["--assertion-file", path.to_str().unwrap()], arguments].concat(),
            &[],
        )
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn objects() -> Value {
    let keys = |number: usize| json!({ "source": "static", "jwks": { "keys": [TestKey::rsa(number).jwk()] } });
    let permissions = json!([{ "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["widgets*"] }]);
    json!({
        "principals": { "joel": { "id": "pr_joel", "kind": "user" }, "acme": { "id": "pr_acme", "kind": "organization" } },
        "trusted_issuers": {
            "github": { "profile": "github-actions", "issuer": crate::support::GH, "keys": keys(0) },
            "builds": { "profile": "generic", "issuer": BUILDS, "keys": keys(1) },
        },
        "resource_servers": { "pypi": { "resource": REGISTRY, "actions": ["create", "publish"] } },
        "federated_credentials": {
            "octo-release": {
                "principal": "joel", "trusted_issuer": "github", "permissions": permissions,
                "match": {
                    "repository": "octo-org/octo-repo", "repository_owner_id": "65", "repository_id": "74",
                    "workflow_file": "release.yml", "environment": "release",
                },
            },
            "widgets": {
                "principal": "acme", "trusted_issuer": "builds", "permissions": permissions,
                "match": { "subject": "project:widgets" },
            },
        },
    })
}

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

/// A token of the build system for this audience.
fn token_for(audience: impl Into<Value>) -> String {
    let id = uuid::Uuid::from_bytes(carnet::ids::random());
    let audience: Value = audience.into();
    TestKey::rsa(1).sign(&json!({
        "iss": BUILDS, "sub": "project:widgets", "aud": audience, "jti": id.to_string(), "iat": now(), "exp": now() + 300,
    }))
}

/// The binary with this environment alone.
fn bare(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carnet"));
    command
        .env_clear()
        .stdin(Stdio::null())
        .envs(environment.iter().copied());
    command
}

/// A stand-in for a platform.
async fn stand_in(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// Checks that the command printed one access token for the registry and nothing else, and returns its claims.
#[track_caller]
fn access_token(run: &Finished) -> Value {
    assert_eq!(run.code, 0, "{run:?}");
    let token = run.stdout.strip_suffix('\n').unwrap();
    assert!(
        !token.contains(char::is_whitespace) && token.split('.').count() == 3,
        "{run:?}"
    );
    let claims: Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(token.split('.').nth(1).unwrap())
            .unwrap(),
    )
    .unwrap();
    assert_eq!(claims["aud"], REGISTRY);
    claims
}

/// Checks that the command was refused (exit code 1), printed no token, and says all of this.
#[track_caller]
fn fails(run: &Finished, says: &[&str]) {
    fails_with(1, run, says);
}

/// Checks that the command failed with this exit code, printed no token, and says all of this.
#[track_caller]
fn fails_with(code: i32, run: &Finished, says: &[&str]) {
    assert_eq!(run.code, code, "{run:?}");
    assert_eq!(run.stdout, "", "{run:?}");
    for part in says {
        assert!(
            run.stderr.contains(part),
            "{part} is missing: {}",
            run.stderr
        );
    }
    assert!(!run.stderr.contains("eyJ"), "a token is printed: {run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_prints_the_token_alone() {
    let ground = Ground::new().await;
    let run = ground.exchange_file(&format!("{}\n", ground.token()), &[]);
    let claims = access_token(&run);
    assert_eq!(
        (claims["sub"].as_str(), claims["scope"].as_str()),
        (Some("pr_acme"), Some("create publish"))
    );
    assert_eq!(run.stderr, "");
    // The token endpoint is an audience too, and a proxy for the world outside is not for this machine.
    let path = ground.write(
        "assertion.jwt",
        &token_for(format!("{}/token", ground.server.url)),
    );
    let proxies = [
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
        ("ALL_PROXY", "http://127.0.0.1:1"),
    ];
    access_token(&ground.exchange(&["--assertion-file", path.to_str().unwrap()], &proxies));
    // From a variable, among others that are not even text, and from standard input.
    let mut garbled = bare(&[("OTHER", &ground.token())]);
    garbled.env("GARBLED", std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    garbled.args([
        "exchange",
        "--server",
        &ground.server.url,
        "--resource",
        REGISTRY,
        "--assertion-env",
        "OTHER",
    ]);
    access_token(&finished(garbled.output().unwrap()));
    access_token(&ground.exchange(&["--assertion-env", "OTHER"], &[("OTHER", &ground.token())]));
    let path = ground.write("assertion.jwt", &ground.token());
    let mut piped = bare(&[]);
    piped.args([
        "exchange",
        "--server",
        &ground.server.url,
        "--resource",
        REGISTRY,
        "--assertion-file",
        "-",
    ]);
    access_token(&finished(
        piped
            .stdin(std::fs::File::open(path).unwrap())
            .output()
            .unwrap(),
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_sends_the_scope_principal_details_and_grant_of_its_options() {
    let ground = Ground::new().await;
    let details =
        r#"[{"type":"package","actions":["publish"],"packages":["widgets"],"version":"1.2.3"}]"#;
    let run = ground.exchange_file(
        &ground.token(),
        &[
            "--scope",
            "publish",
            "--principal",
            "ACME",
            "--authorization-details",
            details,
            "--grant",
            "token-exchange",
        ],
    );
    let claims = access_token(&run);
    assert_eq!(claims["scope"], "publish");
    assert_eq!(
        claims["authorization_details"][0]["packages"],
        json!(["widgets"])
    );
    assert_eq!(claims["authorization_details"][0]["version"], "1.2.3");
    for grant in ["jwt-bearer", "token-exchange"] {
        let run = ground.exchange_file(&ground.token(), &["--json", "--grant", grant]);
        assert_eq!(run.code, 0, "{run:?}");
        let answer: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(
            (answer["token_type"].as_str(), answer["expires_in"].as_i64()),
            (Some("Bearer"), Some(900))
        );
        assert!(
            answer["access_token"].is_string() && answer["authorization_details"].is_array(),
            "{answer}"
        );
        assert_eq!(
            answer.get("issued_token_type").is_some(),
            grant == "token-exchange"
        );
    }
    fails(
        &ground.exchange_file(&ground.token(), &["--principal", "joel"]),
        &["no_matching_credential"],
    );
    fails(
        &ground.exchange_file(&ground.token(), &["--scope", "yank"]),
        &["scope_not_granted"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_says_why_it_was_refused() {
    let ground = Ground::new().await;
    let claims = github(now())
        .with("aud", ground.server.url.as_str())
        .in_environment("staging");
    let token = TestKey::rsa(0).sign(&claims.value());
    let refused = ground.exchange_file(&token, &[]);
    fails(
        &refused,
        &[
            "carnet: the server refused: env_mismatch - the job runs in another environment",
            "  environment: expected \"release\", received \"staging\" (rule ",
            "  what it means: ",
            "  how to fix it: ",
            &format!("  more: {}/reasons/env_mismatch\n", ground.server.url),
            "error id, for the server's operator: ev_",
        ],
    );
    // For programs, the answer as it is. The refusal used nothing up.
    let refused = ground.exchange_file(&token, &["--json"]);
    assert_eq!(refused.code, 1);
    let answer: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(
        (answer["error"].as_str(), answer["reason"].as_str()),
        (Some("invalid_grant"), Some("env_mismatch"))
    );
    assert!(
        refused.stderr.contains("expected \"release\""),
        "{refused:?}"
    );
    // An audience that was asked for on purpose, and that the server does not take.
    let other = token_for("https://other.test");
    let refused = ground.exchange_file(&other, &["--audience", "https://other.test"]);
    let accepted = format!("  accepted audience: {}\n", ground.server.url);
    fails(&refused, &["aud_mismatch", "  claim: aud\n", &accepted]);
    let used = ground.token();
    access_token(&ground.exchange_file(&used, &[]));
    fails(
        &ground.exchange_file(&used, &[]),
        &["the server refused: replay - "],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__exchange_does_not_send_a_token_with_another_audience() {
    let ground = Ground::new().await;
    for audience in [
        json!("sts.amazonaws.com"),
        json!(["https://kubernetes.default.svc"]),
        json!([]),
    ] {
        let run = ground.exchange_file(&token_for(audience), &[]);
        fails(
            &run,
            &[
                "so it was not sent",
                &format!("not for `{}`", ground.server.url),
                "--audience",
            ],
        );
    }
    let run = ground.exchange_file(&ground.token(), &["--audience", "https://other.test"]);
    fails(&run, &["not for `https://other.test`, so it was not sent"]);
    for text in ["", "hunter2", "a.b.c", "<html>", &"x".repeat(100_000)] {
        let run = ground.exchange_file(text, &[]);
        assert!(
            run.code == 1 && run.stdout.is_empty() && !run.stderr.contains("hunter2"),
            "{run:?}"
        );
    }
    fails(
        &ground.exchange(&["--assertion-file", "missing.jwt"], &[]),
        &["missing.jwt"],
    );
    fails(
        &ground.exchange(&["--assertion-env", "MISSING"], &[]),
        &["MISSING", "not set"],
    );
    // Nothing of it reached the server's token endpoint, which writes down what it refuses.
    let log = || std::fs::read_to_string(ground.folder().join("server.log")).unwrap();
    assert!(!log().contains("request refused"), "{}", log());
    fails(
        &ground.exchange_file(&ground.token(), &["--scope", "yank"]),
        &["scope_not_granted"],
    );
    assert!(log().contains("request refused"), "{}", log());
}

#[tokio::test]
async fn contract_2__exchange_exits_with_2_for_wrong_usage_and_3_without_an_answer() {
    let folder = std::env::temp_dir();
    let right = [
        "exchange",
        "--server",
        "https://as.test",
        "--resource",
        REGISTRY,
    ];
    let mut wrong: Vec<Vec<&str>> = vec![
        vec!["exchange"],
        vec!["exchange", "--server", "https://as.test"],
        vec!["exchange", "--resource", REGISTRY],
        vec![
            "exchange",
            "--server",
            "https://as.test",
            "--resource",
            "registry",
        ],
        vec![
            "exchange",
            "--server",
            "https://as.test",
            "--resource",
            "https://registry.test/#x",
        ],
    ];
    for server in [
        "http://as.test",
        "as.test",
        "https://u:p@as.test",
        "https://as.test?x",
        "https://as.test/#x",
    ] {
        wrong.push(vec!["exchange", "--server", server, "--resource", REGISTRY]);
    }
    for more in [
        &["--source", "jenkins"][..],
        &["--source", "github-actions", "--assertion-file", "x"],
        &["--assertion-env", "X", "--assertion-file", "x"],
        &["--grant", "password"],
        &["--authorization-details", "{}"],
        &["--authorization-details", "nonsense"],
    ] {
        wrong.push([&right[..], more].concat());
    }
    for arguments in wrong {
        let run = carnet_in(&folder, &arguments);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (2, ""),
            "{arguments:?}: {run:?}"
        );
    }
    let nobody = format!("http://{}", free_address());
    let run = carnet_in(
        &folder,
        &[
            "exchange",
            "--server",
            &nobody,
            "--resource",
            REGISTRY,
            "--assertion-env",
            "X",
        ],
    );
    fails_with(3, &run, &["cannot be reached", "tried 3 times"]);
}
