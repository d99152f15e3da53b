use std::collections::BTreeMap;

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, boolean, integer, string, string_null, text, text_null, uuid,
    uuid_null,
};
use sea_orm_migration::sea_orm::Statement;
use sea_orm_migration::sea_orm::prelude::Uuid;
use serde_json::{Value, json};

use crate::statements::table;

/// Consent: whether a rule is vouched for. Rules refer to each other by id, so that a name need be
/// unique for one principal only. The new `min_version` keeps older releases from serving on this
/// database: to them every rule would count.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// The tables that are copied into a new form. They are renamed in this order, and the old ones are
/// dropped in reverse.
const REBUILT: [&str; 4] = [
    "federated_credential",
    "permission",
    "credential_actor",
    "client_reference",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// A migration is applied as a whole or not at all, on SQLite as well.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        let connection = manager.get_connection();
        for copied in [
            // Rules from before consent counted for every workload. They still do, and are reported
            // as `assumed` until an administrator saves them again.
            "INSERT INTO new_federated_credential (id, name, name_folded, principal, trusted_issuer, matcher, pinned, pending_until, \
             expires_at, review_at, consent, enabled, revision, version, created_at, updated_at, last_used_at) \
             SELECT id, name, name_folded, principal, trusted_issuer, matcher, pinned, pending_until, expires_at, review_at, \
             'assumed', enabled, revision, version, created_at, updated_at, last_used_at FROM federated_credential",
            "INSERT INTO new_permission (credential_id, position, resource_server, owner, actions, packages) \
             SELECT credential_id, position, resource_server, owner, actions, packages FROM permission",
            "INSERT INTO new_credential_actor (credential_id, position, actor_id, revision) \
             SELECT a.credential_id, a.position, c.id, c.revision FROM credential_actor a \
             JOIN federated_credential c ON c.name = a.actor",
            "INSERT INTO new_client_reference (client_id, position, principal, resource_server, credential_id, revision) \
             SELECT r.client_id, r.position, r.principal, r.resource_server, c.id, c.revision FROM client_reference r \
             LEFT JOIN federated_credential c ON c.name = r.federated_credential",
        ] {
            connection.execute_unprepared(copied).await?;
        }
        list_rules_of_clients(connection).await?;
        refer_to_scopes(connection).await?;
        for old in REBUILT.iter().rev() {
            manager
                .drop_table(Table::drop().table(*old).to_owned())
                .await?;
        }
        for table in REBUILT {
            let renamed = Table::rename()
                .table(format!("new_{table}"), table)
                .to_owned();
            manager.rename_table(renamed).await?;
        }
        create_indexes(manager).await?;
        let least = ColumnDef::new("min_version")
            .integer()
            .not_null()
            .default(3)
            .to_owned();
        manager
            .alter_table(
                Table::alter()
                    .table("change_counter")
                    .add_column(least)
                    .to_owned(),
            )
            .await
    }
}

async fn create_indexes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for (table, column) in [
        ("federated_credential", "principal"),
        ("federated_credential", "trusted_issuer"),
        ("permission", "resource_server"),
        ("permission", "owner"),
        ("credential_actor", "actor_id"),
        ("client_reference", "principal"),
        ("client_reference", "resource_server"),
        ("client_reference", "credential_id"),
        ("acts_for", "owner"),
    ] {
        let mut index = Index::create();
        manager
            .create_index(
                index
                    .name(format!("idx_{table}_{column}"))
                    .table(table)
                    .col(column)
                    .to_owned(),
            )
            .await?;
    }
    let mut own_names = Index::create();
    own_names
        .name("idx_federated_credential_name")
        .table("federated_credential")
        .unique();
    manager
        .create_index(own_names.col("name_folded").col("principal").to_owned())
        .await
}

/// Clients list their rules by name. Stores the ids of these rules in the state beside each
/// client's document.
async fn list_rules_of_clients(connection: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    let backend = connection.get_database_backend();
    let all = "SELECT l.id, l.state, r.credential_id, r.revision FROM new_client_reference r \
               JOIN client l ON l.id = r.client_id WHERE r.credential_id IS NOT NULL ORDER BY r.client_id, r.position";
    let mut states: BTreeMap<Uuid, Value> = BTreeMap::new();
    for row in connection
        .query_all_raw(Statement::from_string(backend, all))
        .await?
    {
        let state: Option<String> = row.try_get_by_index(1)?;
        let state = states.entry(row.try_get_by_index(0)?).or_insert_with(|| {
            state
                .and_then(|state| serde_json::from_str(&state).ok())
                .unwrap_or_else(|| json!({ "revision": 1, "secrets": [] }))
        });
        let rule: Uuid = row.try_get_by_index(2)?;
        let revision: i32 = row.try_get_by_index(3)?;
        if state.get("listed").is_none() {
            state["listed"] = json!([]);
        }
        if let Some(listed) = state.get_mut("listed").and_then(Value::as_array_mut) {
            listed.push(json!({ "credential": credential_id(rule), "revision": revision }));
        }
    }
    for (client, state) in states {
        let mut update = Query::update();
        update
            .table("client")
            .value("state", state.to_string())
            .and_where(Expr::col("id").eq(client));
        connection.execute(&update).await?;
    }
    Ok(())
}

/// A scope that names a principal becomes a reference, so that the principal cannot be removed: a
/// later one of the same name must not inherit the scope. Scopes that name a missing principal are
/// dropped.
async fn refer_to_scopes(connection: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    const LIMITED: &str = "admin:credentials:";
    let backend = connection.get_database_backend();
    let text = |sql: &str| Statement::from_string(backend, sql);
    let mut principals: BTreeMap<String, String> = BTreeMap::new();
    for row in connection
        .query_all_raw(text("SELECT name FROM principal"))
        .await?
    {
        let name: String = row.try_get_by_index(0)?;
        principals.insert(name.to_ascii_lowercase(), name);
    }
    for row in connection
        .query_all_raw(text("SELECT id, document FROM client"))
        .await?
    {
        let (id, stored): (Uuid, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let mut document: Value = serde_json::from_str(&stored).unwrap_or_default();
        let Some(scopes) = document.get_mut("scopes").and_then(Value::as_array_mut) else {
            continue;
        };
        let named =
            |scope: &Value| Some(scope.as_str()?.strip_prefix(LIMITED)?.to_ascii_lowercase());
        let there: Vec<String> = scopes
            .iter()
            .filter_map(named)
            .filter_map(|name| principals.get(&name).cloned())
            .collect();
        let before = scopes.len();
        scopes.retain(|scope| named(scope).is_none_or(|name| principals.contains_key(&name)));
        if scopes.len() < before {
            let mut update = Query::update();
            update
                .table("client")
                .value("document", document.to_string())
                .and_where(Expr::col("id").eq(id));
            connection.execute(&update).await?;
        }
        // Positions after those of the client's other references.
        for (name, position) in there.into_iter().zip(100_000..) {
            let mut insert = Query::insert();
            insert.into_table("new_client_reference").columns([
                "client_id",
                "position",
                "principal",
            ]);
            insert.values_panic([id.into(), position.into(), name.into()]);
            connection.execute(&insert).await?;
        }
    }
    Ok(())
}

/// An id as the server writes it: `fc_` and Crockford's base32.
fn credential_id(id: Uuid) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digit = |at: u32| {
        let index =
            usize::try_from((id.as_u128() >> at.saturating_mul(5)) & 31).unwrap_or_default();
        ALPHABET.get(index).copied().map_or('0', char::from)
    };
    std::iter::once("fc_".to_owned())
        .chain((0..26).rev().map(|at| digit(at).to_string()))
        .collect()
}

fn reference(column: &'static str, to: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(column)
        .to(to, "name")
        .on_delete(ForeignKeyAction::Restrict)
        .to_owned()
}

fn by_id(
    column: &'static str,
    to: &'static str,
    on_delete: ForeignKeyAction,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(column)
        .to(to, "id")
        .on_delete(on_delete)
        .to_owned()
}

fn federated_credentials() -> TableCreateStatement {
    table("new_federated_credential")
        .col(uuid("id").primary_key())
        .col(string("name"))
        .col(string("name_folded"))
        .col(string("principal"))
        .col(string("trusted_issuer"))
        .col(text("matcher"))
        .col(text_null("pinned"))
        .col(big_integer_null("pending_until"))
        .col(big_integer_null("expires_at"))
        .col(big_integer_null("review_at"))
        .col(string("consent"))
        .col(boolean("enabled"))
        .col(integer("revision"))
        .col(big_integer("version"))
        .col(big_integer("created_at"))
        .col(big_integer("updated_at"))
        .col(big_integer_null("last_used_at"))
        .foreign_key(&mut reference("principal", "principal"))
        .foreign_key(&mut reference("trusted_issuer", "trusted_issuer"))
        .to_owned()
}

fn tables() -> [TableCreateStatement; 5] {
    let of_rule = || {
        by_id(
            "credential_id",
            "new_federated_credential",
            ForeignKeyAction::Cascade,
        )
    };
    let position = || {
        Index::create()
            .col("credential_id")
            .col("position")
            .to_owned()
    };
    [
        federated_credentials(),
        table("new_permission")
            .col(uuid("credential_id"))
            .col(integer("position"))
            .col(string("resource_server"))
            .col(string_null("owner"))
            .col(text("actions"))
            .col(text("packages"))
            .primary_key(&mut position())
            .foreign_key(&mut of_rule())
            .foreign_key(&mut reference("resource_server", "resource_server"))
            .foreign_key(&mut reference("owner", "principal"))
            .to_owned(),
        // The rules that a rule names as actors, at the revision they had then.
        table("new_credential_actor")
            .col(uuid("credential_id"))
            .col(integer("position"))
            .col(uuid("actor_id"))
            .col(integer("revision"))
            .primary_key(&mut position())
            .foreign_key(&mut of_rule())
            .foreign_key(&mut by_id(
                "actor_id",
                "new_federated_credential",
                ForeignKeyAction::Restrict,
            ))
            .to_owned(),
        table("new_client_reference")
            .col(uuid("client_id"))
            .col(integer("position"))
            .col(string_null("principal"))
            .col(string_null("resource_server"))
            .col(uuid_null("credential_id"))
            .col(ColumnDef::new("revision").integer())
            .primary_key(Index::create().col("client_id").col("position"))
            .foreign_key(&mut by_id("client_id", "client", ForeignKeyAction::Cascade))
            .foreign_key(&mut reference("principal", "principal"))
            .foreign_key(&mut reference("resource_server", "resource_server"))
            .foreign_key(&mut by_id(
                "credential_id",
                "new_federated_credential",
                ForeignKeyAction::Restrict,
            ))
            .to_owned(),
        // The owners for whose packages a principal's self-service rules may be good.
        table("acts_for")
            .col(string("principal"))
            .col(integer("position"))
            .col(string("owner"))
            .primary_key(Index::create().col("principal").col("position"))
            .foreign_key(
                ForeignKey::create()
                    .from_col("principal")
                    .to("principal", "name")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .foreign_key(&mut reference("owner", "principal"))
            .to_owned(),
    ]
}
