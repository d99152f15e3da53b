//! A database for each test: a SQLite file, or a schema of the PostgreSQL database that `TEST_DATABASE_URL` names.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use carnet::ids;
use sea_orm::{ConnectionTrait as _, Database, Statement, TryGetable};

/// A database that goes away with the test.
#[derive(Debug)]
pub struct TestDb {
    folder: PathBuf,
    url: String,
    schema: Option<(String, String)>,
}

impl TestDb {
    pub async fn new() -> Self {
        let id = uuid::Uuid::from_bytes(ids::random()).simple();
        let name = format!("carnet_test_{}_{id}", seconds() / 3600);
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        match std::env::var("TEST_DATABASE_URL") {
            Err(_) => Self {
                url: format!("sqlite://{}", folder.join("carnet.db").display()),
                folder,
                schema: None,
            },
            Ok(server) => {
                static SWEPT: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
                SWEPT.get_or_init(|| sweep(&server)).await;
                run(&server, &format!("CREATE SCHEMA {name}")).await;
                let joint = if server.contains('?') { '&' } else { '?' };
                Self {
                    url: format!("{server}{joint}options[search_path]={name}"),
                    folder,
                    schema: Some((server, name)),
                }
            }
        }
    }

    /// With the tables in it already: a copy of a file that is made once, where it is a file.
    pub async fn migrated() -> Self {
        static TABLES: tokio::sync::OnceCell<Vec<u8>> = tokio::sync::OnceCell::const_new();
        let db = Self::new().await;
        if db.schema.is_none() {
            std::fs::write(
                db.folder.join("carnet.db"),
                TABLES.get_or_init(tables).await,
            )
            .unwrap();
        }
        db
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A folder of the test's own.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of the files that trusted issuers may name.
    pub fn key_files(&self) -> PathBuf {
        let folder = self.folder.join("key-files");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Looks at a column behind the server's back.
    pub async fn column<T: TryGetable>(&self, sql: &str) -> Vec<T> {
        let database = Database::connect(&self.url).await.unwrap();
        let rows = database
            .query_all_raw(Statement::from_string(database.get_database_backend(), sql))
            .await
            .unwrap();
        let values = rows
            .iter()
            .map(|row| row.try_get_by_index(0).unwrap())
            .collect();
        database.close().await.unwrap();
        values
    }

    /// Makes a backup as the guide says, while the server may run.
    pub async fn back_up(&self, file: &Path) {
        match &self.schema {
            None => {
                self.execute(&format!("VACUUM INTO '{}'", file.display()))
                    .await;
            }
            Some((server, name)) => {
                let mut dump = Command::new("pg_dump");
                dump.args(["--schema", name, "--file"])
                    .arg(file)
                    .arg(server);
                assert!(dump.status().unwrap().success());
            }
        }
    }

    /// Puts a backup in the place of the database. Nothing else may use it meanwhile.
    pub async fn restore(&self, file: &Path) {
        match &self.schema {
            None => {
                for suffix in ["-wal", "-shm"] {
                    std::fs::remove_file(self.folder.join(format!("carnet.db{suffix}"))).ok();
                }
                std::fs::copy(file, self.folder.join("carnet.db")).unwrap();
            }
            Some((server, name)) => {
                run(server, &format!("DROP SCHEMA {name} CASCADE")).await;
                let mut psql = Command::new("psql");
                psql.args(["--quiet", "--set", "ON_ERROR_STOP=1", "--file"]);
                let restored = psql.arg(file).arg(server).stdout(Stdio::null()).status();
                assert!(restored.unwrap().success());
            }
        }
    }

    /// Runs a statement behind the server's back.
    pub async fn execute(&self, sql: &str) {
        run(&self.url, sql).await;
    }
}

/// An SQLite file with the tables and nothing else.
async fn tables() -> Vec<u8> {
    let db = TestDb::new().await;
    let database = Database::connect(format!("{}?mode=rwc", db.url))
        .await
        .unwrap();
    carnet_migration::up(&database).await.unwrap();
    database.close().await.unwrap();
    std::fs::read(db.folder.join("carnet.db")).unwrap()
}

fn seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Removes what tests left behind that were cut off two hours ago or longer.
async fn sweep(server: &str) {
    let database = Database::connect(server).await.unwrap();
    let sql = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'carnet_test_%'";
    let rows = database
        .query_all_raw(Statement::from_string(database.get_database_backend(), sql))
        .await
        .unwrap();
    for row in rows {
        let name: String = row.try_get_by_index(0).unwrap();
        let hour = name
            .split('_')
            .nth(2)
            .and_then(|hour| hour.parse::<u64>().ok())
            .unwrap_or_default();
        if hour + 2 < seconds() / 3600 {
            database
                .execute_unprepared(&format!("DROP SCHEMA IF EXISTS {name} CASCADE"))
                .await
                .unwrap();
        }
    }
    database.close().await.unwrap();
}

async fn run(url: &str, sql: &str) {
    let database = Database::connect(url).await.unwrap();
    database.execute_unprepared(sql).await.unwrap();
    database.close().await.unwrap();
}

impl Drop for TestDb {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
        if let Some((server, name)) = self.schema.take() {
            let drop = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                // A transaction that was cut off with the test may hold a lock as long as this thread waits for it.
                let sql =
                    format!("SET lock_timeout = '500ms'; DROP SCHEMA IF EXISTS {name} CASCADE");
                runtime.block_on(async {
                    let database = Database::connect(&server).await.unwrap();
                    database.execute_unprepared(&sql).await.ok();
                });
            });
            drop.join().ok();
        }
    }
}

/// A lock on what records are written to, until it is let go: another writer of the file, or of the table.
#[derive(Debug)]
pub struct Lock(sea_orm::DatabaseConnection);

impl TestDb {
    /// Locks what records are written to.
    pub async fn lock(&self) -> Lock {
        let mut options = sea_orm::ConnectOptions::new(&self.url);
        options.max_connections(1);
        let database = Database::connect(options).await.unwrap();
        let sql = match self.schema {
            None => "BEGIN IMMEDIATE",
            Some(_) => {
                "BEGIN; LOCK TABLE consumed IN ACCESS EXCLUSIVE MODE; LOCK TABLE change_counter IN EXCLUSIVE MODE"
            }
        };
        database.execute_unprepared(sql).await.unwrap();
        Lock(database)
    }
}

impl Lock {
    pub async fn release(self) {
        self.0.execute_unprepared("ROLLBACK").await.unwrap();
        self.0.close().await.unwrap();
    }
}
