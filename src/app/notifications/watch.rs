//! Looking for what owners are told of. New audit events are read in the order of their ids twice:
//! at once, and again when none with an earlier id can be written any more, since events are
//! committed some time after their ids are made. What was told at once is not told again, because
//! its cause is remembered.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::alarms;
use super::deliver::{TRIED_SECONDS, dropped};
use super::message::tell;
use super::told::Told;
use crate::app::{App, CLOCK_MARGIN_MILLIS};
use crate::clock::Timestamp;
use crate::ids;
use crate::store::StoreError;

/// Interval at which new events are looked for.
const WATCH: Duration = Duration::from_secs(2);
/// How long this replica is the one that looks, in seconds.
const LEASE_SECONDS: i64 = 30;
/// How many events one query reads, and how many queries one round makes.
const CHUNK: u64 = 1_000;
const CHUNKS: usize = 20;
/// How far back events are looked through after a stop, in seconds.
const BACKLOG_SECONDS: i64 = 86_400;
/// Interval at which bursts of refusals and the state of keys are looked at, in seconds.
const MINUTE_SECONDS: i64 = 60;
/// Interval at which the dates of rules are looked at, in seconds.
const DATES_SECONDS: i64 = 600;

/// What this replica remembers between two rounds.
#[derive(Debug)]
struct Watch {
    /// Names this replica in the lease.
    holder: String,
    /// The last event that was read at once.
    seen: Option<Uuid>,
    /// Whether there was nobody to tell in the last round.
    was_idle: bool,
    bursts_at: Option<Timestamp>,
    /// When bursts were last looked at to the end.
    bursts_up_to: Option<Timestamp>,
    keys_at: Option<Timestamp>,
    dates_at: Option<Timestamp>,
    told: Told,
}

/// Looks for what owners are told of until the server ends.
pub async fn watch(app: Arc<App>) {
    let mut watch = Watch {
        holder: ids::base32(ids::new(app.clock.now())),
        seen: None,
        was_idle: false,
        bursts_at: None,
        bursts_up_to: None,
        keys_at: None,
        dates_at: None,
        told: Told::default(),
    };
    // How long after its id is made an event may still be written, in seconds: as for the index of
    // audit events.
    let settled = i64::try_from(app.config.server.request_deadline.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_mul(2)
        .saturating_add(60 + 2 * CLOCK_MARGIN_MILLIS / 1_000);
    loop {
        tokio::time::sleep(WATCH).await;
        let round = watch.round(&app, settled);
        if let Err(error) = app.store.unless_lost(round).await {
            tracing::warn!(%error, "events for webhooks cannot be looked for");
        }
    }
}

/// Whether `interval` seconds have passed since the last time; notes the new time if so.
fn is_due(last: &mut Option<Timestamp>, interval: i64, now: Timestamp) -> bool {
    let is_due = last.is_none_or(|last| now.seconds_since(last).abs() >= interval);
    if is_due {
        *last = Some(now);
    }
    is_due
}

impl Watch {
    async fn round(&mut self, app: &App, settled: i64) -> Result<(), StoreError> {
        let now = app.clock.now();
        if !app.store.has_notifications().await? {
            (self.seen, self.was_idle) = (None, true);
            return Ok(());
        }
        // Each replica knows the state of its own keys.
        if is_due(&mut self.keys_at, MINUTE_SECONDS, now) {
            tell(app, alarms::of_keys(app, now).await?).await?;
        }
        let until = now.plus_seconds(LEASE_SECONDS);
        if !app.store.hold_watermark(&self.holder, now, until).await? {
            // Another replica looks. Whoever takes over from it goes on where it stopped.
            (self.seen, self.was_idle) = (None, false);
            return Ok(());
        }
        let before = ids::first_at(now.plus_seconds(settled.saturating_neg()));
        let since = self.since(app, now).await?;
        self.read_at_once(app, since.max(before)).await?;
        self.read_again(app, since, before).await?;
        if is_due(&mut self.bursts_at, MINUTE_SECONDS, now) {
            self.look_at_bursts(app, now, settled).await?;
        }
        if is_due(&mut self.dates_at, DATES_SECONDS, now) {
            self.look_at_dates(app, now).await?;
        }
        Ok(())
    }

    /// The event up to which all were looked through. After a time with nobody to tell it is now:
    /// a new webhook is told of what comes.
    async fn since(&mut self, app: &App, now: Timestamp) -> Result<Uuid, StoreError> {
        if std::mem::take(&mut self.was_idle) {
            let from = ids::first_at(now.plus_seconds(LEASE_SECONDS.saturating_neg()));
            app.store.set_notified_up_to(from).await?;
        }
        let earliest = ids::first_at(now.plus_seconds(BACKLOG_SECONDS.saturating_neg()));
        let up_to = app.store.notified_up_to().await?;
        Ok(up_to.map_or(earliest, |up_to| up_to.max(earliest)))
    }

    /// Reads the events that were not read yet.
    async fn read_at_once(&mut self, app: &App, from: Uuid) -> Result<(), StoreError> {
        for _ in 0..CHUNKS {
            let after = self.seen.map_or(from, |seen| seen.max(from));
            let read = app.store.events_seen(after, None, CHUNK).await?;
            let Some(last) = read.last else {
                break;
            };
            tell(app, self.told.of_events(app, &read.events).await?).await?;
            self.seen = Some(last);
        }
        Ok(())
    }

    /// Reads the events again that are settled: no event can come before them any more.
    async fn read_again(
        &mut self,
        app: &App,
        mut since: Uuid,
        settled: Uuid,
    ) -> Result<(), StoreError> {
        for _ in 0..CHUNKS {
            let read = app.store.events_seen(since, Some(settled), CHUNK).await?;
            let Some(last) = read.last else {
                break;
            };
            tell(app, self.told.of_events(app, &read.events).await?).await?;
            app.store.set_notified_up_to(last).await?;
            since = last;
        }
        Ok(())
    }

    /// Looks at the bursts that grew since the last look. Refusals may be written `settled` seconds
    /// after their ids are made.
    async fn look_at_bursts(
        &mut self,
        app: &App,
        now: Timestamp,
        settled: i64,
    ) -> Result<(), StoreError> {
        let grown_from = self.bursts_up_to.map_or(Timestamp::from_millis(0), |last| {
            last.min(now).plus_seconds(settled.saturating_neg())
        });
        let mut after = Uuid::nil();
        loop {
            let (notices, last) = alarms::of_refusals(app, now, grown_from, after).await?;
            tell(app, notices).await?;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        self.bursts_up_to = Some(now);
        Ok(())
    }

    /// Looks at the dates of rules, and removes what is over.
    async fn look_at_dates(&mut self, app: &App, now: Timestamp) -> Result<(), StoreError> {
        let mut after = Uuid::nil();
        loop {
            let (notices, last) = alarms::of_dates(app, now, after).await?;
            tell(app, notices).await?;
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        let oldest = now.plus_seconds(TRIED_SECONDS.saturating_neg());
        let given_up = app.store.prune_notifications(oldest, now).await?;
        if given_up > 0 {
            dropped("given_up", given_up);
        }
        Ok(())
    }
}
