//! Removes expired records and old changes, in steps small enough that other transactions do not
//! wait long.

use std::ops::RangeInclusive;

use carnet_entity::{change, consumed};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::ids::CredentialId;

/// How many rows of a table one step removes.
const STEP: u64 = 1000;
/// How long expired records are kept, in seconds: a clock may be set back.
const CLOCK_MARGIN_SECONDS: i64 = 86_400;
/// How long key sets are kept, in seconds: nobody uses older ones.
const KEY_SETS_KEPT_SECONDS: i64 = 2 * 86_400;
/// How long it is kept to what a person agreed, in seconds: longer than any session lasts.
const CONSENTS_KEPT_SECONDS: i64 = 2 * 86_400;
/// How long changes are kept, in seconds. A replica that was away for longer reads everything
/// again.
const CHANGES_KEPT_SECONDS: i64 = 3600;

impl Store {
    /// Removes up to `STEP` expired rows of each table. Returns whether there may be more.
    pub async fn prune(
        &self,
        now: Timestamp,
        audit_retention_days: u32,
    ) -> Result<bool, StoreError> {
        let over = now
            .plus_seconds(CLOCK_MARGIN_SECONDS.saturating_neg())
            .millis();
        let keys: Vec<Vec<u8>> = consumed::Entity::find()
            .filter(consumed::Column::ExpiresAt.lt(over))
            .order_by_asc(consumed::Column::ExpiresAt)
            .limit(STEP)
            .select_only()
            .column(consumed::Column::Key)
            .into_tuple()
            .all(&self.read)
            .await?;
        let consumed = keys.len();
        if consumed > 0 {
            consumed::Entity::delete_many()
                .filter(consumed::Column::Key.is_in(keys))
                .exec(&self.write)
                .await?;
        }

        let oldest = now.plus_seconds(i64::from(audit_retention_days).saturating_mul(-86_400));
        let mut audited = 0;
        for events in [
            self.events_from_before(oldest, STEP).await?,
            self.folded_until(now, STEP).await?,
        ] {
            audited = audited.max(events.len());
            if !events.is_empty() {
                self.remove_events(events).await?;
            }
        }

        let mut more = false;
        for (table, key) in [
            ("opaque_token", "hash"),
            ("exchanged_token", "child"),
            ("revoked_token", "token_id"),
            ("session", "id"),
            ("authorization_code", "hash"),
        ] {
            let sql = format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE expires_at < $1 ORDER BY expires_at LIMIT {STEP})"
            );
            let removed = self
                .write
                .execute_raw(self.statement(&sql, [over.into()]))
                .await?
                .rows_affected();
            // A token with two parents has two rows with one `child`, so more than a step may be
            // removed.
            more |= removed >= STEP;
        }

        more |= self.prune_people(oldest, STEP).await?;
        let of_longest_session = now.plus_seconds(CONSENTS_KEPT_SECONDS.saturating_neg());
        self.prune_consents(of_longest_session).await?;

        let past = now
            .plus_seconds(CHANGES_KEPT_SECONDS.saturating_neg())
            .millis();
        change::Entity::delete_many()
            .filter(change::Column::At.lt(past))
            .exec(&self.write)
            .await?;
        self.prune_key_sets(now.plus_seconds(KEY_SETS_KEPT_SECONDS.saturating_neg()))
            .await?;
        let full = usize::try_from(STEP).unwrap_or(usize::MAX);
        Ok(more || consumed == full || audited == full)
    }

    /// Sets `last_used_at` of rules to the end of these periods of use, and `first_used_at` of those that
    /// were not used before that to the beginning. That changes neither their version nor their revision.
    pub async fn note_use(
        &self,
        uses: &[(CredentialId, RangeInclusive<Timestamp>)],
    ) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        let transaction = self.begin().await?;
        for (credential, period) in uses {
            let sql = "UPDATE federated_credential SET last_used_at = $1, \
                       first_used_at = CASE WHEN first_used_at <= $2 THEN first_used_at ELSE $2 END WHERE id = $3";
            let values = [
                period.end().millis().into(),
                period.start().millis().into(),
                credential.0.into(),
            ];
            transaction.execute_raw(self.statement(sql, values)).await?;
        }
        Ok(transaction.commit().await?)
    }
}
