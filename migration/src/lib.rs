//! The schema, in steps. A step that was released is never changed.

use sea_orm_migration::prelude::*;

mod m20261122_000001_initial;
mod m20261125_000002_clients_and_tokens;

struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m20261122_000001_initial::Migration), Box::new(m20261125_000002_clients_and_tokens::Migration)]
    }
}

/// Brings the schema up to date.
///
/// # Errors
///
/// If the database cannot be reached or a step fails.
pub async fn up(connection: &sea_orm_migration::sea_orm::DatabaseConnection) -> Result<(), DbErr> {
    Migrator::up(connection, None).await
}
