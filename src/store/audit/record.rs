//! Writes events outside of other transactions, and folds equal refusals.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, DatabaseTransaction};

use super::rows::{insert, insert_parts};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::EventId;
use crate::store::{Store, StoreError};

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
        let mut folded: BTreeMap<[u8; 32], Vec<&AuditEvent>> = BTreeMap::new();
        for event in events {
            match event.fold {
                None => alone.push(event),
                Some(key) => folded.entry(key).or_default().push(event),
            }
        }
        for (key, alike) in folded {
            let (Some(first), Some(last)) = (alike.first(), alike.last()) else {
                continue;
            };
            if !self
                .begin_fold(&transaction, &key, first.id, folded_until)
                .await?
            {
                self.add_to_fold(&transaction, &key, alike.len(), last.id)
                    .await?;
                continue;
            }
            insert(&transaction, &[*first]).await?;
            self.index_late(&transaction, &[*first]).await?;
            if alike.len() > 1 {
                self.add_to_fold(&transaction, &key, alike.len().saturating_sub(1), last.id)
                    .await?;
            }
        }
        insert(&transaction, &alone).await?;
        self.index_late(&transaction, &alone).await?;
        Ok(transaction.commit().await?)
    }

    /// Indexes the parts of events that are written so late that the watermark has passed their
    /// ids.
    async fn index_late(
        &self,
        transaction: &DatabaseTransaction,
        events: &[&AuditEvent],
    ) -> Result<(), StoreError> {
        let Some(indexed) = self.indexed_up_to(transaction).await? else {
            return Ok(());
        };
        let late = events.iter().filter(|event| event.id.0 <= indexed);
        let parts = late.flat_map(|event| {
            event
                .parts
                .iter()
                .cloned()
                .zip(0i16..)
                .map(|(part, position)| (event.id.0, part, position))
        });
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() {
            Ok(())
        } else {
            insert_parts(transaction, &parts).await
        }
    }

    /// Registers a fold key for an event; `false` if the key exists already.
    async fn begin_fold(
        &self,
        transaction: &DatabaseTransaction,
        key: &[u8; 32],
        event: EventId,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO audit_fold (key, event_id, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let values = [key.to_vec().into(), event.0.into(), until.millis().into()];
        Ok(transaction
            .execute_raw(self.statement(sql, values))
            .await?
            .rows_affected()
            == 1)
    }

    /// Adds `more` to the count of the event with this fold key.
    async fn add_to_fold(
        &self,
        transaction: &DatabaseTransaction,
        key: &[u8; 32],
        more: usize,
        last: EventId,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE audit_event SET count = count + $1, last_id = $2 \
                   WHERE id = (SELECT event_id FROM audit_fold WHERE key = $3)";
        let more = i32::try_from(more).unwrap_or(i32::MAX);
        transaction
            .execute_raw(self.statement(sql, [more.into(), last.0.into(), key.to_vec().into()]))
            .await?;
        Ok(())
    }
}
