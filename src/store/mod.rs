//! The database: SQLite in a file, or PostgreSQL. Entities never leave this module; its interface
//! is made of domain types.

mod attested_key_sets;
mod audit;
mod changes;
mod gateway;
mod health;
mod key_sets;
mod ledger;
mod notifications;
mod objects;
mod people;
mod placeholders;
mod postgres;
mod pruning;
mod referrers;
mod revocation;
mod signing_keys;
mod snapshots;
mod tokens;

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, RuntimeErr, SqlErr, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait, Value,
};

pub use attested_key_sets::AttestedKeySet;
pub use audit::{AuditFilter, AuditPage, EventCounts, PrincipalView};
pub use changes::ChangeKind;
pub use gateway::{
    NotChanged, PackageChange, PackageChanged, PackageFilter, PackagePage, PackageRecord,
    PackageState, Publication, PublicationState, Subject,
};
pub use health::Connections;
pub use key_sets::KeptKeySet;
pub use ledger::{
    Committed, Dependencies, Exchanged, Issuance, Ledger, OpaqueRecord, Pin, Recorded, TokenRecord,
    Use,
};
pub use notifications::{
    EventsRead, FailedAttempt, NewMessage, Queued, RuleDate, SeenEvent, WaitingMessage,
};
pub use objects::{Filter, HasSecrets, Page, Persist, StoredCredential, StoredNotification, Write};
pub use people::{NewSession, Person, SessionBegun, SessionsToEnd, StoredCode, StoredSession};
pub use referrers::{Referring, ReferringKind};
pub use revocation::{Reach, Renewed, RenewedRule, RulesToRenew};
pub use signing_keys::{KeyState, StoredKey};

use carnet_migration::SchemaState;

use crate::config::{DatabaseConfig, DatabaseUrl};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// How long to wait for SQLite's one write connection. Longer than [`BUSY_TIMEOUT`], which its
/// holder may spend waiting for another process.
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long SQLite waits for another process that writes, such as `carnet apply` beside a server.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a statement on PostgreSQL waits for a lock.
const LOCK_TIMEOUT: &str = "10s";
/// How long PostgreSQL waits for the next statement of a transaction. A server that stands still, or
/// that the network lost, must not hold locks that the other replicas wait for.
const IDLE_TIMEOUT: &str = "10s";
/// The key of the advisory lock around migrations. Arbitrary, but the same in every release.
const MIGRATION_LOCK: i64 = 0x0063_6172_6e65_7401;

#[derive(Clone, Debug)]
pub struct Store {
    /// SQLite has one writer. On PostgreSQL, `write` and `read` are the same pool.
    write: DatabaseConnection,
    read: DatabaseConnection,
    last_write: health::LastWrite,
    /// Tells which connections to PostgreSQL are of no use any more.
    liveness: postgres::Liveness,
}

/// What [`Store::find`] found.
#[derive(Debug)]
pub enum Found {
    /// No database, or an empty one.
    Nothing,
    /// A database of an older release, which the server of this release migrates when it starts.
    Older,
    Store(Store),
}

/// An error of the database, or a conflict that it found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or failed.
    #[error("the database failed: {0}")]
    Unavailable(#[from] DbErr),
    /// Another object has this name or URI.
    #[error("{0}")]
    Taken(String),
    /// Another object refers to this one, or this one refers to a missing object.
    #[error("{0}")]
    InUse(String),
    /// Rules of several principals have this name.
    #[error("rules of several principals are called {0}: say principal:name, or the id")]
    Ambiguous(String),
    /// The object was changed or removed since it was read.
    #[error("the object was changed in between")]
    Changed,
    /// A row cannot be parsed.
    #[error("a row of the database cannot be read: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Whether no connection could be made, so that nothing was written.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(DbErr::Conn(_) | DbErr::ConnectionAcquire(_))
        )
    }

    /// The probable cause, where the database's own message does not name it.
    pub fn hint(&self) -> Option<&'static str> {
        let text = self.to_string();
        let prepared = text.contains("prepared statement")
            && (text.contains("exist") || text.contains("not found"));
        prepared.then_some(
            "the database is behind a pooler that hands out a connection for one transaction: use its session mode",
        )
    }
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        Self::later(Reason::DatabaseUnavailable, 1).with_detail(error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        (&error).into()
    }
}

impl Store {
    /// Opens the database, creates it if it does not exist, and brings its schema up to date. Waits
    /// for a PostgreSQL that cannot be reached yet, and logs why.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, StoreError> {
        if let Some(file) = config.url.file()
            && let Err(error) = keep_private(&file)
        {
            // The operator may have provided a file of another owner. Whether it can be used shows
            // when it is opened.
            tracing::warn!(file = %file.display(), %error, "the database cannot be made its owner's alone");
        }
        let store = Self::connect(config, true).await?;
        store.migrate().await?;
        store.refuse_newer().await
    }

    /// Opens the database as it is: neither creates nor migrates it. Waits for a PostgreSQL that
    /// cannot be reached yet.
    pub async fn find(config: &DatabaseConfig) -> Result<Found, StoreError> {
        if config.url.is_new_file() {
            return Ok(Found::Nothing);
        }
        let store = Self::connect(config, false).await?;
        match carnet_migration::state(&store.read).await? {
            SchemaState::Missing => Ok(Found::Nothing),
            SchemaState::Older => Ok(Found::Older),
            SchemaState::Current | SchemaState::Newer => {
                Ok(Found::Store(store.refuse_newer().await?))
            }
        }
    }

    async fn connect(config: &DatabaseConfig, may_create: bool) -> Result<Self, StoreError> {
        if config.url.is_sqlite() {
            return Self::open_sqlite(&config.url, may_create).await;
        }
        postgres::wait_for(&config.url, config.wait).await?;
        Self::open_postgres(&config.url, config.max_connections).await
    }

    /// Fails if the schema needs a newer release than this one.
    async fn refuse_newer(self) -> Result<Self, StoreError> {
        let least = carnet_migration::min_version(&self.read).await?;
        if least > carnet_migration::SCHEMA {
            Err(changes::too_new(least).into())
        } else {
            Ok(self)
        }
    }

    async fn open_sqlite(url: &DatabaseUrl, may_create: bool) -> Result<Self, StoreError> {
        // `cache` is 8 MiB for the writer, which visits random pages of its indexes, and 1 MiB for
        // each reader.
        let options = |connections: u32, cache: &'static str| {
            let mut options = ConnectOptions::new(url.as_str());
            options
                .max_connections(connections)
                .acquire_timeout(SQLITE_ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .sqlx_logging(false);
            options.map_sqlx_sqlite_opts(move |sqlite| {
                sqlite
                    .create_if_missing(may_create)
                    .journal_mode(SqliteJournalMode::Wal)
                    // A commit has to survive a power failure: single use rests on it.
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(BUSY_TIMEOUT)
                    .foreign_keys(true)
                    // Statements that may fail half-way need a statement journal; keep it in memory
                    // instead of a file.
                    .pragma("temp_store", "MEMORY")
                    // Fewer and larger checkpoints copy pages that change often to the database
                    // file less often.
                    .pragma("wal_autocheckpoint", "4000")
                    .pragma("cache_size", cache)
                    .statement_cache_capacity(512)
            });
            options
        };
        let write = Database::connect(options(1, "-8192")).await?;
        let read = Database::connect(options(4, "-1024")).await?;
        Ok(Self {
            write,
            read,
            last_write: health::LastWrite::default(),
            liveness: postgres::Liveness::default(),
        })
    }

    /// Applies the migrations, one replica at a time.
    async fn migrate(&self) -> Result<(), StoreError> {
        let before = if self.backend() == DbBackend::Postgres {
            let lock = self.write.begin().await?;
            // Another replica may hold the lock for as long as its migration takes, and this
            // transaction does nothing meanwhile.
            lock.execute_unprepared(
                "SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0",
            )
            .await?;
            lock.execute_raw(
                self.statement("SELECT pg_advisory_xact_lock($1)", [MIGRATION_LOCK.into()]),
            )
            .await?;
            let before = carnet_migration::up(&self.write).await?;
            lock.commit().await?;
            before
        } else {
            carnet_migration::up(&self.write).await?
        };
        match before {
            SchemaState::Missing => tracing::info!("a new database: its tables were created"),
            SchemaState::Older => tracing::info!(
                schema = carnet_migration::SCHEMA,
                "the database of an older release was migrated"
            ),
            SchemaState::Current | SchemaState::Newer => {}
        }
        Ok(())
    }

    pub async fn close(self) -> Result<(), StoreError> {
        self.read.close().await?;
        Ok(self.write.close().await?)
    }

    /// Begins a transaction that will write.
    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            // A transaction that reads first cannot be upgraded if another writer came between, so
            // take SQLite's write lock at once.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = self.write.begin_with_options(options).await;
        let transaction = match begun {
            Ok(transaction) => transaction,
            Err(error) => {
                self.note_write(false);
                return Err(error);
            }
        };
        if self.backend() == DbBackend::Postgres {
            // The settings of the role, the cluster or a pooler may be weaker; single use rests on
            // these.
            transaction
                .execute_unprepared(&format!(
                    "SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
                     SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT}'"
                ))
                .await?;
        }
        Ok(transaction)
    }

    fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    fn statement(&self, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }
}

/// Restricts an SQLite database, with its `-wal` and `-shm` files, to its owner (mode 0600),
/// whatever the mode of the directory.
fn keep_private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(suffix);
        match std::fs::metadata(&path) {
            Ok(found) if found.permissions().mode() & 0o077 != 0 => {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Translates a violated constraint: `taken` for a duplicate name or URI, `in_use` for a broken
/// reference.
fn constraint(error: DbErr, taken: &str, in_use: &str) -> StoreError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::Taken(taken.to_owned()),
        Some(SqlErr::ForeignKeyConstraintViolation(_)) => StoreError::InUse(in_use.to_owned()),
        _ if is_restricted(&error) => StoreError::InUse(in_use.to_owned()),
        _ => StoreError::Unavailable(error),
    }
}

/// SQLite reports `ON DELETE RESTRICT` with a code of its own (1811, `SQLITE_CONSTRAINT_TRIGGER`),
/// which sea-orm does not know.
fn is_restricted(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) =
        error
    else {
        return false;
    };
    error
        .as_database_error()
        .and_then(DatabaseError::code)
        .is_some_and(|code| code == "1811")
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}
