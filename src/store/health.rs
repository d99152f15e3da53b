//! Whether the server could record a token now: a write succeeds, and the clocks of server and
//! database agree.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, RuntimeErr};
use tokio::time::Instant;

use super::{Store, StoreError};
use crate::clock::{Clock as _, SystemClock, Timestamp};

/// How long a probe may take: a readiness check needs an answer soon.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);
/// How long a result is reused, so that frequent readiness checks do not each write to the
/// database.
const SEEN: Duration = Duration::from_secs(1);

/// Result and time of the last write.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWrite(Arc<WriteProbe>);

#[derive(Debug, Default)]
struct WriteProbe {
    last: Mutex<Option<(Instant, bool)>>,
    /// Held by the one probe at a time; the others wait for its result.
    probing: tokio::sync::Mutex<()>,
}

/// Connections to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Those that a request or task uses now.
    pub busy: usize,
    pub idle: usize,
    /// The most that may be open.
    pub max: usize,
}

impl LastWrite {
    /// The result of the last write, if it is younger than [`SEEN`].
    fn recent(&self) -> Option<bool> {
        let (at, went_through) = (*self.0.last.lock())?;
        (at.elapsed() < SEEN).then_some(went_through)
    }

    fn note(&self, went_through: bool) {
        *self.0.last.lock() = Some((Instant::now(), went_through));
    }
}

impl Store {
    /// Whether a write succeeds. If there was none within the last second, this tries one.
    pub async fn can_write(&self) -> bool {
        if let Some(known) = self.last_write.recent() {
            return known;
        }
        let _one_at_a_time = self.last_write.0.probing.lock().await;
        if let Some(known) = self.last_write.recent() {
            return known;
        }
        let probed = tokio::time::timeout(PROBE_DEADLINE, self.probe()).await;
        let went_through = matches!(probed, Ok(Ok(())));
        if let Ok(Err(error)) = probed {
            tracing::warn!(%error, "a write to the database failed");
            if let StoreError::Unavailable(error) = &error {
                self.drop_read_only_connections(error).await;
            }
        }
        self.note_write(went_through);
        went_through
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        transaction
            .execute_unprepared("UPDATE change_counter SET value = value")
            .await?;
        Ok(transaction.commit().await?)
    }

    /// The connections of this process to the database, those of all pools together.
    pub fn connections(&self) -> Connections {
        if self.backend() == DbBackend::Sqlite {
            let write = Connections::of(self.write.get_sqlite_connection_pool());
            write.and(Connections::of(self.read.get_sqlite_connection_pool()))
        } else {
            // Reads and writes share one pool.
            Connections::of(self.write.get_postgres_connection_pool())
        }
    }

    /// Records the result of a write.
    pub(super) fn note_write(&self, went_through: bool) {
        self.last_write.note(went_through);
    }

    /// How far the database's clock is ahead of this machine's, in milliseconds. SQLite has no
    /// clock of its own, so it is 0 there.
    pub async fn clock_difference(&self) -> Result<i64, StoreError> {
        if self.backend() == DbBackend::Sqlite {
            return Ok(0);
        }
        let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        let row = self.read.query_one_raw(self.statement(sql, [])).await?;
        let theirs: i64 = row
            .map(|row| row.try_get_by_index(0))
            .transpose()?
            .unwrap_or_default();
        Ok(theirs.saturating_sub(SystemClock.now().millis()))
    }

    /// `now`, or the database's time if that is earlier: pruning must not remove records too soon
    /// because this machine's clock runs ahead.
    pub async fn earlier_of_both(&self, now: Timestamp) -> Result<Timestamp, StoreError> {
        let ahead = self.clock_difference().await?.min(0);
        Ok(Timestamp::from_millis(now.millis().saturating_add(ahead)))
    }

    /// Closes the idle connections if the error says that their node is read-only: after a
    /// fail-over the pool may hold connections to the former primary. New ones go to the current
    /// one.
    pub(super) async fn drop_read_only_connections(&self, error: &DbErr) {
        if self.backend() == DbBackend::Sqlite || !is_read_only(error) {
            return;
        }
        tracing::warn!("the database only reads: its connections are dropped");
        let pool = self.write.get_postgres_connection_pool();
        while let Some(connection) = pool.try_acquire() {
            connection.close().await.ok();
        }
    }
}

/// SQLSTATE 25006 (`read_only_sql_transaction`), and the codes of a node that is shutting down or
/// starting up (57P01 to 57P03).
fn is_read_only(error: &DbErr) -> bool {
    let (DbErr::Exec(error) | DbErr::Query(error) | DbErr::Conn(error)) = error else {
        return false;
    };
    match error {
        RuntimeErr::SqlxError(error) => error
            .as_database_error()
            .and_then(|error| error.code().map(std::borrow::Cow::into_owned))
            .is_some_and(|code| matches!(code.as_str(), "25006" | "57P01" | "57P02" | "57P03")),
        RuntimeErr::Internal(_) => false,
    }
}

impl Connections {
    fn of<D: sea_orm::sqlx::Database>(pool: &sea_orm::sqlx::Pool<D>) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let idle = pool.num_idle();
        Self {
            busy: count(pool.size()).saturating_sub(idle),
            idle,
            max: count(pool.options().get_max_connections()),
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            busy: self.busy.saturating_add(other.busy),
            idle: self.idle.saturating_add(other.idle),
            max: self.max.saturating_add(other.max),
        }
    }
}
