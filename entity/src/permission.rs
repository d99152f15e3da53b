//! What a rule gives at one resource server.

use sea_orm::entity::prelude::*;

/// A row of `permission`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "permission")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub credential_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i32,
    /// By name.
    pub resource_server: String,
    /// The owner, where it is not the credential's principal.
    pub owner: Option<String>,
    /// A JSON array.
    #[sea_orm(column_type = "Text")]
    pub actions: String,
    /// A JSON array.
    #[sea_orm(column_type = "Text")]
    pub packages: String,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
