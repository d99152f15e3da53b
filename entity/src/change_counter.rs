//! The number of changes ever made, in the one row with id 1.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "change_counter")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    pub value: i64,
    /// The schema number of the oldest release that may serve on this database.
    pub min_version: i32,
    /// When the server was started on a restored backup, in milliseconds since 1970.
    pub restored_at: Option<i64>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
