//! Which token was made from which, so that a revocation reaches them all.

use sea_orm::entity::prelude::*;

/// A row of `exchanged_token`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "exchanged_token")]
pub struct Model {
    /// The `jti` of the token that was made.
    #[sea_orm(primary_key, auto_increment = false)]
    pub child: String,
    /// The `jti` of a token it was made from.
    #[sea_orm(primary_key, auto_increment = false)]
    pub parent: String,
    /// When the child ends.
    pub expires_at: i64,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
