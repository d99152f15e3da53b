use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary, boolean, integer, string, string_null, text, text_null,
    uuid, uuid_null,
};

use crate::statements::table;

/// Notifications: webhooks, the messages that wait for them, and what they were told already. Rules
/// remember when they were first used. An older release serves on this database as before: it sends
/// no messages.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [notification(), delivery(), cause(), watermark()] {
            manager.create_table(table).await?;
        }
        for index in [
            Index::create()
                .name("idx_notification_owner_name_folded")
                .table("notification")
                .col("owner")
                .col("name_folded")
                .unique()
                .to_owned(),
            Index::create()
                .name("idx_notification_delivery_notification_id_next_at")
                .table("notification_delivery")
                .col("notification_id")
                .col("next_at")
                .to_owned(),
            Index::create()
                .name("idx_notification_cause_until")
                .table("notification_cause")
                .col("until")
                .to_owned(),
        ] {
            manager.create_index(index).await?;
        }
        let column = Table::alter()
            .table("federated_credential")
            .add_column(big_integer_null("first_used_at"))
            .to_owned();
        manager.alter_table(column).await?;
        let connection = manager.get_connection();
        // Of a rule that was used before, only the last use is known.
        for statement in [
            "UPDATE federated_credential SET first_used_at = last_used_at",
            "INSERT INTO notification_watermark (id, up_to, holder, lease_until) VALUES (1, NULL, '', 0)",
        ] {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

fn part_of_notification() -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col("notification_id")
        .to("notification", "id")
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

fn zero(column: &'static str) -> ColumnDef {
    big_integer(column).default(0).to_owned()
}

fn notification() -> TableCreateStatement {
    table("notification")
        .col(uuid("id").primary_key())
        .col(string("name"))
        .col(string("name_folded"))
        .col(string_null("principal"))
        .col(string("owner"))
        .col(boolean("enabled"))
        .col(text("document"))
        .col(text("state"))
        .col(big_integer("version"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .col(big_integer_null("last_delivered_at"))
        .col(text_null("last_error"))
        .col(big_integer_null("failing_since"))
        .col(integer("failures").default(0).to_owned())
        .col(zero("retry_at"))
        .col(zero("busy_until"))
        .foreign_key(
            ForeignKey::create()
                .from_col("principal")
                .to("principal", "name")
                .on_delete(ForeignKeyAction::Restrict),
        )
        .to_owned()
}

/// The messages that wait.
fn delivery() -> TableCreateStatement {
    table("notification_delivery")
        .col(uuid("id").primary_key())
        .col(uuid("notification_id"))
        .col(text("body"))
        .col(big_integer("created_at"))
        .col(integer("attempts"))
        .col(big_integer("next_at"))
        .foreign_key(&mut part_of_notification())
        .to_owned()
}

/// Until when a notification is not told of a cause again.
fn cause() -> TableCreateStatement {
    table("notification_cause")
        .col(uuid("notification_id"))
        .col(binary("cause"))
        .col(big_integer("until"))
        .primary_key(Index::create().col("notification_id").col("cause"))
        .foreign_key(&mut part_of_notification())
        .to_owned()
}

/// How far audit events were looked through, and by which replica now.
fn watermark() -> TableCreateStatement {
    table("notification_watermark")
        .col(integer("id").primary_key())
        .col(uuid_null("up_to"))
        .col(string("holder"))
        .col(big_integer("lease_until"))
        .to_owned()
}
