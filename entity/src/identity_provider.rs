//! Identity providers: OpenID providers at which people sign in.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identity_provider")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// In ASCII lower case; unique.
    pub name_folded: String,
    /// The document, as JSON.
    #[sea_orm(column_type = "Text")]
    pub document: String,
    /// The sealed client secret and what discovery said, as JSON.
    #[sea_orm(column_type = "Text")]
    pub state: String,
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
