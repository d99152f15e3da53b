//! Memberships: which persons of an identity provider have which role.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "membership")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// In ASCII lower case; unique.
    pub name_folded: String,
    /// The identity provider, by name.
    pub identity_provider: String,
    /// The principal, by name; `None` for a role in the whole server.
    pub principal: Option<String>,
    /// `owner`, `viewer`, `operator` or `auditor`.
    pub role: String,
    /// `match` in its stored form, as JSON.
    #[sea_orm(column_type = "Text")]
    pub matcher: String,
    pub expires_at: Option<i64>,
    pub enabled: bool,
    /// Grows when the meaning of the membership changes.
    pub revision: i32,
    /// Grows with every change.
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
