//! What operators see: readiness, logs, start and rollback, listeners, files (review of servers; contract, sections 2 and 3).

use std::process::Stdio;

use carnet::clock::Clock as _;
use serde_json::{Value, json};

use crate::support::{
    Answer, GH, JWT_BEARER, R1, ServerProcess, TestClient, TestDb, TestServer, World, basic,
    carnet, finished,
};

async fn get(server: &TestServer, path: &str) -> Answer {
    let request = axum::http::Request::get(path)
        .body(axum::body::Body::empty())
        .unwrap();
    server.send(request).await
}

pub fn log(folder: &std::path::Path) -> String {
    std::fs::read_to_string(folder.join("server.log")).unwrap()
}

// === readiness ===

#[tokio::test]
async fn srv_7__a_database_that_only_reads_makes_the_server_not_ready() {
    let world = World::new().await;
    let ready = async || get(&world.server, "/readyz").await;
    assert_eq!(ready().await.status, 200);
    // Whatever keeps a write from going through is the same: here the row that the probe writes is guarded.
    let (guard, lift) = if world.server.db.url().starts_with("postgres") {
        let role =
            "ALTER TABLE change_counter ADD CONSTRAINT only_reads CHECK (value < 0) NOT VALID";
        (
            role,
            "ALTER TABLE change_counter DROP CONSTRAINT only_reads",
        )
    } else {
        let trigger = "CREATE TRIGGER only_reads BEFORE UPDATE ON change_counter BEGIN SELECT RAISE(ABORT, 'only reads'); END";
        (trigger, "DROP TRIGGER only_reads")
    };
    world.server.db.execute(guard).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let not_ready = ready().await;
    assert_eq!(
        (not_ready.status, &not_ready.json()["database"]),
        (503, &json!(false)),
        "{}",
        not_ready.text()
    );
    world.server.db.execute(lift).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(ready().await.status, 200);
    world.accepts().await;
}

#[tokio::test]
async fn srv_8__a_database_that_cannot_be_written_makes_the_server_not_ready_and_loses_nothing() {
    let world = World::new().await;
    let assertion = world.good();
    world
        .server
        .db
        .execute("ALTER TABLE consumed RENAME TO gone")
        .await;
    world.exchange(&assertion).await.refused(
        503,
        "temporarily_unavailable",
        "database_unavailable",
    );
    // A write that failed a moment ago is known, and need not be tried again.
    assert_eq!(get(&world.server, "/readyz").await.status, 503);
    world
        .server
        .db
        .execute("ALTER TABLE gone RENAME TO consumed")
        .await;
    world.exchange(&assertion).await.token();
    assert_eq!(get(&world.server, "/readyz").await.status, 200);
}

#[tokio::test]
async fn srv_36__health_is_found_at_a_fixed_path_and_by_a_command() {
    let world =
        World::on(TestServer::with(&[("CARNET_ISSUER", "https://as.test/carnet")]).await).await;
    for path in ["/healthz", "/readyz", "/carnet/healthz", "/carnet/readyz"] {
        assert_eq!(get(&world.server, path).await.status, 200, "{path}");
    }
    let db = TestDb::new().await;
    let folder = db.folder();
    let metrics = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let server = ServerProcess::start(folder, &[("CARNET_SERVER__METRICS_LISTEN", &metrics)]).await;
    assert_eq!(
        reqwest::get(format!("http://{metrics}/readyz"))
            .await
            .unwrap()
            .status(),
        200
    );
    let listen = server.url.strip_prefix("http://").unwrap().to_owned();
    let check = || {
        finished(
            carnet()
                .arg("healthcheck")
                .env("CARNET_SERVER__LISTEN", &listen)
                .env("CARNET_DATA_DIR", folder)
                .output()
                .unwrap(),
        )
    };
    let healthy = check();
    assert_eq!(
        (healthy.code, healthy.stdout.trim()),
        (0, "ready"),
        "{healthy:?}"
    );
    server.kill();
    let gone = check();
    assert!(
        gone.code == 1 && gone.stdout.contains("no answer"),
        "{gone:?}"
    );
}

// === the log ===

#[tokio::test]
async fn srv_13__the_log_says_who_was_refused_and_why() {
    let db = TestDb::new().await;
    let server = ServerProcess::start(db.folder(), &[]).await;
    let http = reqwest::Client::new();
    let secret = [
        ("grant_type", "client_credentials"),
        ("client_id", "ci-bot"),
        ("client_secret", "hunter2"),
    ];
    http.post(format!("{}/token", server.url))
        .form(&secret)
        .send()
        .await
        .unwrap();
    let bearer = [("grant_type", JWT_BEARER), ("assertion", "no.jwt")];
    http.post(format!("{}/token", server.url))
        .basic_auth("netrc-user", Some("hunter3"))
        .form(&bearer)
        .send()
        .await
        .unwrap();
    let text = log(db.folder());
    let line = |needle: &str| {
        text.lines()
            .find(|line| line.contains(needle))
            .unwrap_or_else(|| panic!("{needle}: {text}"))
            .to_owned()
    };
    let first = line("ci-bot");
    for part in [
        "127.0.0.1",
        "/token",
        "client_credentials",
        "no client of this name",
        "client_authentication_failed",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(line("netrc-user").contains("Basic"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}

#[tokio::test]
async fn srv_12__the_log_tells_client_failures_apart_and_the_answer_does_not() {
    let db = TestDb::new().await;
    let server = ServerProcess::start(db.folder(), &[]).await;
    let token = finished(
        carnet()
            .args(["admin-token"])
            .env("CARNET_DATA_DIR", db.folder())
            .env("CARNET_ISSUER", &server.url)
            .output()
            .unwrap(),
    )
    .stdout;
    let http = reqwest::Client::new();
    let put = async |name: &str, document: Value| -> Value {
        let answer = http
            .put(format!("{}/admin/v1/clients/{name}", server.url))
            .bearer_auth(token.trim())
            .json(&document)
            .send()
            .await
            .unwrap();
        answer.json().await.unwrap()
    };
    put("basic", json!({ "auth_method": "client_secret_basic" })).await;
    put(
        "off",
        json!({ "auth_method": "client_secret_basic", "enabled": false }),
    )
    .await;
    put("public", json!({ "auth_method": "none" })).await;
    let mut answers = Vec::new();
    for name in ["basic", "off", "public", "nobody"] {
        let form = [("grant_type", "client_credentials")];
        let answer = http
            .post(format!("{}/token", server.url))
            .basic_auth(name, Some("wrong"))
            .form(&form)
            .send()
            .await
            .unwrap();
        let mut body: Value = answer.json().await.unwrap();
        body.as_object_mut().unwrap().remove("error_id");
        answers.push(body);
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    let text = log(db.folder());
    for found in [
        "wrong secret",
        "the client is disabled",
        "a public client has no secret",
        "no client of this name",
    ] {
        assert!(text.contains(found), "{found}: {text}");
    }
}

#[tokio::test]
async fn srv_14__an_unwanted_authorization_header_is_named_in_the_refusal() {
    let world = World::new().await;
    let assertion = world.good();
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    for (value, scheme) in [
        (basic("user", "password"), "Basic"),
        ("Bearer abc".to_owned(), "Bearer"),
        (String::new(), ""),
    ] {
        let answer = world
            .server
            .form_with("/token", &[("authorization", &value)], &form)
            .await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
        assert_eq!(answer.json()["authorization"], scheme, "{}", answer.text());
        assert!(!answer.text().contains("abc"), "{}", answer.text());
    }
    world.exchange(&assertion).await.token();
}

#[tokio::test]
async fn srv_15__two_client_authentication_methods_at_once_are_refused_by_name() {
    let world = World::new().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "a"),
        ("client_secret", "b"),
    ];
    let answer = world
        .server
        .form_with("/token", &[("authorization", &basic("a", "b"))], &form)
        .await;
    answer.refused(400, "invalid_request", "client_methods_mixed");
}

#[tokio::test]
async fn srv_16__a_forwarded_address_from_a_peer_that_is_not_trusted_is_warned_of() {
    let db = TestDb::new().await;
    let server = ServerProcess::start(db.folder(), &[]).await;
    for _ in 0..5 {
        let request = reqwest::Client::new()
            .post(format!("{}/token", server.url))
            .header("x-forwarded-for", "203.0.113.9");
        request.send().await.unwrap();
    }
    let text = log(db.folder());
    assert_eq!(text.matches("server.trusted_proxies").count(), 1, "{text}");
}

// === start, upgrade, rollback ===

#[tokio::test]
async fn srv_17__a_release_runs_on_a_newer_schema_unless_the_schema_needs_a_newer_release() {
    let world = World::new().await;
    let (db, assertion) = (&world.server.db, world.good());
    // A step that this release does not know, and that says nothing against it.
    db.execute(
        "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000099_later', 1)",
    )
    .await;
    let older = world.server.another_node().await;
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    older.form("/token", &form).await.token();
    // One that needs it.
    db.execute("UPDATE change_counter SET min_version = 99")
        .await;
    let assertion = world.good();
    world.exchange(&assertion).await.refused(
        503,
        "temporarily_unavailable",
        "database_unavailable",
    );
    let refused = finished(
        carnet()
            .arg("check")
            .current_dir(db.folder())
            .env("CARNET_DATA_DIR", db.folder())
            .env("CARNET_DATABASE__URL", db.url())
            .output()
            .unwrap(),
    );
    assert!(
        refused.code == 1 && refused.stdout.contains("needs a newer release"),
        "{refused:?}"
    );
    db.execute("UPDATE change_counter SET min_version = 4")
        .await;
    world.exchange(&assertion).await.token();
}

#[tokio::test]
async fn srv_18__start_waits_for_the_database_and_says_what_is_wrong() {
    let db = TestDb::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("postgres://u:hunter2@{free}/d");
    let began = std::time::Instant::now();
    let mut serve = carnet();
    serve
        .arg("serve")
        .current_dir(db.folder())
        .env("CARNET_DATABASE__URL", &url)
        .env("CARNET_DATABASE__WAIT_SECONDS", "2");
    let ended = finished(
        serve
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap(),
    );
    assert!(
        ended.code != 0 && began.elapsed().as_secs() >= 2,
        "{ended:?}"
    );
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(
        said.contains("refused") && said.contains(&free.to_string()),
        "{said}"
    );
    assert!(
        said.matches("cannot be reached yet").count() >= 2 && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test]
async fn srv_23__the_url_of_the_database_may_come_from_a_file() {
    let db = TestDb::new().await;
    let file = db.folder().join("database_url");
    std::fs::write(&file, format!("{}\n", db.url())).unwrap();
    let check = |more: &[(&str, &str)]| {
        let mut check = carnet();
        check
            .arg("check")
            .current_dir(db.folder())
            .env("CARNET_DATA_DIR", db.folder())
            .env("CARNET_DATABASE__URL_FILE", &file);
        finished(check.envs(more.iter().copied()).output().unwrap())
    };
    let checked = check(&[]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let both = check(&[("CARNET_DATABASE__URL", "sqlite://x.db")]);
    assert!(
        both.code == 1 && both.stdout.contains("database.url_file"),
        "{both:?}"
    );
    std::fs::remove_file(&file).unwrap();
    let gone = check(&[]);
    assert!(
        gone.code == 1 && gone.stdout.contains("database.url_file"),
        "{gone:?}"
    );
}

#[tokio::test]
async fn srv_24__the_number_of_connections_is_configurable() {
    let check = |value: &str| {
        finished(
            carnet()
                .arg("check")
                .current_dir(std::env::temp_dir())
                .env("CARNET_DATABASE__MAX_CONNECTIONS", value)
                .env("CARNET_DATA_DIR", "/nonexistent/x")
                .output()
                .unwrap(),
        )
    };
    assert!(check("1").stdout.contains("database.max_connections"));
    assert!(!check("40").stdout.contains("database.max_connections"));
    if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
        let (url, before): (carnet::config::DatabaseUrl, _) = (url.parse().unwrap(), 4);
        let config = carnet::config::DatabaseConfig {
            max_connections: before,
            ..carnet::config::DatabaseConfig::of(url)
        };
        carnet::store::Store::open(&config)
            .await
            .unwrap()
            .close()
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn srv_25__a_server_listens_on_a_unix_socket_and_several_addresses() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let db = TestDb::new().await;
    let socket = db.folder().join("carnet.sock");
    let ports: Vec<String> = (0..2)
        .map(|_| {
            std::net::TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .to_string()
        })
        .collect();
    let listens = json!([
        ports[0],
        ports[1].replace("127.0.0.1", "localhost"),
        format!("unix:{}", socket.display())
    ])
    .to_string();
    let start = async || {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(db.folder().join("server.log"))
            .unwrap();
        let mut serve = carnet();
        serve
            .arg("serve")
            .current_dir(db.folder())
            .env("CARNET_SERVER__LISTEN", &listens)
            .env("CARNET_DATA_DIR", db.folder());
        let child = serve
            .env("CARNET_SERVER__DRAIN_SECONDS", "0")
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..500 {
            if tokio::net::UnixStream::connect(&socket).await.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        child
    };
    // A socket that a server left behind is no hindrance.
    let mut child = start().await;
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = start().await;
    for port in &ports {
        assert_eq!(
            reqwest::get(format!("http://{port}/healthz"))
                .await
                .unwrap()
                .status(),
            200
        );
    }
    let ask = async |forwarded: &str| {
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let request = format!(
            "POST /token HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {forwarded}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = ask("203.0.113.77").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    // What is let in by the socket forwards for others.
    assert!(
        log(db.folder()).contains("203.0.113.77"),
        "{}",
        log(db.folder())
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn srv_26__systemd_is_told_when_the_server_is_ready() {
    let db = TestDb::new().await;
    let path = db.folder().join("notify.sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(30)))
        .unwrap();
    let server =
        ServerProcess::start(db.folder(), &[("NOTIFY_SOCKET", path.to_str().unwrap())]).await;
    let mut said = [0; 256];
    let mut heard = || {
        let length = socket.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..length]).into_owned()
    };
    assert!(heard().contains("READY=1"));
    server.signal("HUP");
    assert_eq!(
        reqwest::get(format!("{}/healthz", server.url))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(server.terminate(), 0);
    assert!(heard().contains("STOPPING=1"));
    let unit = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/integrations/systemd/carnet.service"
    ))
    .unwrap();
    assert!(unit.contains("Type=notify") && unit.contains("ExecStart=/usr/local/bin/carnet serve"));
}

#[tokio::test]
async fn srv_19__a_commit_is_durable_whatever_the_databases_default_is() {
    let db = TestDb::migrated().await;
    let joint = if db.url().contains('?') { '&' } else { '?' };
    let is_postgres = db.url().starts_with("postgres");
    // The default of the connection, as a role, a cluster or a pooler may set it.
    let url = if is_postgres {
        format!("{}{joint}options[synchronous_commit]=off", db.url())
    } else {
        db.url().to_owned()
    };
    let world = World::on(TestServer::with(&[("CARNET_DATABASE__URL", &url)]).await).await;
    if is_postgres {
        let guard = "CREATE FUNCTION durable() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                     IF current_setting('synchronous_commit') <> 'on' THEN RAISE 'not durable'; END IF; RETURN NEW; END $$; \
                     CREATE TRIGGER durable BEFORE INSERT ON consumed FOR EACH ROW EXECUTE FUNCTION durable()";
        db.execute(guard).await;
    }
    world.accepts().await;
}

#[tokio::test]
async fn srv_22__a_clock_that_jumps_by_a_day_loses_no_single_use_and_no_revocation() {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    let assertion = world.good();
    let token = world.exchange(&assertion).await.token();
    world.server.form("/revoke", &[("token", &token)]).await;
    let ahead = carnet::clock::Timestamp::from_seconds(world.server.now() + 86_400);
    while world.server.app.store.prune(ahead, 400).await.unwrap() {}
    world
        .exchange(&assertion)
        .await
        .refused(400, "invalid_grant", "replay");
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        false
    );
    // What is forgotten goes by the clock that is behind.
    let now = carnet::clock::SystemClock.now();
    let earlier = world.server.app.store.earlier_of_both(now).await.unwrap();
    assert!(earlier <= now, "{earlier} {now}");
    assert!(
        world
            .server
            .app
            .store
            .clock_difference()
            .await
            .unwrap()
            .abs()
            < 60_000
    );
}

#[test]
fn srv_20__the_error_behind_a_transaction_pooler_is_explained() {
    let error = carnet::store::StoreError::Unavailable(sea_orm::DbErr::Custom(
        "error returned from database: prepared statement \"sqlx_s_1\" already exists".to_owned(),
    ));
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("session mode"))
    );
}

#[test]
fn srv_32__the_registry_guide_mentions_the_token_type_and_iat_of_our_jwts() {
    let guide = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/src/guides/registry.md"
    ))
    .unwrap();
    let without = guide.split("## Without the crate").nth(1).unwrap();
    assert!(
        without.contains("at+jwt") && without.contains("`iat`"),
        "{without}"
    );
}

// === documents and paths ===

#[tokio::test]
async fn srv_27__documents_for_browsers_answer_preflights() {
    let world = World::new().await;
    for path in [
        "/jwks",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let request = axum::http::Request::options(path)
            .header("origin", "https://site.test")
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = world.server.send(request).await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (204, Some("*")),
            "{path}"
        );
    }
    // Tokens are for no scripts of other sites (decision D-61).
    let request = axum::http::Request::options("/token")
        .header("origin", "https://site.test")
        .body(axum::body::Body::empty())
        .unwrap();
    let answer = world.server.send(request).await;
    assert!(answer.status == 405 && answer.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn srv_28__the_openid_document_has_what_strict_readers_want() {
    let world = World::new().await;
    let openid = get(&world.server, "/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(openid["subject_types_supported"], json!(["public"]));
    assert_eq!(
        openid["id_token_signing_alg_values_supported"],
        json!(["ES256"])
    );
    let oauth = get(&world.server, "/.well-known/oauth-authorization-server")
        .await
        .json();
    assert!(oauth.get("subject_types_supported").is_none() && oauth["issuer"] == openid["issuer"]);
}

#[tokio::test]
async fn srv_29__the_appended_form_of_the_metadata_path_is_served() {
    let server = TestServer::with(&[("CARNET_ISSUER", "https://as.test/carnet")]).await;
    let inserted = get(&server, "/.well-known/oauth-authorization-server/carnet")
        .await
        .json();
    assert_eq!(
        get(&server, "/carnet/.well-known/oauth-authorization-server")
            .await
            .json(),
        inserted
    );
}

#[tokio::test]
async fn srv_30__an_unknown_path_is_answered_with_a_json_error() {
    let world = World::new().await;
    for path in ["/token/", "//token", "/%74oken", "/tokens", "/jwks/"] {
        let request = axum::http::Request::post(path)
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = world.server.send(request).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert_eq!(
            (&answer.json()["error"], &answer.json()["reason"]),
            (&json!("invalid_request"), &json!("path_unknown")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn srv_31__a_nearly_right_resource_is_refused_with_the_nearest_one() {
    let world = World::new().await;
    for near in [
        R1.trim_end_matches('/').to_owned(),
        R1.to_uppercase().replace("HTTPS", "https"),
        R1.replace(".test/", ".test:443/"),
    ] {
        let answer = world
            .exchange_with(&world.good(), &[("resource", &near)])
            .await;
        answer.refused(400, "invalid_target", "target_unknown");
        assert_eq!(answer.json()["nearest"], R1, "{near}");
    }
    let answer = world
        .exchange_with(&world.good(), &[("resource", "https://elsewhere.test/")])
        .await;
    assert!(answer.json().get("nearest").is_none(), "{}", answer.text());
}

#[tokio::test]
async fn srv_35__white_space_around_an_assertion_is_named() {
    let world = World::new().await;
    let assertion = world.good();
    for text in [
        format!("{assertion}\n"),
        format!(" {assertion}"),
        assertion.replacen('.', ".\n", 1),
    ] {
        world
            .exchange(&text)
            .await
            .refused(400, "invalid_grant", "assertion_whitespace");
    }
    world.exchange(&assertion).await.token();
}

// === security ===

#[tokio::test]
async fn sec_m2__the_admin_api_refuses_key_files_without_a_configured_folder() {
    let world = World::with(&[("CARNET_KEY_FILES_DIR", "")]).await;
    let bundle = world.server.db.folder().join("bundle.json");
    std::fs::write(&bundle, "{}").unwrap();
    for keys in [
        json!({ "source": "file", "path": bundle }),
        json!({ "source": "token_review", "api_server": "https://api.test", "token_file": bundle }),
    ] {
        let document = json!({ "profile": "kubernetes", "issuer": "https://k.test", "keys": keys });
        let answer = world
            .server
            .admin("PUT", "trusted-issuers/files?validate=offline", document)
            .await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(answer.text().contains("key_files_dir"), "{}", answer.text());
    }
    // What was refused after others may have been asked is on record.
    let document = json!({ "profile": "github-actions", "issuer": "https://nobody.test" });
    assert_eq!(
        world
            .server
            .admin("PUT", "trusted-issuers/nobody", document)
            .await
            .status,
        422
    );
    let refused = world.server.audit("outcome=refused").await;
    assert_eq!(
        (&refused[0]["detail"]["name"], &refused[0]["actor"]),
        (&json!("nobody"), &json!("tester"))
    );
}

#[tokio::test]
async fn sec_l2__tokens_with_unreachable_keys_count_as_refusals_of_the_sending_address() {
    let world = World::with(&[("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "5")]).await;
    world.accepts().await;
    // Keys are fetched once in thirty seconds: from now on no new name can be looked up.
    world.server.clock.advance(5);
    let mut statuses = Vec::new();
    for number in 0..12 {
        // Another key each time, that nobody could look up yet.
        let header = json!({ "alg": "RS256", "kid": format!("forged-{number}"), "typ": "JWT" });
        let forged = world
            .gh
            .key()
            .sign_with_header(&header, &world.claims().value());
        let form = [("grant_type", JWT_BEARER), ("assertion", forged.as_str())];
        statuses.push(
            world
                .server
                .form_from("203.0.113.5", "/token", &form)
                .await
                .status,
        );
    }
    assert!(
        statuses.contains(&503) && statuses.last() == Some(&429),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn sec_l3__the_public_half_of_a_signing_key_comes_from_the_sealed_one() {
    let world = World::new().await;
    let forged = crate::support::TestKey::ec("forged", "ES256");
    let before = get(&world.server, "/jwks").await.json();
    let mut jwk = forged.jwk();
    jwk["kid"] = before["keys"][0]["kid"].clone();
    world
        .server
        .db
        .execute(&format!("UPDATE signing_key SET public_jwk = '{jwk}'"))
        .await;
    let server = world.server.another_node().await;
    assert_eq!(get(&server, "/jwks").await.json(), before);
    // One without a sealed half of this server's is no key of it.
    world
        .server
        .db
        .execute("UPDATE signing_key SET kid = 'other' WHERE state = 'next'")
        .await;
    let server = world.server.another_node().await;
    assert!(!get(&server, "/jwks").await.text().contains("other"));
}

#[tokio::test]
async fn sec_l4__a_forged_client_assertion_gets_the_same_answer_as_an_unknown_client() {
    let world = World::new().await;
    world
        .server
        .put(
            "clients/robot",
            json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] }),
        )
        .await;
    let ask = async |client: &str, assertion: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_assertion_type", crate::support::CLIENT_ASSERTION),
            ("client_assertion", assertion),
        ];
        let mut body = world.server.form("/token", &form).await.json();
        body.as_object_mut().unwrap().remove("error_id");
        body
    };
    // Two issuers of one `iss`: which of them is meant depends on the rules that the client lists.
    world
        .trust(json!({ "audiences": ["https://as.test/one"] }))
        .await;
    let other = json!({ "profile": "github-actions", "issuer": GH, "types": ["ci+jwt"], "audiences": ["https://as.test/two"] });
    world
        .server
        .put("trusted-issuers/other?validate=offline", other)
        .await;
    let good = world.good();
    let [header, payload, _] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    let typed = carnet_jose::base64url(
        json!({ "alg": "RS256", "kid": "rsa-0", "typ": "ci+jwt" }).to_string(),
    );
    for forged in [
        format!("{header}.{payload}.AAAA"),
        format!("{typed}.{payload}.AAAA"),
    ] {
        let told = ask("robot", &forged).await;
        assert_eq!(told["reason"], "client_authentication_failed", "{told}");
        assert_eq!(told, ask("nobody", &forged).await);
    }
}

#[tokio::test]
async fn sec_l5__assertions_typed_for_one_purpose_are_refused_for_the_other() {
    let world = World::new().await;
    world
        .trust(json!({ "types": ["JWT", "authorization-grant+jwt"] }))
        .await;
    world
        .server
        .put(
            "clients/robot",
            json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] }),
        )
        .await;
    let typed = |kind: &str| world.gh.sign_as(&world.claims(), kind);
    let as_client = async |kind: &str| {
        let assertion = typed(kind);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "robot"),
            ("client_assertion_type", crate::support::CLIENT_ASSERTION),
            ("client_assertion", assertion.as_str()),
        ];
        world.server.form("/token", &form).await.status
    };
    assert_eq!(as_client("client-authentication+jwt").await, 200);
    assert_eq!(as_client("JWT").await, 200);
    assert_eq!(as_client("authorization-grant+jwt").await, 401);
    assert_eq!(
        world
            .exchange(&typed("authorization-grant+jwt"))
            .await
            .status,
        200
    );
    assert_eq!(
        world
            .exchange(&typed("client-authentication+jwt"))
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn sec_l10__refused_admin_requests_are_rate_limited_per_address() {
    let world = World::with(&[("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "5")]).await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let request = axum::http::Request::get("/admin/v1/principals")
            .header("authorization", "Bearer guess")
            .extension(axum::extract::ConnectInfo(std::net::SocketAddr::from((
                [203, 0, 113, 6],
                1,
            ))));
        statuses.push(
            world
                .server
                .send(request.body(axum::body::Body::empty()).unwrap())
                .await
                .status,
        );
    }
    assert!(statuses[0] == 401 && statuses[7] == 429, "{statuses:?}");
    // Whoever has the right token comes from elsewhere.
    assert_eq!(
        world
            .server
            .admin("GET", "principals", Value::Null)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn sec_l12__the_compose_file_trusts_one_address() {
    let compose =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docker-compose.yml"))
            .unwrap();
    let line = compose
        .lines()
        .find(|line| line.contains("TRUSTED_PROXIES"))
        .unwrap();
    let network: ipnet::IpNet = line.split('"').nth(1).unwrap().parse().unwrap();
    assert_eq!(network.prefix_len(), 32, "{line}");
    assert!(
        compose.contains(&format!("gateway: {}", network.addr())),
        "{compose}"
    );
}

#[tokio::test]
async fn sec_m4__a_client_is_refused_once_its_rule_is_disabled_on_another_node() {
    let world = World::new().await;
    world
        .server
        .put(
            "clients/robot",
            json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] }),
        )
        .await;
    let registry = TestClient::registry(&world.server).await;
    let ask = async || {
        let assertion = world.good();
        let subject = world.good();
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", subject.as_str()),
            ("client_id", "robot"),
            ("client_assertion_type", crate::support::CLIENT_ASSERTION),
            ("client_assertion", assertion.as_str()),
        ];
        world.server.form("/token", &form).await
    };
    let token = ask().await.token();
    assert_eq!(
        registry.introspect(&world.server, &token).await["client_id"],
        "robot"
    );
    // The rule that admits the client is one that the transaction checks: disabled by another replica a moment before, it gives
    // nothing, whatever was known when the request began.
    let other = world.server.another_node().await;
    other
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "enabled": false }),
        )
        .await;
    assert_eq!(ask().await.status, 401);
}

#[tokio::test]
async fn sec_l7__concurrent_requests_do_not_exceed_the_rate_limit() {
    let settings = [("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "10")];
    let world = std::sync::Arc::new(World::with(&settings).await);
    world.accepts().await;
    // Refused ones, and a used one, take nothing for good.
    let used = world.good();
    world.exchange(&used).await.token();
    for _ in 0..20 {
        world
            .exchange(&used)
            .await
            .refused(400, "invalid_grant", "replay");
    }
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let world = world.clone();
        running.spawn(async move { world.exchange(&world.good()).await.status });
    }
    let burst = running.join_all().await;
    let issued = burst.iter().filter(|status| **status == 200).count();
    assert_eq!(
        (
            issued,
            burst.iter().filter(|status| **status == 429).count()
        ),
        (8, 52),
        "{burst:?}"
    );
}

#[tokio::test]
async fn sec_l10__admin_writes_of_one_subject_are_rate_limited() {
    let world = World::with(&[(
        "CARNET_RATE_LIMITS__ADMIN_WRITES_PER_MINUTE_PER_SUBJECT",
        "30",
    )])
    .await;
    let mut statuses = Vec::new();
    for number in 0..40 {
        let path = format!("principals/user-{number}");
        statuses.push(
            world
                .server
                .admin("PUT", &path, json!({ "kind": "user" }))
                .await
                .status,
        );
    }
    assert!(
        statuses.contains(&201) && statuses.last() == Some(&429),
        "{statuses:?}"
    );
    assert_eq!(
        world
            .server
            .admin("GET", "principals", serde_json::Value::Null)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_permission_names_its_target_by_kind() {
    let world = World::new().await;
    let with = async |members: serde_json::Value| {
        let mut rule = World::rule_document(json!({}));
        rule["permissions"] = json!([{ "actions": ["publish"], "packages": ["widgets"] }]);
        for (name, value) in members.as_object().unwrap() {
            rule["permissions"][0][name] = value.clone();
        }
        world
            .server
            .admin("PUT", "federated-credentials/octo-release", rule)
            .await
    };
    let tagged = with(json!({ "target": { "kind": "resource_server", "name": "pypi" } })).await;
    assert_eq!(tagged.status, 200, "{}", tagged.text());
    let shown = &tagged.json()["permissions"][0];
    assert!(
        shown["resource_server"] == "pypi" && shown.get("target").is_none(),
        "{shown}"
    );
    world.exchange(&world.good()).await.token();
    for (members, pointer) in [
        (
            json!({ "target": { "kind": "trust_domain", "name": "pypi" } }),
            "/permissions/0/target/kind",
        ),
        (
            json!({ "target": { "kind": "resource_server" } }),
            "/permissions/0/target/name",
        ),
        (
            json!({ "target": { "kind": "resource_server", "name": "pypi", "x": 1 } }),
            "/permissions/0/target/x",
        ),
        (json!({ "target": "pypi" }), "/permissions/0/target"),
        (
            json!({ "target": { "kind": "resource_server", "name": "pypi" }, "resource_server": "pypi" }),
            "/permissions/0/target",
        ),
        (json!({}), "/permissions/0/resource_server"),
    ] {
        let refused = with(members).await;
        assert_eq!(
            (refused.status, &refused.json()["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{}",
            refused.text()
        );
    }
}
