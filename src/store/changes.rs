//! The change counter: every change of an object takes the next number, so that replicas know which
//! objects to read again.

use carnet_entity::{change, change_counter};
use carnet_migration::SCHEMA;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, ExprTrait as _,
    QueryFilter as _, QueryOrder as _, Statement,
};

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::documents::Kind;

// How the database names the kinds that are not kinds of objects. A release that does not know a
// word reads everything again.
const RULES_OF_PRINCIPAL: &str = "rules_of_principal";
const RULE_AND_HOLDERS: &str = "rule_and_holders";
const SIGNING_KEYS: &str = "signing_keys";

/// The kind of thing that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    Object(Kind),
    /// All rules of a principal, by its name, and the rules that name one of them as an actor.
    RulesOfPrincipal,
    /// A rule, by its id, and the rules that name it as an actor.
    RuleAndHolders,
    /// Any signing key: all of them are read again.
    SigningKey,
}

impl ChangeKind {
    fn word(self) -> &'static str {
        match self {
            Self::Object(kind) => kind.table(),
            Self::RulesOfPrincipal => RULES_OF_PRINCIPAL,
            Self::RuleAndHolders => RULE_AND_HOLDERS,
            Self::SigningKey => SIGNING_KEYS,
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        match word {
            RULES_OF_PRINCIPAL => Some(Self::RulesOfPrincipal),
            RULE_AND_HOLDERS => Some(Self::RuleAndHolders),
            SIGNING_KEYS => Some(Self::SigningKey),
            _ => Kind::ALL
                .into_iter()
                .find(|kind| kind.table() == word)
                .map(Self::Object),
        }
    }
}

/// The changes after a version.
#[derive(Debug)]
pub(super) struct Changes {
    /// The version of the last of these changes.
    pub version: i64,
    /// The changed objects by [`change_key`](super::Persist::change_key); `None` if the changes
    /// were pruned, so that everything has to be read again.
    pub about: Option<Vec<(ChangeKind, String)>>,
}

impl Store {
    /// The current value of the counter.
    pub async fn version(&self) -> Result<i64, StoreError> {
        Ok(version(&self.read).await?)
    }

    pub(super) async fn changes_after(&self, from: i64) -> Result<Changes, StoreError> {
        let version = self.version().await?;
        if version == from {
            return Ok(Changes {
                version,
                about: Some(Vec::new()),
            });
        }
        Ok(Changes {
            version,
            about: about(&self.read, from, version).await?,
        })
    }
}

pub(super) async fn version(connection: &impl ConnectionTrait) -> Result<i64, DbErr> {
    // As fixed text, because each transaction of the ledger begins with it. SQLite plans a
    // statement anew for each value that is bound to its `LIMIT`, as `one` does.
    let sql = "SELECT value, min_version FROM change_counter WHERE id = 1";
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let Some(row) = connection.query_one_raw(statement).await? else {
        return Ok(0);
    };
    let min_version: i32 = row.try_get_by_index(1)?;
    if min_version > SCHEMA {
        return Err(too_new(min_version));
    }
    row.try_get_by_index(0)
}

/// The database was migrated by a newer release that changed what rules mean. This release would
/// misread them, so it issues nothing.
pub(super) fn too_new(min_version: i32) -> DbErr {
    DbErr::Custom(format!(
        "the database needs a newer release: it is of schema {min_version}, and this is {SCHEMA}; to go back, restore a backup of before"
    ))
}

/// The changes after `from`, up to and including `to`; `None` if some of them were pruned.
pub(super) async fn about(
    connection: &impl ConnectionTrait,
    from: i64,
    to: i64,
) -> Result<Option<Vec<(ChangeKind, String)>>, StoreError> {
    let rows = change::Entity::find()
        .filter(change::Column::Version.gt(from))
        .filter(change::Column::Version.lte(to))
        .order_by_asc(change::Column::Version)
        .all(connection)
        .await?;
    // The numbers have no gaps, so a missing one was pruned.
    if i64::try_from(rows.len()).ok() != Some(to.saturating_sub(from)) {
        return Ok(None);
    }
    let about = rows
        .into_iter()
        .map(|row| ChangeKind::from_word(&row.kind).map(|kind| (kind, row.object_id)));
    Ok(about.collect())
}

/// Takes the next number for a change. The counter's row stays locked until the transaction ends,
/// so numbers become visible in order.
pub(super) async fn record(
    connection: &impl ConnectionTrait,
    kind: ChangeKind,
    object_id: &str,
    now: Timestamp,
) -> Result<i64, DbErr> {
    let updated = change_counter::Entity::update_many()
        .col_expr(
            change_counter::Column::Value,
            Expr::col(change_counter::Column::Value).add(1),
        )
        .filter(change_counter::Column::Id.eq(1))
        .exec_with_returning(connection)
        .await?;
    let version = updated
        .first()
        .map(|row| row.value)
        .ok_or(DbErr::RecordNotUpdated)?;
    change::Entity::insert(change::ActiveModel {
        version: Set(version),
        kind: Set(kind.word().to_owned()),
        object_id: Set(object_id.to_owned()),
        at: Set(now.millis()),
    })
    .exec_without_returning(connection)
    .await?;
    Ok(version)
}
