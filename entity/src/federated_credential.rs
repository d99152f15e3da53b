//! Rules: which assertions may act for which principal.

use sea_orm::entity::prelude::*;

/// A row of `federated_credential`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "federated_credential")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// Unique among the principal's.
    pub name_folded: String,
    /// The principal, by name.
    pub principal: String,
    /// The trusted issuer, by name.
    pub trusted_issuer: String,
    /// `match` in its stored form, as JSON.
    #[sea_orm(column_type = "Text")]
    pub matcher: String,
    /// The pinned ids, as JSON.
    #[sea_orm(column_type = "Text", nullable)]
    pub pinned: Option<String>,
    /// Until when it waits for its first match.
    pub pending_until: Option<i64>,
    pub expires_at: Option<i64>,
    pub review_at: Option<i64>,
    /// `vouched`, `self_service`, or `assumed` of a rule that was there before anybody was asked.
    pub consent: String,
    pub enabled: bool,
    /// Grows when what the rule means changes.
    pub revision: i32,
    /// Grows with every change.
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub last_used_at: Option<i64>,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
