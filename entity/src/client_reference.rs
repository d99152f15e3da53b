//! The objects that a client's document names. The foreign keys keep these from being removed.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "client_reference")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i32,
    /// Of this and the next two columns, each row has one.
    pub principal: Option<String>,
    pub resource_server: Option<String>,
    pub credential_id: Option<Uuid>,
    /// The federated credential's revision when the client named it.
    pub revision: Option<i32>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
