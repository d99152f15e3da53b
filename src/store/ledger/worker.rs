//! The workers of the ledger: each collects waiting requests, writes them in one transaction, and
//! answers every request.

use std::borrow::Cow;
use std::sync::Arc;

use sea_orm::DbErr;
use tokio::sync::{Mutex, mpsc};

use super::batch::{Batch, Recording};
use super::{Issuance, Request, TokenRecord, Written};
use crate::audit::AuditEvent;
use crate::store::{Store, StoreError, audit, tokens};

/// The most requests in one transaction.
const BATCH: usize = 64;
/// How often a transaction is tried that loses against a concurrent one.
const ATTEMPTS: usize = 5;
/// How often a batch is written again because a caller hung up meanwhile. After that its token is
/// recorded nevertheless: callers that hang up on purpose must not delay the others.
const PASSES: usize = 3;

/// Writes batches until the last [`Ledger`](super::Ledger) handle is dropped.
pub(super) async fn work(store: Store, receiver: Arc<Mutex<mpsc::Receiver<Request>>>) {
    let mut requests = Vec::with_capacity(BATCH);
    loop {
        // Hold the lock only while waiting: once requests have arrived, the next worker waits for
        // later ones.
        {
            let mut receiver = receiver.lock().await;
            if receiver.recv_many(&mut requests, 1).await == 0 {
                return;
            }
            // Requests that are about to arrive share the transaction. If there are none, yielding
            // takes no time.
            tokio::task::yield_now().await;
            while requests.len() < BATCH
                && let Ok(request) = receiver.try_recv()
            {
                requests.push(request);
            }
        }
        metrics::histogram!("carnet_ledger_batch_size")
            .record(f64::from(u32::try_from(requests.len()).unwrap_or(0)));
        let writing = write_with_retries(&store, &requests);
        let outcome = store.unless_lost(writing).await.map_err(Arc::new);
        store.note_write(outcome.is_ok());
        if let Err(error) = &outcome {
            if let StoreError::Unavailable(error) = &**error {
                store.drop_read_only_connections(error).await;
            }
            tracing::error!(%error, requests = requests.len(), "tokens could not be recorded and were not issued");
        }
        for (at, request) in requests.drain(..).enumerate() {
            let answer = match &outcome {
                Ok(committed) => Ok(committed.get(at).copied().unwrap_or(Written::Stale)),
                Err(error) => Err(error.clone()),
            };
            // The caller may have hung up since the transaction began; the record stands
            // nevertheless.
            drop(request.answer.send(answer));
        }
    }
}

async fn write_with_retries(
    store: &Store,
    requests: &[Request],
) -> Result<Vec<Written>, StoreError> {
    let mut attempt = 1;
    loop {
        match write(store, requests).await {
            Err(StoreError::Unavailable(error)) if attempt < ATTEMPTS && is_transient(&error) => {
                attempt = attempt.saturating_add(1);
            }
            outcome => return outcome,
        }
    }
}

/// Deadlock or serialisation failure (or SQLite's busy codes): another transaction won, and the
/// same work will succeed now.
fn is_transient(error: &DbErr) -> bool {
    let (DbErr::Exec(error) | DbErr::Query(error)) = error else {
        return false;
    };
    match error {
        sea_orm::RuntimeErr::SqlxError(error) => error
            .as_database_error()
            .and_then(|error| error.code().map(Cow::into_owned))
            .is_some_and(|code| matches!(code.as_str(), "40P01" | "40001" | "5" | "517")),
        sea_orm::RuntimeErr::Internal(_) => false,
    }
}

/// Result of one transaction.
enum Pass {
    Committed(Vec<Written>),
    /// An assertion was not new, so nothing was written. Try again with
    /// [`Recording::EachByItself`].
    NotAllNew,
    /// A caller hung up, so nothing was written. Try again without its request.
    GivenUp,
}

/// Writes a batch, first in the expectation that all assertions are new, which is nearly always
/// true and cheap to check.
async fn write(store: &Store, requests: &[Request]) -> Result<Vec<Written>, StoreError> {
    let (mut recording, mut passes_left) = (Recording::AllNew, PASSES);
    loop {
        match write_once(store, requests, recording, passes_left > 0).await? {
            Pass::Committed(written) => return Ok(written),
            Pass::NotAllNew => recording = Recording::EachByItself,
            Pass::GivenUp => passes_left = passes_left.saturating_sub(1),
        }
    }
}

async fn write_once(
    store: &Store,
    requests: &[Request],
    recording: Recording,
    heeds_who_gives_up: bool,
) -> Result<Pass, StoreError> {
    let transaction = store.begin().await?;
    // The wait for the database may have been long. A caller that has hung up by now gets no token,
    // so its assertion must stay unused.
    let issuances: Vec<&Issuance> = requests.iter().map(|request| &request.issuance).collect();
    let mut batch = Batch::new(&issuances);
    batch.set_aside(|at| {
        requests
            .get(at)
            .is_none_or(|request| request.answer.is_closed())
    });
    batch.set_aside_stale(&transaction).await?;
    if !batch.consume(&transaction, recording).await? {
        transaction.rollback().await?;
        return Ok(Pass::NotAllNew);
    }
    batch.pin(&transaction).await?;
    let records: Vec<&TokenRecord> = batch.issued().map(|issuance| &issuance.token).collect();
    tokens::insert(&transaction, &records).await?;
    let events: Vec<&AuditEvent> = batch.issued().map(|issuance| &issuance.event).collect();
    audit::insert(&transaction, &events).await?;
    // A statement may have waited for a lock. Write the batch again without the callers that hung
    // up meanwhile.
    if heeds_who_gives_up
        && batch.any_issued(|at| {
            requests
                .get(at)
                .is_none_or(|request| request.answer.is_closed())
        })
    {
        transaction.rollback().await?;
        return Ok(Pass::GivenUp);
    }
    transaction.commit().await?;
    Ok(Pass::Committed(batch.into_committed()))
}
