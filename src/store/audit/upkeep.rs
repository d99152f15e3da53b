//! Background work on audit events: indexes them by their parts and keys, and removes old events.

use std::collections::HashMap;

use carnet_entity::{audit_event, audit_key, audit_part};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Statement,
    Value as DbValue,
};
use uuid::Uuid;

use super::keys::{AuditKey, keys_of};
use super::rows::{event, insert_keys, insert_parts, read_all_parts};
use crate::audit::{AuditPart, Outcome};
use crate::clock::Timestamp;
use crate::ids::{self, CredentialId};
use crate::store::placeholders::placeholders;
use crate::store::{Store, StoreError};

/// How far the watermark may lie ahead in seconds, because the clocks of replicas differ.
const SKEW_SECONDS: i64 = 120;
/// How many events one step indexes.
const INDEXED_AT_ONCE: u64 = 1_000;
/// How many index rows one statement inserts.
const INSERTED_AT_ONCE: usize = 1_000;

/// Writes the index rows of these events, in the order of each index, so that neighbours are written
/// together.
async fn index(
    transaction: &DatabaseTransaction,
    rows: Vec<audit_event::Model>,
) -> Result<(), StoreError> {
    let mut parts: Vec<(Uuid, AuditPart, i16)> = Vec::new();
    let mut keys: Vec<(Vec<u8>, Uuid)> = Vec::new();
    for row in rows {
        let id = row.id;
        let own = read_all_parts(row.parts.as_deref()).into_iter().zip(0..);
        parts.extend(own.map(|(part, position)| (id, part, position)));
        keys.extend(keys_of_row(row).into_iter().map(|key| (key, id)));
    }
    keys.sort_unstable();
    parts.sort_by(|left, right| {
        (&left.1.principal_id, left.0).cmp(&(&right.1.principal_id, right.0))
    });
    for some in parts.chunks(INSERTED_AT_ONCE) {
        insert_parts(transaction, some).await?;
    }
    for some in keys.chunks(INSERTED_AT_ONCE) {
        insert_keys(transaction, some).await?;
    }
    Ok(())
}

/// The keys of an event. One that a newer release wrote and this one cannot read has none.
fn keys_of_row(row: audit_event::Model) -> Vec<Vec<u8>> {
    event(row).map(|event| keys_of(&event)).unwrap_or_default()
}

impl Store {
    /// Indexes the parts and keys of up to `INDEXED_AT_ONCE` events from before a time. Returns whether
    /// there are more. Events are committed some time after their ids are made, so `before` has to
    /// allow for that.
    pub async fn index_parts(&self, before: Timestamp) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        // Locks the watermark's row, so that one replica indexes at a time.
        transaction
            .execute_unprepared("UPDATE audit_watermark SET id = id")
            .await?;
        // A replica whose clock ran ahead has moved the watermark past ids that are yet to be made.
        // Move it back; parts that are indexed already stay so. A lead of up to `SKEW_SECONDS` is
        // the normal difference between clocks.
        let latest = ids::first_at(before);
        let indexed = self.indexed_up_to(&transaction).await?;
        if indexed.is_some_and(|indexed| indexed > ids::first_at(before.plus_seconds(SKEW_SECONDS)))
        {
            let moved = self.statement("UPDATE audit_watermark SET up_to = $1", [latest.into()]);
            transaction.execute_raw(moved).await?;
            transaction.commit().await?;
            return Ok(false);
        }
        let rows = audit_event::Entity::find()
            .apply_if(indexed, |query, indexed| {
                query.filter(audit_event::Column::Id.gt(indexed))
            })
            .filter(audit_event::Column::Id.lt(latest))
            .order_by_asc(audit_event::Column::Id)
            .limit(INDEXED_AT_ONCE)
            .all(&transaction)
            .await?;
        let Some(last) = rows.last().map(|row| row.id) else {
            transaction.rollback().await?;
            return Ok(false);
        };
        let more = u64::try_from(rows.len()).ok() == Some(INDEXED_AT_ONCE);
        index(&transaction, rows).await?;
        let moved = self.statement("UPDATE audit_watermark SET up_to = $1", [last.into()]);
        transaction.execute_raw(moved).await?;
        transaction.commit().await?;
        Ok(more)
    }

    /// Writes the keys of changes of rules that an earlier release indexed without them.
    pub async fn index_changes(&self) -> Result<(), StoreError> {
        for outcome in Outcome::ALL.into_iter().filter(|one| one.is_change()) {
            let mut before = Some(Uuid::max());
            while let Some(latest) = before {
                before = self.index_changes_before(outcome, latest).await?;
            }
        }
        Ok(())
    }

    /// Writes those of up to `INDEXED_AT_ONCE` events before `latest`. Returns the earliest of them.
    async fn index_changes_before(
        &self,
        outcome: Outcome,
        latest: Uuid,
    ) -> Result<Option<Uuid>, StoreError> {
        let sql = format!(
            "SELECT e.id, e.credential_id FROM audit_key k JOIN audit_event e ON e.id = k.event_id \
             WHERE k.key = $1 AND k.event_id < $2 ORDER BY k.event_id DESC LIMIT {INDEXED_AT_ONCE}"
        );
        let values = [AuditKey::Outcome(outcome).bytes().into(), latest.into()];
        let rows = self
            .read
            .query_all_raw(self.statement(&sql, values))
            .await?;
        let mut changes = Vec::new();
        let mut last = None;
        for row in &rows {
            let (event, rule): (Uuid, Option<Uuid>) =
                (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let key = |rule| AuditKey::Change(CredentialId(rule)).bytes();
            changes.extend(rule.map(|rule| (key(rule), event)));
            last = Some(event);
        }
        changes.sort_unstable();
        if !changes.is_empty() {
            insert_keys(&self.write, &changes).await?;
        }
        Ok(last)
    }

    /// Removes events with their parts, keys and fold keys, and what they count.
    pub(in crate::store) async fn remove_events(&self, ids: Vec<Uuid>) -> Result<(), StoreError> {
        let rows = audit_event::Entity::find()
            .filter(audit_event::Column::Id.is_in(ids.clone()))
            .all(&self.read)
            .await?;
        let mut seen: HashMap<String, Vec<Uuid>> = HashMap::new();
        let mut keyed: HashMap<Vec<u8>, Vec<Uuid>> = HashMap::new();
        for row in rows {
            let id = row.id;
            for part in read_all_parts(row.parts.as_deref()) {
                let events = seen.entry(part.principal_id).or_default();
                // A principal may have a part for each of hundreds of rules in one token.
                if events.last() != Some(&id) {
                    events.push(id);
                }
            }
            for key in keys_of_row(row) {
                keyed.entry(key).or_default().push(id);
            }
        }
        let transaction = self.begin().await?;
        for (principal, events) in seen {
            let parts = audit_part::Entity::delete_many()
                .filter(audit_part::Column::PrincipalId.eq(principal));
            parts
                .filter(audit_part::Column::EventId.is_in(events))
                .exec(&transaction)
                .await?;
        }
        for (key, events) in keyed {
            audit_key::Entity::delete_many()
                .filter(audit_key::Column::Key.eq(key))
                .filter(audit_key::Column::EventId.is_in(events))
                .exec(&transaction)
                .await?;
        }
        audit_event::Entity::delete_many()
            .filter(audit_event::Column::Id.is_in(ids.clone()))
            .exec(&transaction)
            .await?;
        let places = placeholders(self.backend(), 1, ids.len());
        for table in ["audit_fold", "audit_counted"] {
            let sql = format!("DELETE FROM {table} WHERE event_id IN {places}");
            let ids = ids.iter().copied().map(DbValue::from);
            transaction
                .execute_raw(Statement::from_sql_and_values(self.backend(), sql, ids))
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Up to `step` events whose fold key has expired.
    pub(in crate::store) async fn folded_until(
        &self,
        now: Timestamp,
        step: u64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let sql = format!(
            "SELECT event_id FROM audit_fold WHERE expires_at < $1 ORDER BY expires_at LIMIT {step}"
        );
        let rows = self
            .read
            .query_all_raw(self.statement(&sql, [now.millis().into()]))
            .await?;
        Ok(rows
            .iter()
            .map(|row| row.try_get_by_index(0))
            .collect::<Result<_, _>>()?)
    }

    /// Up to `step` events from before a time, the oldest first.
    pub(in crate::store) async fn events_from_before(
        &self,
        oldest: Timestamp,
        step: u64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let query = audit_event::Entity::find()
            .select_only()
            .column(audit_event::Column::Id)
            .filter(Expr::col(audit_event::Column::Id).lt(ids::first_at(oldest)))
            .order_by_asc(audit_event::Column::Id)
            .limit(step);
        Ok(query.into_tuple().all(&self.read).await?)
    }
}
