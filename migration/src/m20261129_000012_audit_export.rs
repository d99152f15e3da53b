use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string, text, uuid};

/// How far audit events were sent to each destination of `audit.export`, and by which replica now. An
/// older release serves on this database as before: it sends no events.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("audit_export")
            .col(text("destination").primary_key())
            .col(uuid("up_to"))
            .col(string("holder"))
            .col(big_integer("lease_until"))
            .to_owned();
        manager.create_table(table).await
    }
}
