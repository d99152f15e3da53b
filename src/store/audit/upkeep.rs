//! Background work on audit events: indexes their parts, and removes old events.

use std::collections::HashMap;

use carnet_entity::{audit_event, audit_part};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _, Statement, Value as DbValue,
};
use uuid::Uuid;

use super::rows::{insert_parts, read_parts};
use crate::audit::AuditPart;
use crate::clock::Timestamp;
use crate::ids;
use crate::store::placeholders::placeholders;
use crate::store::{Store, StoreError};

/// How far the watermark may lie ahead in seconds, because the clocks of replicas differ.
const SKEW_SECONDS: i64 = 120;
/// How many events one step indexes.
const INDEXED_AT_ONCE: u64 = 1_000;

impl Store {
    /// Indexes the parts of up to `INDEXED_AT_ONCE` events from before a time. Returns whether
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
        let rows: Vec<(Uuid, Option<String>)> = audit_event::Entity::find()
            .select_only()
            .columns([audit_event::Column::Id, audit_event::Column::Parts])
            .apply_if(indexed, |query, indexed| {
                query.filter(audit_event::Column::Id.gt(indexed))
            })
            .filter(audit_event::Column::Id.lt(latest))
            .order_by_asc(audit_event::Column::Id)
            .limit(INDEXED_AT_ONCE)
            .into_tuple()
            .all(&transaction)
            .await?;
        let Some(last) = rows.last().map(|(id, _)| *id) else {
            transaction.rollback().await?;
            return Ok(false);
        };
        let more = u64::try_from(rows.len()).ok() == Some(INDEXED_AT_ONCE);
        let mut parts: Vec<(Uuid, AuditPart, i16)> = Vec::new();
        for (id, text) in rows {
            parts.extend(
                read_parts(text.as_deref())
                    .into_iter()
                    .zip(0..)
                    .map(|(part, position)| (id, part, position)),
            );
        }
        parts.sort_by(|left, right| {
            (&left.1.principal_id, left.0).cmp(&(&right.1.principal_id, right.0))
        });
        for some in parts.chunks(1_000) {
            insert_parts(&transaction, some).await?;
        }
        let moved = self.statement("UPDATE audit_watermark SET up_to = $1", [last.into()]);
        transaction.execute_raw(moved).await?;
        transaction.commit().await?;
        Ok(more)
    }

    /// Removes events with their parts and fold keys.
    pub(in crate::store) async fn remove_events(&self, ids: Vec<Uuid>) -> Result<(), StoreError> {
        let rows: Vec<(Uuid, Option<String>)> = audit_event::Entity::find()
            .select_only()
            .columns([audit_event::Column::Id, audit_event::Column::Parts])
            .filter(audit_event::Column::Id.is_in(ids.clone()))
            .into_tuple()
            .all(&self.read)
            .await?;
        let mut seen: HashMap<String, Vec<Uuid>> = HashMap::new();
        for (id, parts) in rows {
            for part in read_parts(parts.as_deref()) {
                let events = seen.entry(part.principal_id).or_default();
                // A principal may have a part for each of hundreds of rules in one token.
                if events.last() != Some(&id) {
                    events.push(id);
                }
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
        audit_event::Entity::delete_many()
            .filter(audit_event::Column::Id.is_in(ids.clone()))
            .exec(&transaction)
            .await?;
        let places = placeholders(self.backend(), 1, ids.len());
        let sql = format!("DELETE FROM audit_fold WHERE event_id IN {places}");
        let ids = ids.into_iter().map(DbValue::from);
        transaction
            .execute_raw(Statement::from_sql_and_values(self.backend(), sql, ids))
            .await?;
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
