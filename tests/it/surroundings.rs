//! What stands around a server, as it is: nginx, a pooler, a disk that is full, a clock that is wrong, ten thousand slow callers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{
    Authority, Flaw, Installed, JWT_BEARER, ServerProcess, TestDb, carnet, carnet_under, finished,
    free_address, may_skip,
};

/// A program that ends with the test.
pub struct Program(Child);

impl Program {
    /// Starts it and waits until it listens. None where the machine lacks it and that is allowed.
    pub async fn start(name: &str, command: &mut Command, address: &str) -> Option<Self> {
        let Ok(child) = command.stdin(Stdio::null()).spawn() else {
            may_skip(name);
            return None;
        };
        let program = Self(child);
        for _ in 0..500 {
            if TcpStream::connect(address).await.is_ok() {
                return Some(program);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} does not listen at {address}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Where Debian has programs that no user's path leads to.
pub fn daemon(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("env");
    command
        .arg(format!("PATH={path}:/usr/sbin:/sbin"))
        .arg(name);
    command
}

/// nginx with this folder and this configuration.
pub fn nginx(folder: &Path, conf: &Path) -> Command {
    let mut nginx = daemon("nginx");
    nginx
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(conf)
        .stderr(Stdio::null());
    nginx
}

pub fn is_installed(name: &str) -> bool {
    daemon("sh")
        .args(["-c", &format!("command -v {name}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

// === nginx ===

/// The server of the guide's nginx, with these places in it.
fn nginx_of_the_guide(folder: &Path, outside: &str, inside: &str) -> PathBuf {
    let guide = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/src/guides/production.md"
    ))
    .unwrap();
    let block = guide
        .split("```nginx\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let places = [
        ("listen 443 ssl", format!("listen {outside} ssl")),
        ("server 127.0.0.1:8080;", format!("server {inside};")),
    ];
    nginx_conf(folder, block, &places)
}

/// A configuration of nginx around this part of the book, with these places in it and a certificate of its own.
pub fn nginx_conf(folder: &Path, block: &str, places: &[(&str, String)]) -> PathBuf {
    let authority = Authority::new();
    let (certificate, key) = authority.issue(Flaw::None);
    std::fs::write(folder.join("proxy.pem"), certificate.to_pem().unwrap()).unwrap();
    std::fs::write(
        folder.join("proxy.key"),
        key.private_key_to_pem_pkcs8().unwrap(),
    )
    .unwrap();
    std::fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    let place = |name: &str| folder.join(name).display().to_string();
    let mut server = block.to_owned();
    let certificates = [
        ("/etc/ssl/carnet.example.pem", place("proxy.pem")),
        ("/etc/ssl/carnet.example.key", place("proxy.key")),
    ];
    for (ours, theirs) in certificates.iter().chain(places) {
        assert!(server.contains(ours), "the guide has {ours}");
        server = server.replace(ours, theirs);
    }
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary
        .map(|name| format!("{name}_temp_path {};\n", place(name)))
        .concat();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {};\nerror_log {};\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{server}}}\n",
        place("nginx.pid"),
        place("nginx.log"),
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, whole).unwrap();
    file
}

/// Lets people sign in at an installation.
fn with_people(installed: &Installed) {
    let objects = json!({ "identity_providers": { "corp": {
        "issuer": "https://login.corp.example", "client_id": "carnet", "auth_method": "none", "second_factor": { "amr": ["otp"] },
    } } });
    std::fs::write(
        installed.db.folder().join("people.json"),
        objects.to_string(),
    )
    .unwrap();
    let mut apply = carnet();
    apply
        .current_dir(installed.db.folder())
        .args(["apply", "--offline", "-f", "people.json"])
        .envs(installed.settings());
    let applied = finished(apply.output().unwrap());
    assert_eq!(applied.code, 0, "{applied:?}");
}

#[tokio::test]
async fn srv_2__behind_nginx_everything_is_answered_and_the_caller_is_known() {
    if !is_installed("nginx") {
        may_skip("nginx");
        return;
    }
    let (outside, metrics) = (free_address(), free_address());
    let trusted = [
        ("CARNET_SERVER__TRUSTED_PROXIES", "[\"127.0.0.1/32\"]"),
        ("CARNET_SERVER__UNSHARED_PEERS", "[\"127.0.0.1/32\"]"),
        ("CARNET_SERVER__METRICS_LISTEN", metrics.as_str()),
    ];
    let installed = Installed::new(&trusted).await;
    let folder = installed.db.folder();
    let _server = installed.start().await;
    let conf = nginx_of_the_guide(folder, &outside, &installed.address);
    let mut nginx = nginx(folder, &conf);
    let Some(_nginx) = Program::start("nginx", &mut nginx, &outside).await else {
        return;
    };

    let authority = std::fs::read(folder.join("authority.pem")).unwrap();
    let authority = reqwest::Certificate::from_pem(&authority).unwrap();
    // A caller elsewhere than the proxy.
    let http = reqwest::Client::builder().local_address(std::net::IpAddr::from([127, 0, 0, 2]));
    let http = http
        .add_root_certificate(authority)
        .no_proxy()
        .build()
        .unwrap();
    let port = outside.split(':').nth(1).unwrap();
    let url = format!("https://localhost:{port}");
    let ask = async |assertion: &str, headers: &[(&str, &[u8])]| {
        let form = [("grant_type", JWT_BEARER), ("assertion", assertion)];
        let mut request = http.post(format!("{url}/token")).form(&form);
        for (name, value) in headers {
            request = request.header(
                *name,
                reqwest::header::HeaderValue::from_bytes(value).unwrap(),
            );
        }
        request.send().await.unwrap()
    };
    let addresses = async || {
        installed
            .db
            .column::<String>(
                "SELECT address FROM audit_event WHERE address IS NOT NULL ORDER BY id",
            )
            .await
    };

    assert_eq!(ask(&installed.good(), &[]).await.status(), 200);
    // What a caller writes of itself is not believed, whatever bytes it is.
    for forged in [
        b"203.0.113.9".as_slice(),
        b"203.0.113.9, 198.51.100.7",
        b"\xff\xfe",
        b"unix:",
    ] {
        let answer = ask(
            &installed.good(),
            &[
                ("x-forwarded-for", forged),
                ("forwarded", b"for=203.0.113.9"),
            ],
        )
        .await;
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(addresses().await, ["127.0.0.2"; 5]);
    // Pages are served for the host of the issuer alone, so nginx passes it on.
    with_people(&installed);
    let mut pages = 404;
    for _ in 0..200 {
        let page = http.get(format!("{url}/console/sign-in"));
        let page = page.header("host", &installed.address).send().await;
        pages = page.unwrap().status().as_u16();
        if pages == 200 {
            break;
        }
        // The server reads changes four times a second.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(pages, 200);
    // Refusals by the server reach the caller as they are: nginx takes more fields than the server does.
    let many: Vec<(String, &[u8])> = (0..120)
        .map(|number| (format!("x-{number}"), b"1".as_slice()))
        .collect();
    let many: Vec<(&str, &[u8])> = many
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    assert_eq!(ask(&installed.good(), &many).await.status(), 431);
    assert_eq!(
        http.get(format!("{url}/{}", "a".repeat(7_000)))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    assert_eq!(
        http.post(format!("{url}/token"))
            .body(vec![b'a'; 900_000])
            .send()
            .await
            .unwrap()
            .status(),
        413
    );
    // Refused or not, the connections between the two stay: many requests, none of them lost.
    for number in 0..200 {
        let assertion = if number % 2 == 0 {
            installed.good()
        } else {
            "forged".to_owned()
        };
        let status = ask(&assertion, &[]).await.status().as_u16();
        let expected = if number % 2 == 0 {
            [200, 200]
        } else {
            [400, 429]
        };
        assert!(expected.contains(&status), "{number}: {status}");
    }
    let log = std::fs::read_to_string(folder.join("nginx.log")).unwrap();
    assert!(!log.contains("upstream prematurely closed"), "{log}");
}

// === PgBouncer ===

/// A database beside those of the other tests: what a pooler hands on is not a schema's name.
const POOLED: &str = "carnet_pooled";

#[tokio::test]
async fn srv_20__pgbouncer_works_in_session_mode_and_is_refused_in_transaction_mode() {
    // Without a PostgreSQL there is nothing to pool; the suite runs once with one.
    let Ok(server) = std::env::var("TEST_DATABASE_URL") else {
        return;
    };
    if !is_installed("pgbouncer") {
        may_skip("pgbouncer");
        return;
    }
    let db = TestDb::new().await;
    for sql in [
        format!("DROP DATABASE IF EXISTS {POOLED} WITH (FORCE)"),
        format!("CREATE DATABASE {POOLED}"),
    ] {
        db.execute(&sql).await;
    }
    // What a role, a database or a pooler may set, and single use must not rest on.
    db.execute(&format!(
        "ALTER DATABASE {POOLED} SET synchronous_commit = off"
    ))
    .await;
    let direct = url::Url::parse(&server).unwrap();
    let user = direct.username().to_owned();
    let at = (
        direct.host_str().unwrap().to_owned(),
        direct.port().unwrap_or(5432),
    );
    // Newer ones carry prepared statements from one connection to another, unless they are told not to.
    let version = daemon("pgbouncer").arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let minor = version
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse::<u32>().ok())
        .unwrap();
    let keeps_statements = minor >= 21;
    for mode in ["session", "transaction"] {
        let address = free_address();
        let port = address.split(':').nth(1).unwrap();
        let folder = db.folder().to_owned();
        let conf = format!(
            "[databases]\n{POOLED} = host={} port={} dbname={POOLED} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\nlogfile =\npidfile =\n{}",
            at.0,
            at.1,
            if keeps_statements {
                "max_prepared_statements = 0\n"
            } else {
                ""
            }
        );
        let file = folder.join(format!("{mode}.ini"));
        std::fs::write(&file, conf).unwrap();
        let mut pooler = daemon("pgbouncer");
        if is_root() {
            pooler.args(["-u", "nobody"]);
        }
        let Some(_pooler) = Program::start(
            "pgbouncer",
            pooler.arg(&file).stderr(Stdio::null()),
            &address,
        )
        .await
        else {
            return;
        };
        let url = format!("postgres://{user}@{address}/{POOLED}");
        if mode == "transaction" {
            let mut check = carnet();
            check
                .arg("check")
                .current_dir(&folder)
                .env("CARNET_DATABASE__URL", &url)
                .env("CARNET_DATA_DIR", &folder);
            // Statements of one connection reach another's session sooner or later.
            let mut said = String::new();
            for _ in 0..20 {
                said = finished(check.output().unwrap()).stdout;
                if said.contains("session mode") {
                    break;
                }
            }
            assert!(said.contains("session mode"), "{said}");
            continue;
        }
        let installed = Installed::on(TestDb::new().await, &[("CARNET_DATABASE__URL", &url)]);
        let guard = "CREATE FUNCTION durable() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                     IF current_setting('synchronous_commit') <> 'on' THEN RAISE 'not durable'; END IF; RETURN NEW; END $$; \
                     CREATE TRIGGER durable BEFORE INSERT ON consumed FOR EACH ROW EXECUTE FUNCTION durable()";
        let mut beside = direct.clone();
        beside.set_path(POOLED);
        let pooled = sea_orm::Database::connect(beside.as_str()).await.unwrap();
        sea_orm::ConnectionTrait::execute_unprepared(&pooled, guard)
            .await
            .unwrap();
        pooled.close().await.unwrap();
        let running = installed.start().await;
        let assertion = installed.good();
        let (status, body) = installed.exchange(&assertion).await;
        assert_eq!(status, 200, "{body}");
        let (status, body) = installed.exchange(&assertion).await;
        assert_eq!((status, &body["reason"]), (400, &json!("replay")));
        assert_eq!(running.terminate(), 0);
    }
    db.execute(&format!("DROP DATABASE IF EXISTS {POOLED} WITH (FORCE)"))
        .await;
}

// === a full disk ===

/// How the disk of a server gets full.
enum Disk {
    /// A small file system in memory, in a mount namespace of the server's own.
    Small,
    /// Where nobody may mount anything: no file may grow any more.
    Capped,
}

impl Disk {
    fn of_this_machine() -> Self {
        let may_mount = Command::new("unshare")
            .args(["--map-root-user", "--mount", "true"])
            .stderr(Stdio::null())
            .status();
        if may_mount.is_ok_and(|status| status.success()) {
            Self::Small
        } else {
            Self::Capped
        }
    }

    /// The server's command, with what is in `before` on that disk.
    fn serve(&self, disk: &Path, before: &Path) -> Command {
        let (disk, before) = (disk.display(), before.display());
        let prepared = format!("cp -a '{before}/.' '{disk}/' && exec \"$@\"");
        match self {
            Self::Small => {
                let script = format!("mount -t tmpfs -o size=6m tmpfs '{disk}' && {prepared}");
                carnet_under(
                    "unshare",
                    &["--map-root-user", "--mount", "sh", "-c", &script, "sh"],
                )
            }
            Self::Capped => carnet_under("sh", &["-c", &format!("trap '' XFSZ; {prepared}"), "sh"]),
        }
    }

    fn fill(&self, server: &ServerProcess, disk: &Path) {
        use std::io::Write as _;
        match self {
            Self::Small => {
                let mut file = std::fs::File::options()
                    .create(true)
                    .append(true)
                    .open(filler(server, disk))
                    .unwrap();
                while file.write_all(&[1; 4096]).is_ok() {}
            }
            Self::Capped => cap(server, "4096:"),
        }
    }

    fn empty(&self, server: &ServerProcess, disk: &Path) {
        match self {
            Self::Small => std::fs::remove_file(filler(server, disk)).unwrap(),
            Self::Capped => cap(server, "unlimited:"),
        }
    }
}

/// A file as the server sees its disk.
fn filler(server: &ServerProcess, disk: &Path) -> PathBuf {
    PathBuf::from(format!(
        "/proc/{}/root{}",
        server.id(),
        disk.join("filler").display()
    ))
}

fn cap(server: &ServerProcess, size: &str) {
    let mut command = Command::new("prlimit");
    let set = command
        .arg("--pid")
        .arg(server.id().to_string())
        .arg(format!("--fsize={size}"))
        .status()
        .unwrap();
    assert!(set.success(), "prlimit");
}

#[tokio::test]
async fn srv_8__a_disk_that_is_full_makes_the_server_not_ready_and_loses_nothing() {
    let kind = Disk::of_this_machine();
    // The file of an embedded database, whatever the other tests run on.
    let db = TestDb::new().await;
    let (disk, before) = (db.folder().join("disk"), db.folder().join("before"));
    for folder in [&disk, &before] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let url = |folder: &Path| format!("sqlite://{}", folder.join("carnet.db").display());
    let data = [
        ("CARNET_DATA_DIR", disk.to_str().unwrap().to_owned()),
        ("CARNET_DATABASE__URL", url(&disk)),
    ];
    // The rules are written to a place that stays, and brought onto the disk when it is there.
    let prepared = Installed::on(
        db,
        &[
            ("CARNET_DATABASE__URL", &url(&before)),
            ("CARNET_DATA_DIR", before.to_str().unwrap()),
        ],
    );
    let mut settings = prepared.settings();
    settings.retain(|(name, _)| data.iter().all(|(other, _)| other != name));
    settings.extend(data.iter().map(|(name, value)| (*name, value.as_str())));
    let folder = prepared.db.folder();
    let server = ServerProcess::spawn(
        kind.serve(&disk, &before),
        folder,
        &prepared.address,
        &settings,
    );
    server.wait_until_ready(folder).await;
    assert_eq!(prepared.exchange(&prepared.good()).await.0, 200);

    kind.fill(&server, &disk);
    let mut refused = None;
    for _ in 0..3_000 {
        let assertion = prepared.good();
        let (status, body) = prepared.exchange(&assertion).await;
        if status != 200 {
            refused = Some((status, body, assertion));
            break;
        }
        // What was free in the log of the database is used up in time.
        kind.fill(&server, &disk);
    }
    let (status, body, assertion) = refused.expect("a disk that is full");
    assert_eq!(
        (status, &body["reason"]),
        (503, &json!("database_unavailable")),
        "{body}"
    );
    let (status, ready) = server.readiness(folder).await;
    assert_eq!(
        (status, &ready["database"]),
        (503, &json!(false)),
        "{ready}"
    );
    // Documents need no disk.
    assert_eq!(
        reqwest::get(format!("{}/jwks", server.url))
            .await
            .unwrap()
            .status(),
        200
    );
    kind.empty(&server, &disk);
    server.wait_until_ready(folder).await;
    let (status, body) = prepared.exchange(&assertion).await;
    assert_eq!(status, 200, "nothing was used up: {body}");
    let (status, body) = prepared.exchange(&assertion).await;
    assert_eq!((status, &body["reason"]), (400, &json!("replay")));
}

// === a wrong clock ===

/// The server's command under a clock that is off by so much.
fn carnet_at(off: &str) -> Option<Command> {
    // The program stays as the parent of what it runs, so it is asked for its library alone.
    let asked = Command::new("faketime").args(["-f", "+0", "env"]).output();
    let said = asked
        .map(|output| String::from_utf8(output.stdout).unwrap())
        .unwrap_or_default();
    let Some(library) = said
        .lines()
        .find_map(|line| line.strip_prefix("LD_PRELOAD="))
    else {
        may_skip("faketime");
        return None;
    };
    let mut command = carnet();
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME", off)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Some(command)
}

#[tokio::test]
async fn srv_22__a_process_whose_clock_runs_ahead_forgets_no_used_assertion() {
    let Some(ahead) = carnet_at("+23h") else {
        return;
    };
    let installed = Installed::new(&[]).await;
    let folder = installed.db.folder().to_owned();
    let assertion = installed.good();
    let server = installed.start().await;
    assert_eq!(installed.exchange(&assertion).await.0, 200);
    server.kill();
    // Long over, so that it can be seen when something was forgotten.
    let key = "00".repeat(33);
    let literal = if installed.db.url().starts_with("postgres") {
        format!("'\\x{key}'")
    } else {
        format!("x'{key}'")
    };
    installed
        .db
        .execute(&format!(
            "INSERT INTO consumed (key, expires_at) VALUES ({literal}, 1)"
        ))
        .await;
    let forgotten = async || {
        let sql = "SELECT COUNT(*) FROM consumed WHERE expires_at = 1";
        installed.db.column::<i64>(sql).await == [0]
    };
    let server = ServerProcess::spawn(ahead, &folder, &installed.address, &installed.settings());
    let (status, ready) = server.readiness(&folder).await;
    // A database elsewhere has the time; a file has not.
    if installed.db.url().starts_with("postgres") {
        assert_eq!((status, &ready["clock"]), (503, &json!(false)), "{ready}");
    } else {
        assert_eq!(status, 200, "{ready}");
    }
    for _ in 0..600 {
        if forgotten().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(forgotten().await, "what was over was removed");
    server.kill();
    let _server = installed.start().await;
    let (status, body) = installed.exchange(&assertion).await;
    assert_eq!((status, &body["reason"]), (400, &json!("replay")), "{body}");
}

#[tokio::test]
async fn atk_205__a_replica_whose_clock_is_off_is_not_ready() {
    // Of the clocks of one machine and its file there is nothing to compare.
    if std::env::var("TEST_DATABASE_URL").is_err() {
        return;
    }
    for off in ["-2h", "+2m"] {
        let Some(behind) = carnet_at(off) else { return };
        let installed = Installed::new(&[]).await;
        let folder = installed.db.folder();
        let server =
            ServerProcess::spawn(behind, folder, &installed.address, &installed.settings());
        let (status, ready) = server.readiness(folder).await;
        assert_eq!(
            (status, &ready["clock"]),
            (503, &json!(false)),
            "{off}: {ready}"
        );
    }
}

// === ten thousand connections ===

#[tokio::test]
async fn sec_h1__ten_thousand_connections_that_send_a_byte_a_second_hold_little_memory() {
    const ROOM_KIB: u64 = 100 * 1024;
    // Other tests of this process have files open too; where there may be fewer, it is as many as that.
    let files = usize::try_from(rlimit::increase_nofile_limit(u64::MAX).unwrap()).unwrap();
    let count = 10_000.min(files.saturating_mul(2) / 3);
    assert!(
        count > 2_000,
        "{files} open files are too few to try anything"
    );
    let unshared = [
        ("CARNET_SERVER__UNSHARED_PEERS", "[\"127.0.0.0/8\"]"),
        ("CARNET_SERVER__MAX_CONNECTIONS", "11000"),
    ];
    let installed = Installed::new(&unshared).await;
    let server = installed.start().await;
    assert_eq!(installed.exchange(&installed.good()).await.0, 200);
    let idle = server.memory();
    let request = b"POST /token HTTP/1.1\r\nhost: as.test\r\ncontent-length: 9\r\n\r\n";
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(TcpStream::connect(&installed.address).await.unwrap());
    }
    let mut grown = 0;
    for byte in &request[..6] {
        let begun = tokio::time::Instant::now();
        let mut open = 0;
        for stream in &mut connections {
            open += usize::from(stream.write_all(std::slice::from_ref(byte)).await.is_ok());
        }
        assert!(open > count * 9 / 10, "{open} connections are open");
        // Who asks meanwhile is served.
        let (status, body) = installed.exchange(&installed.good()).await;
        assert_eq!(status, 200, "{body}");
        grown = grown.max(server.memory().saturating_sub(idle));
        assert!(grown < ROOM_KIB, "{grown} KiB more than idle");
        tokio::time::sleep_until(begun + Duration::from_secs(1)).await;
    }
    eprintln!("{count} connections: {grown} KiB more than {idle} KiB");
    let state: Value = server.readiness(installed.db.folder()).await.1;
    assert_eq!(state["status"], "ready", "{state}");
}
