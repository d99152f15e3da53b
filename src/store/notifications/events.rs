//! Looking through audit events for what webhooks are told of: in the order of their ids, by one
//! replica at a time.

use std::collections::HashMap;

use carnet_entity::audit_event;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
};
use uuid::Uuid;

use crate::audit::{AuditEvent, AuditPart, Outcome};
use crate::clock::Timestamp;
use crate::ids::{self, CredentialId, EventId};
use crate::store::{Store, StoreError, audit};

/// What is read of every event.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenEvent {
    pub id: EventId,
    pub outcome: Outcome,
    /// The rule that was changed, or the newest one of the token.
    pub credential: Option<CredentialId>,
    /// All rules of the event.
    pub parts: Vec<AuditPart>,
}

/// Some events in the order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct EventsRead<T> {
    /// Without those whose outcome this release does not know.
    pub events: Vec<T>,
    /// The last one that was read, left out or not; `None` if there was none.
    pub last: Option<Uuid>,
}

impl Store {
    /// Lets this replica, known by a random `holder`, look through events until a time; `false` if
    /// another one does.
    pub async fn hold_watermark(
        &self,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE notification_watermark SET holder = $1, lease_until = $2 \
                   WHERE id = 1 AND (holder = $1 OR lease_until <= $3)";
        let values = [holder.into(), until.millis().into(), now.millis().into()];
        let held = self.write.execute_raw(self.statement(sql, values)).await?;
        Ok(held.rows_affected() == 1)
    }

    /// The event up to which all were looked through.
    pub async fn notified_up_to(&self) -> Result<Option<Uuid>, StoreError> {
        let sql = "SELECT up_to FROM notification_watermark WHERE id = 1";
        let row = self.read.query_one_raw(self.statement(sql, [])).await?;
        Ok(row
            .map(|row| row.try_get_by_index(0))
            .transpose()?
            .flatten())
    }

    pub async fn set_notified_up_to(&self, event: Uuid) -> Result<(), StoreError> {
        let sql = "UPDATE notification_watermark SET up_to = $1 WHERE id = 1";
        self.write
            .execute_raw(self.statement(sql, [event.into()]))
            .await?;
        Ok(())
    }

    /// Events after one id and before another, the earliest first, without their details.
    pub async fn events_seen(
        &self,
        after: Uuid,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<EventsRead<SeenEvent>, StoreError> {
        type Row = (Uuid, String, Option<Uuid>, Option<String>);
        let rows: Vec<Row> = audit_event::Entity::find()
            .select_only()
            .columns([
                audit_event::Column::Id,
                audit_event::Column::Outcome,
                audit_event::Column::CredentialId,
                audit_event::Column::Parts,
            ])
            .filter(audit_event::Column::Id.gt(after))
            .apply_if(before, |query, before| {
                query.filter(audit_event::Column::Id.lt(before))
            })
            .order_by_asc(audit_event::Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.read)
            .await?;
        let last = rows.last().map(|(id, ..)| *id);
        let seen = rows
            .into_iter()
            .filter_map(|(id, outcome, credential, parts)| {
                Some(SeenEvent {
                    id: EventId(id),
                    outcome: audit::outcome(&outcome)?,
                    credential: credential.map(CredentialId),
                    parts: audit::read_parts(parts.as_deref()),
                })
            });
        Ok(EventsRead {
            events: seen.collect(),
            last,
        })
    }

    /// These events with everything that is in their rows, without those whose outcome this release
    /// does not know.
    pub async fn events_with_parts(
        &self,
        events: Vec<EventId>,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        let mut found = Vec::with_capacity(events.len());
        for some in events.chunks(500) {
            let rows = audit_event::Entity::find()
                .filter(audit_event::Column::Id.is_in(some.iter().map(|event| event.0)))
                .order_by_asc(audit_event::Column::Id)
                .all(&self.read)
                .await?;
            found.extend(rows.into_iter().filter_map(|row| {
                let parts = audit::read_parts(row.parts.as_deref());
                Some(AuditEvent {
                    parts,
                    ..audit::event(row)?
                })
            }));
        }
        Ok(found)
    }

    /// Up to `limit` refusals after an id that stand for at least `count` equal ones, the last of
    /// which came at or after a time, and whose fold key expires at or after another one. The
    /// earliest come first.
    pub async fn refusals_folded(
        &self,
        expires_from: Timestamp,
        last_from: Timestamp,
        count: u32,
        after: Uuid,
        limit: u64,
    ) -> Result<EventsRead<AuditEvent>, StoreError> {
        let sql = format!(
            "SELECT e.id FROM audit_fold f JOIN audit_event e ON e.id = f.event_id \
             WHERE f.expires_at >= $1 AND e.count >= $2 AND e.last_id >= $3 AND e.id > $4 \
             ORDER BY e.id LIMIT {limit}"
        );
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let values = [
            expires_from.millis().into(),
            count.into(),
            ids::first_at(last_from).into(),
            after.into(),
        ];
        let rows = self
            .read
            .query_all_raw(self.statement(&sql, values))
            .await?;
        let ids = rows.iter().map(|row| row.try_get_by_index(0).map(EventId));
        let ids: Vec<EventId> = ids.collect::<Result<_, _>>()?;
        let last = ids.last().map(|id| id.0);
        let events = self.events_with_parts(ids).await?;
        Ok(EventsRead { events, last })
    }

    /// When these rules were first used; a rule that was not used yet has `None`.
    pub async fn first_uses(
        &self,
        rules: &[CredentialId],
    ) -> Result<HashMap<CredentialId, Option<Timestamp>>, StoreError> {
        use carnet_entity::federated_credential::{Column, Entity};
        let mut found = HashMap::new();
        for some in rules.chunks(500) {
            let rows: Vec<(Uuid, Option<i64>)> = Entity::find()
                .select_only()
                .columns([Column::Id, Column::FirstUsedAt])
                .filter(Column::Id.is_in(some.iter().map(|rule| rule.0)))
                .into_tuple()
                .all(&self.read)
                .await?;
            found.extend(
                rows.into_iter()
                    .map(|(id, at)| (CredentialId(id), at.map(Timestamp::from_millis))),
            );
        }
        Ok(found)
    }
}
