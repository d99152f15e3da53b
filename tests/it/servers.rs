//! What operators of other authorization servers reported, tried here.

use base64::Engine as _;
use carnet::config::Config;
use serde_json::json;

use super::connections::{head, serving};
use crate::support::{ServerProcess, TestDb, TestKey, TestServer, World};

/// What a configuration of these variables says.
fn configured(variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_sources(None, variables).map_err(|errors| {
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    })
}

#[test]
fn srv_5__variables_that_kubernetes_puts_into_pods_are_not_configuration_errors() {
    let of_kubernetes = [
        ("CARNET_SERVICE_HOST", "10.0.0.1"),
        ("CARNET_SERVICE_PORT", "8080"),
        ("CARNET_SERVICE_PORT_HTTP", "8080"),
        ("CARNET_PORT", "tcp://10.0.0.1:8080"),
        ("CARNET_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("CARNET_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("CARNET_POSTGRES_SERVICE_HOST", "10.0.0.2"),
        ("CARNET_POSTGRES_SERVICE_PORT", "5432"),
        ("CARNET_POSTGRES_PORT", "tcp://10.0.0.2:5432"),
        ("CARNET_POSTGRES_PORT_5432_TCP_PROTO", "tcp"),
    ];
    assert!(configured(&of_kubernetes).is_ok());
    // Everything else that is unknown is a mistake, and is named as it was written.
    for unknown in [
        "CARNET_BIN",
        "CARNET_SERVER__PORT",
        "CARNET_PORTS",
        "CARNET_SERVER__SERVICE_HOST",
        "CARNET_SERVICE",
    ] {
        let said = configured(&[(unknown, "1")]).unwrap_err();
        assert!(
            said.contains(&format!("environment variable {unknown})")),
            "{unknown}: {said}"
        );
    }
}

#[test]
fn srv_6__no_message_holds_the_password_of_the_database() {
    for url in [
        "postgres://u:hun?ter2@db.test/carnet",
        "postgres://u:hun/ter2@db.test/carnet",
        "postgres://u:hun#ter2@db.test/carnet",
        "postgres://u:1?hunter2@db.test/carnet",
        "postgres://u:1#hunter2@db.test/carnet",
        "postgres://u:1/hunter2@db.test/carnet",
        "postgres://u:hunter2@db.test:54x2/carnet",
        "postgres://u:hunter2@/carnet",
        "mysql://u:hunter2@db.test/carnet",
    ] {
        let said = configured(&[("CARNET_DATABASE__URL", url)]).unwrap_err();
        assert!(
            said.starts_with("database.url") && !said.contains("ter2"),
            "{url}: {said}"
        );
    }
    for url in [
        "postgres://u:hun%3Fter2@db.test/carnet?sslmode=require",
        "postgres:///carnet?host=/var/run/postgresql",
        "postgresql://u@[2001:db8::1]:5432/carnet",
    ] {
        assert!(
            configured(&[("CARNET_DATABASE__URL", url)]).is_ok(),
            "{url}"
        );
    }
}

#[test]
fn srv_10__the_idle_limit_of_connections_is_longer_than_the_deadline_of_requests() {
    let short = carnet::config::ConnectionLimits {
        idle: std::time::Duration::from_secs(5),
        ..Default::default()
    };
    let deadline = std::time::Duration::from_secs(20);
    assert!(short.for_requests(deadline).idle > deadline);
    let usual = carnet::config::ConnectionLimits::default();
    assert_eq!(usual.clone().for_requests(deadline), usual);
}

#[tokio::test]
async fn srv_9__a_server_told_to_stop_reports_not_ready_and_still_serves() {
    let db = TestDb::new().await;
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_SERVER__DRAIN_SECONDS", "600"),
    ];
    let server = ServerProcess::start(db.folder(), &settings).await;
    let status = async |path: &str| {
        reqwest::get(format!("{}{path}", server.url))
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    server.signal("HUP");
    assert_eq!(
        (status("/readyz").await, status("/jwks").await),
        (200, 200),
        "SIGHUP changes nothing"
    );
    server.signal("TERM");
    let mut ready = 200;
    for _ in 0..500 {
        ready = status("/readyz").await;
        if ready != 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(
        (ready, status("/jwks").await),
        (503, 200),
        "not ready, and serving on"
    );
    // Said twice, it ends at once.
    server.signal("TERM");
    assert_eq!(server.wait(), 0);
}

#[tokio::test]
async fn sec_l8__only_the_owner_can_read_the_files_of_the_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = std::env::temp_dir().join(format!(
        "carnet-l8-{}",
        uuid::Uuid::from_bytes(carnet::ids::random())
    ));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let url: carnet::config::DatabaseUrl =
        format!("sqlite://{}", folder.join("carnet.db").display())
            .parse()
            .unwrap();
    for _ in 0..2 {
        let store = carnet::store::Store::open(&carnet::config::DatabaseConfig::of(url.clone()))
            .await
            .unwrap();
        let mut seen = 0;
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap();
            assert_eq!(
                file.metadata().unwrap().permissions().mode() & 0o077,
                0,
                "{:?}",
                file.path()
            );
            seen += 1;
        }
        assert!(seen >= 1);
        store.close().await.unwrap();
        // One that an older version made for everybody to read.
        std::fs::set_permissions(
            folder.join("carnet.db"),
            std::fs::Permissions::from_mode(0o644),
        )
        .unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn srv_11__the_right_secret_by_the_wrong_method_does_not_count_as_a_guess() {
    let world = World::with(&[(
        "CARNET_RATE_LIMITS__WRONG_SECRETS_PER_MINUTE_PER_CLIENT",
        "1",
    )])
    .await;
    let permissions = json!([{ "resource_server": "pypi", "actions": ["publish"], "packages": ["*"], "owner": "joel" }]);
    let post = json!({ "auth_method": "client_secret_post", "permissions": permissions });
    let secret = world.server.put("clients/poster", post).await["client_secret"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = [
        ("grant_type", "client_credentials"),
        ("client_id", "poster"),
        ("client_secret", secret.as_str()),
    ];
    let header = base64::engine::general_purpose::STANDARD.encode(format!("poster:{secret}"));
    let header = [("authorization", format!("Basic {header}"))];
    let header: Vec<(&str, &str)> = header
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    // A library that tries the header first, at each of many starts.
    for _ in 0..5 {
        let tried = world.server.form_with("/token", &header, &[body[0]]).await;
        tried.refused(401, "invalid_client", "client_method_mismatch");
        world.server.form("/token", &body).await.token();
    }
    // A wrong secret is told nothing of the method, and counts.
    let wrong = [body[0], body[1], ("client_secret", "wrong")];
    world.server.form("/token", &wrong).await.refused(
        401,
        "invalid_client",
        "client_authentication_failed",
    );
    assert_eq!(
        world.server.form("/token", &body).await.reason(),
        "rate_limited"
    );
}

#[tokio::test]
async fn srv_21__an_unknown_key_is_answered_with_503_until_keys_may_be_fetched_again() {
    let world = World::new().await;
    world.accepts().await;
    world.server.clock.advance(5);
    world.gh.rotate(TestKey::rsa(1));
    let assertion = world.good();
    // Keys were fetched five seconds ago, and are fetched once in thirty: the first look is due.
    let answer = world.exchange(&assertion).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    answer.refused(503, "temporarily_unavailable", "keys_unavailable");
    let wait: i64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((20..=30).contains(&wait), "{wait}");
    world.server.clock.advance(wait);
    world.exchange(&assertion).await.token();
    // A key set that is written down has nothing to look up: there the no is final.
    let keys = json!({ "source": "static", "jwks": { "keys": [TestKey::rsa(0).jwk()] } });
    world.trust(json!({ "keys": keys })).await;
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_grant", "key_unknown");
    world.server.clock.advance(5);
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_grant", "key_unknown");
}

#[tokio::test]
async fn srv_33__introspection_answers_are_signed_where_the_accept_header_prefers_it() {
    let world = World::new().await;
    let registry = world
        .client("registry", json!({ "resource_server": "pypi" }))
        .await;
    for (accept, signed) in [
        ("application/token-introspection+jwt", true),
        ("application/json", false),
        (
            "application/json, application/token-introspection+jwt;q=0.1",
            false,
        ),
        (
            "application/json;q=0.5, application/token-introspection+jwt",
            true,
        ),
        ("application/token-introspection+jwt;q=0", false),
        ("*/*", false),
    ] {
        let headers = [("authorization", registry.as_str()), ("accept", accept)];
        let answer = world
            .server
            .form_with("/introspect", &headers, &[("token", "x")])
            .await;
        let is_signed =
            answer.header("content-type").unwrap() == "application/token-introspection+jwt";
        assert_eq!(is_signed, signed, "{accept}");
    }
}

#[tokio::test]
async fn srv_38__forms_with_charset_utf8_or_identity_encoding_are_accepted() {
    let world = World::new().await;
    let (_serving, address) = serving(&world, carnet::config::ConnectionLimits::default()).await;
    for headers in [
        "content-type: application/x-www-form-urlencoded; charset=utf8\r\n",
        "content-type: application/x-www-form-urlencoded\r\ncontent-encoding: identity\r\n",
    ] {
        let body = format!(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
            world.good()
        );
        let request = format!(
            "POST /token HTTP/1.1\r\nhost: as.test\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let answer = head(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{headers}: {answer}");
    }
}

#[tokio::test]
async fn srv_40__a_data_folder_may_have_any_name() {
    let db = TestDb::new().await;
    // A URL that somebody wrote is decoded as a whole.
    let written: carnet::config::DatabaseUrl = "sqlite:///my%20db/c%41.db".parse().unwrap();
    assert_eq!(written.file(), Some("/my db/cA.db".into()));
    let folder = db.folder().join("50% of? all #1");
    let environment = [("CARNET_DATA_DIR".to_owned(), folder.display().to_string())];
    let config = Config::from_sources(None, environment).unwrap();
    assert!(config.database.url.is_new_file());
    let network = std::sync::Arc::new(carnet::upstream::HttpFetch::default());
    let started = carnet::app::App::start(
        config.clone(),
        std::sync::Arc::new(carnet::clock::SystemClock),
        network,
    )
    .await;
    started.unwrap();
    assert!(folder.join("carnet.db").exists() && !config.database.url.is_new_file());
}

#[tokio::test]
async fn srv_41__an_http_1_1_request_without_host_is_refused() {
    let world = World::new().await;
    let (_serving, address) = serving(&world, carnet::config::ConnectionLimits::default()).await;
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "400"),
        ("GET /healthz HTTP/1.1\r\nhost: as.test\r\n\r\n", "200"),
        ("GET /healthz HTTP/1.0\r\n\r\n", "200"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let answer = head(&mut stream, request.as_bytes()).await;
        assert!(
            answer.split(' ').nth(1) == Some(status),
            "{request}: {answer}"
        );
    }
}

#[tokio::test]
async fn sec_m3__invalid_bytes_in_a_forwarded_header_do_not_hide_the_caller() {
    let server = TestServer::with(&[
        ("CARNET_SERVER__TRUSTED_PROXIES", "[\"10.0.0.1/32\"]"),
        ("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "3"),
    ])
    .await;
    let refused = async |forwarded: &[u8]| {
        let mut request = axum::http::Request::post("/token")
            .body(axum::body::Body::empty())
            .unwrap();
        let value = axum::http::HeaderValue::from_bytes(forwarded).unwrap();
        request.headers_mut().insert("x-forwarded-for", value);
        let proxy: std::net::SocketAddr = "10.0.0.1:4711".parse().unwrap();
        request
            .extensions_mut()
            .insert(axum::extract::ConnectInfo(proxy));
        server.send(request).await.status
    };
    // What the caller sends stands before what the proxy appends.
    for _ in 0..3 {
        assert_eq!(refused(b"\xff, 192.0.2.7").await, 400);
    }
    assert_eq!(
        refused(b"\xff\xfe, 192.0.2.7").await,
        429,
        "its own budget is used up"
    );
    assert_eq!(refused(b"\xff, 192.0.2.8").await, 400, "and nobody else's");
}
