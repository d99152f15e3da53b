//! What a person agreed to in a session, so that the same is not asked again in it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "session_consent")]
pub struct Model {
    /// By what tokens know the session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session: Uuid,
    /// SHA-256 over client, resource, scope and principal.
    #[sea_orm(primary_key, auto_increment = false)]
    pub what: Vec<u8>,
    pub given_at: i64,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
