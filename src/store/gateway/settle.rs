//! Records what became of a publication, and lists publications.

use carnet_entity::gateway_publication::{Column, Entity};
use carnet_gateway::Outcome;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, EntityTrait as _, FromQueryResult,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Statement, Value,
};

use super::Publication;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::{self, PublicationId};
use crate::store::{Store, StoreError, audit};

/// What the row of a publication says of its package.
#[derive(Debug, FromQueryResult)]
struct Settled {
    resource_server: String,
    package: String,
    adds: bool,
    holds: bool,
    token_id: Option<String>,
    principal: Option<String>,
    credential: Option<String>,
}

const SETTLED: &str =
    "RETURNING resource_server, package, adds, holds, token_id, principal, credential";

impl Store {
    /// The publication with this id; `None` also for one that was refused.
    pub async fn publication(&self, id: PublicationId) -> Result<Option<Publication>, StoreError> {
        let row = Entity::find_by_id(id.0).one(&self.read).await?;
        row.map(Publication::try_from).transpose()
    }

    /// The publications of a package that were accepted or are open, the newest first; at most
    /// `limit` of those before `before`.
    pub async fn publications(
        &self,
        registry: &str,
        package: &str,
        before: Option<PublicationId>,
        limit: u64,
    ) -> Result<Vec<Publication>, StoreError> {
        let rows = Entity::find()
            .filter(Column::ResourceServer.eq(registry))
            .filter(Column::Package.eq(package))
            .apply_if(before, |query, before| {
                query.filter(Column::Id.lt(before.0))
            })
            .order_by_desc(Column::Id)
            .limit(limit)
            .all(&self.read)
            .await?;
        rows.into_iter().map(Publication::try_from).collect()
    }

    /// The publications that are not settled, the oldest first: those from before `until`, at most
    /// `limit` after `after`.
    pub async fn unsettled_publications(
        &self,
        until: Option<Timestamp>,
        after: Option<PublicationId>,
        limit: u64,
    ) -> Result<Vec<Publication>, StoreError> {
        let rows = Entity::find()
            .filter(Column::SettledAt.is_null())
            .apply_if(until, |query, until| {
                query.filter(Column::Id.lt(ids::first_at(until)))
            })
            .apply_if(after, |query, after| query.filter(Column::Id.gt(after.0)))
            .order_by_asc(Column::Id)
            .limit(limit)
            .all(&self.read)
            .await?;
        rows.into_iter().map(Publication::try_from).collect()
    }

    /// Records the outcome of a publication, with its event, unless it is settled already. Returns
    /// whether it was recorded. What is unclear stays open.
    pub async fn settle_publication(
        &self,
        id: PublicationId,
        outcome: &Outcome,
        by_operator: bool,
        event: Option<&AuditEvent>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        let statement = self.settling(id, outcome, by_operator, now);
        let row = transaction.query_one_raw(statement).await?;
        let Some(row) = row else {
            transaction.rollback().await?;
            return Ok(false);
        };
        let settled = Settled::from_query_result(&row, "")?;
        match outcome {
            _ if !settled.holds => {}
            Outcome::Accepted if settled.adds => {
                self.confirm(&transaction, &settled, now).await?;
            }
            Outcome::Accepted | Outcome::Refused { .. } => {
                self.release(&transaction, &settled, now).await?;
            }
            Outcome::Unclear { .. } => {}
        }
        if let Some(event) = event {
            audit::insert(&transaction, &[event]).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// The statement that changes the row of the publication if it is not settled. What was refused
    /// was not published: its row goes, so that nobody fills the database with requests that the
    /// registry refuses.
    fn settling(
        &self,
        id: PublicationId,
        outcome: &Outcome,
        by_operator: bool,
        now: Timestamp,
    ) -> Statement {
        let (sql, values): (String, Vec<Value>) = match outcome {
            Outcome::Accepted => (
                format!(
                    "UPDATE gateway_publication SET state = 'accepted', by_operator = $2, settled_at = $3 \
                     WHERE id = $1 AND settled_at IS NULL {SETTLED}"
                ),
                vec![id.0.into(), by_operator.into(), now.millis().into()],
            ),
            Outcome::Refused { .. } => (
                format!(
                    "DELETE FROM gateway_publication WHERE id = $1 AND settled_at IS NULL {SETTLED}"
                ),
                vec![id.0.into()],
            ),
            Outcome::Unclear { why } => (
                format!(
                    "UPDATE gateway_publication SET state = 'unclear', unclear_why = $2 \
                     WHERE id = $1 AND state = 'under_way' {SETTLED}"
                ),
                vec![id.0.into(), why.as_str().into()],
            ),
        };
        self.statement(&sql, values)
    }

    /// Ends an accepted publication of its package, which exists from now on.
    async fn confirm(
        &self,
        transaction: &DatabaseTransaction,
        settled: &Settled,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // Only the first accepted publication changes more than the counter.
        let sql = "UPDATE gateway_package SET open = open - 1, \
                   state = CASE WHEN state <> 'reserved' THEN state WHEN owner IS NULL THEN 'unowned' ELSE 'owned' END, \
                   version = CASE WHEN state = 'reserved' THEN version + 1 ELSE version END, \
                   since = CASE WHEN state = 'reserved' THEN $3 ELSE since END, \
                   token_id = CASE WHEN state = 'reserved' THEN $4 ELSE token_id END, \
                   principal = CASE WHEN state = 'reserved' THEN $5 ELSE principal END, \
                   credential = CASE WHEN state = 'reserved' THEN $6 ELSE credential END \
                   WHERE resource_server = $1 AND name = $2";
        let values: [Value; 6] = [
            settled.resource_server.as_str().into(),
            settled.package.as_str().into(),
            now.millis().into(),
            settled.token_id.clone().into(),
            settled.principal.clone().into(),
            settled.credential.clone().into(),
        ];
        transaction.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// Ends a publication that made no package exist, and gives the name back if nothing else holds
    /// it.
    async fn release(
        &self,
        transaction: &DatabaseTransaction,
        settled: &Settled,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key: [Value; 2] = [
            settled.resource_server.as_str().into(),
            settled.package.as_str().into(),
        ];
        // The first statement locks the row, so that the others see what it is.
        let counted =
            "UPDATE gateway_package SET open = open - 1 WHERE resource_server = $1 AND name = $2";
        let removed = "DELETE FROM gateway_package WHERE resource_server = $1 AND name = $2 AND open = 0 \
                       AND state IN ('reserved', 'unrecorded') AND NOT trusted_only";
        for sql in [counted, removed] {
            transaction
                .execute_raw(self.statement(sql, key.clone()))
                .await?;
        }
        // The switch stays where the reservation goes.
        let freed = "UPDATE gateway_package SET state = 'unrecorded', owner = NULL, version = version + 1, since = $3, \
                     token_id = NULL, principal = NULL, credential = NULL \
                     WHERE resource_server = $1 AND name = $2 AND open = 0 AND state = 'reserved'";
        let values = key.into_iter().chain([now.millis().into()]);
        transaction
            .execute_raw(self.statement(freed, values))
            .await?;
        Ok(())
    }
}
