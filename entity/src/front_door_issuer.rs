//! The trusted issuers that the front door of a resource server names.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "front_door_issuer")]
pub struct Model {
    /// The resource server, by name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub resource_server: String,
    /// The trusted issuer, by name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub trusted_issuer: String,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
