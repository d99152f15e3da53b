//! Another program on the same database file: it gets in the way of the servers, and looks at what is really there.

use std::collections::BTreeMap;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, Statement};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::template::Folder;

/// Writes that the database can be told to refuse: a statement, in the middle of a transaction.
pub const REFUSED: [&str; 6] = [
    "INSERT ON consumed",
    "INSERT ON audit_event",
    "INSERT ON revoked_token",
    "INSERT ON exchanged_token",
    "INSERT ON change",
    "UPDATE ON federated_credential",
];

pub struct Outsider {
    runtime: Runtime,
    database: DatabaseConnection,
    /// Whether it holds the lock of the one writer.
    pub locks: bool,
    pub refuses: Option<&'static str>,
}

/// An issued token as the audit log has it.
#[derive(Clone, Debug)]
pub struct Issued {
    pub event: uuid::Uuid,
    pub token: String,
    /// The `jti` of the assertion; of an exchange of a token of the server's own there is none.
    pub assertion: Option<String>,
}

impl Outsider {
    pub fn new(folder: &Folder) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut options = ConnectOptions::new(folder.url());
        options.max_connections(1).sqlx_logging(false);
        // It never waits: the servers make no progress meanwhile.
        options.map_sqlx_sqlite_opts(|sqlite| sqlite.busy_timeout(std::time::Duration::ZERO));
        let database = runtime.block_on(Database::connect(options)).unwrap();
        Self {
            runtime,
            database,
            locks: false,
            refuses: None,
        }
    }

    /// Runs a statement, if nobody writes at the moment.
    fn run(&self, sql: &str) -> bool {
        let run = self.database.execute_unprepared(sql);
        self.runtime.block_on(run).is_ok()
    }

    /// Takes the lock that every writer needs.
    pub fn lock(&mut self) {
        if !self.locks && self.refuses.is_none() {
            self.locks = self.run("BEGIN IMMEDIATE");
        }
    }

    pub fn unlock(&mut self) {
        if self.locks {
            assert!(self.run("ROLLBACK"), "a lock is let go");
            self.locks = false;
        }
    }

    /// Has the database refuse a kind of statement from now on, or only the transaction of it.
    pub fn refuse(&mut self, what: &'static str) {
        let trigger = format!(
            "CREATE TRIGGER refused BEFORE {what} BEGIN SELECT RAISE(ABORT, 'refused by the simulation'); END"
        );
        if !self.locks && self.refuses.is_none() && self.run(&trigger) {
            self.refuses = Some(what);
        }
    }

    /// `false` if somebody writes at the moment.
    pub fn refuse_nothing(&mut self) -> bool {
        self.unlock();
        if self.refuses.is_some() && self.run("DROP TRIGGER refused") {
            self.refuses = None;
        }
        self.refuses.is_none()
    }

    fn rows(&self, sql: &str) -> Vec<sea_orm::QueryResult> {
        let statement = Statement::from_string(self.database.get_database_backend(), sql);
        let rows = self.database.query_all_raw(statement);
        self.runtime.block_on(rows).unwrap()
    }

    /// Every token that the audit log says was issued.
    pub fn issued(&self) -> Vec<Issued> {
        let sql = "SELECT id, token_id, assertion_jti FROM audit_event WHERE outcome = 'issued'";
        let rows = self.rows(sql);
        rows.iter()
            .map(|row| Issued {
                event: row.try_get_by_index(0).unwrap(),
                token: row.try_get_by_index(1).unwrap(),
                assertion: row.try_get_by_index(2).unwrap(),
            })
            .collect()
    }

    /// The audit events in which assertions and proofs were used up, and how many of them.
    pub fn consumed(&self) -> BTreeMap<Option<uuid::Uuid>, i64> {
        let rows = self.rows("SELECT event_id, COUNT(*) FROM consumed GROUP BY event_id");
        rows.iter()
            .map(|row| {
                (
                    row.try_get_by_index(0).unwrap(),
                    row.try_get_by_index(1).unwrap(),
                )
            })
            .collect()
    }

    /// The claims of opaque tokens by their hashes.
    pub fn opaque(&self) -> BTreeMap<Vec<u8>, Value> {
        let rows = self.rows("SELECT hash, claims FROM opaque_token");
        rows.iter()
            .map(|row| {
                let claims: String = row.try_get_by_index(1).unwrap();
                (
                    row.try_get_by_index(0).unwrap(),
                    serde_json::from_str(&claims).unwrap(),
                )
            })
            .collect()
    }

    /// The pinned ids of each rule that has any.
    pub fn pins(&self) -> BTreeMap<uuid::Uuid, String> {
        let rows =
            self.rows("SELECT id, pinned FROM federated_credential WHERE pinned IS NOT NULL");
        rows.iter()
            .map(|row| {
                (
                    row.try_get_by_index(0).unwrap(),
                    row.try_get_by_index(1).unwrap(),
                )
            })
            .collect()
    }
}
