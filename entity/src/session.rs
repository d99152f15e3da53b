//! Sessions of people. The cookie itself is not stored.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "session")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// SHA-256 of the cookie; unique.
    pub cookie_hash: Vec<u8>,
    pub person: Uuid,
    pub identity_provider: Uuid,
    /// The claims that memberships can compare, as a JSON object.
    #[sea_orm(column_type = "Text")]
    pub claims: String,
    /// When the provider says that the person signed in.
    pub auth_time: Option<i64>,
    /// Whether the provider's second factor was proved.
    pub second_factor: bool,
    #[sea_orm(column_type = "Text", nullable)]
    pub acr: Option<String>,
    /// As a JSON list of strings.
    #[sea_orm(column_type = "Text", nullable)]
    pub amr: Option<String>,
    /// The ID token, encrypted, for the hint of a sign-out.
    #[sea_orm(column_type = "Text", nullable)]
    pub id_token: Option<String>,
    pub created_at: i64,
    /// Accurate to a minute.
    pub last_used_at: i64,
    pub expires_at: i64,
    /// By what tokens know the session: the id of the first one of the person in this browser, which
    /// a step-up and another sign-in replace. Empty in older rows, which are known by their id.
    pub lineage: Option<Uuid>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
