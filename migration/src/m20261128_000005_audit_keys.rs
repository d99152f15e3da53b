use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;
use sea_orm_migration::sea_orm::DbBackend;

/// Audit events are found by what people search for: the workload, the token, the address, the
/// reason.
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
        let workload = Table::alter()
            .table("audit_event")
            .add_column(text_null("workload"))
            .to_owned();
        manager.alter_table(workload).await?;
        // Written in the background like `audit_part`, and for the same reason: an index at random
        // places that is written with each event would cost every token.
        let (uuid_type, key_type, without_rowid) = match manager.get_database_backend() {
            DbBackend::Sqlite => ("uuid_text", "blob", " WITHOUT ROWID"),
            _ => ("uuid", "bytea", ""),
        };
        let keys = format!(
            "CREATE TABLE audit_key (key {key_type} NOT NULL, event_id {uuid_type} NOT NULL, \
             PRIMARY KEY (key, event_id)){without_rowid}"
        );
        connection.execute_unprepared(&keys).await?;
        // The background work begins again with the oldest event, so that all of them get keys.
        connection
            .execute_unprepared("UPDATE audit_watermark SET up_to = NULL")
            .await?;
        // Only events that count several refusals have a `last_id`, so issued tokens do not write
        // to this index.
        connection
            .execute_unprepared(
                "CREATE INDEX idx_audit_event_last_id ON audit_event (last_id) WHERE last_id IS NOT NULL",
            )
            .await
            .map(drop)
    }
}
