//! What the document of a client names, so that it cannot go away.

use sea_orm::entity::prelude::*;

/// A row of `client_reference`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "client_reference")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub client_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i32,
    /// Each row names one object in one of these.
    pub principal: Option<String>,
    pub resource_server: Option<String>,
    pub credential_id: Option<Uuid>,
    /// That of the federated credential when it was named.
    pub revision: Option<i32>,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
