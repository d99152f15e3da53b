//! Counting audit events by day, without reading them whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use sea_orm::{ConnectionTrait as _, Value as DbValue};
use uuid::Uuid;

use super::filter::AuditFilter;
use crate::audit::Outcome;
use crate::clock::Timestamp;
use crate::ids::{self, EventId};
use crate::store::{Store, StoreError};

/// How many of the latest events are counted.
const MOST_COUNTED: u64 = 1_000;
/// Events that are not indexed yet are looked through for those of a principal, in so many chunks of so
/// many events.
const RECENT_CHUNKS: u32 = 4;
const RECENT_CHUNK: u64 = 500;
const SECONDS_OF_A_DAY: i64 = 86_400;

/// How many events there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// By day, in days since 1970-01-01 UTC, and by outcome.
    pub counts: BTreeMap<(i64, &'static str), u64>,
    /// The time down to which all events were counted; `None` if all were.
    pub counted_until: Option<Timestamp>,
}

impl EventCounts {
    fn add(&mut self, day: i64, outcome: &str, count: u64) {
        // An outcome of a later release is not shown by this one.
        let Some(outcome) = Outcome::from_word(outcome) else {
            return;
        };
        let counted = self.counts.entry((day, outcome.as_str())).or_default();
        *counted = counted.saturating_add(count);
    }
}

/// The beginning of a day, which is counted since 1970-01-01 UTC.
fn beginning(day: i64) -> Timestamp {
    Timestamp::from_seconds(day.saturating_mul(SECONDS_OF_A_DAY))
}

/// A query for ids, and its values.
type Ids = (String, Vec<DbValue>);

/// The latest events since an id.
fn latest(since: Uuid) -> Ids {
    let sql =
        format!("SELECT id FROM audit_event WHERE id >= $1 ORDER BY id DESC LIMIT {MOST_COUNTED}");
    (sql, vec![since.into()])
}

/// The latest events since an id in which a principal has a part, of those that are indexed.
fn latest_of(principal: &str, since: Uuid, indexed: Uuid) -> Ids {
    let sql = format!(
        "SELECT DISTINCT event_id AS id FROM audit_part WHERE principal_id = $1 AND event_id >= $2 AND event_id <= $3 \
         ORDER BY event_id DESC LIMIT {MOST_COUNTED}"
    );
    (sql, vec![principal.into(), since.into(), indexed.into()])
}

impl Store {
    /// Counts the latest events of some days: those in which a principal, by its id, has a part, or
    /// all. An event that counts equal refusals stands for as many.
    pub async fn count_events(
        &self,
        principal: Option<&str>,
        days: RangeInclusive<i64>,
    ) -> Result<EventCounts, StoreError> {
        let since = ids::first_at(beginning(*days.start()));
        let mut found = EventCounts::default();
        let Some(principal) = principal else {
            self.count(&mut found, latest(since), days).await?;
            return Ok(found);
        };
        let indexed = self.indexed_up_to(&self.read).await?;
        self.count_recent(&mut found, principal, &days, indexed)
            .await?;
        if let (None, Some(indexed)) = (found.counted_until, indexed) {
            let of_principal = latest_of(principal, since, indexed);
            self.count(&mut found, of_principal, days).await?;
        }
        Ok(found)
    }

    /// Adds the events of a principal that are not indexed yet.
    async fn count_recent(
        &self,
        found: &mut EventCounts,
        principal: &str,
        days: &RangeInclusive<i64>,
        indexed: Option<Uuid>,
    ) -> Result<(), StoreError> {
        let filter = AuditFilter {
            principal: Some(principal.to_owned()),
            since: Some(beginning(*days.start())),
            for_principal: true,
            ..AuditFilter::default()
        };
        let mut before = None;
        for _ in 0..RECENT_CHUNKS {
            let chunk = self.outlines_before(&filter, before, indexed, RECENT_CHUNK);
            let chunk = chunk.await?;
            for event in chunk
                .rows
                .iter()
                .filter(|event| event.may_be_wanted(&filter))
            {
                let day = ids::time_of(event.id)
                    .seconds()
                    .div_euclid(SECONDS_OF_A_DAY);
                let count = u64::try_from(event.count).unwrap_or_default();
                found.add(day, &event.outcome, count);
            }
            if chunk.is_end || chunk.last.is_none() {
                return Ok(());
            }
            before = chunk.last;
        }
        found.counted_until = before.map(|EventId(last)| ids::time_of(last));
        Ok(())
    }

    /// Adds the events with these ids. The database adds them up, so that few rows are read.
    async fn count(
        &self,
        found: &mut EventCounts,
        (events, values): Ids,
        days: RangeInclusive<i64>,
    ) -> Result<(), StoreError> {
        let mut day_of = String::from("CASE");
        let mut all = values.clone();
        for day in days.rev() {
            all.extend([ids::first_at(beginning(day)).into(), day.into()]);
            let number = all.len();
            let id = number.saturating_sub(1);
            write!(day_of, " WHEN id >= ${id} THEN CAST(${number} AS BIGINT)").ok();
        }
        let sql = format!(
            "SELECT {day_of} END, outcome, SUM(count), COUNT(*) FROM audit_event WHERE id IN ({events}) \
             GROUP BY 1, 2"
        );
        let rows = self.read.query_all_raw(self.statement(&sql, all)).await?;
        let mut read = 0u64;
        for row in &rows {
            let (day, outcome): (i64, String) =
                (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let (count, events): (i64, i64) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
            found.add(day, &outcome, u64::try_from(count).unwrap_or_default());
            read = read.saturating_add(u64::try_from(events).unwrap_or_default());
        }
        if read >= MOST_COUNTED {
            let sql = format!("SELECT id FROM ({events}) AS counted ORDER BY id LIMIT 1");
            let row = self
                .read
                .query_one_raw(self.statement(&sql, values))
                .await?;
            let last: Option<Uuid> = row.map(|row| row.try_get_by_index(0)).transpose()?;
            found.counted_until = last.map(ids::time_of);
        }
        Ok(())
    }
}
