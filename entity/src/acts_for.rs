//! The owners for whose packages the self-service rules of a principal may be good.

use sea_orm::entity::prelude::*;

/// A row of `acts_for`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "acts_for")]
pub struct Model {
    /// The principal, by name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub principal: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i32,
    /// Another principal, by name.
    pub owner: String,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
