//! Who writes: takes what waits, puts it into one transaction, and tells each request what became of it.

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
/// How often a transaction that lost against another one is tried.
const ATTEMPTS: usize = 5;
/// How often a batch is written again because somebody gave up. Whoever does so later than that has it recorded: callers that hang
/// up on purpose must not keep the others waiting.
const PASSES: usize = 3;

/// Writes batches until nobody hands in any more.
pub(super) async fn work(store: Store, receiver: Arc<Mutex<mpsc::Receiver<Request>>>) {
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
        let outcome = write_with_retries(&store, &requests).await.map_err(Arc::new);
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
            // Whoever asked may be gone since the transaction began; the record stands all the same.
            drop(request.answer.send(answer));
        }
    }
}

async fn write_with_retries(store: &Store, requests: &[Request]) -> Result<Vec<Written>, StoreError> {
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

/// Deadlock or serialisation failure: another transaction won, and the same work will succeed now.
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

/// What one transaction came to.
enum Pass {
    Committed(Vec<Written>),
    /// An assertion was not new: the same again, row by row. Nothing was written.
    NotAllNew,
    /// Somebody gave up meanwhile: the same again without them. Nothing was written.
    GivenUp,
}

/// Nearly always every assertion is new, and the number of rows says so; else the same again, row by row.
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
    // The wait for the database may have been long. Whoever has given up by now has nothing used up.
    let issuances: Vec<&Issuance> = requests.iter().map(|request| &request.issuance).collect();
    let mut batch = Batch::new(&issuances);
    batch.set_aside(|at| requests.get(at).is_none_or(|request| request.answer.is_closed()));
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
    // A statement may have waited for a lock. What nobody waits for any more is left out and the rest is written again.
    if heeds_who_gives_up && batch.any_issued(|at| requests.get(at).is_none_or(|request| request.answer.is_closed())) {
        transaction.rollback().await?;
        return Ok(Pass::GivenUp);
    }
    transaction.commit().await?;
    Ok(Pass::Committed(batch.into_committed()))
}
