//! A database for each test: a SQLite file, or a schema of the PostgreSQL database that `TEST_DATABASE_URL` names.

use std::path::{Path, PathBuf};

use carnet::ids;
use sea_orm::{ConnectionTrait as _, Database};

/// A database that goes away with the test.
#[derive(Debug)]
pub struct TestDb {
    folder: PathBuf,
    url: String,
    schema: Option<(String, String)>,
}

impl TestDb {
    pub async fn new() -> Self {
        let name = format!("carnet_test_{}", uuid::Uuid::from_bytes(ids::random()).simple());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        match std::env::var("TEST_DATABASE_URL") {
            Err(_) => Self { url: format!("sqlite://{}", folder.join("carnet.db").display()), folder, schema: None },
            Ok(server) => {
                run(&server, &format!("CREATE SCHEMA {name}")).await;
                let joint = if server.contains('?') { '&' } else { '?' };
                Self { url: format!("{server}{joint}options[search_path]={name}"), folder, schema: Some((server, name)) }
            }
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn is_postgres(&self) -> bool {
        self.schema.is_some()
    }

    /// A folder of the test's own.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a statement behind the server's back.
    pub async fn execute(&self, sql: &str) {
        run(&self.url, sql).await;
    }
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
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(run(&server, &format!("DROP SCHEMA IF EXISTS {name} CASCADE")));
            });
            drop.join().ok();
        }
    }
}
