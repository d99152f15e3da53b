use sea_orm_migration::prelude::*;

/// What a permission asks of proofs of possession. An older release that serves on this database
/// does not ask for it.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        for column in [
            "min_proof VARCHAR",
            "require_sender_constraint BOOLEAN NOT NULL DEFAULT FALSE",
        ] {
            connection
                .execute_unprepared(&format!("ALTER TABLE permission ADD COLUMN {column}"))
                .await?;
        }
        Ok(())
    }
}
