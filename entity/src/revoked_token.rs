//! Tokens that were revoked before their end.

use sea_orm::entity::prelude::*;

/// A row of `revoked_token`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revoked_token")]
pub struct Model {
    /// The `jti`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_id: String,
    /// When the token would have ended.
    pub expires_at: i64,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
