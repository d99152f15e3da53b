//! The owners of packages, as operators list and change them.

use carnet_gateway::Owner;
use sea_orm::{DatabaseTransaction, DbBackend, FromQueryResult as _, Value};

use super::reserve::named;
use super::{PACKAGE, PackageRecord, PackageRow, PackageState};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::store::{Store, StoreError, audit, constraint};

/// How many audit events are inserted with one statement; the number of its parameters is limited.
const EVENTS_AT_ONCE: usize = 500;

/// Which packages a list contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageFilter {
    /// Only packages of this resource server, by name.
    pub registry: Option<String>,
    /// Only packages of this principal, by id.
    pub owner: Option<String>,
}

/// One page of packages, by registry and folded name.
#[derive(Debug)]
pub struct PackagePage {
    pub items: Vec<PackageRecord>,
    /// Registry and name that the next page begins after; `None` on the last page.
    pub next: Option<(String, String)>,
}

/// The package that a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The resource server, by name.
    pub registry: String,
    /// The folded name.
    pub name: String,
    /// The name as the operator wrote it, for a package without a record.
    pub spelled: String,
}

/// What an operator changes. Principals are named by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackageChange {
    /// The package exists and is this principal's. It must not be another one's.
    Own(String),
    /// The package goes from its present owner to another principal.
    Transfer { from: String, to: String },
    /// Whether only trusted publishing may change the package.
    TrustedOnly(bool),
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageChanged {
    pub before: Option<PackageRecord>,
    /// `None` if nothing is left to record.
    pub after: Option<PackageRecord>,
}

impl PackageChanged {
    /// Whether the record is another one than before.
    pub fn is_change(&self) -> bool {
        self.before != self.after
    }
}

/// Why a change was not made. Nothing was.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// There is no principal of this name.
    #[error("there is no principal {0}")]
    NoPrincipal(String),
    /// The package belongs to somebody else than expected.
    #[error("{} belongs to {}", .spelled, .owner.as_deref().unwrap_or("nobody"))]
    OtherOwner {
        spelled: String,
        owner: Option<String>,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// A page of packages after `after`.
    pub async fn gateway_packages(
        &self,
        filter: &PackageFilter,
        after: Option<&(String, String)>,
        limit: usize,
    ) -> Result<PackagePage, StoreError> {
        let mut values: Vec<Value> = Vec::new();
        let mut conditions: Vec<String> = Vec::new();
        let mut equal = |column: &str, value: &Option<String>| {
            if let Some(value) = value {
                values.push(value.as_str().into());
                conditions.push(format!("{column} = ${}", values.len()));
            }
        };
        equal("p.resource_server", &filter.registry);
        equal("p.owner", &filter.owner);
        if let Some((registry, name)) = after {
            values.extend([registry.as_str().into(), name.as_str().into()]);
            let last = values.len();
            conditions.push(format!(
                "(p.resource_server, p.name) > (${}, ${last})",
                last.saturating_sub(1)
            ));
        }
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let read = limit.saturating_add(1);
        let sql = format!("{PACKAGE}{condition} ORDER BY p.resource_server, p.name LIMIT {read}");
        let rows = PackageRow::find_by_statement(self.statement(&sql, values))
            .all(&self.read)
            .await?;
        let more = rows.len() > limit;
        let items = rows
            .into_iter()
            .take(limit)
            .map(PackageRecord::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let last = items.last().filter(|_| more);
        let next = last.map(|last| (last.registry.clone(), last.name.clone()));
        Ok(PackagePage { items, next })
    }

    /// Changes packages, all or none, each with the audit event that `event` makes of the change. What
    /// is as wanted already stays so, without an event. An error comes with the index of its
    /// change.
    pub async fn change_packages(
        &self,
        changes: &[(Subject, PackageChange)],
        now: Timestamp,
        event: &(dyn Fn(&PackageChanged) -> AuditEvent + Sync),
    ) -> Result<Vec<PackageChanged>, (usize, NotChanged)> {
        let failed = |error: sea_orm::DbErr| (0, NotChanged::Store(error.into()));
        let transaction = self.begin().await.map_err(failed)?;
        // In one order, so that two commands cannot wait for each other's rows.
        let mut order: Vec<(usize, &(Subject, PackageChange))> =
            changes.iter().enumerate().collect();
        order.sort_by(|(_, (left, _)), (_, (right, _))| {
            (&left.registry, &left.name).cmp(&(&right.registry, &right.name))
        });
        let mut made: Vec<(usize, PackageChanged)> = Vec::with_capacity(changes.len());
        for (at, (subject, change)) in order {
            let outcome = self.change(&transaction, subject, change, now).await;
            made.push((at, outcome.map_err(|error| (at, error))?));
        }
        made.sort_by_key(|(at, _)| *at);
        let made: Vec<PackageChanged> = made.into_iter().map(|(_, changed)| changed).collect();
        let events: Vec<AuditEvent> = made
            .iter()
            .filter(|changed| changed.is_change())
            .map(event)
            .collect();
        for some in events.chunks(EVENTS_AT_ONCE) {
            let some: Vec<&AuditEvent> = some.iter().collect();
            audit::insert(&transaction, &some)
                .await
                .map_err(|error| (0, error.into()))?;
        }
        transaction.commit().await.map_err(failed)?;
        for event in &events {
            event.log();
        }
        Ok(made)
    }

    async fn change(
        &self,
        transaction: &DatabaseTransaction,
        subject: &Subject,
        change: &PackageChange,
        now: Timestamp,
    ) -> Result<PackageChanged, NotChanged> {
        let before = self.locked(transaction, subject).await?;
        let after = match change {
            PackageChange::Own(owner) => {
                let owner = principal(transaction, owner).await?;
                owned(subject, before.as_ref(), owner, now)?
            }
            PackageChange::Transfer { from, to } => {
                let to = principal(transaction, to).await?;
                transferred(subject, before.as_ref(), from, to, now)?
            }
            PackageChange::TrustedOnly(on) => switched(subject, before.as_ref(), *on, now),
        };
        self.replace(transaction, before.as_ref(), after.as_ref())
            .await?;
        Ok(PackageChanged { before, after })
    }

    /// The row of a package, locked until the transaction ends.
    async fn locked(
        &self,
        transaction: &DatabaseTransaction,
        subject: &Subject,
    ) -> Result<Option<PackageRecord>, StoreError> {
        use sea_orm::ConnectionTrait as _;
        let key: [Value; 2] = [
            subject.registry.as_str().into(),
            subject.name.as_str().into(),
        ];
        // The row is locked first and read then: a query that joins a row it had to wait for reads
        // the other table as it was before. SQLite has one writer.
        if self.backend() == DbBackend::Postgres {
            let sql =
                "SELECT 1 FROM gateway_package WHERE resource_server = $1 AND name = $2 FOR UPDATE";
            transaction
                .query_one_raw(self.statement(sql, key.clone()))
                .await?;
        }
        let sql = format!("{PACKAGE} WHERE p.resource_server = $1 AND p.name = $2");
        let row = PackageRow::find_by_statement(self.statement(&sql, key))
            .one(transaction)
            .await?;
        row.map(PackageRecord::try_from).transpose()
    }

    /// Writes a row, unless it is unchanged. What counts its open publications is not touched.
    async fn replace(
        &self,
        transaction: &DatabaseTransaction,
        before: Option<&PackageRecord>,
        after: Option<&PackageRecord>,
    ) -> Result<(), StoreError> {
        use sea_orm::ConnectionTrait as _;
        let (sql, record) = match (before, after) {
            _ if before == after => return Ok(()),
            (None, None) => return Ok(()),
            (Some(before), None) => {
                let sql = "DELETE FROM gateway_package WHERE resource_server = $1 AND name = $2 AND version = $3";
                let key: [Value; 3] = [
                    before.registry.as_str().into(),
                    before.name.as_str().into(),
                    before.version.into(),
                ];
                let deleted = transaction.execute_raw(self.statement(sql, key)).await?;
                return written(deleted.rows_affected());
            }
            (None, Some(after)) => (
                "INSERT INTO gateway_package (resource_server, name, version, spelled, state, owner, trusted_only, since, open) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) ON CONFLICT DO NOTHING",
                after,
            ),
            (Some(_), Some(after)) => (
                "UPDATE gateway_package SET version = $3, spelled = $4, state = $5, owner = $6, trusted_only = $7, since = $8, \
                 token_id = $9, principal = $10, credential = $11 \
                 WHERE resource_server = $1 AND name = $2 AND version = $3 - 1",
                after,
            ),
        };
        let mut values: Vec<Value> = vec![
            record.registry.as_str().into(),
            record.name.as_str().into(),
            record.version.into(),
            record.spelled.as_str().into(),
            record.state.as_str().into(),
            record.owner.as_ref().map(|owner| owner.id.clone()).into(),
            record.trusted_only.into(),
            record.since.millis().into(),
        ];
        if before.is_some() {
            values.extend([
                record.token_id.clone().into(),
                record.principal.clone().into(),
                record.credential.clone().into(),
            ]);
        }
        let result = transaction.execute_raw(self.statement(sql, values)).await;
        let result = result.map_err(|error| {
            let gone = "the registry or the principal was removed a moment ago";
            constraint(error, gone, gone)
        })?;
        written(result.rows_affected())
    }
}

/// Fails if a row was changed by somebody else meanwhile.
const fn written(rows: u64) -> Result<(), StoreError> {
    if rows == 1 {
        Ok(())
    } else {
        Err(StoreError::Changed)
    }
}

async fn principal(transaction: &DatabaseTransaction, name: &str) -> Result<Owner, NotChanged> {
    let found = named(transaction, name).await.map_err(StoreError::from)?;
    found.ok_or_else(|| NotChanged::NoPrincipal(name.to_owned()))
}

/// A package that is there and is `owner`'s.
fn owned(
    subject: &Subject,
    before: Option<&PackageRecord>,
    owner: Owner,
    now: Timestamp,
) -> Result<Option<PackageRecord>, NotChanged> {
    let Some(before) = before else {
        return Ok(Some(PackageRecord {
            owner: Some(owner),
            ..new(subject, PackageState::Owned, now)
        }));
    };
    let is_others = match &before.owner {
        Some(present) => present.id != owner.id,
        None => before.state == PackageState::Owned,
    };
    if is_others {
        return Err(other_owner(before));
    }
    if before.state == PackageState::Owned {
        return Ok(Some(before.clone()));
    }
    Ok(Some(changed_by_operator(
        before,
        owner,
        PackageState::Owned,
        now,
    )))
}

/// A package that goes from one owner to another. One that is only reserved stays so.
fn transferred(
    subject: &Subject,
    before: Option<&PackageRecord>,
    from: &str,
    to: Owner,
    now: Timestamp,
) -> Result<Option<PackageRecord>, NotChanged> {
    let Some(before) = before else {
        return Err(NotChanged::OtherOwner {
            spelled: subject.spelled.clone(),
            owner: None,
        });
    };
    let present = before.owner.as_ref();
    if !present.is_some_and(|present| present.name.eq_ignore_ascii_case(from)) {
        return Err(other_owner(before));
    }
    if present.is_some_and(|present| present.id == to.id) {
        return Ok(Some(before.clone()));
    }
    Ok(Some(changed_by_operator(before, to, before.state, now)))
}

/// A package of which only trusted publishing may, or need not, be the way. Without a record there is
/// a row for the switch alone.
fn switched(
    subject: &Subject,
    before: Option<&PackageRecord>,
    on: bool,
    now: Timestamp,
) -> Option<PackageRecord> {
    let Some(before) = before else {
        return on.then(|| PackageRecord {
            trusted_only: true,
            ..new(subject, PackageState::Unrecorded, now)
        });
    };
    if before.trusted_only == on {
        return Some(before.clone());
    }
    if !on && before.state == PackageState::Unrecorded && before.open == 0 {
        return None;
    }
    Some(PackageRecord {
        trusted_only: on,
        version: before.version.saturating_add(1),
        ..before.clone()
    })
}

fn new(subject: &Subject, state: PackageState, now: Timestamp) -> PackageRecord {
    PackageRecord {
        registry: subject.registry.clone(),
        name: subject.name.clone(),
        spelled: subject.spelled.clone(),
        state,
        owner: None,
        trusted_only: false,
        version: 1,
        open: 0,
        since: now,
        token_id: None,
        principal: None,
        credential: None,
    }
}

fn changed_by_operator(
    before: &PackageRecord,
    owner: Owner,
    state: PackageState,
    now: Timestamp,
) -> PackageRecord {
    PackageRecord {
        state,
        owner: Some(owner),
        version: before.version.saturating_add(1),
        since: now,
        token_id: None,
        principal: None,
        credential: None,
        ..before.clone()
    }
}

fn other_owner(record: &PackageRecord) -> NotChanged {
    let owner = record.owner.as_ref();
    NotChanged::OtherOwner {
        spelled: record.spelled.clone(),
        owner: owner.map(|owner| owner.name.clone()),
    }
}
