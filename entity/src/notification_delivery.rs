//! Messages that wait to be delivered to a webhook.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notification_delivery")]
pub struct Model {
    /// A UUID version 7; the receiver gets it as `webhook-id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub notification_id: Uuid,
    /// The message, as JSON.
    #[sea_orm(column_type = "Text")]
    pub body: String,
    pub created_at: i64,
    /// Attempts that failed.
    pub attempts: i32,
    /// When the next attempt is due.
    pub next_at: i64,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
