//! The parents of exchanged tokens, so that revoking a token also ends those exchanged for it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "exchanged_token")]
pub struct Model {
    /// The `jti` of the token that was issued.
    #[sea_orm(primary_key, auto_increment = false)]
    pub child: String,
    /// The `jti` of a token that was exchanged for it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub parent: String,
    /// When the child expires.
    pub expires_at: i64,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
