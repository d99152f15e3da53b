//! Assertions that a token was issued for.

use sea_orm::entity::prelude::*;

/// A row of `consumed_assertion`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "consumed_assertion")]
pub struct Model {
    /// SHA-256 over the trusted issuer and the token's id or text.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: Vec<u8>,
    /// Until when a replay would have to be recognised.
    pub expires_at: i64,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
