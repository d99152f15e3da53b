//! Resource servers: the registries that tokens are for.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "resource_server")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    #[sea_orm(unique)]
    pub name_folded: String,
    #[sea_orm(unique)]
    pub resource: String,
    pub enabled: bool,
    /// The rest of the document, as JSON.
    #[sea_orm(column_type = "Text")]
    pub document: String,
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
