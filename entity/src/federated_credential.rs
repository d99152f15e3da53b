//! Rules (federated credentials): which assertions may act for which principal.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "federated_credential")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// In ASCII lower case; unique for one principal.
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
    /// Until when a pending rule waits for its first match.
    pub pending_until: Option<i64>,
    pub expires_at: Option<i64>,
    pub review_at: Option<i64>,
    /// `vouched`, `self_service`, or `assumed` for a rule that is older than consent.
    pub consent: String,
    pub enabled: bool,
    /// Grows when the meaning of the rule changes.
    pub revision: i32,
    /// Grows with every change.
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub last_used_at: Option<i64>,
    /// When the rule first gave a token, accurate to some seconds.
    pub first_used_at: Option<i64>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
