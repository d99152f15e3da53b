//! The schema, in steps. A step that was released is never changed.

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

/// The schema that this release brings, as the number of its last step.
pub const SCHEMA: i32 = 4;

/// Brings the schema up to date. A database of a newer release is left as it is: whether this one may serve on it is for
/// [`min_version`] to say.
///
/// # Errors
///
/// If the database cannot be reached or a step fails.
pub async fn up(connection: &DatabaseConnection) -> Result<(), DbErr> {
    if is_newer(connection).await? { Ok(()) } else { Migrator::up(connection, None).await }
}

/// Whether steps were taken that this release does not know.
async fn is_newer(connection: &DatabaseConnection) -> Result<bool, DbErr> {
    if !SchemaManager::new(connection).has_table("seaql_migrations").await? {
        return Ok(false);
    }
    let statement = Statement::from_string(connection.get_database_backend(), "SELECT version FROM seaql_migrations");
    let rows = connection.query_all_raw(statement).await?;
    let taken = rows.iter().map(|row| row.try_get_by_index::<String>(0)).collect::<Result<Vec<_>, _>>()?;
    let known: Vec<String> = Migrator::migrations().iter().map(|step| step.name().to_owned()).collect();
    Ok(known.iter().all(|step| taken.contains(step)) && taken.iter().any(|step| !known.contains(step)))
}

/// The schema of the oldest release that may serve on this database.
///
/// # Errors
///
/// If the database cannot be reached.
pub async fn min_version(connection: &impl ConnectionTrait) -> Result<i32, DbErr> {
    let query = Query::select().column("min_version").from("change_counter").to_owned();
    let row = connection.query_one(&query).await?;
    row.map_or(Ok(SCHEMA), |row| row.try_get_by_index(0))
}
