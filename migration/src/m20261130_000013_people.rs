use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary, boolean, integer, string, string_null, text, text_null,
    uuid, uuid_null,
};

use crate::statements::{index, table};

/// People: the identity providers at which they sign in, the memberships that give them roles, and
/// their sessions. Audit events name them. An older release issues tokens on this database as before,
/// and nobody signs in there. It knows no events of sign-ins: its lists of events, its webhooks and
/// its export stop with an error at the first one.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [identity_provider(), membership(), person(), session()] {
            manager.create_table(table).await?;
        }
        let column = Table::alter()
            .table("audit_event")
            .add_column(uuid_null("person"))
            .to_owned();
        manager.alter_table(column).await?;
        for index in [
            unique("identity_provider", &["name_folded"]),
            unique("membership", &["name_folded"]),
            unique("person", &["identity_provider", "sub"]),
            unique("session", &["cookie_hash"]),
            index("membership", &["identity_provider"]),
            index("membership", &["principal"]),
            index("session", &["person", "created_at"]),
            index("person", &["last_seen"]),
            index("session", &["expires_at"]),
            index("session", &["identity_provider"]),
        ] {
            manager.create_index(index).await?;
        }
        // Hardly any event has a person, so tokens do not pay for this index.
        let by_person = "CREATE INDEX idx_audit_event_person_id ON audit_event (person, id) \
                         WHERE person IS NOT NULL";
        let connection = manager.get_connection();
        connection.execute_unprepared(by_person).await?;
        Ok(())
    }
}

fn unique(table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    index(table, columns).unique().to_owned()
}

fn foreign_key(
    column: &'static str,
    (table, key): (&'static str, &'static str),
    action: ForeignKeyAction,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(column)
        .to(table, key)
        .on_delete(action)
        .to_owned()
}

fn identity_provider() -> TableCreateStatement {
    table("identity_provider")
        .col(uuid("id").primary_key())
        .col(string("name").unique_key())
        .col(string("name_folded"))
        .col(text("document"))
        .col(text("state"))
        .col(big_integer("version"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .to_owned()
}

fn membership() -> TableCreateStatement {
    table("membership")
        .col(uuid("id").primary_key())
        .col(string("name"))
        .col(string("name_folded"))
        .col(string("identity_provider"))
        .col(string_null("principal"))
        .col(string("role"))
        .col(text("matcher"))
        .col(big_integer_null("expires_at"))
        .col(boolean("enabled"))
        .col(integer("revision"))
        .col(big_integer("version"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .foreign_key(&mut foreign_key(
            "identity_provider",
            ("identity_provider", "name"),
            ForeignKeyAction::Restrict,
        ))
        .foreign_key(&mut foreign_key(
            "principal",
            ("principal", "name"),
            ForeignKeyAction::Restrict,
        ))
        .to_owned()
}

/// A person is known from the first session until the retention time after the last one, unless
/// disabled, and no longer than the identity provider.
fn person() -> TableCreateStatement {
    table("person")
        .col(uuid("id").primary_key())
        .col(uuid("identity_provider"))
        .col(string("sub"))
        .col(text_null("name"))
        .col(text_null("username"))
        .col(text_null("email"))
        .col(big_integer("first_seen"))
        .col(big_integer("last_seen"))
        .col(boolean("enabled"))
        .foreign_key(&mut foreign_key(
            "identity_provider",
            ("identity_provider", "id"),
            ForeignKeyAction::Cascade,
        ))
        .to_owned()
}

fn session() -> TableCreateStatement {
    table("session")
        .col(uuid("id").primary_key())
        .col(binary("cookie_hash"))
        .col(uuid("person"))
        .col(uuid("identity_provider"))
        .col(text("claims"))
        .col(big_integer_null("auth_time"))
        .col(boolean("second_factor"))
        .col(text_null("acr"))
        .col(text_null("amr"))
        .col(text_null("id_token"))
        .col(big_integer("created_at"))
        .col(big_integer("last_used_at"))
        .col(big_integer("expires_at"))
        .foreign_key(&mut foreign_key(
            "person",
            ("person", "id"),
            ForeignKeyAction::Cascade,
        ))
        .foreign_key(&mut foreign_key(
            "identity_provider",
            ("identity_provider", "id"),
            ForeignKeyAction::Cascade,
        ))
        .to_owned()
}
