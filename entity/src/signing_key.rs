//! The keys that sign access tokens.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub kid: String,
    pub algorithm: String,
    /// `next`, `active` or `retired`.
    pub state: String,
    #[sea_orm(column_type = "Text")]
    pub public_jwk: String,
    /// The private key, as a JWE under the key-encryption key.
    #[sea_orm(column_type = "Text")]
    pub sealed_private: String,
    pub created_at: i64,
    pub activated_at: Option<i64>,
    /// When the last token that the key signed expires: until then the key is published.
    pub published_until: Option<i64>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
