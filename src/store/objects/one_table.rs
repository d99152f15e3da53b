//! Principals, trusted issuers, resource servers and clients: a table each, with the same life. What a client's document names has
//! rows of its own, so that nothing goes away while a client refers to it.

use std::collections::HashMap;

use carnet_entity::{acts_for, client, client_reference, principal, resource_server, trusted_issuer};
use sea_orm::sea_query::Condition;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use serde_json::json;

use super::{Filter, Persist, id, in_use, stored, taken};
use crate::clock::Timestamp;
use crate::ids::{ClientRowId, CredentialId, ResourceServerId, TrustedIssuerId};
use crate::objects::{
    ClientDocument, Document, Kind, PrincipalDocument, ResourceServerDocument, Stored, TrustedIssuerDocument,
};
use crate::scope::ADMIN_CREDENTIALS_OF;
use crate::store::{StoreError, constraint, json as from_json};

macro_rules! one_table {
    ($document:ident, $entity:ident, id: $id:ty, named by: $key:ident, parts: $parts:expr, with: $with:expr, $load:expr, $columns:expr) => {
        impl Persist for $document {
            async fn find(
                connection: &impl ConnectionTrait,
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
                let found: Option<Result<Stored<Self>, StoreError>> = row.map($load);
                let found = found.transpose()?.into_iter().collect();
                Ok($with(connection, found).await?.pop())
            }

            async fn find_changed(
                connection: &impl ConnectionTrait,
                key: &str,
            ) -> Result<Option<Stored<Self>>, StoreError> {
                // Ids are given by the server and names by people: a name that looks like an id must not hide it.
                let object = Self::find(connection, key).await?;
                Ok(object.filter(|object| object.$key == key))
            }

            async fn list(
                connection: &impl ConnectionTrait,
                after: Option<&str>,
                limit: u64,
                _: &Filter,
            ) -> Result<Vec<Stored<Self>>, StoreError> {
                let mut query = $entity::Entity::find().order_by_asc($entity::Column::NameFolded).limit(limit);
                if let Some(after) = after {
                    query = query.filter($entity::Column::NameFolded.gt(after));
                }
                let rows = query.all(connection).await?;
                let found = rows.into_iter().map($load).collect::<Result<Vec<_>, StoreError>>()?;
                $with(connection, found).await
            }

            async fn insert(transaction: &DatabaseTransaction, object: &Stored<Self>) -> Result<(), StoreError> {
                let row: $entity::ActiveModel = $columns(object)?;
                $entity::Entity::insert(row)
                    .exec_without_returning(transaction)
                    .await
                    .map_err(|error| constraint(error, &taken(Self::KIND), &in_use(Self::KIND)))?;
                $parts(transaction, object).await
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
                if updated.rows_affected == 0 {
                    return Err(StoreError::Changed);
                }
                $parts(transaction, object).await
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

            fn change_key(object: &Stored<Self>) -> &str {
                &object.$key
            }
        }
    };
}

/// Most documents have no parts beside their row.
fn no_parts<D: Document>(_: &DatabaseTransaction, _: &Stored<D>) -> impl Future<Output = Result<(), StoreError>> {
    std::future::ready(Ok(()))
}

/// Nor is anything of them read from elsewhere.
fn as_read<D: Document>(
    _: &impl ConnectionTrait,
    objects: Vec<Stored<D>>,
) -> impl Future<Output = Result<Vec<Stored<D>>, StoreError>> {
    std::future::ready(Ok(objects))
}

/// Writes down what a client refers to.
async fn references(transaction: &DatabaseTransaction, object: &Stored<ClientDocument>) -> Result<(), StoreError> {
    let id = id::<ClientRowId>(&object.id)?.0;
    client_reference::Entity::delete_many().filter(client_reference::Column::ClientId.eq(id)).exec(transaction).await?;
    let document = &object.document;
    let owners = document.permissions.iter().filter_map(|permission| permission.owner.as_ref());
    let servers = document.permissions.iter().map(|permission| &permission.resource_server);
    let servers = servers.chain(&document.resource_server);
    let scoped = document.scopes.iter().filter_map(|scope| scope.strip_prefix(ADMIN_CREDENTIALS_OF));
    let rules = object.state.listed.iter().filter_map(|rule| {
        Some((rule.credential.parse::<CredentialId>().ok()?.0, i32::try_from(rule.revision).unwrap_or(i32::MAX)))
    });
    let named = owners
        .map(String::as_str)
        .chain(scoped)
        .map(|name| (Some(name), None, None))
        .chain(servers.map(|name| (None, Some(name.as_str()), None)))
        .chain(rules.map(|rule| (None, None, Some(rule))));
    let rows: Vec<_> = named
        .zip(0..)
        .map(|((principal, resource_server, rule), position)| client_reference::ActiveModel {
            client_id: Set(id),
            position: Set(position),
            principal: Set(principal.map(str::to_owned)),
            resource_server: Set(resource_server.map(str::to_owned)),
            credential_id: Set(rule.map(|(id, _)| id)),
            revision: Set(rule.map(|(_, revision)| revision)),
        })
        .collect();
    if !rows.is_empty() {
        client_reference::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(|error| constraint(error, &taken(Kind::Client), &in_use(Kind::Client)))?;
    }
    Ok(())
}

/// Writes down for whose packages a principal's rules may be good.
async fn owners(transaction: &DatabaseTransaction, object: &Stored<PrincipalDocument>) -> Result<(), StoreError> {
    let before = acts_for::Entity::delete_many().filter(acts_for::Column::Principal.eq(&object.name));
    before.exec(transaction).await?;
    let rows: Vec<_> = object
        .document
        .acts_for
        .iter()
        .zip(0..)
        .map(|(owner, position)| acts_for::ActiveModel {
            principal: Set(object.name.clone()),
            position: Set(position),
            owner: Set(owner.clone()),
        })
        .collect();
    if !rows.is_empty() {
        acts_for::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(|error| constraint(error, &taken(Kind::Principal), &in_use(Kind::Principal)))?;
    }
    Ok(())
}

/// The owners for whose packages these principals' rules may be good.
async fn with_owners(
    connection: &impl ConnectionTrait,
    mut principals: Vec<Stored<PrincipalDocument>>,
) -> Result<Vec<Stored<PrincipalDocument>>, StoreError> {
    if principals.is_empty() {
        return Ok(principals);
    }
    // One statement has only so many parameters.
    let mut owners: HashMap<String, Vec<String>> = HashMap::new();
    for some in principals.chunks(500) {
        let rows = acts_for::Entity::find()
            .filter(acts_for::Column::Principal.is_in(some.iter().map(|principal| &principal.name)))
            .order_by_asc(acts_for::Column::Position)
            .all(connection)
            .await?;
        for row in rows {
            owners.entry(row.principal).or_default().push(row.owner);
        }
    }
    for principal in &mut principals {
        principal.document.acts_for = owners.remove(&principal.name).unwrap_or_default();
    }
    Ok(principals)
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

one_table!(
    PrincipalDocument,
    principal,
    id: PrincipalId,
    named by: name,
    parts: owners,
    with: with_owners,
    |row: principal::Model| {
        let document = Self {
            id: Some(row.id.clone()),
            kind: row.kind.parse().map_err(|()| StoreError::Corrupt(format!("kind {}", row.kind)))?,
            external_id: row.external_id,
            display_name: row.display_name,
            acts_for: Vec::new(),
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
    named by: id,
    parts: no_parts,
    with: as_read,
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
    named by: name,
    parts: no_parts,
    with: as_read,
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
    named by: name,
    parts: references,
    with: as_read,
    |row: client::Model| {
        let document = from_json(&row.document)?;
        let state = row.state.as_deref().map(from_json).transpose()?;
        let id = ClientRowId(row.id).to_string();
        let stored = stored(id, row.name, row.version, (row.created_at, row.updated_at), document);
        Ok(Stored { state: state.unwrap_or_default(), ..stored })
    },
    |object: &Stored<Self>| -> Result<_, StoreError> {
        Ok(client::ActiveModel {
            state: Set(Some(json!(object.state).to_string())),
            id: Set(id::<ClientRowId>(&object.id)?.0),
            name: Set(object.name.clone()),
            name_folded: Set(object.name.to_ascii_lowercase()),
            auth_method: Set(object.document.auth_method.as_str().to_owned()),
            enabled: Set(object.document.enabled),
            document: Set(json!(object.document).to_string()),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
        })
    }
);
