//! Whether the server could record a token now: a write succeeds, and the clocks of server and
//! database agree.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, DbBackend};
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
