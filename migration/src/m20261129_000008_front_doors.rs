use sea_orm_migration::prelude::*;

/// The trusted issuers that a front door names: none of them can be removed meanwhile.
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
        connection
            .execute_unprepared(
                "CREATE TABLE front_door_issuer ( \
                 resource_server VARCHAR NOT NULL REFERENCES resource_server (name) ON DELETE CASCADE, \
                 trusted_issuer VARCHAR NOT NULL REFERENCES trusted_issuer (name) ON DELETE RESTRICT, \
                 PRIMARY KEY (resource_server, trusted_issuer))",
            )
            .await?;
        connection
            .execute_unprepared(
                "CREATE INDEX idx_front_door_issuer_trusted_issuer ON front_door_issuer (trusted_issuer)",
            )
            .await
            .map(drop)
    }
}
