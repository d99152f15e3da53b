//! The one durable write of an issued token, made before the token leaves.
//!
//! In one transaction: the assertion is recorded as used (if it was, nothing else happens), ids are pinned where none are, the
//! rules are found to be still the ones that were matched, and the audit event is written. Requests that arrive together
//! share one transaction and one flush to disk; what becomes of one never touches the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use carnet_entity::{consumed_assertion, federated_credential};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbBackend, DbErr, EntityTrait as _, ExprTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Statement, Value as DbValue,
};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{ChangeKind, Store, StoreError, audit, changes};
use crate::assertion::AssertionKey;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::{CredentialId, TrustedIssuerId};
use crate::objects::Kind;

/// The most requests in one transaction.
const BATCH: usize = 64;
/// Requests that wait for a transaction; more are turned away.
const QUEUE: usize = 4096;
/// How often a transaction that lost against another one is tried.
const ATTEMPTS: usize = 5;
/// Used assertions are forgotten in groups that end in the same so many seconds.
const FORGET_TOGETHER_SECONDS: i64 = 600;
/// Transactions at a time: SQLite has one writer, PostgreSQL hides the way to its disk behind several.
const POSTGRES_WORKERS: usize = 4;

/// What has to be written for one token.
#[derive(Clone, Debug)]
pub struct Issuance {
    /// The assertion's key, and until when it has to be remembered; none for assertions that may be used again.
    pub consumed: Option<(AssertionKey, Timestamp)>,
    /// The version of the rules that were matched.
    pub version: i64,
    /// What the token rests on.
    pub dependencies: Dependencies,
    /// The ids to pin.
    pub pins: Vec<Pin>,
    /// The audit event.
    pub event: AuditEvent,
    /// Now.
    pub now: Timestamp,
}

/// The objects a token rests on: if one of them changed, the rules have to be matched again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// The trusted issuer.
    pub trusted_issuer: Option<TrustedIssuerId>,
    /// The resource server, by name.
    pub resource_server: String,
    /// The federated credentials.
    pub credentials: Vec<CredentialId>,
    /// The principals, by name.
    pub principals: Vec<String>,
}

/// Ids to pin for one federated credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// The credential.
    pub credential: CredentialId,
    /// The ids.
    pub ids: Map<String, Value>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is on the disk: the token may leave.
    Issued,
    /// The assertion was used before.
    Replayed,
    /// Something that the token rests on changed: match again.
    Stale,
}

type Answer = Result<Committed, Arc<StoreError>>;

#[derive(Debug)]
struct Request {
    issuance: Issuance,
    answer: oneshot::Sender<Answer>,
}

/// Where issuances are handed in.
#[derive(Clone, Debug)]
pub struct Ledger(mpsc::Sender<Request>);

impl Ledger {
    /// Starts the workers; they end with the last handle.
    pub fn start(store: &Store) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        let workers = if store.backend() == DbBackend::Sqlite { 1 } else { POSTGRES_WORKERS };
        for _ in 0..workers {
            tokio::spawn(work(store.clone(), receiver.clone()));
        }
        Self(sender)
    }

    /// Writes an issuance; answers when it is durable.
    ///
    /// # Errors
    ///
    /// If the database cannot be reached, or too many requests wait for it. Then nothing was written.
    pub async fn commit(&self, issuance: Issuance) -> Answer {
        let unavailable = |what: &str| Arc::new(StoreError::Unavailable(DbErr::Custom(what.to_owned())));
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send(Request { issuance, answer })
            .map_err(|_| unavailable("too many requests wait for the database"))?;
        answered.await.map_err(|_| unavailable("the writer is gone"))?
    }
}

impl Store {
    /// Whether a token was issued for an assertion.
    pub async fn is_consumed(&self, key: &AssertionKey) -> Result<bool, StoreError> {
        let row = consumed_assertion::Entity::find_by_id(key.as_bytes().to_vec()).one(&self.read).await?;
        Ok(row.is_some())
    }
}

async fn work(store: Store, receiver: Arc<Mutex<mpsc::Receiver<Request>>>) {
    let mut requests = Vec::with_capacity(BATCH);
    loop {
        // Held while waiting only: once something arrived, the next worker waits for what comes after it.
        {
            let mut receiver = receiver.lock().await;
            if receiver.recv_many(&mut requests, 1).await == 0 {
                return;
            }
            // Whoever is about to be ready shares the transaction. Where nobody is, this takes no time.
            tokio::task::yield_now().await;
            while requests.len() < BATCH
                && let Ok(request) = receiver.try_recv()
            {
                requests.push(request);
            }
        }
        metrics::histogram!("carnet_ledger_batch_size").record(f64::from(u32::try_from(requests.len()).unwrap_or(0)));
        let issuances: Vec<&Issuance> = requests.iter().map(|request| &request.issuance).collect();
        let outcome = write_with_retries(&store, &issuances).await.map_err(Arc::new);
        if let Err(error) = &outcome {
            tracing::error!(%error, requests = requests.len(), "tokens could not be recorded and were not issued");
        }
        for (at, request) in requests.drain(..).enumerate() {
            let answer = match &outcome {
                Ok(committed) => Ok(committed.get(at).copied().unwrap_or(Committed::Stale)),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may be gone; the record stands all the same.
            drop(request.answer.send(answer));
        }
    }
}

async fn write_with_retries(store: &Store, issuances: &[&Issuance]) -> Result<Vec<Committed>, StoreError> {
    let mut attempt = 1;
    loop {
        match write(store, issuances).await {
            Err(StoreError::Unavailable(error)) if attempt < ATTEMPTS && is_transient(&error) => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// Deadlock or serialisation failure: another transaction won, and the same work will succeed now.
fn is_transient(error: &DbErr) -> bool {
    let (DbErr::Exec(error) | DbErr::Query(error)) = error else {
        return false;
    };
    match error {
        sea_orm::RuntimeErr::SqlxError(error) => error
            .as_database_error()
            .and_then(|error| error.code().map(|code| code.into_owned()))
            .is_some_and(|code| matches!(code.as_str(), "40P01" | "40001" | "5" | "517")),
        sea_orm::RuntimeErr::Internal(_) => false,
    }
}

async fn write(store: &Store, issuances: &[&Issuance]) -> Result<Vec<Committed>, StoreError> {
    let transaction = store.begin().await?;
    let mut batch = Batch::new(issuances);
    batch.set_aside_stale(&transaction).await?;
    batch.consume(&transaction).await?;
    batch.pin(&transaction).await?;
    let events: Vec<&AuditEvent> = batch.issued().map(|issuance| &issuance.event).collect();
    audit::insert(&transaction, &events).await?;
    transaction.commit().await?;
    Ok(batch.committed)
}

struct Batch<'a> {
    issuances: &'a [&'a Issuance],
    committed: Vec<Committed>,
}

impl<'a> Batch<'a> {
    fn new(issuances: &'a [&'a Issuance]) -> Self {
        Self { issuances, committed: vec![Committed::Issued; issuances.len()] }
    }

    /// Those that are still to be issued.
    fn issued(&self) -> impl Iterator<Item = &'a Issuance> {
        self.issuances
            .iter()
            .zip(&self.committed)
            .filter(|(_, committed)| **committed == Committed::Issued)
            .map(|(issuance, _)| *issuance)
    }

    fn set(&mut self, at: usize, committed: Committed) {
        if let Some(slot) = self.committed.get_mut(at) {
            *slot = committed;
        }
    }

    /// Nearly always nothing changed since the rules were matched, and one number says so for the whole batch.
    async fn set_aside_stale(&mut self, transaction: &DatabaseTransaction) -> Result<(), StoreError> {
        let version = changes::version(transaction).await?;
        let Some(oldest) = self.issuances.iter().map(|issuance| issuance.version).min().filter(|v| *v < version) else {
            return Ok(());
        };
        let about = changes::about(transaction, oldest, version).await?;
        for at in 0..self.issuances.len() {
            let Some(issuance) = self.issuances.get(at).filter(|issuance| issuance.version < version) else {
                continue;
            };
            // The changes are numbered from `oldest`; those the issuance has seen are skipped.
            let seen = usize::try_from(issuance.version.saturating_sub(oldest)).unwrap_or(usize::MAX);
            let touched = about.as_ref().is_none_or(|about| {
                about.iter().skip(seen).any(|(kind, key)| issuance.dependencies.include(*kind, key))
            });
            if touched {
                self.set(at, Committed::Stale);
            }
        }
        Ok(())
    }

    /// Records the assertions as used: in the order of their keys, so that replicas cannot wait for each other in a circle.
    async fn consume(&mut self, transaction: &DatabaseTransaction) -> Result<(), DbErr> {
        let mut first: BTreeMap<AssertionKey, (usize, Timestamp)> = BTreeMap::new();
        for at in 0..self.issuances.len() {
            let consumed = self.issuances.get(at).and_then(|issuance| issuance.consumed);
            let Some((key, until)) = consumed.filter(|_| self.committed.get(at) == Some(&Committed::Issued)) else {
                continue;
            };
            // Of several uses in one batch the first counts.
            if first.contains_key(&key) {
                self.set(at, Committed::Replayed);
            } else {
                first.insert(key, (at, until));
            }
        }
        if first.is_empty() {
            return Ok(());
        }
        let inserted = insert_consumed(transaction, &first).await?;
        for (key, (at, _)) in first {
            if !inserted.contains(key.as_bytes().as_slice()) {
                self.set(at, Committed::Replayed);
            }
        }
        Ok(())
    }

    /// Pins ids where none are: all that a request needs, or none. Whoever comes second has to match again; its assertion is
    /// not used up then.
    async fn pin(&mut self, transaction: &DatabaseTransaction) -> Result<(), StoreError> {
        for (at, issuance) in self.issuances.iter().enumerate() {
            if issuance.pins.is_empty() || self.committed.get(at) != Some(&Committed::Issued) {
                continue;
            }
            if !are_unpinned(transaction, &issuance.pins).await? {
                self.give_back(transaction, at).await?;
                continue;
            }
            for pin in &issuance.pins {
                set_pin(transaction, pin).await?;
                let kind = ChangeKind::Object(Kind::FederatedCredential);
                changes::record(transaction, kind, &pin.credential.to_string(), issuance.now).await?;
            }
        }
        Ok(())
    }

    /// Nothing of this request remains, and those that came with the same assertion may try again as well.
    async fn give_back(&mut self, transaction: &DatabaseTransaction, at: usize) -> Result<(), DbErr> {
        self.set(at, Committed::Stale);
        let Some((key, _)) = self.issuances.get(at).and_then(|issuance| issuance.consumed) else {
            return Ok(());
        };
        consumed_assertion::Entity::delete_many()
            .filter(consumed_assertion::Column::Key.eq(key.as_bytes().to_vec()))
            .exec(transaction)
            .await?;
        for other in 0..self.issuances.len() {
            let same = self.issuances.get(other).and_then(|issuance| issuance.consumed).is_some_and(|(k, _)| k == key);
            if same && self.committed.get(other) == Some(&Committed::Replayed) {
                self.set(other, Committed::Stale);
            }
        }
        Ok(())
    }
}

impl Dependencies {
    fn include(&self, kind: ChangeKind, key: &str) -> bool {
        match kind {
            ChangeKind::SigningKey | ChangeKind::Object(Kind::Client) => false,
            ChangeKind::Object(Kind::TrustedIssuer) => self.trusted_issuer.is_some_and(|id| id.to_string() == key),
            ChangeKind::Object(Kind::ResourceServer) => self.resource_server == key,
            ChangeKind::Object(Kind::Principal) => self.principals.iter().any(|name| name == key),
            ChangeKind::Object(Kind::FederatedCredential) => {
                self.credentials.iter().any(|credential| credential.to_string() == key)
            }
        }
    }
}

async fn insert_consumed(
    transaction: &DatabaseTransaction,
    wanted: &BTreeMap<AssertionKey, (usize, Timestamp)>,
) -> Result<BTreeSet<Vec<u8>>, DbErr> {
    let backend = transaction.get_database_backend();
    let places = placeholders(backend, wanted.len(), 2);
    // The two mean the same; SQLite keeps no journal for the first.
    let sql = match backend {
        DbBackend::Sqlite => {
            format!("INSERT OR IGNORE INTO consumed_assertion (key, expires_at) VALUES {places} RETURNING key")
        }
        _ => {
            format!(
                "INSERT INTO consumed_assertion (key, expires_at) VALUES {places} ON CONFLICT DO NOTHING RETURNING key"
            )
        }
    };
    let values = wanted.iter().flat_map(|(key, (_, until))| -> [DbValue; 2] {
        [key.as_bytes().to_vec().into(), rounded_up(*until).millis().into()]
    });
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    let rows = transaction.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get_by_index::<Vec<u8>>(0)).collect()
}

/// Rows that go together stand together, so that the index by time is written at its end and not all over.
fn rounded_up(until: Timestamp) -> Timestamp {
    let over = until.seconds().rem_euclid(FORGET_TOGETHER_SECONDS);
    Timestamp::from_seconds(until.seconds()).plus_seconds(FORGET_TOGETHER_SECONDS.saturating_sub(over))
}

/// Whether none of these has pins, locking the rows so that it stays so.
async fn are_unpinned(transaction: &DatabaseTransaction, pins: &[Pin]) -> Result<bool, DbErr> {
    let free = federated_credential::Entity::find()
        .filter(federated_credential::Column::Id.is_in(pins.iter().map(|pin| pin.credential.0)))
        .filter(federated_credential::Column::Pinned.is_null())
        .order_by_asc(federated_credential::Column::Id)
        .lock_exclusive()
        .all(transaction)
        .await?;
    Ok(free.len() == pins.len())
}

async fn set_pin(transaction: &DatabaseTransaction, pin: &Pin) -> Result<(), DbErr> {
    federated_credential::Entity::update_many()
        .col_expr(federated_credential::Column::Pinned, Expr::value(Value::Object(pin.ids.clone()).to_string()))
        .col_expr(federated_credential::Column::PendingUntil, Expr::value(Option::<i64>::None))
        .col_expr(federated_credential::Column::Version, Expr::col(federated_credential::Column::Version).add(1))
        .filter(federated_credential::Column::Id.eq(pin.credential.0))
        .exec(transaction)
        .await?;
    Ok(())
}

/// Places for so many rows of so many columns: `(?, ?), (?, ?)`, numbered as `$1` where the database wants that.
pub(super) fn placeholders(backend: DbBackend, rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows.saturating_mul(columns).saturating_mul(6));
    let mut number = 0usize;
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            if column > 0 {
                text.push_str(", ");
            }
            // Each number is a name to SQLite, to be found among all others.
            if backend == DbBackend::Sqlite {
                text.push('?');
            } else {
                number = number.saturating_add(1);
                text.push('$');
                text.push_str(&number.to_string());
            }
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through() {
        assert_eq!(placeholders(DbBackend::Postgres, 2, 2), "($1, $2), ($3, $4)");
        assert_eq!(placeholders(DbBackend::Sqlite, 2, 2), "(?, ?), (?, ?)");
        assert_eq!(placeholders(DbBackend::Postgres, 1, 1), "($1)");
        assert_eq!(placeholders(DbBackend::Postgres, 0, 3), "");
    }
}
