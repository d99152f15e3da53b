//! How far audit events were sent to a destination, and which replica sends them.

use carnet_entity::audit_event;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::store::{Store, StoreError};

impl Store {
    /// Lets this replica, known by a random `holder`, send events to a destination until a time.
    /// Returns the event up to which all were sent, or `None` if another replica sends. A destination
    /// that is new gets the events after `from`.
    pub async fn hold_export(
        &self,
        (destination, from): (&str, Uuid),
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Uuid>, StoreError> {
        let sql = "SELECT up_to FROM audit_export WHERE destination = $1";
        let read = || self.statement(sql, [destination.into()]);
        if self.read.query_one_raw(read()).await?.is_none() {
            let sql = "INSERT INTO audit_export (destination, up_to, holder, lease_until) \
                       VALUES ($1, $2, '', 0) ON CONFLICT DO NOTHING";
            let values = [destination.into(), from.into()];
            self.write.execute_raw(self.statement(sql, values)).await?;
        }
        let sql = "UPDATE audit_export SET holder = $1, lease_until = $2 \
                   WHERE destination = $3 AND (holder = $1 OR lease_until <= $4)";
        let values = [
            holder.into(),
            until.millis().into(),
            destination.into(),
            now.millis().into(),
        ];
        let held = self.write.execute_raw(self.statement(sql, values)).await?;
        if held.rows_affected() == 0 {
            return Ok(None);
        }
        let row = self.write.query_one_raw(read()).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
    }

    /// Notes that all events up to one were sent, unless another replica sends by now.
    pub async fn set_exported_up_to(
        &self,
        destination: &str,
        holder: &str,
        event: Uuid,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE audit_export SET up_to = $1 WHERE destination = $2 AND holder = $3";
        let values = [event.into(), destination.into(), holder.into()];
        self.write.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// The ids of events after one id and before another, the earliest first.
    pub async fn event_ids(
        &self,
        after: Uuid,
        before: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<Uuid>, StoreError> {
        let query = audit_event::Entity::find()
            .select_only()
            .column(audit_event::Column::Id)
            .filter(audit_event::Column::Id.gt(after))
            .apply_if(before, |query, before| {
                query.filter(audit_event::Column::Id.lt(before))
            })
            .order_by_asc(audit_event::Column::Id)
            .limit(limit);
        Ok(query.into_tuple().all(&self.read).await?)
    }
}
