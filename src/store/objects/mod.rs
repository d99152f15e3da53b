//! The eight kinds of objects that the admin API manages. All are read and written by the same code;
//! each change is one transaction with its audit event and its number in the change counter.

mod client;
mod federated_credential;
mod identity_provider;
mod membership;
mod notification;
mod principal;
mod resource_server;
mod sealed;
mod trusted_issuer;

use std::future::Future;

use sea_orm::sea_query::Condition;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter as _,
    QueryOrder, QuerySelect as _, Value,
};

use super::{ChangeKind, Store, StoreError, audit, changes, constraint};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::documents::{Document, FederatedCredentialDocument, Kind, Stored};

pub use notification::StoredNotification;
pub(super) use notification::of_row;
pub use sealed::HasSecrets;

pub type StoredCredential = Stored<FederatedCredentialDocument>;

/// One page of a list, in the order of names.
#[derive(Debug)]
pub struct Page<D: Document> {
    pub items: Vec<Stored<D>>,
    /// The key that the next page begins after; `None` on the last page.
    pub next: Option<String>,
}

/// Which objects a list contains. The fields apply to kinds whose objects belong to principals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only rules or notifications of these principals, by name.
    pub principals: Option<Vec<String>>,
    /// Only rules of this trusted issuer, by name.
    pub trusted_issuer: Option<String>,
    /// No notifications of the operator.
    pub without_operators: bool,
}

/// A document with a table of its own. The default methods suit all kinds whose names are unique.
pub trait Persist: Document {
    type Entity: EntityTrait<ActiveModel: Send>;

    const ID: ColumnOf<Self>;
    /// The column of names in ASCII lower case.
    const NAME: ColumnOf<Self>;
    const VERSION: ColumnOf<Self>;

    /// Parses an id into the value of its column; `None` if the text is not an id of this kind.
    fn id_value(text: &str) -> Option<Value>;

    fn new_id(now: Timestamp) -> String;

    /// Loads the objects of these rows, including their rows in other tables, in the order of the
    /// rows.
    fn load(
        connection: &impl ConnectionTrait,
        rows: Vec<ModelOf<Self>>,
    ) -> impl Future<Output = Result<Vec<Stored<Self>>, StoreError>> + Send;

    fn row(object: &Stored<Self>) -> Result<ActiveModelOf<Self>, StoreError>;

    /// Replaces the object's rows in other tables.
    fn write_parts(
        _: &DatabaseTransaction,
        _: &Stored<Self>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Ends what must not outlive an update to this object, before its row is written.
    fn before_update(
        _: &DatabaseTransaction,
        _: &Stored<Self>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Selects the rows whose name or id is `reference`.
    fn rows_called(reference: &str) -> Condition {
        let named = Condition::any().add(Self::NAME.eq(reference.to_ascii_lowercase()));
        match Self::id_value(reference) {
            Some(id) => named.add(Self::ID.eq(id)),
            None => named,
        }
    }

    /// Picks the objects that a reference means. If it is the name of one object and the id of
    /// another, the name wins.
    fn meant(mut found: Vec<Stored<Self>>, reference: &str) -> Vec<Stored<Self>> {
        let by_name = found
            .iter()
            .position(|object| object.name.eq_ignore_ascii_case(reference));
        let meant = match by_name {
            Some(at) => Some(found.swap_remove(at)),
            None => found.pop(),
        };
        meant.into_iter().collect()
    }

    /// The columns that lists are ordered by.
    fn order() -> Vec<ColumnOf<Self>> {
        vec![Self::NAME]
    }

    /// The cursor of a page that ends with this object.
    fn page_key(object: &Stored<Self>) -> String {
        object.name.to_ascii_lowercase()
    }

    /// Selects the rows after a cursor.
    fn after(page_key: &str) -> Condition {
        Condition::all().add(Self::NAME.gt(page_key))
    }

    /// Selects the rows that a filter allows.
    fn listed(_: &Filter) -> Condition {
        Condition::all()
    }

    /// How the change counter names the object: by the id where snapshots are keyed by id, else by
    /// the name.
    fn change_key(object: &Stored<Self>) -> &str;
}

type ColumnOf<D> = <<D as Persist>::Entity as EntityTrait>::Column;
type ModelOf<D> = <<D as Persist>::Entity as EntityTrait>::Model;
type ActiveModelOf<D> = <<D as Persist>::Entity as EntityTrait>::ActiveModel;

/// All objects that a reference may mean.
async fn all_called<D: Persist>(
    connection: &impl ConnectionTrait,
    reference: &str,
) -> Result<Vec<Stored<D>>, StoreError> {
    let rows = D::order()
        .into_iter()
        .fold(D::Entity::find(), QueryOrder::order_by_asc);
    let rows = rows
        .filter(D::rows_called(reference))
        .all(connection)
        .await?;
    Ok(D::meant(D::load(connection, rows).await?, reference))
}

/// The object that a reference means. Fails with [`StoreError::Ambiguous`] if there are several.
async fn find<D: Persist>(
    connection: &impl ConnectionTrait,
    name_or_id: &str,
) -> Result<Option<Stored<D>>, StoreError> {
    let mut found = all_called(connection, name_or_id).await?;
    if found.len() > 1 {
        Err(StoreError::Ambiguous(name_or_id.to_owned()))
    } else {
        Ok(found.pop())
    }
}

/// The object that a change is about, by its [`change_key`](Persist::change_key).
pub(super) async fn find_changed<D: Persist>(
    connection: &impl ConnectionTrait,
    key: &str,
) -> Result<Option<Stored<D>>, StoreError> {
    // `find` matches ids too: the name of a removed principal may be the id of another one.
    Ok(find(connection, key)
        .await?
        .filter(|object| D::change_key(object) == key))
}

/// A change of one object.
#[derive(Clone, Copy, Debug)]
pub enum Write<'a, D: Document> {
    /// Creates the object.
    Insert(&'a Stored<D>),
    /// Changes the object, if it still has this version.
    Update(&'a Stored<D>, i64),
    /// Removes the object, if it still has this version.
    Delete(&'a Stored<D>, i64),
}

impl Store {
    /// The object with this name, compared without ASCII case, or this id.
    pub async fn object<D: Persist>(
        &self,
        name_or_id: &str,
    ) -> Result<Option<Stored<D>>, StoreError> {
        find(&self.read, name_or_id).await
    }

    /// The object with this name, compared without ASCII case. Documents refer to each other by
    /// name.
    pub async fn named<D: Persist>(&self, name: &str) -> Result<Option<Stored<D>>, StoreError> {
        Ok(self
            .object::<D>(name)
            .await?
            .filter(|object| object.name.eq_ignore_ascii_case(name)))
    }

    pub async fn has_principal_id(&self, id: &str) -> Result<bool, StoreError> {
        Ok(carnet_entity::principal::Entity::find_by_id(id.to_owned())
            .one(&self.read)
            .await?
            .is_some())
    }

    /// A page of objects after the cursor `after`.
    pub async fn objects<D: Persist>(
        &self,
        after: Option<&str>,
        limit: u64,
        filter: &Filter,
    ) -> Result<Page<D>, StoreError> {
        let mut query = D::order()
            .into_iter()
            .fold(D::Entity::find(), QueryOrder::order_by_asc);
        query = query
            .filter(D::listed(filter))
            .limit(limit.saturating_add(1));
        if let Some(after) = after {
            query = query.filter(D::after(after));
        }
        let mut rows = query.all(&self.read).await?;
        let more = u64::try_from(rows.len()).unwrap_or(u64::MAX) > limit;
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let items = D::load(&self.read, rows).await?;
        let next = items.last().filter(|_| more).map(D::page_key);
        Ok(Page { items, next })
    }

    pub async fn all_objects<D: Persist>(&self) -> Result<Vec<Stored<D>>, StoreError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .objects::<D>(after.as_deref(), 1000, &Filter::default())
                .await?;
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Creates, changes or removes an object, together with its audit event and its number in the
    /// change counter. Returns that number.
    pub async fn write<D: Persist>(
        &self,
        write: Write<'_, D>,
        event: &AuditEvent,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let transaction = self.begin().await?;
        let refused = |error| constraint(error, &taken(D::KIND), &in_use(D::KIND));
        let unchanged = |object: &Stored<D>, was: i64| {
            let id = D::id_value(&object.id).ok_or_else(|| no_id(&object.id))?;
            Ok::<_, StoreError>(Condition::all().add(D::ID.eq(id)).add(D::VERSION.eq(was)))
        };
        let (object, written) = match write {
            Write::Insert(object) => {
                let insert = D::Entity::insert(D::row(object)?);
                (
                    object,
                    insert
                        .exec_without_returning(&transaction)
                        .await
                        .map_err(refused)?,
                )
            }
            Write::Update(object, was) => {
                D::before_update(&transaction, object).await?;
                let update = D::Entity::update_many()
                    .set(D::row(object)?)
                    .filter(unchanged(object, was)?);
                (
                    object,
                    update
                        .exec(&transaction)
                        .await
                        .map_err(refused)?
                        .rows_affected,
                )
            }
            Write::Delete(object, was) => {
                let delete = D::Entity::delete_many().filter(unchanged(object, was)?);
                (
                    object,
                    delete
                        .exec(&transaction)
                        .await
                        .map_err(refused)?
                        .rows_affected,
                )
            }
        };
        if written == 0 {
            return Err(StoreError::Changed);
        }
        if !matches!(write, Write::Delete(..)) {
            D::write_parts(&transaction, object).await?;
        }
        audit::insert(&transaction, &[event]).await?;
        let version = changes::record(
            &transaction,
            ChangeKind::Object(D::KIND),
            D::change_key(object),
            now,
        )
        .await?;
        transaction.commit().await?;
        event.log();
        Ok(version)
    }
}

fn taken(kind: Kind) -> String {
    format!("another {} has this name or URI", kind.noun())
}

fn in_use(kind: Kind) -> String {
    format!(
        "something refers to this {}, or it refers to something that is not there any more",
        kind.noun()
    )
}

pub(super) fn id<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| no_id(text))
}

fn no_id(text: &str) -> StoreError {
    StoreError::Corrupt(format!("`{text}` is no id of its kind"))
}

fn stored<D: Document>(
    id: String,
    name: String,
    version: i64,
    times: (i64, i64),
    document: D,
) -> Stored<D> {
    Stored {
        id,
        name,
        version,
        created_at: Timestamp::from_millis(times.0),
        updated_at: Timestamp::from_millis(times.1),
        document,
        state: D::State::default(),
    }
}
