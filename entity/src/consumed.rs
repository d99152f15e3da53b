//! Single use: assertions and proofs of possession that were used, and are refused from then on.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "consumed")]
pub struct Model {
    /// One byte for the kind of key, then a SHA-256.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: Vec<u8>,
    /// Until when a replay has to be recognised, in milliseconds since 1970.
    pub expires_at: i64,
    /// The audit event of the use. Uses recorded by older releases, and those at `/introspect`,
    /// `/revoke` and at the gateway, have none.
    pub event_id: Option<Uuid>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
