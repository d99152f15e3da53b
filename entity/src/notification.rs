//! Notifications: webhooks, and how deliveries to them went.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notification")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name: String,
    /// In ASCII lower case; unique for one owner.
    pub name_folded: String,
    /// The principal, by name; `None` for the operator's.
    pub principal: Option<String>,
    /// The principal's name, or the empty text: comparable where `principal` is null.
    pub owner: String,
    pub enabled: bool,
    /// The rest of the document, as JSON.
    #[sea_orm(column_type = "Text")]
    pub document: String,
    /// The sealed secrets, as JSON.
    #[sea_orm(column_type = "Text")]
    pub state: String,
    pub version: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub last_delivered_at: Option<i64>,
    #[sea_orm(column_type = "Text", nullable)]
    pub last_error: Option<String>,
    pub failing_since: Option<i64>,
    /// Failed attempts since the last success.
    pub failures: i32,
    /// When the next attempt may be made.
    pub retry_at: i64,
    /// Until when one replica delivers to it and the others do not; when it last began to, once it
    /// has ended.
    pub busy_until: i64,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
