//! Objects that people manage: read and written in one way, each change with its audit event and its number.

mod federated_credential;
mod one_table;

use std::future::Future;

use sea_orm::{ConnectionTrait, DatabaseTransaction};

pub(super) use federated_credential::with_parts;

use super::{ChangeKind, Store, StoreError, audit, changes};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::objects::{Document, FederatedCredentialDocument, Kind, Stored};

/// A stored federated credential.
pub type StoredCredential = Stored<FederatedCredentialDocument>;

/// One page of a list, in the order of names.
#[derive(Debug)]
pub struct Page<D: Document> {
    /// The objects.
    pub items: Vec<Stored<D>>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// Which objects a list holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Rules of these principals only.
    pub principals: Option<Vec<String>>,
    /// Rules of this trusted issuer only.
    pub trusted_issuer: Option<String>,
}

/// A document with a table of its own.
pub trait Persist: Document {
    /// Reads the object of this name or id.
    fn find(
        connection: &impl ConnectionTrait,
        name_or_id: &str,
    ) -> impl Future<Output = Result<Option<Stored<Self>>, StoreError>> + Send;

    /// Reads the object that a change is about, by its [`change_key`](Persist::change_key).
    fn find_changed(
        connection: &impl ConnectionTrait,
        key: &str,
    ) -> impl Future<Output = Result<Option<Stored<Self>>, StoreError>> + Send;

    /// Reads objects in the order of names, beginning after one.
    fn list(
        connection: &impl ConnectionTrait,
        after: Option<&str>,
        limit: u64,
        filter: &Filter,
    ) -> impl Future<Output = Result<Vec<Stored<Self>>, StoreError>> + Send;

    /// Inserts a new row.
    fn insert(
        transaction: &DatabaseTransaction,
        object: &Stored<Self>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Updates the row if it still has the version `was`.
    fn update(
        transaction: &DatabaseTransaction,
        object: &Stored<Self>,
        was: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes the row if it still has the version `was`.
    fn delete(
        transaction: &DatabaseTransaction,
        object: &Stored<Self>,
        was: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A new id.
    fn new_id(now: Timestamp) -> String;

    /// Where a page ends that ends with it.
    fn page_key(object: &Stored<Self>) -> String {
        object.name.to_ascii_lowercase()
    }

    /// By what changes name it: the id where snapshots are keyed by id, else the name.
    fn change_key(object: &Stored<Self>) -> &str;
}

/// A change of one object.
#[derive(Debug)]
pub enum Write<'a, D: Document> {
    /// Makes it.
    Insert(&'a Stored<D>),
    /// Changes it, if it still has this version.
    Update(&'a Stored<D>, i64),
    /// Removes it, if it still has this version.
    Delete(&'a Stored<D>, i64),
}

impl Store {
    /// The object of this name, compared without ASCII case, or this id.
    pub async fn object<D: Persist>(&self, name_or_id: &str) -> Result<Option<Stored<D>>, StoreError> {
        D::find(&self.read, name_or_id).await
    }

    /// The object of this name, compared without ASCII case: what documents refer to each other by.
    pub async fn named<D: Persist>(&self, name: &str) -> Result<Option<Stored<D>>, StoreError> {
        Ok(self.object::<D>(name).await?.filter(|object| object.name.eq_ignore_ascii_case(name)))
    }

    /// Whether a principal has this id.
    pub async fn has_principal_id(&self, id: &str) -> Result<bool, StoreError> {
        use carnet_entity::principal;
        use sea_orm::EntityTrait as _;
        Ok(principal::Entity::find_by_id(id.to_owned()).one(&self.read).await?.is_some())
    }

    /// A page of objects.
    pub async fn objects<D: Persist>(
        &self,
        after: Option<&str>,
        limit: u64,
        filter: &Filter,
    ) -> Result<Page<D>, StoreError> {
        let mut items = D::list(&self.read, after, limit.saturating_add(1), filter).await?;
        let more = u64::try_from(items.len()).unwrap_or(u64::MAX) > limit;
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = items.last().filter(|_| more).map(D::page_key);
        Ok(Page { items, next })
    }

    /// Every object of a kind.
    pub async fn all_objects<D: Persist>(&self) -> Result<Vec<Stored<D>>, StoreError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.objects::<D>(after.as_deref(), 1000, &Filter::default()).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Makes, changes or removes an object, together with its audit event and its number in the change counter.
    pub async fn write<D: Persist>(
        &self,
        write: Write<'_, D>,
        event: &AuditEvent,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let transaction = self.begin().await?;
        let object = match write {
            Write::Insert(object) => {
                D::insert(&transaction, object).await?;
                object
            }
            Write::Update(object, was) => {
                D::update(&transaction, object, was).await?;
                object
            }
            Write::Delete(object, was) => {
                D::delete(&transaction, object, was).await?;
                object
            }
        };
        audit::insert(&transaction, &[event]).await?;
        let version = changes::record(&transaction, ChangeKind::Object(D::KIND), D::change_key(object), now).await?;
        transaction.commit().await?;
        Ok(version)
    }
}

fn taken(kind: Kind) -> String {
    format!("another {} has this name or URI", kind.noun())
}

fn in_use(kind: Kind) -> String {
    format!("something refers to this {}, or it refers to something that is not there any more", kind.noun())
}

pub(super) fn id<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("`{text}` is no id of its kind")))
}

fn stored<D: Document>(id: String, name: String, version: i64, times: (i64, i64), document: D) -> Stored<D> {
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
