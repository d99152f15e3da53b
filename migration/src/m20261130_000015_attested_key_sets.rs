use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, text};

/// The newest attested key set that was seen from each source. An older release serves on this
/// database as before: it knows no attestations.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let attested_key_set = Table::create()
            .table("attested_key_set")
            .col(text("source").primary_key())
            .col(big_integer("signed_at"))
            .col(binary("digest"))
            .to_owned();
        manager.create_table(attested_key_set).await
    }
}
