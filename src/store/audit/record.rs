//! Writes events outside of other transactions, and folds equal refusals.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, DatabaseTransaction};
use uuid::Uuid;

use super::keys::keys_of;
use super::rows::{insert, insert_counted, insert_keys, insert_parts};
use crate::audit::{AuditEvent, FoldKey};
use crate::clock::Timestamp;
use crate::ids::EventId;
use crate::store::{Store, StoreError};

/// How many refusals that are alike in everything but their request have events of their own within
/// the time of a fold key. Any caller may vary its requests, so all further ones share one event.
const MOST_DIFFERENT: i64 = 10;
/// How many refusals that are counted in an event are found by their own `error_id`, beside the last
/// one (`docs/src/reference/audit-events.md`).
const MOST_COUNTED: usize = 100;

impl Store {
    /// Writes events in a transaction of their own. An event whose fold key is known is only
    /// counted in the first event with that key, until the key expires at `folded_until`.
    pub async fn record(
        &self,
        events: &[AuditEvent],
        folded_until: Timestamp,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let mut alone: Vec<&AuditEvent> = Vec::new();
        let mut folded: BTreeMap<FoldKey, Vec<&AuditEvent>> = BTreeMap::new();
        for event in events {
            match event.fold {
                None => alone.push(event),
                Some(key) => folded.entry(key).or_default().push(event),
            }
        }
        for (key, alike) in folded {
            self.fold(&transaction, key, &alike, folded_until).await?;
        }
        insert(&transaction, &alone).await?;
        self.index_late(&transaction, &alone).await?;
        Ok(transaction.commit().await?)
    }

    /// Counts events with one fold key in the event of that key, which is the first of them if there
    /// is none yet.
    async fn fold(
        &self,
        transaction: &DatabaseTransaction,
        key: FoldKey,
        alike: &[&AuditEvent],
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let Some((first, further)) = alike.split_first() else {
            return Ok(());
        };
        let known = self.is_folded(transaction, key).await?;
        let is_beyond = !known && self.different(transaction, key).await? >= MOST_DIFFERENT;
        let key = if is_beyond { key.of_the_rest() } else { key };
        if known || !self.begin_fold(transaction, key, first.id, until).await? {
            return self.add_to_fold(transaction, key, alike).await;
        }
        let first = if is_beyond {
            &first.of_different_requests()
        } else {
            *first
        };
        insert(transaction, &[first]).await?;
        self.index_late(transaction, &[first]).await?;
        self.add_to_fold(transaction, key, further).await
    }

    async fn is_folded(
        &self,
        transaction: &DatabaseTransaction,
        key: FoldKey,
    ) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM audit_fold WHERE key = $1";
        let statement = self.statement(sql, [key.bytes().into()]);
        Ok(transaction.query_one_raw(statement).await?.is_some())
    }

    /// How many events there are for refusals that are alike in everything but their request.
    async fn different(
        &self,
        transaction: &DatabaseTransaction,
        key: FoldKey,
    ) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM audit_fold WHERE key >= $1 AND key <= $2";
        let (first, last) = key.all_alike();
        let statement = self.statement(sql, [first.bytes().into(), last.bytes().into()]);
        let row = transaction.query_one_raw(statement).await?;
        let count = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?;
        Ok(count.unwrap_or_default())
    }

    /// Indexes events that are written so late that the watermark has passed their
    /// ids.
    async fn index_late(
        &self,
        transaction: &DatabaseTransaction,
        events: &[&AuditEvent],
    ) -> Result<(), StoreError> {
        let Some(indexed) = self.indexed_up_to(transaction).await? else {
            return Ok(());
        };
        let late = || events.iter().filter(|event| event.id.0 <= indexed);
        let parts = late().flat_map(|event| {
            event
                .parts
                .iter()
                .cloned()
                .zip(0i16..)
                .map(|(part, position)| (event.id.0, part, position))
        });
        let parts: Vec<_> = parts.collect();
        insert_parts(transaction, &parts).await?;
        let keys = late().flat_map(|event| keys_of(event).into_iter().map(|key| (key, event.id.0)));
        insert_keys(transaction, &keys.collect::<Vec<_>>()).await
    }

    /// Registers a fold key for an event; `false` if the key exists already.
    async fn begin_fold(
        &self,
        transaction: &DatabaseTransaction,
        key: FoldKey,
        event: EventId,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO audit_fold (key, event_id, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let values = [key.bytes().into(), event.0.into(), until.millis().into()];
        Ok(transaction
            .execute_raw(self.statement(sql, values))
            .await?
            .rows_affected()
            == 1)
    }

    /// Counts refusals in the event with this fold key. The first `MOST_COUNTED` of an event are
    /// found by their ids later.
    async fn add_to_fold(
        &self,
        transaction: &DatabaseTransaction,
        key: FoldKey,
        more: &[&AuditEvent],
    ) -> Result<(), StoreError> {
        let Some(last) = more.last() else {
            return Ok(());
        };
        let sql = "UPDATE audit_event SET count = count + $1, last_id = $2 \
                   WHERE id = (SELECT event_id FROM audit_fold WHERE key = $3) RETURNING id, count";
        let added = i32::try_from(more.len()).unwrap_or(i32::MAX);
        let values = [added.into(), last.id.0.into(), key.bytes().into()];
        let row = transaction
            .query_one_raw(self.statement(sql, values))
            .await?;
        let Some(row) = row else {
            return Ok(());
        };
        let (event, count): (Uuid, i32) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        // The first refusal is the event itself.
        let before = count.saturating_sub(added).saturating_sub(1);
        let before = usize::try_from(before).unwrap_or_default();
        let counted: Vec<(Uuid, Uuid)> = more
            .iter()
            .take(MOST_COUNTED.saturating_sub(before))
            .map(|refusal| (refusal.id.0, event))
            .collect();
        insert_counted(transaction, &counted).await
    }
}
