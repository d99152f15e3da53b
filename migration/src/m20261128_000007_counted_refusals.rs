use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// Refusals that are counted in the event of an equal one are found by their own `error_id`.
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
        let (uuid_type, without_rowid) = match manager.get_database_backend() {
            DbBackend::Sqlite => ("uuid_text", " WITHOUT ROWID"),
            _ => ("uuid", ""),
        };
        let counted = format!(
            "CREATE TABLE audit_counted (error_id {uuid_type} NOT NULL PRIMARY KEY, \
             event_id {uuid_type} NOT NULL){without_rowid}"
        );
        connection.execute_unprepared(&counted).await?;
        connection
            .execute_unprepared(
                "CREATE INDEX idx_audit_counted_event_id ON audit_counted (event_id)",
            )
            .await
            .map(drop)
    }
}
