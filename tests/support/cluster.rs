//! A PostgreSQL of a test's own, that may be stopped, frozen, filled and replaced by its standby.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, Database, Statement};

use super::may_skip;

const PROGRAMS: [&str; 4] = ["initdb", "pg_ctl", "pg_basebackup", "postgres"];

/// A node of PostgreSQL.
#[derive(Debug)]
pub struct Node {
    data: PathBuf,
    pub address: String,
}

/// A primary, and a standby once [`Cluster::follow`] made one. Both end with the test.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    pub primary: Node,
    pub standby: Option<Node>,
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|file| file.exists())
}

/// The command, as the user that PostgreSQL wants to run as: anybody but root.
fn owned(name: &str) -> Command {
    let program = program(name).unwrap_or_else(|| name.into());
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

impl Node {
    fn new(data: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            data,
            address: listener.local_addr().unwrap().to_string(),
        }
    }

    /// Where its database is found.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address)
    }

    fn control(&self, arguments: &[&str]) -> Command {
        let log = self.data.with_extension("log");
        let mut command = owned("pg_ctl");
        command
            .arg("-D")
            .arg(&self.data)
            .arg("-l")
            .arg(log)
            .args(arguments);
        command
    }

    /// Starts it, and waits until it takes connections.
    pub fn start(&self) {
        let port = self.address.rsplit(':').next().unwrap();
        // A standby finds a primary again that was restarted; commits wait for it.
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c shared_buffers=16MB \
             -c wal_retrieve_retry_interval=200ms"
        );
        run(&mut self.control(&["start", "-w", "-o", &options]));
    }

    /// Stops it; `mode` is `fast` or `immediate`.
    pub fn stop(&self, mode: &str) {
        self.control(&["stop", "-w", "-m", mode]).status().unwrap();
    }

    pub async fn execute(&self, database: &str, sql: &str) {
        let connection = Database::connect(self.url(database)).await.unwrap();
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }

    /// The first column of a query.
    pub async fn column<T: sea_orm::TryGetable>(&self, database: &str, sql: &str) -> Vec<T> {
        let connection = Database::connect(self.url(database)).await.unwrap();
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let rows = connection.query_all_raw(statement).await.unwrap();
        connection.close().await.unwrap();
        rows.iter()
            .map(|row| row.try_get_by_index(0).unwrap())
            .collect()
    }

    /// Changes a setting of the whole node.
    pub async fn set(&self, name: &str, value: &str) {
        let connection = Database::connect(self.url("postgres")).await.unwrap();
        for sql in [
            format!("ALTER SYSTEM SET {name} = '{value}'"),
            "SELECT pg_reload_conf()".to_owned(),
        ] {
            connection.execute_unprepared(&sql).await.unwrap();
        }
        connection.close().await.unwrap();
    }

    /// Its processes.
    fn processes(&self) -> Vec<String> {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let Some(master) = file.lines().next() else {
            return Vec::new();
        };
        let children = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().map(str::to_owned);
        std::iter::once(master.to_owned()).chain(children).collect()
    }

    /// Lets no file of its grow any more, as a disk that is full, or lets them grow again and starts it where it has ended.
    pub fn fill(&self, is_full: bool) {
        let size = if is_full { "0:" } else { "unlimited:" };
        for process in self.processes() {
            // One may have ended meanwhile.
            let limit = format!("--fsize={size}");
            let mut prlimit = owned("prlimit");
            prlimit.args(["--pid", &process, &limit]).status().unwrap();
        }
        if !is_full && !self.control(&["status"]).status().unwrap().success() {
            self.start();
        }
    }

    /// Sends a signal, such as `KILL`, to all its processes.
    pub fn signal(&self, name: &str) {
        let processes = self.processes();
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).args(processes);
        kill.stderr(Stdio::null()).status().unwrap();
    }
}

impl Cluster {
    /// Starts a primary with an empty database `carnet`. None where PostgreSQL's programs are missing and that is allowed.
    pub async fn start() -> Option<Self> {
        if let Some(missing) = PROGRAMS.iter().find(|name| program(name).is_none()) {
            may_skip(missing);
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let primary = Node::new(folder.path().join("first"));
        run(owned("initdb").arg("-D").arg(&primary.data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--wal-segsize=1",
        ]));
        primary.start();
        primary.execute("postgres", "CREATE DATABASE carnet").await;
        primary
            .execute("postgres", "CREATE ROLE health LOGIN")
            .await;
        Some(Self {
            folder,
            primary,
            standby: None,
        })
    }

    /// Makes a standby that every commit waits for.
    pub async fn follow(&mut self) {
        let standby = Node::new(self.folder.path().join("second"));
        let (host, port) = self.primary.address.split_once(':').unwrap();
        run(owned("pg_basebackup")
            .arg("-D")
            .arg(&standby.data)
            .args(["-R", "-c", "fast", "-U", "postgres", "-h", host, "-p", port]));
        standby.start();
        let sql = "SELECT COUNT(*) FROM pg_stat_replication WHERE state = 'streaming'";
        let mut waited = 0;
        while self.primary.column::<i64>("postgres", sql).await != [1] {
            waited += 1;
            assert!(waited < 300, "the standby does not stream");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.primary.set("synchronous_standby_names", "*").await;
        self.standby = Some(standby);
    }

    /// The standby becomes the primary. The other one has to be gone, or to be frozen.
    pub fn promote(&mut self) {
        let standby = self.standby.take().unwrap();
        run(&mut standby.control(&["promote", "-w"]));
        self.standby = Some(std::mem::replace(&mut self.primary, standby));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.standby.iter().chain([&self.primary]) {
            node.signal("CONT");
            node.stop("immediate");
        }
    }
}
