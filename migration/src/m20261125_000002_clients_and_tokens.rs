//! Clients: the objects that they refer to and their state. Tokens: exchanges and revocations.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string, string_null, text_null, uuid};

use crate::statements::table;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .alter_table(
                Table::alter()
                    .table("client")
                    .add_column(text_null("state"))
                    .to_owned(),
            )
            .await?;
        manager
            .alter_table(
                Table::alter()
                    .table("opaque_token")
                    .drop_column("resource_server")
                    .to_owned(),
            )
            .await?;
        for table in [
            client_reference(),
            credential_actor(),
            exchanged_token(),
            revoked_token(),
        ] {
            manager.create_table(table).await?;
        }
        for (table, column) in [
            ("client_reference", "principal"),
            ("client_reference", "resource_server"),
            ("client_reference", "federated_credential"),
            ("credential_actor", "actor"),
            ("exchanged_token", "expires_at"),
            ("revoked_token", "expires_at"),
        ] {
            let mut index = Index::create();
            index
                .name(format!("idx_{table}_{column}"))
                .table(table)
                .col(column);
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn part_of(column: &'static str, table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(column)
        .to(table, "id")
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

fn reference(column: &'static str, to: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(column)
        .to(to, "name")
        .on_delete(ForeignKeyAction::Restrict)
        .to_owned()
}

/// The objects that a client's document names, one a row.
fn client_reference() -> TableCreateStatement {
    table("client_reference")
        .col(uuid("client_id"))
        .col(integer("position"))
        .col(string_null("principal"))
        .col(string_null("resource_server"))
        .col(string_null("federated_credential"))
        .primary_key(Index::create().col("client_id").col("position"))
        .foreign_key(&mut part_of("client_id", "client"))
        .foreign_key(&mut reference("principal", "principal"))
        .foreign_key(&mut reference("resource_server", "resource_server"))
        .foreign_key(&mut reference(
            "federated_credential",
            "federated_credential",
        ))
        .to_owned()
}

/// The rules that a rule names as actors.
fn credential_actor() -> TableCreateStatement {
    table("credential_actor")
        .col(uuid("credential_id"))
        .col(integer("position"))
        .col(string("actor"))
        .primary_key(Index::create().col("credential_id").col("position"))
        .foreign_key(&mut part_of("credential_id", "federated_credential"))
        .foreign_key(&mut reference("actor", "federated_credential"))
        .to_owned()
}

fn exchanged_token() -> TableCreateStatement {
    table("exchanged_token")
        .col(string("child"))
        .col(string("parent"))
        .col(big_integer("expires_at"))
        .primary_key(Index::create().col("child").col("parent"))
        .to_owned()
}

fn revoked_token() -> TableCreateStatement {
    table("revoked_token")
        .col(string("token_id").primary_key())
        .col(big_integer("expires_at"))
        .to_owned()
}
