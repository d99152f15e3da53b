//! The key sets of trusted issuers, and of clients with keys at a URL, as they were fetched last.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_set")]
pub struct Model {
    /// The id of the trusted issuer or client.
    #[sea_orm(primary_key, auto_increment = false)]
    pub issuer: Uuid,
    /// Its version for which the keys were fetched.
    pub version: i64,
    /// The JWK Set, as it was published.
    pub document: String,
    /// In milliseconds since 1970.
    pub fetched_at: i64,
    /// Until when the keys need not be fetched again, in milliseconds since 1970.
    pub fresh_until: i64,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
