//! Objects that people manage: one table each, with the same life.

use std::future::Future;

use carnet_entity::{client, federated_credential, permission, principal, resource_server, trusted_issuer};
use sea_orm::sea_query::Condition;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder as _,
    QuerySelect as _,
};
use serde_json::{Map, Value, json};

use super::{ChangeKind, Store, StoreError, audit, changes, constraint, json as from_json};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::{ClientRowId, CredentialId, ResourceServerId, TrustedIssuerId};
use crate::objects::{
    AuthMethod, ClientDocument, CredentialState, Document, FederatedCredentialDocument, Kind, PermissionDocument,
    PrincipalDocument, ResourceServerDocument, Stored, TrustedIssuerDocument,
};

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
        connection: &(impl ConnectionTrait + Sync),
        name_or_id: &str,
    ) -> impl Future<Output = Result<Option<Stored<Self>>, StoreError>> + Send;

    /// Reads objects in the order of names, beginning after one.
    fn list(
        connection: &(impl ConnectionTrait + Sync),
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

    /// By what changes name it: the id where snapshots are keyed by id, else the name.
    fn change_key(object: &Stored<Self>) -> String {
        object.name.clone()
    }
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
        let next = items.last().filter(|_| more).map(|last| last.name.to_ascii_lowercase());
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
        let version = changes::record(&transaction, ChangeKind::Object(D::KIND), &D::change_key(object), now).await?;
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

macro_rules! one_table {
    ($document:ident, $entity:ident, id: $id:ty, $load:expr, $columns:expr) => {
        impl Persist for $document {
            async fn find(
                connection: &(impl ConnectionTrait + Sync),
                name_or_id: &str,
            ) -> Result<Option<Stored<Self>>, StoreError> {
                let folded = name_or_id.to_ascii_lowercase();
                let mut wanted = Condition::any().add($entity::Column::NameFolded.eq(folded));
                if let Ok(id) = name_or_id.parse::<$id>() {
                    wanted = wanted.add($entity::Column::Id.eq(id.0));
                }
                let rows = $entity::Entity::find().filter(wanted).all(connection).await?;
                // The name of one may be the id of another: the name counts.
                let by_name = |row: &&$entity::Model| row.name_folded == name_or_id.to_ascii_lowercase();
                let row = rows.iter().find(by_name).or(rows.first()).cloned();
                row.map($load).transpose()
            }

            async fn list(
                connection: &(impl ConnectionTrait + Sync),
                after: Option<&str>,
                limit: u64,
                _: &Filter,
            ) -> Result<Vec<Stored<Self>>, StoreError> {
                let mut query = $entity::Entity::find().order_by_asc($entity::Column::NameFolded).limit(limit);
                if let Some(after) = after {
                    query = query.filter($entity::Column::NameFolded.gt(after));
                }
                query.all(connection).await?.into_iter().map($load).collect()
            }

            async fn insert(transaction: &DatabaseTransaction, object: &Stored<Self>) -> Result<(), StoreError> {
                let row: $entity::ActiveModel = $columns(object)?;
                $entity::Entity::insert(row)
                    .exec_without_returning(transaction)
                    .await
                    .map_err(|error| constraint(error, &taken(Self::KIND), &in_use(Self::KIND)))?;
                Ok(())
            }

            async fn update(
                transaction: &DatabaseTransaction,
                object: &Stored<Self>,
                was: i64,
            ) -> Result<(), StoreError> {
                let row: $entity::ActiveModel = $columns(object)?;
                let updated = $entity::Entity::update_many()
                    .set(row)
                    .filter($entity::Column::NameFolded.eq(object.name.to_ascii_lowercase()))
                    .filter($entity::Column::Version.eq(was))
                    .exec(transaction)
                    .await
                    .map_err(|error| constraint(error, &taken(Self::KIND), &in_use(Self::KIND)))?;
                if updated.rows_affected == 0 { Err(StoreError::Changed) } else { Ok(()) }
            }

            async fn delete(
                transaction: &DatabaseTransaction,
                object: &Stored<Self>,
                was: i64,
            ) -> Result<(), StoreError> {
                let deleted = $entity::Entity::delete_many()
                    .filter($entity::Column::NameFolded.eq(object.name.to_ascii_lowercase()))
                    .filter($entity::Column::Version.eq(was))
                    .exec(transaction)
                    .await
                    .map_err(|error| constraint(error, &taken(Self::KIND), &in_use(Self::KIND)))?;
                if deleted.rows_affected == 0 { Err(StoreError::Changed) } else { Ok(()) }
            }

            fn new_id(now: Timestamp) -> String {
                <$id>::new(now).to_string()
            }
        }
    };
}

/// The id of a principal is any text.
struct PrincipalId(String);

impl std::str::FromStr for PrincipalId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.is_empty() { Err(()) } else { Ok(Self(text.to_owned())) }
    }
}

impl PrincipalId {
    fn new(now: Timestamp) -> Self {
        Self(format!("pr_{}", crate::ids::base32(crate::ids::new(now))))
    }
}

impl std::fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn id<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("`{text}` is no id of its kind")))
}

one_table!(
    PrincipalDocument,
    principal,
    id: PrincipalId,
    |row: principal::Model| {
        let document = Self {
            id: Some(row.id.clone()),
            kind: row.kind.parse().map_err(|()| StoreError::Corrupt(format!("kind {}", row.kind)))?,
            external_id: row.external_id,
            display_name: row.display_name,
            enabled: row.enabled,
        };
        Ok(stored(row.id, row.name, row.version, (row.created_at, row.updated_at), document))
    },
    |object: &Stored<Self>| -> Result<_, StoreError> {
        Ok(principal::ActiveModel {
            id: Set(object.id.clone()),
            name: Set(object.name.clone()),
            name_folded: Set(object.name.to_ascii_lowercase()),
            kind: Set(object.document.kind.as_str().to_owned()),
            external_id: Set(object.document.external_id.clone()),
            display_name: Set(object.document.display_name.clone()),
            enabled: Set(object.document.enabled),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
        })
    }
);

one_table!(
    TrustedIssuerDocument,
    trusted_issuer,
    id: TrustedIssuerId,
    |row: trusted_issuer::Model| {
        let document = from_json(&row.document)?;
        let id = TrustedIssuerId(row.id).to_string();
        Ok(stored(id, row.name, row.version, (row.created_at, row.updated_at), document))
    },
    |object: &Stored<Self>| -> Result<_, StoreError> {
        Ok(trusted_issuer::ActiveModel {
            id: Set(id::<TrustedIssuerId>(&object.id)?.0),
            name: Set(object.name.clone()),
            name_folded: Set(object.name.to_ascii_lowercase()),
            issuer: Set(object.document.issuer.clone()),
            owner: Set(object.document.owner.clone()),
            enabled: Set(object.document.enabled),
            document: Set(json!(object.document).to_string()),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
        })
    }
);

one_table!(
    ResourceServerDocument,
    resource_server,
    id: ResourceServerId,
    |row: resource_server::Model| {
        let document = from_json(&row.document)?;
        let id = ResourceServerId(row.id).to_string();
        Ok(stored(id, row.name, row.version, (row.created_at, row.updated_at), document))
    },
    |object: &Stored<Self>| -> Result<_, StoreError> {
        Ok(resource_server::ActiveModel {
            id: Set(id::<ResourceServerId>(&object.id)?.0),
            name: Set(object.name.clone()),
            name_folded: Set(object.name.to_ascii_lowercase()),
            resource: Set(object.document.resource.clone()),
            enabled: Set(object.document.enabled),
            document: Set(json!(object.document).to_string()),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
        })
    }
);

one_table!(
    ClientDocument,
    client,
    id: ClientRowId,
    |row: client::Model| {
        let document = from_json(&row.document)?;
        let id = ClientRowId(row.id).to_string();
        Ok(stored(id, row.name, row.version, (row.created_at, row.updated_at), document))
    },
    |object: &Stored<Self>| -> Result<_, StoreError> {
        let AuthMethod::None = object.document.auth_method;
        Ok(client::ActiveModel {
            id: Set(id::<ClientRowId>(&object.id)?.0),
            name: Set(object.name.clone()),
            name_folded: Set(object.name.to_ascii_lowercase()),
            auth_method: Set("none".to_owned()),
            enabled: Set(object.document.enabled),
            document: Set(json!(object.document).to_string()),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
        })
    }
);

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

// === federated credentials: two tables, and a state of their own ===

impl Persist for FederatedCredentialDocument {
    async fn find(
        connection: &(impl ConnectionTrait + Sync),
        name_or_id: &str,
    ) -> Result<Option<Stored<Self>>, StoreError> {
        let mut wanted =
            Condition::any().add(federated_credential::Column::NameFolded.eq(name_or_id.to_ascii_lowercase()));
        if let Ok(id) = name_or_id.parse::<CredentialId>() {
            wanted = wanted.add(federated_credential::Column::Id.eq(id.0));
        }
        let mut rows = federated_credential::Entity::find().filter(wanted).all(connection).await?;
        rows.sort_by_key(|row| row.name_folded != name_or_id.to_ascii_lowercase());
        rows.truncate(1);
        Ok(with_permissions(connection, rows).await?.pop())
    }

    async fn list(
        connection: &(impl ConnectionTrait + Sync),
        after: Option<&str>,
        limit: u64,
        filter: &Filter,
    ) -> Result<Vec<Stored<Self>>, StoreError> {
        let mut query =
            federated_credential::Entity::find().order_by_asc(federated_credential::Column::NameFolded).limit(limit);
        if let Some(after) = after {
            query = query.filter(federated_credential::Column::NameFolded.gt(after));
        }
        if let Some(principals) = &filter.principals {
            query = query.filter(federated_credential::Column::Principal.is_in(principals));
        }
        if let Some(issuer) = &filter.trusted_issuer {
            query = query.filter(federated_credential::Column::TrustedIssuer.eq(issuer));
        }
        let rows = query.all(connection).await?;
        with_permissions(connection, rows).await
    }

    async fn insert(transaction: &DatabaseTransaction, object: &Stored<Self>) -> Result<(), StoreError> {
        federated_credential::Entity::insert(credential_row(object)?)
            .exec_without_returning(transaction)
            .await
            .map_err(|error| constraint(error, &taken(Self::KIND), &in_use(Self::KIND)))?;
        insert_permissions(transaction, object).await
    }

    async fn update(transaction: &DatabaseTransaction, object: &Stored<Self>, was: i64) -> Result<(), StoreError> {
        let mut row = credential_row(object)?;
        // Written by whoever issues tokens, and never by whoever edits.
        row.last_used_at = sea_orm::ActiveValue::NotSet;
        let updated = federated_credential::Entity::update_many()
            .set(row)
            .filter(federated_credential::Column::NameFolded.eq(object.name.to_ascii_lowercase()))
            .filter(federated_credential::Column::Version.eq(was))
            .exec(transaction)
            .await
            .map_err(|error| constraint(error, &taken(Self::KIND), &in_use(Self::KIND)))?;
        if updated.rows_affected == 0 {
            return Err(StoreError::Changed);
        }
        let id = id::<CredentialId>(&object.id)?.0;
        permission::Entity::delete_many().filter(permission::Column::CredentialId.eq(id)).exec(transaction).await?;
        insert_permissions(transaction, object).await
    }

    async fn delete(transaction: &DatabaseTransaction, object: &Stored<Self>, was: i64) -> Result<(), StoreError> {
        let deleted = federated_credential::Entity::delete_many()
            .filter(federated_credential::Column::NameFolded.eq(object.name.to_ascii_lowercase()))
            .filter(federated_credential::Column::Version.eq(was))
            .exec(transaction)
            .await
            .map_err(|error| constraint(error, &taken(Self::KIND), &in_use(Self::KIND)))?;
        if deleted.rows_affected == 0 { Err(StoreError::Changed) } else { Ok(()) }
    }

    fn new_id(now: Timestamp) -> String {
        CredentialId::new(now).to_string()
    }

    fn change_key(object: &Stored<Self>) -> String {
        object.id.clone()
    }
}

fn credential_row(
    object: &Stored<FederatedCredentialDocument>,
) -> Result<federated_credential::ActiveModel, StoreError> {
    let Stored { document, state, .. } = object;
    let pinned = (!state.pinned.is_empty()).then(|| Value::Object(state.pinned.clone()).to_string());
    Ok(federated_credential::ActiveModel {
        id: Set(id::<CredentialId>(&object.id)?.0),
        name: Set(object.name.clone()),
        name_folded: Set(object.name.to_ascii_lowercase()),
        principal: Set(document.principal.clone()),
        trusted_issuer: Set(document.trusted_issuer.clone()),
        matcher: Set(Value::Object(document.matcher.clone()).to_string()),
        pinned: Set(pinned),
        pending_until: Set(state.pending_until.map(Timestamp::millis)),
        expires_at: Set(document.expires_at.map(Timestamp::millis)),
        review_at: Set(document.review_at.map(Timestamp::millis)),
        enabled: Set(document.enabled),
        revision: Set(i32::try_from(state.revision).unwrap_or(i32::MAX)),
        version: Set(object.version),
        created_at: Set(object.created_at.millis()),
        updated_at: Set(object.updated_at.millis()),
        last_used_at: Set(state.last_used_at.map(Timestamp::millis)),
    })
}

async fn insert_permissions(
    transaction: &DatabaseTransaction,
    object: &Stored<FederatedCredentialDocument>,
) -> Result<(), StoreError> {
    let id = id::<CredentialId>(&object.id)?.0;
    let rows = object.document.permissions.iter().zip(0..).map(|(given, position)| permission::ActiveModel {
        credential_id: Set(id),
        position: Set(position),
        resource_server: Set(given.resource_server.clone()),
        owner: Set(given.owner.clone()),
        actions: Set(json!(given.actions).to_string()),
        packages: Set(json!(given.packages).to_string()),
    });
    permission::Entity::insert_many(rows)
        .exec_without_returning(transaction)
        .await
        .map_err(|error| constraint(error, &taken(Kind::FederatedCredential), &in_use(Kind::FederatedCredential)))?;
    Ok(())
}

pub(super) async fn with_permissions(
    connection: &(impl ConnectionTrait + Sync),
    rows: Vec<federated_credential::Model>,
) -> Result<Vec<StoredCredential>, StoreError> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let mut permissions = std::collections::HashMap::<_, Vec<permission::Model>>::new();
    if !ids.is_empty() {
        let all = permission::Entity::find()
            .filter(permission::Column::CredentialId.is_in(ids))
            .order_by_asc(permission::Column::Position)
            .all(connection)
            .await?;
        for row in all {
            permissions.entry(row.credential_id).or_default().push(row);
        }
    }
    rows.into_iter()
        .map(|row| {
            let permissions = permissions.remove(&row.id).unwrap_or_default();
            credential(row, permissions)
        })
        .collect()
}

fn credential(
    row: federated_credential::Model,
    permissions: Vec<permission::Model>,
) -> Result<StoredCredential, StoreError> {
    let permissions = permissions
        .into_iter()
        .map(|row| {
            Ok(PermissionDocument {
                resource_server: row.resource_server,
                actions: from_json(&row.actions)?,
                packages: from_json(&row.packages)?,
                owner: row.owner,
            })
        })
        .collect::<Result<_, StoreError>>()?;
    let pinned: Option<Map<String, Value>> = row.pinned.as_deref().map(from_json).transpose()?;
    let time = |at: Option<i64>| at.map(Timestamp::from_millis);
    let document = FederatedCredentialDocument {
        principal: row.principal,
        trusted_issuer: row.trusted_issuer,
        matcher: from_json(&row.matcher)?,
        permissions,
        expires_at: time(row.expires_at),
        review_at: time(row.review_at),
        enabled: row.enabled,
    };
    let state = CredentialState {
        pinned: pinned.unwrap_or_default(),
        pending_until: time(row.pending_until),
        revision: u32::try_from(row.revision).unwrap_or_default(),
        last_used_at: time(row.last_used_at),
    };
    let id = CredentialId(row.id).to_string();
    let stored = stored(id, row.name, row.version, (row.created_at, row.updated_at), document);
    Ok(Stored { state, ..stored })
}
