//! Sends audit events to where `audit.export` says, from the database: at least once, across
//! restarts and while a receiver is away, and without delaying a request.
//!
//! One replica at a time sends to a destination. Events are read in the order of their ids twice, as
//! for webhooks: at once, and again when none with an earlier id can be written any more. The second
//! look sends what the first one could not see, and moves the place in the database up to which all
//! were sent. What the first look sent is remembered until then; a replica that takes over sends it
//! again.

mod destination;
mod syslog;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use self::destination::{Line, Receiver};
use super::{App, CLOCK_MARGIN_MILLIS};
use crate::audit::{AuditEvent, Outcome, item};
use crate::clock::Timestamp;
use crate::config::AuditDestination;
use crate::ids::{self, EventId};
use crate::store::StoreError;
use crate::telemetry::Telemetry;

/// Interval at which new events are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long this replica is the one that sends, in seconds.
const LEASE_SECONDS: i64 = 15;
/// How many events are sent together, and how often in one round.
const CHUNK: u64 = 500;
const CHUNKS: usize = 20;
/// Interval at which events are looked at that count more refusals than before, in seconds.
const GROWN_SECONDS: i64 = 60;
/// How long an event may count further refusals, in seconds: they are those of one hour.
const GROWS_SECONDS: i64 = 2 * 3600;

/// What this replica remembers between two rounds.
struct Export {
    destination: String,
    kind: &'static str,
    receiver: Receiver,
    /// Names this replica in the lease.
    holder: String,
    /// Until when this replica sends, and the event up to which all were sent.
    lease: Option<(Timestamp, Uuid)>,
    /// The last event that was read at once.
    seen: Option<Uuid>,
    /// The events after the place in the database that were sent.
    sent: HashSet<Uuid>,
    /// The last refusal of each event that counts several, as it was sent.
    counted: HashMap<Uuid, EventId>,
    grown_at: Option<Timestamp>,
    is_failing: bool,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The receiver did not take the events.
    #[error("{0}")]
    Receiver(String),
}

/// Sends events to a destination until the server ends.
pub async fn export(app: Arc<App>, destination: AuditDestination) {
    let exporter = app.telemetry.as_ref().map(Telemetry::exporter);
    let mut export = Export {
        destination: destination.to_string(),
        kind: destination.kind(),
        receiver: Receiver::new(destination, exporter),
        holder: ids::base32(ids::new(app.clock.now())),
        lease: None,
        seen: None,
        sent: HashSet::new(),
        counted: HashMap::new(),
        grown_at: None,
        is_failing: false,
    };
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        match export.round(&app).await {
            Ok(()) => {
                pause = LOOK;
                if std::mem::take(&mut export.is_failing) {
                    tracing::info!(
                        destination = export.destination,
                        "audit events are sent again"
                    );
                }
            }
            Err(failure) => {
                export.note(&failure);
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
    }
}

impl Export {
    /// Counts a failure, and logs the first of several.
    fn note(&mut self, failure: &Failure) {
        metrics::counter!("carnet_audit_exports_failed_total", "destination" => self.kind)
            .increment(1);
        if !std::mem::replace(&mut self.is_failing, true) {
            let destination = &self.destination;
            tracing::warn!(error = %failure, destination, "audit events cannot be sent; they wait in the database");
        }
        // What a broken stream still held may be lost, and is sent again.
        if matches!(failure, Failure::Receiver(_)) && self.receiver.may_lose_what_it_took() {
            self.forget();
        }
    }

    fn forget(&mut self) {
        (self.seen, self.lease) = (None, None);
        self.sent.clear();
        self.counted.clear();
    }

    async fn round(&mut self, app: &App) -> Result<(), Failure> {
        let now = app.clock.now();
        // How long after its id is made an event may still be written, in seconds: as for the index
        // of audit events.
        let settled = i64::try_from(app.config.server.request_deadline.as_secs())
            .unwrap_or(i64::MAX)
            .saturating_mul(2)
            .saturating_add(60 + 2 * CLOCK_MARGIN_MILLIS / 1_000);
        let before = ids::first_at(now.plus_seconds(settled.saturating_neg()));
        let Some(mut up_to) = self.hold(app, now).await? else {
            return Ok(());
        };
        for _ in 0..CHUNKS {
            let ids = app.store.event_ids(up_to, Some(before), CHUNK).await?;
            let Some(last) = ids.last().copied() else {
                break;
            };
            self.send(app, &ids).await?;
            app.store
                .set_exported_up_to(&self.destination, &self.holder, last)
                .await?;
            for id in &ids {
                self.sent.remove(id);
            }
            up_to = last;
            self.lease = self.lease.map(|(until, _)| (until, last));
            if self.hold(app, app.clock.now()).await?.is_none() {
                return Ok(());
            }
        }
        for _ in 0..CHUNKS {
            let earliest = up_to.max(before);
            let after = self.seen.map_or(earliest, |seen| seen.max(earliest));
            let ids = app.store.event_ids(after, None, CHUNK).await?;
            let Some(last) = ids.last().copied() else {
                break;
            };
            self.send(app, &ids).await?;
            self.sent.extend(&ids);
            self.seen = Some(last);
            if self.hold(app, app.clock.now()).await?.is_none() {
                return Ok(());
            }
        }
        self.send_grown(app, now, settled).await
    }

    /// Makes this replica the one that sends, if no other one does, and returns the event up to which
    /// all were sent. The lease is renewed when half of it is over.
    async fn hold(&mut self, app: &App, now: Timestamp) -> Result<Option<Uuid>, StoreError> {
        if let Some((until, up_to)) = self.lease
            && until.seconds_since(now) > LEASE_SECONDS / 2
        {
            return Ok(Some(up_to));
        }
        let until = now.plus_seconds(LEASE_SECONDS);
        let destination = (self.destination.as_str(), ids::first_at(now));
        let held = app
            .store
            .hold_export(destination, &self.holder, now, until)
            .await?;
        let Some(up_to) = held else {
            self.forget();
            return Ok(None);
        };
        if self.lease.is_none() {
            self.grown_at = Some(ids::time_of(up_to));
        }
        self.lease = Some((until, up_to));
        Ok(Some(up_to))
    }

    /// Sends those of these events that were not sent yet.
    async fn send(&mut self, app: &App, ids: &[Uuid]) -> Result<(), Failure> {
        let new = ids.iter().filter(|id| !self.sent.contains(*id));
        let new: Vec<EventId> = new.map(|id| EventId(*id)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let events = app.store.events_with_parts(new).await?;
        self.send_events(app, &events).await
    }

    async fn send_events(&mut self, app: &App, events: &[AuditEvent]) -> Result<(), Failure> {
        let rules = app.rules();
        let lines = events.iter().map(|event| Line {
            id: event.id,
            at: ids::time_of(event.id.0),
            outcome: event.outcome.as_str(),
            is_warning: is_warning(event.outcome),
            text: item(event, &rules).to_string(),
        });
        let lines: Vec<Line> = lines.collect();
        let count = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.receiver.send(lines).await.map_err(Failure::Receiver)?;
        metrics::counter!("carnet_audit_events_exported_total", "destination" => self.kind)
            .increment(count);
        for event in events {
            if let Some(last) = event.last {
                self.counted.insert(event.id.0, last);
            }
        }
        Ok(())
    }

    /// Sends the events again that count more refusals than when they were sent.
    async fn send_grown(&mut self, app: &App, now: Timestamp, settled: i64) -> Result<(), Failure> {
        let looked = self.grown_at.unwrap_or(now);
        if now.seconds_since(looked) < GROWN_SECONDS {
            return Ok(());
        }
        let kept = i64::from(app.config.audit.refusals_retention_days).saturating_mul(86_400);
        let expires_from = now.plus_seconds(kept.saturating_sub(GROWS_SECONDS));
        let last_from = looked.plus_seconds(settled.saturating_neg());
        let mut after = Uuid::nil();
        loop {
            let read = app
                .store
                .refusals_folded(expires_from, last_from, 2, after, CHUNK)
                .await?;
            let Some(last) = read.last else {
                break;
            };
            let is_new = |event: &AuditEvent| self.counted.get(&event.id.0).copied() != event.last;
            let grown: Vec<AuditEvent> = read.events.into_iter().filter(is_new).collect();
            if !grown.is_empty() {
                self.send_events(app, &grown).await?;
            }
            after = last;
        }
        self.grown_at = Some(now);
        let over = now.plus_seconds(GROWS_SECONDS.saturating_neg());
        self.counted.retain(|_, last| ids::time_of(last.0) > over);
        Ok(())
    }
}

/// Whether an operator may want to look at an event of this outcome.
const fn is_warning(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Refused
        | Outcome::PublicationRefused
        | Outcome::PublicationUnclear
        | Outcome::SignInRefused => true,
        Outcome::Issued
        | Outcome::Created
        | Outcome::Updated
        | Outcome::Deleted
        | Outcome::Revoked
        | Outcome::Published
        | Outcome::SignedIn
        | Outcome::SignedOut
        | Outcome::Consented => false,
    }
}
