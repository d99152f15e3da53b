//! The first schema: the objects that people manage, signing keys, used assertions, audit events
//! and the change counter.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary, boolean, integer, string, string_null, string_uniq,
    text, text_null, uuid, uuid_null,
};
use sea_orm_migration::sea_orm::DbBackend;

use crate::statements::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The columns that all kinds of objects have. Objects refer to each other by name, because names
/// never change.
fn managed(name: &'static str) -> TableCreateStatement {
    table(name)
        .col(string_uniq("name"))
        .col(string_uniq("name_folded"))
        .col(boolean("enabled"))
        .col(big_integer("version"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .to_owned()
}

fn reference(column: &'static str, to: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(column)
        .to(to, "name")
        .on_delete(ForeignKeyAction::Restrict)
        .to_owned()
}

/// The indexes of audit events. An index that begins with the credential or the principal is
/// written at a random place for each event. In SQLite, which logs whole pages, that costs 10 to
/// 20 percent of a token, so SQLite gets one narrow index that grows at its end and is scanned from
/// the latest event on.
fn audit_indexes(backend: DbBackend) -> Vec<IndexCreateStatement> {
    match backend {
        DbBackend::Sqlite => vec![index(
            "audit_event",
            &["id", "credential_id", "principal", "outcome"],
        )],
        _ => vec![
            index("audit_event", &["credential_id", "id"]),
            index("audit_event", &["principal", "id"]),
        ],
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in objects().into_iter().chain(records()) {
            manager.create_table(table).await?;
        }
        for index in [
            index("federated_credential", &["principal"]),
            index("federated_credential", &["trusted_issuer"]),
            index("permission", &["resource_server"]),
            index("permission", &["owner"]),
            index("trusted_issuer", &["owner"]),
            index("opaque_token", &["expires_at"]),
            index("consumed_assertion", &["expires_at"]),
        ] {
            manager.create_index(index).await?;
        }
        for index in audit_indexes(manager.get_database_backend()) {
            manager.create_index(index).await?;
        }
        manager
            .get_connection()
            .execute_unprepared("INSERT INTO change_counter (id, value) VALUES (1, 0)")
            .await?;
        Ok(())
    }
}

fn objects() -> [TableCreateStatement; 6] {
    [
        managed("principal")
            .col(string("id").primary_key())
            .col(string("kind"))
            .col(string_null("external_id"))
            .col(string_null("display_name"))
            .to_owned(),
        managed("trusted_issuer")
            .col(uuid("id").primary_key())
            .col(string("issuer"))
            .col(string_null("owner"))
            .col(text("document"))
            .foreign_key(&mut reference("owner", "principal"))
            .to_owned(),
        managed("resource_server")
            .col(uuid("id").primary_key())
            .col(string_uniq("resource"))
            .col(text("document"))
            .to_owned(),
        managed("federated_credential")
            .col(uuid("id").primary_key())
            .col(string("principal"))
            .col(string("trusted_issuer"))
            .col(text("matcher"))
            .col(text_null("pinned"))
            .col(big_integer_null("pending_until"))
            .col(big_integer_null("expires_at"))
            .col(big_integer_null("review_at"))
            .col(integer("revision"))
            .col(big_integer_null("last_used_at"))
            .foreign_key(&mut reference("principal", "principal"))
            .foreign_key(&mut reference("trusted_issuer", "trusted_issuer"))
            .to_owned(),
        table("permission")
            .col(uuid("credential_id"))
            .col(integer("position"))
            .col(string("resource_server"))
            .col(string_null("owner"))
            .col(text("actions"))
            .col(text("packages"))
            .primary_key(Index::create().col("credential_id").col("position"))
            .foreign_key(
                ForeignKey::create()
                    .from_col("credential_id")
                    .to("federated_credential", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .foreign_key(&mut reference("resource_server", "resource_server"))
            .foreign_key(&mut reference("owner", "principal"))
            .to_owned(),
        managed("client")
            .col(uuid("id").primary_key())
            .col(string("auth_method"))
            .col(text("document"))
            .to_owned(),
    ]
}

fn records() -> [TableCreateStatement; 6] {
    [
        table("signing_key")
            .col(string("kid").primary_key())
            .col(string("algorithm"))
            .col(string("state"))
            .col(text("public_jwk"))
            .col(text("sealed_private"))
            .col(big_integer("created_at"))
            .col(big_integer_null("activated_at"))
            .col(big_integer_null("published_until"))
            .to_owned(),
        table("consumed_assertion")
            .col(binary("key").primary_key())
            .col(big_integer("expires_at"))
            .to_owned(),
        table("opaque_token")
            .col(binary("hash").primary_key())
            .col(string("resource_server"))
            .col(text("claims"))
            .col(big_integer("expires_at"))
            .to_owned(),
        table("audit_event")
            .col(uuid("id").primary_key())
            .col(string("outcome"))
            .col(string_null("reason"))
            .col(string_null("trusted_issuer"))
            .col(uuid_null("credential_id"))
            .col(string_null("principal"))
            .col(string_null("resource"))
            .col(string_null("client_id"))
            .col(string_null("token_id"))
            .col(string_null("address"))
            .col(text("detail"))
            .to_owned(),
        table("change_counter")
            .col(integer("id").primary_key())
            .col(big_integer("value"))
            .to_owned(),
        table("change")
            .col(big_integer("version").primary_key())
            .col(string("kind"))
            .col(string("object_id"))
            .col(big_integer("at"))
            .to_owned(),
    ]
}
