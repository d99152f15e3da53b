//! What is good once and was used: assertions that a token was issued for.

use sea_orm::entity::prelude::*;

/// A row of `consumed`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "consumed")]
pub struct Model {
    /// What kind of thing it is, in one byte, and a SHA-256 that tells it from others of its kind.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: Vec<u8>,
    /// Until when a replay would have to be recognised.
    pub expires_at: i64,
    /// The audit event of its use; uses by older releases, and at `/introspect` and `/revoke`, have none.
    pub event_id: Option<Uuid>,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
