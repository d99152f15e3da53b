use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, text, uuid};

/// The key sets of trusted issuers as they were fetched last, and when the database was restored
/// from a backup. An older release serves on this database as before: it fetches the keys after each
/// start, and does not refuse assertions of before the restore.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let key_set = Table::create()
            .table("key_set")
            .col(uuid("issuer").primary_key())
            .col(big_integer("version"))
            .col(text("document"))
            .col(big_integer("fetched_at"))
            .col(big_integer("fresh_until"))
            .to_owned();
        manager.create_table(key_set).await?;
        manager
            .get_connection()
            .execute_unprepared("ALTER TABLE change_counter ADD COLUMN restored_at BIGINT")
            .await?;
        Ok(())
    }
}
