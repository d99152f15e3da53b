//! Finds the events that count refusals by these refusals.

use carnet_entity::audit_event;
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, DbBackend, EntityTrait as _,
    QueryFilter as _, QueryOrder as _, QueryTrait as _, Select,
};
use uuid::Uuid;

use crate::ids::{self, EventId};
use crate::store::{Store, StoreError};

/// How long before its latest refusal an event may have begun, in seconds: the refusals of one hour
/// are counted in it, and the id of its first one may be older by as long as a request takes.
const COUNTED_WITHIN_SECONDS: i64 = 3_600 + 300;

impl Store {
    /// The event with this id, or the one that counts the refusal with this id.
    pub(super) async fn event_of_refusal(
        &self,
        id: EventId,
        before: Option<EventId>,
    ) -> Result<Vec<audit_event::Model>, StoreError> {
        let sql = "SELECT event_id FROM audit_counted WHERE error_id = $1";
        let row = self
            .read
            .query_one_raw(self.statement(sql, [id.0.into()]))
            .await?;
        let counted_in: Option<Uuid> = row.map(|row| row.try_get_by_index(0)).transpose()?;
        let one = Condition::any()
            .add(audit_event::Column::Id.eq(counted_in.unwrap_or(id.0)))
            .add(audit_event::Column::LastId.eq(id.0));
        let query = before_id(before).filter(one);
        Ok(query.all(&self.read).await?)
    }

    /// A chunk of the events that began before a time and count a refusal since then.
    pub(super) async fn counted_since(
        &self,
        since: EventId,
        before: Option<EventId>,
        size: u64,
    ) -> Result<Vec<audit_event::Model>, StoreError> {
        // By the index of `last_id`: SQLite does not use the other one for an expression.
        let id = match self.backend() {
            DbBackend::Sqlite => "+id",
            _ => "id",
        };
        let sql = format!(
            "SELECT id FROM audit_event WHERE last_id >= $1 AND last_id < $2 AND {id} < $3 \
             ORDER BY {id} DESC LIMIT {size}"
        );
        let ends = ids::time_of(since.0).plus_seconds(COUNTED_WITHIN_SECONDS);
        let latest = before.unwrap_or(since).0;
        let values = [since.0.into(), ids::first_at(ends).into(), latest.into()];
        let rows = self
            .read
            .query_all_raw(self.statement(&sql, values))
            .await?;
        let ids = rows
            .iter()
            .map(|row| row.try_get_by_index(0))
            .collect::<Result<Vec<Uuid>, _>>()?;
        self.rows_of(ids).await
    }
}

/// The events before `before`, the latest first.
pub(super) fn before_id(before: Option<EventId>) -> Select<audit_event::Entity> {
    audit_event::Entity::find()
        .apply_if(before, |query, before| {
            query.filter(audit_event::Column::Id.lt(before.0))
        })
        .order_by_desc(audit_event::Column::Id)
}
