//! The connections to PostgreSQL, and how those are found that will never answer.
//!
//! The machine of a primary may vanish without closing its connections. TCP then waits for its
//! answers for a quarter of an hour, and the pool with it, though a promoted standby answers at the
//! same address. So one connection of its own is asked again and again ([`Store::watch_connections`]).
//! If it does not answer and a new connection does, all older connections are of no use: whoever
//! waits for one gives up ([`Store::unless_lost`]), and the pool closes them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sea_orm::sqlx::{ConnectOptions as _, Connection as _};
use sea_orm::{ConnectOptions, Database, DbBackend, DbErr, RuntimeErr};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{Store, StoreError, health};
use crate::config::DatabaseUrl;

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause between two attempts to reach a database at start.
const RETRY_CONNECT: Duration = Duration::from_secs(1);
/// The pause between two questions over the connection that is watched.
const WATCH: Duration = Duration::from_millis(500);
/// How long an answer over it may take before a new connection is tried, and how long that may take.
const ANSWER: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(1);
/// How long the old connection has to answer once a new one did: a database that was only slow
/// answers on both.
const GRACE: Duration = Duration::from_millis(250);
/// How long a connection of the pool may take to answer before it is used or kept.
const PING: Duration = Duration::from_secs(1);

/// What is known of the connections to PostgreSQL.
#[derive(Clone, Debug)]
pub(super) struct Liveness(Arc<Known>);

#[derive(Debug)]
struct Known {
    /// The last answer of the database over any connection that was asked whether it lives.
    answered: Mutex<Instant>,
    /// When connections that were older were last given up.
    lost: watch::Sender<Option<Instant>>,
}

impl Default for Liveness {
    fn default() -> Self {
        Self(Arc::new(Known {
            answered: Mutex::new(Instant::now()),
            lost: watch::Sender::new(None),
        }))
    }
}

impl Liveness {
    fn is_lost(&self, age: Duration) -> bool {
        self.0.lost.borrow().is_some_and(|at| age > at.elapsed())
    }

    fn has_answered(&self) {
        *self.0.answered.lock() = Instant::now();
    }

    fn give_up_older(&self) {
        self.0.lost.send_replace(Some(Instant::now()));
    }

    /// Whether a connection answers now.
    async fn answers(&self, connection: &mut PgConnection) -> bool {
        let answered = matches!(timeout(PING, connection.ping()).await, Ok(Ok(())));
        if answered {
            self.has_answered();
        }
        answered
    }

    /// Whether a connection of the pool that is this old may be used.
    async fn may_use(&self, connection: &mut PgConnection, age: Duration) -> bool {
        !self.is_lost(age) && self.answers(connection).await
    }

    /// Whether a connection may go back into the pool. The pool asks it without a limit of time, and
    /// holds its place meanwhile, so it is asked here first unless the database answered just now.
    async fn may_keep(&self, connection: &mut PgConnection, age: Duration) -> bool {
        if self.is_lost(age) {
            return false;
        }
        let answered_just_now = self.0.answered.lock().elapsed() < PING;
        answered_just_now || self.answers(connection).await
    }
}

impl Store {
    pub(super) async fn open_postgres(
        url: &DatabaseUrl,
        max_connections: u32,
    ) -> Result<Self, StoreError> {
        let liveness = Liveness::default();
        let mut options = ConnectOptions::new(url.as_str());
        options
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_timeout(ACQUIRE_TIMEOUT)
            // Without a limit of time. `may_use` does it.
            .test_before_acquire(false)
            .sqlx_logging(false);
        // Set nothing when a connection begins, because poolers refuse such parameters. `begin`
        // sets for each transaction what it relies on.
        options.map_sqlx_postgres_opts(|postgres| {
            postgres
                .extra_float_digits(None)
                .statement_cache_capacity(512)
        });
        let hooks = liveness.clone();
        options.map_sqlx_postgres_pool_opts(move |pool| ask_by(pool, &hooks));
        let pool = Database::connect(options).await?;
        Ok(Self {
            write: pool.clone(),
            read: pool,
            last_write: health::LastWrite::default(),
            liveness,
        })
    }

    /// Looks for connections that will never answer, until the server ends. Returns at once for
    /// SQLite.
    pub async fn watch_connections(&self, url: &DatabaseUrl) {
        if self.backend() == DbBackend::Sqlite {
            return;
        }
        let mut watched = None;
        loop {
            tokio::time::sleep(WATCH).await;
            watched = match watched {
                Some(connection) => self.ask_watched(connection, url).await,
                None => connect(url, CONNECT).await.ok(),
            };
        }
    }

    /// Asks the connection that is watched. Returns the one to watch from now on.
    async fn ask_watched(
        &self,
        mut connection: PgConnection,
        url: &DatabaseUrl,
    ) -> Option<PgConnection> {
        let fresh = {
            let mut answer = std::pin::pin!(connection.ping());
            let mut answered = timeout(ANSWER, answer.as_mut()).await.ok();
            let mut fresh = None;
            while answered.is_none() {
                fresh = connect(url, CONNECT).await.ok();
                answered = timeout(GRACE, answer.as_mut()).await.ok();
                if fresh.is_some() {
                    break;
                }
            }
            match answered {
                Some(Ok(())) => None,
                // Closed: the pool notices that by itself.
                Some(Err(_)) => return fresh,
                None => fresh,
            }
        };
        self.liveness.has_answered();
        let Some(fresh) = fresh else {
            return Some(connection);
        };
        tracing::warn!(
            "the database answers on new connections only: the earlier ones are given up"
        );
        self.liveness.give_up_older();
        self.drop_idle_connections().await;
        Some(fresh)
    }

    /// Waits until the connections that are open now turn out to be of no use. Never returns for
    /// SQLite.
    pub async fn connections_lost(&self) {
        if self.backend() == DbBackend::Sqlite {
            std::future::pending::<()>().await;
        }
        let mut lost = self.liveness.0.lost.subscribe();
        lost.mark_unchanged();
        if lost.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Does this work on the database, and gives up if it turns out to wait for a connection that
    /// will never answer. What it had begun to commit may have been committed.
    ///
    /// # Errors
    ///
    /// Those of the work, and [`StoreError::Unavailable`] if it was given up.
    pub async fn unless_lost<T, E: From<StoreError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            outcome = work => outcome,
            () = self.connections_lost() => {
                let error = DbErr::Custom("the connection does not answer any more".to_owned());
                Err(StoreError::from(error).into())
            }
        }
    }

    /// Closes the connections that nobody uses now.
    async fn drop_idle_connections(&self) {
        let pool = self.write.get_postgres_connection_pool();
        while let Some(connection) = pool.try_acquire() {
            connection.close().await.ok();
        }
    }

    /// Closes the idle connections if the error says that their node is read-only: after a
    /// fail-over the pool may hold connections to the former primary. New ones go to the current
    /// one.
    pub(super) async fn drop_read_only_connections(&self, error: &DbErr) {
        if self.backend() == DbBackend::Sqlite || !is_read_only(error) {
            return;
        }
        tracing::warn!("the database only reads: its connections are dropped");
        self.drop_idle_connections().await;
    }
}

fn ask_by(pool: PgPoolOptions, liveness: &Liveness) -> PgPoolOptions {
    let (before, after) = (liveness.clone(), liveness.clone());
    let pool = pool.before_acquire(move |connection, meta| {
        let liveness = before.clone();
        Box::pin(async move { Ok(liveness.may_use(connection, meta.age).await) })
    });
    pool.after_release(move |connection, meta| {
        let liveness = after.clone();
        Box::pin(async move { Ok(liveness.may_keep(connection, meta.age).await) })
    })
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

/// Waits until PostgreSQL can be reached. A pool would only report a timeout, not its cause.
pub(super) async fn wait_for(url: &DatabaseUrl, patience: Duration) -> Result<(), StoreError> {
    let began = Instant::now();
    loop {
        let error = match try_connect(url).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if began.elapsed() >= patience {
            return Err(DbErr::Custom(format!("{url:?} at {}: {error}", url.place())).into());
        }
        tracing::warn!(
            database = url.place(),
            error,
            "the database cannot be reached yet"
        );
        tokio::time::sleep(RETRY_CONNECT).await;
    }
}

async fn try_connect(url: &DatabaseUrl) -> Result<(), String> {
    let connection = connect(url, ACQUIRE_TIMEOUT).await?;
    connection.close().await.map_err(|error| error.to_string())
}

async fn connect(url: &DatabaseUrl, patience: Duration) -> Result<PgConnection, String> {
    let options: PgConnectOptions = url
        .as_str()
        .parse()
        .map_err(|_| "the URL cannot be read".to_owned())?;
    let options = options.extra_float_digits(None);
    match timeout(patience, options.connect()).await {
        Err(_) => Err(format!("no answer within {} s", patience.as_secs())),
        Ok(connected) => connected.map_err(|error| error.to_string()),
    }
}
