//! The permissions of a rule, each at one resource server.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "permission")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub credential_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i32,
    /// By name.
    pub resource_server: String,
    /// The owner of the packages, by name; null if that is the rule's principal.
    pub owner: Option<String>,
    /// A JSON array.
    #[sea_orm(column_type = "Text")]
    pub actions: String,
    /// A JSON array.
    #[sea_orm(column_type = "Text")]
    pub packages: String,
    /// `key`, or null for the least: `bearer`.
    pub min_proof: Option<String>,
    pub require_sender_constraint: bool,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
