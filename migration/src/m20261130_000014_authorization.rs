use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, binary, boolean, text, uuid, uuid_null};

use crate::statements::{index, table};

/// Software that acts for people: authorization codes, what a person agreed to in a session, and by
/// what tokens know a session. An older release serves on this database as before, and takes no token
/// on behalf of a person: it knows neither memberships as grounds of admin tokens, nor entries that rest
/// on one. It cannot read a client with the grant `authorization_code`, and from the first one on no
/// change at all: such clients are registered once all replicas are new.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [authorization_code(), session_consent()] {
            manager.create_table(table).await?;
        }
        // Empty in sessions from before: those are known by their id.
        let column = Table::alter()
            .table("session")
            .add_column(uuid_null("lineage"))
            .to_owned();
        manager.alter_table(column).await?;
        for index in [
            index("authorization_code", &["expires_at"]),
            index("session_consent", &["given_at"]),
            index("session", &["lineage"]),
        ] {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn authorization_code() -> TableCreateStatement {
    table("authorization_code")
        .col(binary("hash").primary_key())
        .col(uuid("id"))
        .col(uuid("session"))
        .col(text("client_id"))
        .col(uuid("client"))
        .col(text("redirect_uri"))
        .col(boolean("redirect_uri_sent"))
        .col(text("challenge"))
        .col(text("request"))
        .col(big_integer("created_at"))
        .col(big_integer("expires_at"))
        .to_owned()
}

fn session_consent() -> TableCreateStatement {
    table("session_consent")
        .col(uuid("session"))
        .col(binary("what"))
        .col(big_integer("given_at"))
        .primary_key(Index::create().col("session").col("what"))
        .to_owned()
}
