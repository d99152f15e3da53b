//! The database schema as a sequence of migrations. A migration that was released is never changed.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DatabaseConnection, Statement};

mod m20261122_000001_initial;
mod m20261125_000002_clients_and_tokens;
mod m20261128_000003_consent;
mod m20261128_000004_records;

struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_initial::Migration),
            Box::new(m20261125_000002_clients_and_tokens::Migration),
            Box::new(m20261128_000003_consent::Migration),
            Box::new(m20261128_000004_records::Migration),
        ]
    }
}

/// The number of this release's last migration.
pub const SCHEMA: i32 = 4;

/// Applies the missing migrations. A database of a newer release is left as it is; [`min_version`]
/// says whether this release may serve on it.
///
/// # Errors
///
/// If the database cannot be reached or a migration fails.
pub async fn up(connection: &DatabaseConnection) -> Result<(), DbErr> {
    if is_newer(connection).await? {
        Ok(())
    } else {
        Migrator::up(connection, None).await
    }
}

/// Whether the database has migrations that this release does not know.
async fn is_newer(connection: &DatabaseConnection) -> Result<bool, DbErr> {
    if !SchemaManager::new(connection)
        .has_table("seaql_migrations")
        .await?
    {
        return Ok(false);
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
    Ok(known.iter().all(|step| taken.contains(step))
        && taken.iter().any(|step| !known.contains(step)))
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
        assert_eq!(min_version(&database).await.unwrap(), SCHEMA);
    }
}
