//! Principals, trusted issuers, resource servers and clients: a table each, with the same life. What a client's document names has
//! rows of its own, so that nothing goes away while a client refers to it.

use carnet_entity::{client, client_reference, principal, resource_server, trusted_issuer};
use sea_orm::sea_query::Condition;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use serde_json::json;

use super::{Filter, Persist, id, in_use, stored, taken};
use crate::clock::Timestamp;
use crate::ids::{ClientRowId, ResourceServerId, TrustedIssuerId};
use crate::objects::{
    ClientDocument, Document, Kind, PrincipalDocument, ResourceServerDocument, Stored, TrustedIssuerDocument,
};
use crate::store::{StoreError, constraint, json as from_json};

macro_rules! one_table {
    ($document:ident, $entity:ident, id: $id:ty, named by: $key:ident, parts: $parts:expr, $load:expr, $columns:expr) => {
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
                row.map($load).transpose()
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
                query.all(connection).await?.into_iter().map($load).collect()
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

/// Writes down what a client refers to.
async fn references(transaction: &DatabaseTransaction, object: &Stored<ClientDocument>) -> Result<(), StoreError> {
    let id = id::<ClientRowId>(&object.id)?.0;
    client_reference::Entity::delete_many().filter(client_reference::Column::ClientId.eq(id)).exec(transaction).await?;
    let document = &object.document;
    let owners = document.permissions.iter().filter_map(|permission| permission.owner.as_ref());
    let servers = document.permissions.iter().map(|permission| &permission.resource_server);
    let servers = servers.chain(&document.resource_server);
    let credentials = &document.federated_credentials;
    let named = owners
        .map(|name| (Some(name), None, None))
        .chain(servers.map(|name| (None, Some(name), None)))
        .chain(credentials.iter().map(|name| (None, None, Some(name))));
    let rows: Vec<_> = named
        .zip(0..)
        .map(|((principal, resource_server, federated_credential), position)| client_reference::ActiveModel {
            client_id: Set(id),
            position: Set(position),
            principal: Set(principal.cloned()),
            resource_server: Set(resource_server.cloned()),
            federated_credential: Set(federated_credential.cloned()),
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
    parts: no_parts,
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
    named by: id,
    parts: no_parts,
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
