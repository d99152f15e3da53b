//! The work beside requests: following changes, writing events and uses, pruning.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{App, AuditMessage, CLOCK_MARGIN_MILLIS};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::CredentialId;
use crate::store::{Store, StoreError};

/// Interval at which the change counter is read: every replica has to see a change within a second.
const POLL: Duration = Duration::from_millis(250);
/// Interval at which the files with certificates are looked at.
const LOOK_AT_CERTIFICATES: Duration = Duration::from_secs(2);
const AUDIT_BATCH: usize = 100;
/// Attempts to write audit events while the database cannot be reached, and the pause between two.
const RECORD_ATTEMPTS: usize = 5;
const RECORD_AGAIN: Duration = Duration::from_secs(1);
/// Interval at which uses of rules are written.
const NOTE_USE: Duration = Duration::from_secs(5);
/// Interval at which the parts of new audit events are indexed.
const INDEX_AUDIT: Duration = Duration::from_secs(10);
const FIRST_PRUNE: Duration = Duration::from_secs(5);
/// Interval at which expired records are removed.
const PRUNE: Duration = Duration::from_mins(1);

/// Runs a task that never ends, and again from its beginning whenever it may wait for a connection to
/// the database that will never answer.
pub(super) async fn run_again<F: Future<Output = ()>>(app: Arc<App>, task: fn(Arc<App>) -> F) {
    loop {
        tokio::select! {
            () = task(app.clone()) => return,
            () = app.store.connections_lost() => {}
        }
    }
}

/// Looks for connections to the database that will never answer.
pub(super) async fn watch_connections(app: Arc<App>) {
    app.store.watch_connections(&app.config.database.url).await;
}

pub(super) async fn follow_changes(app: Arc<App>) {
    loop {
        tokio::time::sleep(POLL).await;
        if let Err(error) = app.refresh().await {
            tracing::error!(%error, "the rules cannot be brought up to date");
        }
    }
}

/// Takes up changes of the files with certificates.
pub(super) async fn follow_certificates(app: Arc<App>) {
    let Some(certificates) = app.certificates.clone() else {
        return;
    };
    let clock = app.clock.clone();
    drop(app);
    loop {
        tokio::time::sleep(LOOK_AT_CERTIFICATES).await;
        let (certificates, now) = (certificates.clone(), clock.now());
        // The folder may be on a network.
        tokio::task::spawn_blocking(move || certificates.follow(now))
            .await
            .unwrap_or_default();
    }
}

pub(super) async fn write_audit(app: Arc<App>, mut queue: mpsc::Receiver<AuditMessage>) {
    let (store, clock) = (app.store.clone(), app.clock.clone());
    let refusals_kept = i64::from(app.config.audit.refusals_retention_days).saturating_mul(86_400);
    drop(app);
    let mut messages = Vec::with_capacity(AUDIT_BATCH);
    while queue.recv_many(&mut messages, AUDIT_BATCH).await > 0 {
        let mut events = Vec::with_capacity(messages.len());
        let mut waiting = Vec::new();
        for message in messages.drain(..) {
            match message {
                AuditMessage::Event(event) => events.push(*event),
                AuditMessage::Flush(done) => waiting.push(done),
            }
        }
        if !events.is_empty()
            && let Err(error) =
                record(&store, &events, clock.now().plus_seconds(refusals_kept)).await
        {
            let lost = u64::try_from(events.len()).unwrap_or(u64::MAX);
            metrics::counter!("carnet_audit_events_dropped_total").increment(lost);
            tracing::error!(%error, lost, "audit events cannot be written");
        }
        for done in waiting {
            done.send(()).unwrap_or_default();
        }
    }
}

/// Writes events, and tries again for a few seconds while the database cannot be reached; the queue
/// holds newer events meanwhile. Any other error is final: the transaction may have been committed,
/// and another attempt would write the events twice.
async fn record(
    store: &Store,
    events: &[AuditEvent],
    folded_until: Timestamp,
) -> Result<(), StoreError> {
    for _ in 1..RECORD_ATTEMPTS {
        let recording = store.record(events, folded_until);
        match store.unless_lost(recording).await {
            Err(error) if error.is_out_of_reach() => tokio::time::sleep(RECORD_AGAIN).await,
            outcome => return outcome,
        }
    }
    let recording = store.record(events, folded_until);
    store.unless_lost(recording).await
}

pub(super) async fn write_uses(store: Store, mut queue: mpsc::Receiver<(CredentialId, Timestamp)>) {
    loop {
        tokio::time::sleep(NOTE_USE).await;
        // All replicas lock the rows in the same order, so that none waits for another in a circle.
        let mut uses = BTreeMap::new();
        while let Ok((credential, at)) = queue.try_recv() {
            let period = uses.entry(credential).or_insert(at..=at);
            *period = at.min(*period.start())..=at.max(*period.end());
        }
        let uses: Vec<_> = uses.into_iter().collect();
        if let Err(error) = store.unless_lost(store.note_use(&uses)).await {
            tracing::warn!(%error, "the last uses of rules cannot be written");
        }
    }
}

pub(super) async fn index_audit(app: Arc<App>) {
    // How old an event has to be before it is indexed, in seconds. An event is committed within the
    // deadline of its request, or later by the queue of refusals, and the clocks of two replicas
    // may differ by twice the margin.
    let settled = i64::try_from(app.config.server.request_deadline.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_mul(2)
        .saturating_add(60 + 2 * CLOCK_MARGIN_MILLIS / 1_000);
    // What a replica of an earlier release indexes after that is made up for at the next start.
    let mut has_changes = false;
    loop {
        if !has_changes {
            match app.store.index_changes().await {
                Ok(()) => has_changes = true,
                Err(error) => tracing::warn!(%error, "changes of rules cannot be indexed"),
            }
        }
        tokio::time::sleep(INDEX_AUDIT).await;
        loop {
            match app
                .store
                .index_parts(
                    app.settled_time()
                        .await
                        .plus_seconds(settled.saturating_neg()),
                )
                .await
            {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "the parts of audit events cannot be indexed");
                    break;
                }
            }
        }
    }
}

pub(super) async fn prune(app: Arc<App>) {
    // The first run comes soon, so that servers that run for a short time prune as well.
    let mut wait = FIRST_PRUNE;
    loop {
        tokio::time::sleep(wait).await;
        wait = PRUNE;
        app.limits.shrink();
        app.compare_clocks().await;
        if let Err(error) = app.keys.reload(&app.store, app.clock.now()).await {
            tracing::warn!(%error, "the signing keys cannot be read again");
        }
        loop {
            match app
                .store
                .prune(app.settled_time().await, app.config.audit.retention_days)
                .await
            {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "what is over cannot be removed");
                    break;
                }
            }
        }
    }
}
