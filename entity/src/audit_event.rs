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
    /// Who changed something: the subject of the admin token.
    pub actor: Option<String>,
    /// What the assertion is about.
    pub subject: Option<String>,
    /// What a token is bound to; nothing is yet.
    pub proof: Option<String>,
    /// The certificate that was issued; none is yet.
    pub serial: Option<String>,
    /// SHA-256 of the assertion without its signature, in base64url.
    pub assertion_digest: Option<String>,
    pub assertion_jti: Option<String>,
    /// Who has a part in it, as JSON; `audit_part` is made of it later.
    #[sea_orm(column_type = "Text", nullable)]
    pub parts: Option<String>,
    /// How many refusals it stands for.
    pub count: i32,
    pub last_id: Option<Uuid>,
}

/// No relation is followed by the entities: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
