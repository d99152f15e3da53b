//! What was issued, refused and changed.

use sea_orm::entity::prelude::*;

/// A row of `audit_event`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_event")]
pub struct Model {
    /// A UUID version 7: it holds the time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// `issued`, `refused`, `created`, `updated`, `deleted` or `revoked`.
    pub outcome: String,
    pub reason: Option<String>,
    /// By name, so that the record outlives the object.
    pub trusted_issuer: Option<String>,
    /// The newest credential of the token, or the one that came closest.
    pub credential_id: Option<Uuid>,
    /// By name.
    pub principal: Option<String>,
    pub resource: Option<String>,
    pub client_id: Option<String>,
    /// The `jti` of the issued token.
    pub token_id: Option<String>,
    pub address: Option<String>,
    /// The rest, as JSON.
    #[sea_orm(column_type = "Text")]
    pub detail: String,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
