//! The memory that keeps attested key sets from being rolled back.

use carnet_entity::attested_key_set::{ActiveModel, Column, Entity};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{EntityTrait as _, ExprTrait as _};

use super::{Store, StoreError};

/// A key set for which the RPKI vouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedKeySet {
    /// Whose set it is.
    pub source: String,
    /// When it was signed, in seconds since 1970.
    pub signed_at: i64,
    /// SHA-256 of what was signed.
    pub digest: [u8; 32],
}

impl Store {
    /// Notes a key set, unless a newer one of its source was noted, or another one that was signed at
    /// the same time. Says whether it was noted. Replicas share the memory, so one statement decides.
    pub async fn note_attested(&self, set: AttestedKeySet) -> Result<bool, StoreError> {
        let row = ActiveModel {
            source: Set(set.source),
            signed_at: Set(set.signed_at),
            digest: Set(set.digest.to_vec()),
        };
        let known = |column| Expr::col((Entity, column));
        let given = |column| Expr::col(("excluded", column));
        let is_newer = known(Column::SignedAt).lt(given(Column::SignedAt));
        let is_same = known(Column::SignedAt)
            .eq(given(Column::SignedAt))
            .and(known(Column::Digest).eq(given(Column::Digest)));
        let replace = OnConflict::column(Column::Source)
            .update_columns([Column::SignedAt, Column::Digest])
            .action_and_where(is_newer.or(is_same))
            .to_owned();
        let noted = Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(&self.write)
            .await?;
        Ok(noted > 0)
    }

    /// Forgets what was noted of a source, which may go back to an older set then.
    pub async fn forget_attested(&self, source: &str) -> Result<(), StoreError> {
        Entity::delete_by_id(source.to_owned())
            .exec(&self.write)
            .await?;
        Ok(())
    }
}
