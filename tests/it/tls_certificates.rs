//! Certificates of the listener: what `check` and `serve` say of them, renewal while requests run, and their end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carnet::config::{Config, ConnectionLimits};
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::X509;
use serde_json::{Value, json};

use super::operation::log;
use crate::support::{
    Authority, Finished, Secure, ServerProcess, TestDb, Tls, carnet, connect, finished,
    free_address, machine_time, names_of, setting, status, write,
};

const DAY: i64 = 86_400;
/// Longer than a change of a file takes until it is noticed.
const NOTICED: Duration = Duration::from_secs(20);

/// A server process that speaks TLS, and its files.
struct Process {
    db: TestDb,
    authority: Authority,
    address: SocketAddr,
    metrics: String,
    files: [PathBuf; 2],
    settings: Vec<(String, String)>,
    server: ServerProcess,
}

impl Process {
    async fn start(names: &[&str], until: i64) -> Self {
        let (db, authority) = (TestDb::new().await, Authority::new());
        let files = write(db.folder(), "tls", &authority.certify(names, until));
        let (address, metrics) = (free_address(), free_address());
        let certificates = setting(std::slice::from_ref(&files));
        let settings: Vec<(String, String)> = [
            ("CARNET_DATABASE__URL", db.url()),
            ("CARNET_SERVER__METRICS_LISTEN", &metrics),
            ("CARNET_SERVER__TLS__CERTIFICATES", &certificates),
            ("CARNET_SERVER__LISTEN", &address),
            ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let given: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let server = ServerProcess::spawn(carnet(), db.folder(), &address, &given);
        let process = Self {
            address: address.parse().unwrap(),
            db,
            authority,
            metrics,
            files,
            settings,
            server,
        };
        process.wait_until_ready().await;
        process
    }

    async fn wait_until_ready(&self) {
        for _ in 0..1500 {
            let url = format!("http://{}/readyz", self.metrics);
            let answer = reqwest::get(url).await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server is not ready: {}", log(self.db.folder()));
    }

    /// The serial number that a new handshake serves.
    async fn serial(&self) -> String {
        let stream = connect(self.address, &self.authority, Tls::default());
        let stream = stream.await.unwrap();
        serial(&stream.ssl().peer_certificate().unwrap())
    }

    async fn serves(&self, expected: &str) {
        for _ in 0..(NOTICED.as_millis() / 100) {
            if self.serial().await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("another certificate is served: {}", log(self.db.folder()));
    }

    async fn logs(&self, text: &str) {
        for _ in 0..(NOTICED.as_millis() / 100) {
            if log(self.db.folder()).contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{text}: {}", log(self.db.folder()));
    }

    async fn metric(&self, series: &str) -> Option<String> {
        let url = format!("http://{}/metrics", self.metrics);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(str::to_owned)
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = carnet();
        command
            .current_dir(self.db.folder())
            .args(arguments)
            .envs(self.settings.iter().cloned());
        finished(command.output().unwrap())
    }
}

fn serial(certificate: &X509) -> String {
    let number = certificate.serial_number().to_bn().unwrap();
    number.to_hex_str().unwrap().to_lowercase()
}

#[tokio::test]
async fn a_certificate_is_changed_while_requests_run_and_no_connection_is_dropped() {
    let process = Process::start(&["localhost", "127.0.0.1"], 300 * DAY).await;
    let before = process.serial().await;
    // As Kubernetes mounts a secret: the files are links through a link to a folder.
    let folder = process.db.folder().to_owned();
    let mut number = 0;
    let mut next = |authority: &Authority| {
        number += 1;
        let place = folder.join(format!("data-{number}"));
        std::fs::create_dir(&place).unwrap();
        let pair = authority.certify(&["localhost", "127.0.0.1"], 300 * DAY);
        write(&place, "tls", &pair);
        std::os::unix::fs::symlink(&place, folder.join("next")).unwrap();
        std::fs::rename(folder.join("next"), folder.join("data")).unwrap();
        serial(&pair.0)
    };
    let first = next(&process.authority);
    for file in &process.files {
        let name = file.file_name().unwrap();
        let link = file.with_extension("link");
        std::os::unix::fs::symlink(folder.join("data").join(name), &link).unwrap();
        std::fs::rename(&link, file).unwrap();
    }
    process.serves(&first).await;
    assert_ne!(first, before);
    // One connection that stays open, and new ones all the time.
    let mut kept = connect(process.address, &process.authority, Tls::default())
        .await
        .unwrap();
    let served = RefCell::new(BTreeSet::new());
    let done = Cell::new(false);
    let load = async {
        while !done.get() {
            let new = connect(process.address, &process.authority, Tls::default());
            let mut new = new.await.unwrap();
            let certificate = new.ssl().peer_certificate().unwrap();
            served.borrow_mut().insert(serial(&certificate));
            assert_eq!(status(&mut new, "localhost").await, 200);
            assert_eq!(status(&mut kept, "localhost").await, 200);
        }
    };
    let seen = async |serial: &str| {
        let began = std::time::Instant::now();
        while !served.borrow().contains(serial) {
            let text = log(process.db.folder());
            assert!(began.elapsed() < NOTICED, "{serial}: {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let change = async {
        seen(&first).await;
        let second = next(&process.authority);
        seen(&second).await;
        // The signal does not wait for the next look at the files.
        let third = next(&process.authority);
        process.server.signal("HUP");
        seen(&third).await;
        done.set(true);
        third
    };
    let ((), third) = tokio::join!(load, change);
    assert_eq!(process.serial().await, third);
    let text = log(&folder);
    assert!(text.contains(&third) && !text.contains("ERROR"), "{text}");
    assert_eq!(process.server.terminate(), 0);
}

#[tokio::test]
async fn a_broken_certificate_is_logged_and_the_earlier_one_stays_in_use() {
    let process = Process::start(&["localhost"], 300 * DAY).await;
    let before = process.serial().await;
    let [certificate, key] = &process.files;
    let good = [
        std::fs::read(certificate).unwrap(),
        std::fs::read(key).unwrap(),
    ];
    let (other, _) = process.authority.certify(&["localhost"], 300 * DAY);
    let (expired, expired_key) = process.authority.certify(&["localhost"], -DAY);
    let expired_key = expired_key.private_key_to_pem_pkcs8().unwrap();
    for (content, key_content, said) in [
        (
            b"nonsense".to_vec(),
            &good[1],
            "must hold a certificate in PEM",
        ),
        (
            other.to_pem().unwrap(),
            &good[1],
            "does not belong to the key in",
        ),
        (expired.to_pem().unwrap(), &expired_key, "expired at"),
    ] {
        std::fs::write(certificate, content).unwrap();
        std::fs::write(key, key_content).unwrap();
        process.logs(said).await;
        assert_eq!(process.serial().await, before, "{said}");
        assert!(log(process.db.folder()).contains("the earlier ones stay in use"));
    }
    // It is said once, not at every look; the signal says it again.
    let times = || log(process.db.folder()).matches("expired at").count();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(times(), 1);
    process.server.signal("HUP");
    for _ in 0..100 {
        if times() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(times(), 2);
    // A file that is away for a moment changes nothing either.
    std::fs::remove_file(key).unwrap();
    process.logs("No such file").await;
    assert_eq!(process.serial().await, before);
    let renewed = process.authority.certify(&["localhost"], 300 * DAY);
    write(process.db.folder(), "tls", &renewed);
    process.serves(&serial(&renewed.0)).await;
}

#[tokio::test]
async fn metrics_and_readiness_tell_when_a_certificate_ends() {
    let process = Process::start(&["carnet.test", "localhost"], 10 * DAY).await;
    let expires = "carnet_tls_certificate_expires_timestamp_seconds{name=\"carnet.test\"}";
    let end: i64 = process.metric(expires).await.unwrap().parse().unwrap();
    assert!((end - machine_time() - 10 * DAY).abs() < 120, "{end}");
    let ready = async || {
        let url = format!("http://{}/readyz", process.metrics);
        let answer = reqwest::get(url).await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (code, body) = ready().await;
    let warning = body["warnings"][0].as_str().unwrap();
    assert_eq!((code, body["status"].as_str()), (200, Some("ready")));
    assert!(warning.contains("carnet.test expires at 20"), "{warning}");
    assert!(log(process.db.folder()).contains(warning));
    // Counted by what became of them.
    let mut stream = connect(process.address, &process.authority, Tls::default())
        .await
        .unwrap();
    assert_eq!(status(&mut stream, "localhost").await, 200);
    let old = Tls {
        only_1_2: true,
        ..Tls::default()
    };
    drop(
        connect(process.address, &process.authority, old)
            .await
            .unwrap(),
    );
    let plain = reqwest::get(format!("http://{}/", process.address)).await;
    assert_eq!(plain.unwrap().status(), 400);
    let unknown = Authority::new();
    let refused = connect(process.address, &unknown, Tls::default()).await;
    assert!(refused.is_err());
    // Whoever connects and goes, as a balancer does, is no failure.
    drop(
        tokio::net::TcpStream::connect(process.address)
            .await
            .unwrap(),
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (series, count) in [
        ("carnet_tls_handshakes_total{version=\"1.2\"}", 1),
        ("carnet_tls_handshakes_failed_total{why=\"without_tls\"}", 1),
        ("carnet_tls_handshakes_failed_total{why=\"certificate\"}", 1),
        ("carnet_tls_handshakes_failed_total{why=\"closed\"}", 0),
        ("carnet_tls_handshakes_failed_total{why=\"timeout\"}", 0),
    ] {
        let counted = process.metric(series).await;
        assert_eq!(counted, Some(count.to_string()), "{series}");
    }
    // With a longer one the warning is gone.
    let renewed = process.authority.certify(&["carnet.test"], 300 * DAY);
    write(process.db.folder(), "tls", &renewed);
    process.serves(&serial(&renewed.0)).await;
    assert_eq!(ready().await.1.get("warnings"), None);
}

#[tokio::test]
async fn a_certificate_that_has_expired_does_not_make_the_server_unready() {
    let authority = Authority::new();
    // The clock of the test is ahead of this machine's.
    let until = carnet::clock::Timestamp::from_seconds(1_800_000_000).seconds() - machine_time();
    let certificates = [authority.certify(&["as.test"], until + 20 * DAY)];
    let server = Secure::with(authority, &certificates, ConnectionLimits::default(), &[]).await;
    let app = &server.world.server;
    for (days, warned) in [
        (0, None),
        (5, None),
        (2, Some("expires at")),
        (13, Some("expired at")),
    ] {
        app.clock.advance(days * DAY);
        let ready = app.get("/readyz").await;
        assert_eq!(ready.status, 200);
        let warnings = &ready.json()["warnings"];
        match warned {
            None => assert!(warnings.is_null(), "{warnings}"),
            Some(part) => assert!(warnings[0].as_str().unwrap().contains(part), "{warnings}"),
        }
    }
}

#[tokio::test]
async fn healthcheck_asks_the_listener_with_tls() {
    // The certificate names neither the address nor localhost.
    let process = Process::start(&["carnet.test"], 300 * DAY).await;
    let asked = process.run(&["healthcheck"]);
    assert_eq!((asked.code, asked.stdout.trim()), (0, "ready"), "{asked:?}");
    assert_eq!(process.server.terminate(), 0);
}

/// The files of a certificate and a key as PEM.
fn pem(folder: &Path, name: &str, certificate: &[u8], key: &[u8]) -> [PathBuf; 2] {
    let files = ["crt", "key"].map(|ending| folder.join(format!("{name}.{ending}")));
    std::fs::write(&files[0], certificate).unwrap();
    std::fs::write(&files[1], key).unwrap();
    std::fs::set_permissions(&files[1], std::fs::Permissions::from_mode(0o600)).unwrap();
    files
}

/// What `carnet check` finds with these certificates.
fn checked(folder: &Path, files: &[[PathBuf; 2]], issuer: &str) -> Value {
    let mut command = carnet();
    command
        .current_dir(folder)
        .args(["check", "--json"])
        .env("CARNET_SERVER__LISTEN", "0.0.0.0:443")
        .env("CARNET_ISSUER", issuer)
        .env("CARNET_SERVER__TLS__CERTIFICATES", setting(files));
    serde_json::from_str(&finished(command.output().unwrap()).stdout).unwrap()
}

#[tokio::test]
async fn check_reports_every_certificate_that_cannot_be_served_and_names_its_files() {
    let db = TestDb::new().await;
    let (folder, authority) = (db.folder(), Authority::new());
    let named = |names: &[&str], until: i64| authority.certify(names, until);
    let parts = |pair: &(X509, PKey<Private>)| {
        let key = pair.1.private_key_to_pem_pkcs8().unwrap();
        (pair.0.to_pem().unwrap(), key)
    };
    let good = named(&["as.test"], 300 * DAY);
    let (good_pem, good_key) = parts(&good);
    let (_, other_key) = parts(&named(&["as.test"], 300 * DAY));
    let encrypted = good
        .1
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret")
        .unwrap();
    let (nameless, nameless_key) = parts(&named(&[], 300 * DAY));
    let absent = folder.join("absent.crt");
    let files = [
        [
            absent.clone(),
            pem(folder, "a", &good_pem, &good_key)[1].clone(),
        ],
        pem(folder, "b", &good_pem, &other_key),
        pem(folder, "c", &good_pem, &encrypted),
        pem(folder, "d", b"", &good_key),
        pem(folder, "e", &good_pem, b"no key"),
        pem(folder, "f", &nameless, &nameless_key),
    ];
    let found = checked(folder, &files, "https://as.test");
    let problems: Vec<&str> = found["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem.as_str().unwrap())
        .collect();
    let name =
        |[certificate, key]: &[PathBuf; 2], at: usize| [certificate, key][at].display().to_string();
    let key_of_b = name(&files[1], 1);
    for (at, parts) in [
        vec![name(&files[0], 0), "No such file".to_owned()],
        vec![name(&files[1], 0), key_of_b, "does not belong".to_owned()],
        vec![name(&files[2], 1), "encrypted by a passphrase".to_owned()],
        vec![name(&files[3], 0), "must hold a certificate".to_owned()],
        vec![name(&files[4], 1), "must hold a private key".to_owned()],
        vec![name(&files[5], 0), "alternative names".to_owned()],
    ]
    .iter()
    .enumerate()
    {
        for part in parts {
            assert!(problems[at].contains(part), "{part}: {problems:#?}");
        }
        assert!(problems[at].starts_with("server.tls.certificates: "));
    }
    assert_eq!(problems.len(), 6, "{problems:#?}");
    // A start says the same.
    let mut serve = carnet();
    serve
        .current_dir(folder)
        .arg("serve")
        .env("CARNET_SERVER__LISTEN", free_address())
        .env("CARNET_ISSUER", "https://as.test")
        .env("CARNET_SERVER__TLS__CERTIFICATES", setting(&files));
    let started = finished(serve.output().unwrap());
    assert_eq!(started.code, 1);
    for problem in problems {
        assert!(started.stderr.contains(problem), "{problem}: {started:?}");
    }
}

#[tokio::test]
async fn check_warns_of_what_clients_or_strangers_will_notice_of_certificates() {
    let db = TestDb::new().await;
    let (folder, authority) = (db.folder(), Authority::new());
    let files = [
        write(folder, "good", &authority.certify(&["as.test"], 300 * DAY)),
        write(folder, "soon", &authority.certify(&["soon.test"], 13 * DAY)),
        write(folder, "gone", &authority.certify(&["gone.test"], -DAY)),
    ];
    let found = checked(folder, &files, "https://as.test");
    assert_eq!(found["ok"], false);
    let said = |list: &str, part: &str| {
        let all = found[list].as_array().unwrap();
        all.iter().any(|one| one.as_str().unwrap().contains(part))
    };
    assert!(said("problems", "gone.test expired at 20"), "{found:#}");
    assert!(said("warnings", "soon.test expires at 20"), "{found:#}");
    assert!(
        !said("warnings", "good.test") && !said("warnings", "covers"),
        "{found:#}"
    );
    // The host of the issuer, and a key that others can read; a group may.
    let warnings = |issuer: &str| {
        let found = checked(folder, &files[..1], issuer);
        assert_eq!(found["ok"], true, "{found:#}");
        found["warnings"].to_string()
    };
    assert!(!warnings("https://as.test:8443/auth").contains("TLS"));
    assert!(warnings("https://other.test").contains("no TLS certificate covers other.test"));
    for (mode, exposed) in [(0o640, false), (0o644, true), (0o660, true), (0o400, false)] {
        std::fs::set_permissions(&files[0][1], std::fs::Permissions::from_mode(mode)).unwrap();
        let is_said = warnings("https://as.test").contains("good.key: others");
        assert_eq!(is_said, exposed, "{mode:o}");
    }
}

fn configured(variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_sources(None, variables).map_err(|errors| {
        let all = errors.iter().map(ToString::to_string);
        all.collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn rfc6749_3_2_1__with_certificates_the_issuer_is_https() {
    let one = "[{certificate_file = \"/c\", key_file = \"/k\"}]";
    let with = |listen: &str, issuer: Option<&str>| {
        let mut variables = vec![
            ("CARNET_SERVER__TLS__CERTIFICATES", one),
            ("CARNET_SERVER__LISTEN", listen),
        ];
        variables.extend(issuer.map(|issuer| ("CARNET_ISSUER", issuer)));
        configured(&variables).map(|config| config.own.issuer().to_owned())
    };
    for (listen, issuer) in [
        ("127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("[::1]:443", "https://[::1]"),
        ("localhost:8443", "https://localhost:8443"),
        ("Carnet.example:443", "https://carnet.example"),
        ("192.0.2.1:443", "https://192.0.2.1"),
        ("[\"unix:/s\", \"127.0.0.1:1\"]", "https://127.0.0.1:1"),
    ] {
        assert_eq!(with(listen, None).as_deref(), Ok(issuer), "{listen}");
    }
    // Which host clients use is not known.
    let said = with(":443", None).unwrap_err();
    assert!(said.starts_with("issuer: must be set"), "{said}");
    for listen in ["127.0.0.1:8443", "0.0.0.0:443"] {
        let said = with(listen, Some("http://127.0.0.1:8443")).unwrap_err();
        assert!(
            said.starts_with("issuer: ") && said.contains("server.tls.certificates"),
            "{said}"
        );
    }
    assert!(with("0.0.0.0:443", Some("https://as.test")).is_ok());
}

#[test]
fn the_list_of_certificates_is_checked() {
    let listen = ("CARNET_SERVER__LISTEN", "127.0.0.1:8443");
    for (value, said) in [
        ("[]", "at least one"),
        ("/c", "must be a list"),
        ("[{certificate_file = \"/c\"}]", "must be a list"),
        (
            "[{certificate_file = \"/c\", key_file = \"/k\", chain = \"/x\"}]",
            "must be a list",
        ),
        (
            "[{certificate_file = \"/c\", key_file = \"/k\"}, {certificate_file = \"/c\", key_file = \"/l\"}]",
            "must name /c once",
        ),
    ] {
        let refused = configured(&[listen, ("CARNET_SERVER__TLS__CERTIFICATES", value)]);
        let refused = refused.unwrap_err();
        assert!(
            refused.starts_with("server.tls.certificates: ") && refused.contains(said),
            "{value}: {refused}"
        );
    }
    let one = (
        "CARNET_SERVER__TLS__CERTIFICATES",
        "[{certificate_file = \"/c\", key_file = \"/keys/k\"}]",
    );
    let unix = configured(&[one, ("CARNET_SERVER__LISTEN", "unix:/s")]).unwrap_err();
    assert!(unix.contains("Unix sockets only"), "{unix}");
    // No trusted issuer may have the key sent anywhere.
    let keys = configured(&[one, listen, ("CARNET_KEY_FILES_DIR", "/keys")]).unwrap_err();
    assert!(
        keys.starts_with("key_files_dir: ") && keys.contains("TLS key"),
        "{keys}"
    );
    let config = configured(&[one, listen]).unwrap();
    assert!(config.own_files().contains(&PathBuf::from("/keys/k")));
    let settings = config.settings();
    let shown = settings
        .iter()
        .find(|one| one.key == "server.tls.certificates");
    assert_eq!(
        shown.unwrap().value,
        json!([{ "certificate_file": "/c", "key_file": "/keys/k" }])
    );
}

#[tokio::test]
async fn certificates_in_the_configuration_file_are_relative_to_its_folder() {
    let db = TestDb::new().await;
    let authority = Authority::new();
    let etc = db.folder().join("etc");
    std::fs::create_dir(&etc).unwrap();
    write(&etc, "tls", &authority.certify(&["as.test"], 300 * DAY));
    std::fs::write(
        etc.join("carnet.toml"),
        "issuer = \"https://as.test\"\n[server]\nlisten = \"127.0.0.1:8443\"\n\
         [[server.tls.certificates]]\ncertificate_file = \"tls.crt\"\nkey_file = \"tls.key\"\n",
    )
    .unwrap();
    let mut check = carnet();
    check
        .current_dir(db.folder())
        .args(["check", "--config", "etc/carnet.toml"]);
    let checked = finished(check.output().unwrap());
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[tokio::test]
async fn unix_sockets_and_metrics_stay_without_tls() {
    let (db, authority) = (TestDb::new().await, Authority::new());
    let files = write(
        db.folder(),
        "tls",
        &authority.certify(&["localhost"], 300 * DAY),
    );
    let (address, metrics) = (free_address(), free_address());
    let socket = db.folder().join("carnet.sock");
    let listen = format!("[\"unix:{}\", \"{address}\"]", socket.display());
    let certificates = setting(&[files]);
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_SERVER__METRICS_LISTEN", metrics.as_str()),
        ("CARNET_SERVER__TLS__CERTIFICATES", &certificates),
        ("CARNET_SERVER__LISTEN", &listen),
    ];
    let _server = ServerProcess::spawn(carnet(), db.folder(), &listen, &settings);
    let healthy = || {
        let mut check = carnet();
        check.arg("healthcheck").envs(settings);
        finished(check.output().unwrap()).code == 0
    };
    let mut is_healthy = false;
    for _ in 0..200 {
        is_healthy = healthy();
        if is_healthy {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_healthy, "{}", log(db.folder()));
    let answer = reqwest::get(format!("http://{metrics}/readyz")).await;
    assert_eq!(answer.unwrap().status(), 200);
    let tls = Tls {
        server_name: Some("localhost"),
        ..Tls::default()
    };
    let stream = connect(address.parse().unwrap(), &authority, tls).await;
    assert_eq!(names_of(&stream.unwrap()), "localhost");
}

#[tokio::test]
async fn idle_connections_with_tls_hold_little_memory() {
    let process = Process::start(&["localhost"], 300 * DAY).await;
    let mut held = Vec::new();
    let mut connected = async |count: usize, sent: &str| {
        for _ in 0..count {
            let stream = connect(process.address, &process.authority, Tls::default());
            let mut stream = stream.await.unwrap();
            if !sent.is_empty() {
                assert_eq!(status(&mut stream, sent).await, 200);
            }
            held.push(stream);
        }
        process.server.memory()
    };
    // What the first ones bring into memory stays there and serves all.
    let before = connected(50, "localhost").await;
    let fresh = connected(200, "").await;
    let used = connected(200, "localhost").await;
    let each = |before: u64, after: u64| after.saturating_sub(before) / 200;
    let (fresh, used) = (each(before, fresh), each(fresh, used));
    eprintln!("KiB of a connection: {fresh} after its handshake, {used} after a request");
    assert!(fresh < 60 && used < 100, "{fresh} and {used} KiB");
}
