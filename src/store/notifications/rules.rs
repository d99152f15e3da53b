//! Rules that end or are due for review soon.

use carnet_entity::federated_credential::{Column, Entity};
use sea_orm::sea_query::Condition;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::CredentialId;
use crate::store::{Store, StoreError};

/// The dates of an enabled rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleDate {
    pub id: CredentialId,
    pub name: String,
    /// By name.
    pub principal: String,
    pub expires_at: Option<Timestamp>,
    pub review_at: Option<Timestamp>,
}

impl Store {
    /// Up to `limit` enabled rules after an id that end between two times, or are due for review
    /// then.
    pub async fn rules_with_dates(
        &self,
        (from, to): (Timestamp, Timestamp),
        after: Uuid,
        limit: u64,
    ) -> Result<Vec<RuleDate>, StoreError> {
        type Row = (Uuid, String, String, Option<i64>, Option<i64>);
        let within = |column: Column| column.between(from.millis(), to.millis());
        let rows: Vec<Row> = Entity::find()
            .select_only()
            .columns([
                Column::Id,
                Column::Name,
                Column::Principal,
                Column::ExpiresAt,
                Column::ReviewAt,
            ])
            .filter(Column::Enabled.eq(true))
            .filter(Column::Id.gt(after))
            .filter(
                Condition::any()
                    .add(within(Column::ExpiresAt))
                    .add(within(Column::ReviewAt)),
            )
            .order_by_asc(Column::Id)
            .limit(limit)
            .into_tuple()
            .all(&self.read)
            .await?;
        let time = |at: Option<i64>| {
            at.map(Timestamp::from_millis)
                .filter(|at| *at >= from && *at <= to)
        };
        let dates = rows
            .into_iter()
            .map(|(id, name, principal, expires_at, review_at)| RuleDate {
                id: CredentialId(id),
                name,
                principal,
                expires_at: time(expires_at),
                review_at: time(review_at),
            });
        Ok(dates.collect())
    }
}
