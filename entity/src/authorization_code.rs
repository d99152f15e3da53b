//! Authorization codes (RFC 6749 section 4.1.2). The code itself is not stored.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "authorization_code")]
pub struct Model {
    /// SHA-256 of the code.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    /// Names the code in the line of descent of its tokens.
    pub id: Uuid,
    /// By what tokens know the session in which the code was issued.
    pub session: Uuid,
    #[sea_orm(column_type = "Text")]
    pub client_id: String,
    /// The internal id of the client: a later one may have its name.
    pub client: Uuid,
    /// The redirect URI as it was sent, or the only one of the client.
    #[sea_orm(column_type = "Text")]
    pub redirect_uri: String,
    /// Whether the authorization request named it.
    pub redirect_uri_sent: bool,
    /// The code challenge, with its method.
    #[sea_orm(column_type = "Text")]
    pub challenge: String,
    /// What was asked for and chosen, as a JSON object.
    #[sea_orm(column_type = "Text")]
    pub request: String,
    pub created_at: i64,
    pub expires_at: i64,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
