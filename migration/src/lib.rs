//! The database schema as a sequence of migrations. A migration that was released is never changed.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DatabaseConnection, Statement};

mod m20261122_000001_initial;
mod m20261125_000002_clients_and_tokens;
mod m20261128_000003_consent;
mod m20261128_000004_records;
mod m20261128_000005_audit_keys;
mod m20261128_000006_notifications;
mod m20261128_000007_counted_refusals;
mod m20261129_000008_front_doors;
mod m20261129_000009_gateway;
mod m20261129_000010_proofs;
mod m20261129_000011_key_sets;
mod m20261129_000012_audit_export;
mod m20261130_000013_people;
mod m20261130_000014_authorization;
mod m20261130_000015_attested_key_sets;
mod statements;

struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_initial::Migration),
            Box::new(m20261125_000002_clients_and_tokens::Migration),
            Box::new(m20261128_000003_consent::Migration),
            Box::new(m20261128_000004_records::Migration),
            Box::new(m20261128_000005_audit_keys::Migration),
            Box::new(m20261128_000006_notifications::Migration),
            Box::new(m20261128_000007_counted_refusals::Migration),
            Box::new(m20261129_000008_front_doors::Migration),
            Box::new(m20261129_000009_gateway::Migration),
            Box::new(m20261129_000010_proofs::Migration),
            Box::new(m20261129_000011_key_sets::Migration),
            Box::new(m20261129_000012_audit_export::Migration),
            Box::new(m20261130_000013_people::Migration),
            Box::new(m20261130_000014_authorization::Migration),
            Box::new(m20261130_000015_attested_key_sets::Migration),
        ]
    }
}

/// The number of this release's last migration.
pub const SCHEMA: i32 = 15;

/// How the schema of a database compares with that of this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// No migration was applied: the database is empty.
    Missing,
    /// Migrations of this release are missing.
    Older,
    Current,
    /// All migrations of this release were applied, and further ones.
    Newer,
}

/// Applies the missing migrations, and returns the state before. A database of a newer release is
/// left as it is; [`min_version`] says whether this release may serve on it.
///
/// # Errors
///
/// If the database cannot be reached or a migration fails.
pub async fn up(connection: &DatabaseConnection) -> Result<SchemaState, DbErr> {
    let before = state(connection).await?;
    if before != SchemaState::Newer {
        Migrator::up(connection, None).await?;
    }
    Ok(before)
}

/// Makes the tables as a release had them whose last migration has this number.
///
/// # Errors
///
/// If the database cannot be reached or a migration fails.
pub async fn up_to(connection: &DatabaseConnection, schema: u32) -> Result<(), DbErr> {
    Migrator::up(connection, Some(schema)).await
}

/// Compares the migrations that were applied to the database with those of this release. Changes
/// nothing.
///
/// # Errors
///
/// If the database cannot be reached.
pub async fn state(connection: &DatabaseConnection) -> Result<SchemaState, DbErr> {
    if !SchemaManager::new(connection)
        .has_table("seaql_migrations")
        .await?
    {
        return Ok(SchemaState::Missing);
    }
    let statement = Statement::from_string(
        connection.get_database_backend(),
        "SELECT version FROM seaql_migrations",
    );
    let rows = connection.query_all_raw(statement).await?;
    let taken = rows
        .iter()
        .map(|row| row.try_get_by_index::<String>(0))
        .collect::<Result<Vec<_>, _>>()?;
    let known: Vec<String> = Migrator::migrations()
        .iter()
        .map(|step| step.name().to_owned())
        .collect();
    Ok(if taken.is_empty() {
        SchemaState::Missing
    } else if !known.iter().all(|step| taken.contains(step)) {
        SchemaState::Older
    } else if taken.iter().any(|step| !known.contains(step)) {
        SchemaState::Newer
    } else {
        SchemaState::Current
    })
}

/// The schema number of the oldest release that may serve on this database.
///
/// # Errors
///
/// If the database cannot be reached.
pub async fn min_version(connection: &impl ConnectionTrait) -> Result<i32, DbErr> {
    let query = Query::select()
        .column("min_version")
        .from("change_counter")
        .to_owned();
    let row = connection.query_one(&query).await?;
    row.map_or(Ok(SCHEMA), |row| row.try_get_by_index(0))
}

#[cfg(test)]
mod tests {
    use sea_orm_migration::sea_orm::{ConnectOptions, Database, DbBackend, TryGetable};

    use super::*;

    /// A database with only the first `steps` migrations.
    async fn of_before(steps: u32) -> DatabaseConnection {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1);
        let database = Database::connect(options).await.unwrap();
        Migrator::up(&database, Some(steps)).await.unwrap();
        database
    }

    async fn run(database: &DatabaseConnection, sql: &str) {
        database.execute_unprepared(sql).await.unwrap();
    }

    async fn column<T: TryGetable>(database: &DatabaseConnection, sql: &str) -> Vec<T> {
        let rows = database
            .query_all_raw(Statement::from_string(DbBackend::Sqlite, sql))
            .await
            .unwrap();
        rows.iter()
            .map(|row| row.try_get_by_index(0).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn scopes_of_before_keep_their_principal_and_lose_one_that_is_gone() {
        let database = of_before(2).await;
        run(
            &database,
            "INSERT INTO principal (id, name, name_folded, kind, enabled, version, created_at, updated_at) \
             VALUES ('pr_1', 'Alice', 'alice', 'user', 1, 1, 0, 0)",
        )
        .await;
        let document =
            r#"{"scopes":["admin:read","admin:credentials:alice","admin:credentials:gone"]}"#;
        run(
            &database,
            &format!(
                "INSERT INTO client (id, name, name_folded, auth_method, document, enabled, version, created_at, updated_at) \
                 VALUES (X'00000000000000000000000000000001', 'site', 'site', 'none', '{document}', 1, 1, 0, 0)"
            ),
        )
        .await;
        up(&database).await.unwrap();
        assert_eq!(
            column::<String>(&database, "SELECT principal FROM client_reference").await,
            ["Alice"]
        );
        let kept = r#"{"scopes":["admin:read","admin:credentials:alice"]}"#;
        assert_eq!(
            column::<String>(&database, "SELECT document FROM client").await,
            [kept]
        );
        assert!(
            database
                .execute_unprepared("DELETE FROM principal")
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn people_come_to_a_database_of_before_and_leave_its_data_as_it_is() {
        let database = of_before(12).await;
        let (principal, event) = (
            "INSERT INTO principal (id, name, name_folded, kind, enabled, version, created_at, updated_at) \
             VALUES ('pr_1', 'Alice', 'alice', 'user', 1, 1, 0, 0)",
            "INSERT INTO audit_event (id, outcome, detail, principal, count) \
             VALUES (X'00000000000000000000000000000001', 'issued', '{}', 'Alice', 1)",
        );
        run(&database, principal).await;
        run(&database, event).await;
        let least = min_version(&database).await.unwrap();
        up(&database).await.unwrap();
        let kept = "SELECT principal FROM audit_event WHERE person IS NULL";
        assert_eq!(column::<String>(&database, kept).await, ["Alice"]);
        // A release of before serves on, since nothing that it knows means anything else.
        assert_eq!(min_version(&database).await.unwrap(), least);
        for statement in [
            "INSERT INTO identity_provider (id, name, name_folded, document, state, version, created_at, updated_at) \
             VALUES (X'01', 'Corp', 'corp', '{}', '{}', 1, 0, 0)",
            "INSERT INTO membership (id, name, name_folded, identity_provider, principal, role, matcher, enabled, revision, version, created_at, updated_at) \
             VALUES (X'02', 'm', 'm', 'Corp', 'Alice', 'owner', '{}', 1, 1, 1, 0, 0)",
            "INSERT INTO person (id, identity_provider, sub, first_seen, last_seen, enabled) VALUES (X'03', X'01', 's', 0, 0, 1)",
            "INSERT INTO session (id, cookie_hash, person, identity_provider, claims, second_factor, created_at, last_used_at, expires_at) \
             VALUES (X'04', X'05', X'03', X'01', '{}', 1, 0, 0, 0)",
        ] {
            run(&database, statement).await;
        }
        for referred in ["principal", "identity_provider"] {
            let delete = format!("DELETE FROM {referred}");
            assert!(
                database.execute_unprepared(&delete).await.is_err(),
                "{referred}"
            );
        }
        let again = "INSERT INTO person (id, identity_provider, sub, first_seen, last_seen, enabled) VALUES (X'06', X'01', 's', 0, 0, 1)";
        assert!(
            database.execute_unprepared(again).await.is_err(),
            "one person for each sub"
        );
        run(&database, "DELETE FROM membership").await;
        run(&database, "DELETE FROM identity_provider").await;
        let left = "SELECT id FROM session";
        assert!(
            column::<Vec<u8>>(&database, left).await.is_empty(),
            "sessions end with their provider"
        );
    }

    #[tokio::test]
    async fn the_state_says_what_a_start_would_do_and_reading_it_changes_nothing() {
        for (steps, expected) in [
            (0, SchemaState::Missing),
            (1, SchemaState::Older),
            (3, SchemaState::Older),
            (SCHEMA.unsigned_abs() - 1, SchemaState::Older),
            (SCHEMA.unsigned_abs(), SchemaState::Current),
        ] {
            let database = of_before(steps).await;
            for _ in 0..2 {
                assert_eq!(state(&database).await.unwrap(), expected, "{steps}");
            }
            assert_eq!(up(&database).await.unwrap(), expected);
            assert_eq!(state(&database).await.unwrap(), SchemaState::Current);
        }
        let database = of_before(SCHEMA.unsigned_abs()).await;
        run(
            &database,
            "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000099_later', 1)",
        )
        .await;
        assert_eq!(up(&database).await.unwrap(), SchemaState::Newer);
    }

    #[tokio::test]
    async fn a_step_that_fails_leaves_nothing_and_can_be_taken_again() {
        let database = of_before(3).await;
        let columns = "SELECT name FROM pragma_table_info('audit_event')";
        let before: Vec<String> = column(&database, columns).await;
        // The migration creates this table near its end, so it fails there.
        run(&database, "CREATE TABLE consumed (key blob)").await;
        assert!(up(&database).await.is_err());
        assert_eq!(column::<String>(&database, columns).await, before);
        run(&database, "DROP TABLE consumed").await;
        up(&database).await.unwrap();
        // Migrations that change what rules mean raise it; the others do not.
        assert_eq!(min_version(&database).await.unwrap(), 4);
    }
}
