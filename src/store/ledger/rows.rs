//! The rows of an issuance: used assertions and pins.

use std::collections::{BTreeMap, BTreeSet};

use carnet_entity::federated_credential;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Statement, Value as DbValue,
};
use serde_json::{Map, Value};

use super::Pin;
use crate::assertion::SingleUseKey;
use crate::clock::Timestamp;
use crate::ids::EventId;
use crate::store::placeholders::placeholders;
use crate::store::{StoreError, json};

/// Assertions to record, each with the index of its request in the batch, the time until which it
/// has to be remembered, and the audit event of its use.
pub(super) type AssertionsToRecord = BTreeMap<SingleUseKey, (usize, Timestamp, EventId)>;

/// Used assertions expire in groups: expiry times are rounded up to a multiple of so many seconds.
const FORGET_TOGETHER_SECONDS: i64 = 600;

/// Records assertions as used. Returns whether all of them were new.
pub(super) async fn insert_new(
    transaction: &DatabaseTransaction,
    wanted: &AssertionsToRecord,
) -> Result<bool, DbErr> {
    let inserted = transaction
        .execute_raw(insertion(transaction.get_database_backend(), wanted, ""))
        .await?;
    Ok(usize::try_from(inserted.rows_affected()).ok() == Some(wanted.len()))
}

/// Records assertions as used. Returns the keys of those that were new.
pub(super) async fn insert_consumed(
    transaction: &DatabaseTransaction,
    wanted: &AssertionsToRecord,
) -> Result<BTreeSet<Vec<u8>>, DbErr> {
    let statement = insertion(transaction.get_database_backend(), wanted, " RETURNING key");
    let rows = transaction.query_all_raw(statement).await?;
    rows.iter()
        .map(|row| row.try_get_by_index::<Vec<u8>>(0))
        .collect()
}

fn insertion(backend: DbBackend, wanted: &AssertionsToRecord, returning: &str) -> Statement {
    let places = placeholders(backend, wanted.len(), 3);
    // The two mean the same; SQLite keeps no journal for the first.
    let sql = match backend {
        DbBackend::Sqlite => {
            format!(
                "INSERT OR IGNORE INTO consumed (key, expires_at, event_id) VALUES {places}{returning}"
            )
        }
        _ => format!(
            "INSERT INTO consumed (key, expires_at, event_id) VALUES {places} ON CONFLICT DO NOTHING{returning}"
        ),
    };
    let values = wanted
        .iter()
        .flat_map(|(key, (_, until, event))| -> [DbValue; 3] {
            [
                key.as_bytes().to_vec().into(),
                rounded_up(*until).millis().into(),
                event.0.into(),
            ]
        });
    Statement::from_sql_and_values(backend, sql, values)
}

/// With few distinct times, new rows go to the end of the index by time instead of all over it.
fn rounded_up(until: Timestamp) -> Timestamp {
    let over = until.seconds().rem_euclid(FORGET_TOGETHER_SECONDS);
    Timestamp::from_seconds(until.seconds())
        .plus_seconds(FORGET_TOGETHER_SECONDS.saturating_sub(over))
}

/// Pins all of these ids or none. `false` if a rule was removed, has another revision by now, or
/// has such an id pinned already.
pub(super) async fn pin(
    transaction: &DatabaseTransaction,
    pins: &[Pin],
) -> Result<bool, StoreError> {
    // Lock the rows, so that they cannot change between this check and the update.
    let rows = federated_credential::Entity::find()
        .filter(federated_credential::Column::Id.is_in(pins.iter().map(|pin| pin.credential.0)))
        .order_by_asc(federated_credential::Column::Id)
        .lock_exclusive()
        .all(transaction)
        .await?;
    let mut merged = Vec::with_capacity(pins.len());
    for pin in pins {
        let Some(row) = rows.iter().find(|row| row.id == pin.credential.0) else {
            return Ok(false);
        };
        let mut ids: Map<String, Value> = row
            .pinned
            .as_deref()
            .map(json)
            .transpose()?
            .unwrap_or_default();
        if i64::from(row.revision) != i64::from(pin.revision)
            || pin.ids.keys().any(|name| ids.contains_key(name))
        {
            return Ok(false);
        }
        ids.extend(pin.ids.clone());
        merged.push((pin.credential, ids));
    }
    for (credential, ids) in merged {
        federated_credential::Entity::update_many()
            .col_expr(
                federated_credential::Column::Pinned,
                Expr::value(Value::Object(ids).to_string()),
            )
            .col_expr(
                federated_credential::Column::PendingUntil,
                Expr::value(Option::<i64>::None),
            )
            .col_expr(
                federated_credential::Column::Version,
                Expr::col(federated_credential::Column::Version).add(1),
            )
            .filter(federated_credential::Column::Id.eq(credential.0))
            .exec(transaction)
            .await?;
    }
    Ok(true)
}
