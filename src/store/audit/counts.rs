//! Counting audit events by day, without reading them whole.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::filter::AuditFilter;
use crate::audit::Outcome;
use crate::clock::Timestamp;
use crate::ids::{self, EventId};
use crate::store::{Store, StoreError};

/// How many of the latest events are counted.
const MOST_COUNTED: u64 = 2_000;
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
    fn add(&mut self, id: Uuid, outcome: &str, count: u64) {
        // An outcome of a later release is not shown by this one.
        let Some(outcome) = Outcome::from_word(outcome) else {
            return;
        };
        let day = ids::time_of(id).seconds().div_euclid(SECONDS_OF_A_DAY);
        let counted = self.counts.entry((day, outcome.as_str())).or_default();
        *counted = counted.saturating_add(count);
    }
}

impl Store {
    /// Counts the latest events since a time: those in which a principal, by its id, has a part, or
    /// all. An event that counts equal refusals stands for as many.
    pub async fn count_events(
        &self,
        principal: Option<&str>,
        since: Timestamp,
    ) -> Result<EventCounts, StoreError> {
        let since_id = ids::first_at(since);
        let mut found = EventCounts::default();
        let Some(principal) = principal else {
            let sql = format!(
                "SELECT id, outcome, count FROM audit_event WHERE id >= $1 ORDER BY id DESC LIMIT {MOST_COUNTED}"
            );
            self.count(&mut found, &sql, vec![since_id.into()]).await?;
            return Ok(found);
        };
        let indexed = self.indexed_up_to(&self.read).await?;
        let filter = AuditFilter {
            principal: Some(principal.to_owned()),
            since: Some(since),
            for_principal: true,
            ..AuditFilter::default()
        };
        let mut before = None;
        let mut is_through = false;
        for _ in 0..RECENT_CHUNKS {
            let chunk = self.unindexed_before(&filter, before, indexed, RECENT_CHUNK);
            let Some((events, last)) = chunk.await? else {
                is_through = true;
                break;
            };
            for (event, _) in events {
                found.add(event.id.0, event.outcome.as_str(), event.count.into());
            }
            before = last;
            if before.is_none() {
                is_through = true;
                break;
            }
        }
        if !is_through {
            found.counted_until = before.map(|EventId(last)| ids::time_of(last));
            return Ok(found);
        }
        let Some(indexed) = indexed else {
            return Ok(found);
        };
        let sql = format!(
            "SELECT id, outcome, count FROM audit_event WHERE id IN (SELECT DISTINCT event_id FROM audit_part \
             WHERE principal_id = $1 AND event_id >= $2 AND event_id <= $3 ORDER BY event_id DESC LIMIT {MOST_COUNTED}) \
             ORDER BY id DESC"
        );
        let values = vec![principal.into(), since_id.into(), indexed.into()];
        self.count(&mut found, &sql, values).await?;
        Ok(found)
    }

    /// Adds the rows of a query for id, outcome and count, the latest first.
    async fn count(
        &self,
        found: &mut EventCounts,
        sql: &str,
        values: Vec<sea_orm::Value>,
    ) -> Result<(), StoreError> {
        use sea_orm::ConnectionTrait as _;
        let rows = self.read.query_all_raw(self.statement(sql, values)).await?;
        let mut last = None;
        for row in &rows {
            let (id, outcome): (Uuid, String) =
                (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let count: i32 = row.try_get_by_index(2)?;
            found.add(id, &outcome, u64::try_from(count).unwrap_or_default());
            last = Some(id);
        }
        let is_full = u64::try_from(rows.len()).is_ok_and(|rows| rows >= MOST_COUNTED);
        found.counted_until = last.filter(|_| is_full).map(ids::time_of);
        Ok(())
    }
}
