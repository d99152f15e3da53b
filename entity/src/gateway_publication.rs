//! Publications that went through a gateway: the provenance of what a registry has.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "gateway_publication")]
#[expect(clippy::struct_excessive_bools, reason = "each is a column")]
pub struct Model {
    /// A UUID version 7, which holds the time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// By name, so that the row outlives the object.
    pub resource_server: String,
    /// The folded name.
    pub package: String,
    /// The name as the client wrote it.
    pub spelled: String,
    pub version: Option<String>,
    pub file: Option<String>,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
    pub operation: String,
    /// Whether the operation adds a file or a version.
    pub adds: bool,
    /// Whether the package counts this publication as open until it is settled.
    pub holds: bool,
    /// `under_way`, `unclear` or `accepted`. What was refused has no row.
    pub state: String,
    /// The owner in whose name it was published, by name and by id.
    pub owner: Option<String>,
    pub owner_id: Option<String>,
    /// The principal of the token's entry, by name and by id.
    pub principal: Option<String>,
    pub principal_id: Option<String>,
    /// The rule, or client, of that entry with its revision.
    pub credential: Option<String>,
    pub revision: Option<i32>,
    /// The `jti` of the token.
    pub token_id: Option<String>,
    pub client_id: Option<String>,
    /// The workload of the token with the claims that its profile passes on, as JSON.
    #[sea_orm(column_type = "Text", nullable)]
    pub workload: Option<String>,
    /// The user name of the registry's own credentials.
    pub passthrough_user: Option<String>,
    /// Whether it came with the registry's own credentials.
    pub passthrough: bool,
    pub address: Option<String>,
    /// Why it is, or was, unclear.
    #[sea_orm(column_type = "Text", nullable)]
    pub unclear_why: Option<String>,
    /// Whether an operator settled it.
    pub by_operator: bool,
    pub created_at: i64,
    /// Null while it is under way or unclear.
    pub settled_at: Option<i64>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
