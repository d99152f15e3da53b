//! The newest key set of each source that the RPKI vouched for: an older one may be withdrawn.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "attested_key_set")]
pub struct Model {
    /// Whose set it is: the identifier of a trusted issuer.
    #[sea_orm(primary_key, auto_increment = false)]
    pub source: String,
    /// When the attestation was signed, in seconds since 1970.
    pub signed_at: i64,
    /// SHA-256 of what was signed.
    pub digest: Vec<u8>,
}

/// No relations: the store joins where it has to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
