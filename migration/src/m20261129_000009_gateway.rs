use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, boolean, integer, integer_null, string, string_null, text_null,
    uuid,
};

/// What the gateway records: whose each package is, and every publication. An older release serves on
/// this database as before, until a gateway records publications: it cannot read their audit events.
/// It can remove no principal that owns a package, and no registry that has one.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [package(), publication()] {
            manager.create_table(table).await?;
        }
        let connection = manager.get_connection();
        for index in [
            "CREATE INDEX idx_gateway_package_owner ON gateway_package (owner)",
            "CREATE INDEX idx_gateway_publication_package ON gateway_publication (resource_server, package, id)",
            // Few publications are open at a time.
            "CREATE INDEX idx_gateway_publication_open ON gateway_publication (id) WHERE settled_at IS NULL",
        ] {
            connection.execute_unprepared(index).await?;
        }
        Ok(())
    }
}

fn restricted(
    column: &'static str,
    table: &'static str,
    key: &'static str,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(column)
        .to(table, key)
        .on_delete(ForeignKeyAction::Restrict)
        .to_owned()
}

fn package() -> TableCreateStatement {
    Table::create()
        .table("gateway_package")
        .col(string("resource_server"))
        .col(string("name"))
        .col(string("spelled"))
        .col(string("state"))
        .col(string_null("owner"))
        .col(boolean("trusted_only"))
        .col(big_integer("version"))
        .col(integer("open"))
        .col(big_integer("since"))
        .col(string_null("token_id"))
        .col(string_null("principal"))
        .col(string_null("credential"))
        .primary_key(Index::create().col("resource_server").col("name"))
        .foreign_key(&mut restricted(
            "resource_server",
            "resource_server",
            "name",
        ))
        .foreign_key(&mut restricted("owner", "principal", "id"))
        .to_owned()
}

/// Without foreign keys: what was published stays known when principals and registries are gone.
fn publication() -> TableCreateStatement {
    Table::create()
        .table("gateway_publication")
        .col(uuid("id").primary_key())
        .col(string("resource_server"))
        .col(string("package"))
        .col(string("spelled"))
        .col(string_null("version"))
        .col(string_null("file"))
        .col(string_null("digest"))
        .col(string("operation"))
        .col(boolean("adds"))
        .col(boolean("holds"))
        .col(string("state"))
        .col(string_null("owner"))
        .col(string_null("owner_id"))
        .col(string_null("principal"))
        .col(string_null("principal_id"))
        .col(string_null("credential"))
        .col(integer_null("revision"))
        .col(string_null("token_id"))
        .col(string_null("client_id"))
        .col(text_null("workload"))
        .col(string_null("passthrough_user"))
        .col(boolean("passthrough"))
        .col(string_null("address"))
        .col(text_null("unclear_why"))
        .col(boolean("by_operator"))
        .col(big_integer("created_at"))
        .col(big_integer_null("settled_at"))
        .to_owned()
}
