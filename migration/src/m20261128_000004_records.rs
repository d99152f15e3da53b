use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, integer, text_null, uuid, uuid_null};
use sea_orm_migration::sea_orm::DbBackend;

use crate::statements::table;

/// Audit events get a row for each principal that may see them, and equal refusals are counted in
/// one. One table records everything that may be used once.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let connection = manager.get_connection();
        for name in [
            "actor",
            "subject",
            "proof",
            "serial",
            "assertion_digest",
            "assertion_jti",
            "parts",
        ] {
            add(manager, text_null(name)).await?;
        }
        add(
            manager,
            ColumnDef::new("count")
                .integer()
                .not_null()
                .default(1)
                .to_owned(),
        )
        .await?;
        add(manager, uuid_null("last_id")).await?;
        let old = match backend {
            DbBackend::Sqlite => &["idx_audit_event_id_credential_id_principal_outcome"][..],
            _ => &[
                "idx_audit_event_credential_id_id",
                "idx_audit_event_principal_id",
            ],
        };
        for name in old {
            manager
                .drop_index(Index::drop().name(*name).table("audit_event").to_owned())
                .await?;
        }
        index_by_principal(manager).await?;
        count_equal_refusals(manager).await?;
        record_single_uses(manager).await?;
        for (name, column) in [
            ("audit_fold", "expires_at"),
            ("audit_fold", "event_id"),
            ("consumed", "expires_at"),
        ] {
            let mut index = Index::create();
            let index = index
                .name(format!("idx_{name}_{column}"))
                .table(name)
                .col(column);
            manager.create_index(index.to_owned()).await?;
        }
        connection
            .execute_unprepared("UPDATE change_counter SET min_version = 4")
            .await
            .map(drop)
    }
}

async fn add(manager: &SchemaManager<'_>, column: impl IntoColumnDef) -> Result<(), DbErr> {
    manager
        .alter_table(
            Table::alter()
                .table("audit_event")
                .add_column(column)
                .to_owned(),
        )
        .await
}

/// A row for each principal that may see an event.
async fn index_by_principal(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let (backend, connection) = (manager.get_database_backend(), manager.get_connection());
    // `audit_part` is written long after the events, in the order of principals. Written with
    // each event, at a random place, it would cost a token more than the rest of its record.
    // `WITHOUT ROWID` keeps SQLite's rows in the order of the key, so there is one place to
    // write to instead of two.
    let (uuid_type, without_rowid) = match backend {
        DbBackend::Sqlite => ("uuid_text", " WITHOUT ROWID"),
        _ => ("uuid", ""),
    };
    let parts = format!(
        "CREATE TABLE audit_part (principal_id varchar NOT NULL, event_id {uuid_type} NOT NULL, position smallint NOT NULL, \
         credential_id {uuid_type}, sees_claims boolean NOT NULL, \
         PRIMARY KEY (principal_id, event_id, position)){without_rowid}"
    );
    connection.execute_unprepared(&parts).await?;
    // The last look-up of principals by name: older events hold no ids.
    let copied = "INSERT INTO audit_part (principal_id, event_id, position, credential_id, sees_claims) \
                  SELECT p.id, e.id, 0, e.credential_id, TRUE FROM audit_event e JOIN principal p ON p.name = e.principal";
    connection.execute_unprepared(copied).await?;
    let copied = "UPDATE audit_event SET parts = (SELECT '[[\"' || p.id || '\",null,null,true]]' FROM principal p \
                  WHERE p.name = audit_event.principal)";
    connection.execute_unprepared(copied).await?;
    let watermark = table("audit_watermark")
        .col(integer("id").primary_key())
        .col(uuid_null("up_to"))
        .to_owned();
    manager.create_table(watermark).await?;
    let latest = "INSERT INTO audit_watermark (id, up_to) SELECT 1, (SELECT id FROM audit_event ORDER BY id DESC LIMIT 1)";
    connection.execute_unprepared(latest).await?;
    Ok(())
}

/// Equal refusals are counted in one event.
async fn count_equal_refusals(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let fold = table("audit_fold")
        .col(binary("key").primary_key())
        .col(uuid("event_id"))
        .col(big_integer("expires_at"))
        .to_owned();
    manager.create_table(fold).await
}

/// One table for everything that may be used once.
async fn record_single_uses(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let (backend, connection) = (manager.get_database_backend(), manager.get_connection());
    let consumed = table("consumed")
        .col(binary("key").primary_key())
        .col(big_integer("expires_at"))
        .col(uuid_null("event_id"))
        .to_owned();
    manager.create_table(consumed).await?;
    let keyed = match backend {
        DbBackend::Sqlite => "CAST(X'01' || key AS BLOB)",
        _ => "'\\x01'::bytea || key",
    };
    let copied = format!(
        "INSERT INTO consumed (key, expires_at) SELECT {keyed}, expires_at FROM consumed_assertion"
    );
    connection.execute_unprepared(&copied).await?;
    manager
        .drop_table(Table::drop().table("consumed_assertion").to_owned())
        .await
}
