//! The key sets of trusted issuers over a restart, and the restore of a backup.

use carnet_entity::{change_counter, key_set, session};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait as _, EntityTrait as _, ExprTrait as _, QueryFilter as _};

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::ids::TrustedIssuerId;

/// A key set as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptKeySet {
    /// The id under which it is cached.
    pub issuer: TrustedIssuerId,
    /// The version of the trusted issuer for which it was fetched.
    pub version: i64,
    /// The JWK Set, as it was published.
    pub document: String,
    pub fetched_at: Timestamp,
    pub fresh_until: Timestamp,
}

impl Store {
    /// The key set that was fetched last for this trusted issuer, by this process or another one.
    pub async fn key_set(&self, issuer: TrustedIssuerId) -> Result<Option<KeptKeySet>, StoreError> {
        let row = key_set::Entity::find_by_id(issuer.0)
            .one(&self.read)
            .await?;
        Ok(row.map(|row| KeptKeySet {
            issuer,
            version: row.version,
            document: row.document,
            fetched_at: Timestamp::from_millis(row.fetched_at),
            fresh_until: Timestamp::from_millis(row.fresh_until),
        }))
    }

    /// Keeps a key set in place of the earlier one.
    pub async fn keep_key_set(&self, kept: KeptKeySet) -> Result<(), StoreError> {
        use key_set::Column;
        let row = key_set::ActiveModel {
            issuer: Set(kept.issuer.0),
            version: Set(kept.version),
            document: Set(kept.document),
            fetched_at: Set(kept.fetched_at.millis()),
            fresh_until: Set(kept.fresh_until.millis()),
        };
        let replaced = [
            Column::Version,
            Column::Document,
            Column::FetchedAt,
            Column::FreshUntil,
        ];
        let newer = Expr::col((key_set::Entity, Column::FetchedAt))
            .lte(Expr::col(("excluded", Column::FetchedAt)));
        // Another replica may have fetched later, and been quicker to write.
        let replace = OnConflict::column(Column::Issuer)
            .update_columns(replaced)
            .action_and_where(newer)
            .to_owned();
        key_set::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(&self.write)
            .await?;
        Ok(())
    }

    /// When the server was last started on a restored backup.
    pub async fn restored_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let row = change_counter::Entity::find_by_id(1)
            .one(&self.read)
            .await?;
        Ok(row
            .and_then(|row| row.restored_at)
            .map(Timestamp::from_millis))
    }

    /// Notes that the database was restored from a backup. What was used or revoked since the backup
    /// is not known any more, nor which keys were withdrawn and which people and sessions were ended.
    /// Sessions are removed, since a replica that runs already does not learn of the restore.
    pub async fn note_restore(&self, now: Timestamp) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        change_counter::Entity::update_many()
            .col_expr(
                change_counter::Column::RestoredAt,
                Expr::value(now.millis()),
            )
            .filter(change_counter::Column::Id.eq(1))
            .exec(&transaction)
            .await?;
        key_set::Entity::delete_many().exec(&transaction).await?;
        session::Entity::delete_many().exec(&transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Removes key sets that are too old to be used.
    pub(super) async fn prune_key_sets(&self, before: Timestamp) -> Result<(), StoreError> {
        key_set::Entity::delete_many()
            .filter(key_set::Column::FetchedAt.lt(before.millis()))
            .exec(&self.write)
            .await?;
        Ok(())
    }
}
