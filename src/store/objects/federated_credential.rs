//! Federated credentials: two tables, and a state of their own.

use std::collections::HashMap;

use carnet_entity::{credential_actor, federated_credential, permission};
use sea_orm::sea_query::Condition;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use serde_json::{Map, Value, json};

use super::{Filter, Persist, StoredCredential, id, in_use, stored, taken};
use crate::clock::Timestamp;
use crate::ids::CredentialId;
use crate::objects::{CredentialState, Document as _, FederatedCredentialDocument, Kind, PermissionDocument, Stored};
use crate::store::{StoreError, constraint, json as from_json};

impl Persist for FederatedCredentialDocument {
    async fn find(connection: &impl ConnectionTrait, name_or_id: &str) -> Result<Option<Stored<Self>>, StoreError> {
        let mut wanted =
            Condition::any().add(federated_credential::Column::NameFolded.eq(name_or_id.to_ascii_lowercase()));
        if let Ok(id) = name_or_id.parse::<CredentialId>() {
            wanted = wanted.add(federated_credential::Column::Id.eq(id.0));
        }
        let mut rows = federated_credential::Entity::find().filter(wanted).all(connection).await?;
        rows.sort_by_key(|row| row.name_folded != name_or_id.to_ascii_lowercase());
        rows.truncate(1);
        Ok(with_parts(connection, rows).await?.pop())
    }

    async fn find_changed(connection: &impl ConnectionTrait, key: &str) -> Result<Option<Stored<Self>>, StoreError> {
        let id: CredentialId = id(key)?;
        let rows = federated_credential::Entity::find_by_id(id.0).all(connection).await?;
        Ok(with_parts(connection, rows).await?.pop())
    }

    async fn list(
        connection: &impl ConnectionTrait,
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
        with_parts(connection, rows).await
    }

    async fn insert(transaction: &DatabaseTransaction, object: &Stored<Self>) -> Result<(), StoreError> {
        federated_credential::Entity::insert(credential_row(object)?)
            .exec_without_returning(transaction)
            .await
            .map_err(|error| constraint(error, &taken(Self::KIND), &in_use(Self::KIND)))?;
        insert_parts(transaction, object).await
    }

    async fn update(transaction: &DatabaseTransaction, object: &Stored<Self>, was: i64) -> Result<(), StoreError> {
        let mut row = credential_row(object)?;
        // Written by whoever issues tokens, and never by whoever edits.
        row.last_used_at = NotSet;
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
        let actors = credential_actor::Entity::delete_many();
        actors.filter(credential_actor::Column::CredentialId.eq(id)).exec(transaction).await?;
        insert_parts(transaction, object).await
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

    fn change_key(object: &Stored<Self>) -> &str {
        &object.id
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

async fn insert_parts(
    transaction: &DatabaseTransaction,
    object: &Stored<FederatedCredentialDocument>,
) -> Result<(), StoreError> {
    let refused = |error| constraint(error, &taken(Kind::FederatedCredential), &in_use(Kind::FederatedCredential));
    let id = id::<CredentialId>(&object.id)?.0;
    let rows = object.document.permissions.iter().zip(0..).map(|(given, position)| permission::ActiveModel {
        credential_id: Set(id),
        position: Set(position),
        resource_server: Set(given.resource_server.clone()),
        owner: Set(given.owner.clone()),
        actions: Set(json!(given.actions).to_string()),
        packages: Set(json!(given.packages).to_string()),
    });
    permission::Entity::insert_many(rows).exec_without_returning(transaction).await.map_err(refused)?;
    let actors: Vec<_> = object
        .document
        .actors
        .iter()
        .zip(0..)
        .map(|(actor, position)| credential_actor::ActiveModel {
            credential_id: Set(id),
            position: Set(position),
            actor: Set(actor.clone()),
        })
        .collect();
    if !actors.is_empty() {
        credential_actor::Entity::insert_many(actors).exec_without_returning(transaction).await.map_err(refused)?;
    }
    Ok(())
}

/// The credentials of these rows, each with its permissions and actors, in the order of the rows.
pub(in crate::store) async fn with_parts(
    connection: &impl ConnectionTrait,
    rows: Vec<federated_credential::Model>,
) -> Result<Vec<StoredCredential>, StoreError> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let mut permissions = HashMap::<_, Vec<permission::Model>>::new();
    let mut actors = HashMap::<_, Vec<String>>::new();
    if !ids.is_empty() {
        let all = credential_actor::Entity::find()
            .filter(credential_actor::Column::CredentialId.is_in(ids.iter().copied()))
            .order_by_asc(credential_actor::Column::Position)
            .all(connection)
            .await?;
        for row in all {
            actors.entry(row.credential_id).or_default().push(row.actor);
        }
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
            let actors = actors.remove(&row.id).unwrap_or_default();
            credential(row, permissions, actors)
        })
        .collect()
}

fn credential(
    row: federated_credential::Model,
    permissions: Vec<permission::Model>,
    actors: Vec<String>,
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
        actors,
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
