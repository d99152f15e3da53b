//! Packages of the registries behind a gateway: whose they are.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "gateway_package")]
pub struct Model {
    /// By name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub resource_server: String,
    /// Folded by the rules of the registry's protocol.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// As it was spelled first.
    pub spelled: String,
    /// `unrecorded`, `reserved`, `owned` or `unowned`.
    pub state: String,
    /// The owner, by id: a principal that owns a package cannot be removed.
    pub owner: Option<String>,
    pub trusted_only: bool,
    /// Grows with every change of `state`, `owner` and `trusted_only`.
    pub version: i64,
    /// Publications of the package that are under way or unclear.
    pub open: i32,
    /// Since when the package is in this state and has this owner.
    pub since: i64,
    /// The `jti` of the token that made it so, and the principal (by name) and rule of its entry.
    pub token_id: Option<String>,
    pub principal: Option<String>,
    pub credential: Option<String>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
