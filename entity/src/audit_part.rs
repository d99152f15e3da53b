//! Who may see an audit event, and what it has to do with them.

use sea_orm::entity::prelude::*;

/// A row of `audit_part`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_part")]
pub struct Model {
    /// By id: who has the name later is not meant.
    #[sea_orm(primary_key, auto_increment = false)]
    pub principal_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i16,
    pub credential_id: Option<Uuid>,
    /// Whether the principal sees what the assertion says of the workload.
    pub sees_claims: bool,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
