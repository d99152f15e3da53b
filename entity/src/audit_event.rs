//! Audit events: what was issued, refused, changed, revoked and published.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_event")]
pub struct Model {
    /// A UUID version 7, which holds the time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// `issued`, `refused`, `created`, `updated`, `deleted`, `revoked`, `published`,
    /// `publication_refused` or `publication_unclear`.
    pub outcome: String,
    pub reason: Option<String>,
    /// By name, so that the event outlives the object.
    pub trusted_issuer: Option<String>,
    /// The newest federated credential of the token, the one that came closest, or the one that was
    /// changed.
    pub credential_id: Option<Uuid>,
    /// By name.
    pub principal: Option<String>,
    pub resource: Option<String>,
    pub client_id: Option<String>,
    /// The `jti` of the issued token, or of the admin token that was used.
    pub token_id: Option<String>,
    pub address: Option<String>,
    /// The remaining members, as a JSON object.
    #[sea_orm(column_type = "Text")]
    pub detail: String,
    /// The `sub` of the admin token that changed something, or tried to.
    pub actor: Option<String>,
    /// The `sub` of the assertion or token.
    pub subject: Option<String>,
    /// Reserved for the key that a token is bound to; always null today.
    pub proof: Option<String>,
    /// Reserved for the serial number of an issued certificate; always null today.
    pub serial: Option<String>,
    /// SHA-256 of the assertion without its signature, in base64url.
    pub assertion_digest: Option<String>,
    pub assertion_jti: Option<String>,
    /// The principals' parts as JSON. Rows of `audit_part` are made from it later.
    #[sea_orm(column_type = "Text", nullable)]
    pub parts: Option<String>,
    /// How many equal refusals the row stands for.
    pub count: i32,
    pub last_id: Option<Uuid>,
    /// The names under which the workload's events are found, as a JSON list of strings; the first
    /// one is shown.
    #[sea_orm(column_type = "Text", nullable)]
    pub workload: Option<String>,
    /// The person whose session it was, or who is meant.
    pub person: Option<Uuid>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
