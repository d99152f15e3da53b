//! Federated credentials: two tables, and a state of their own.

use std::collections::HashMap;

use carnet_entity::{credential_actor, federated_credential, permission};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _, ExprTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Filter, Persist, StoredCredential, id, in_use, stored, taken};
use crate::clock::Timestamp;
use crate::ids::CredentialId;
use crate::model::Listed;
use crate::objects::{
    CredentialState, Document as _, FederatedCredentialDocument, Kind, PermissionDocument, Stored, Vouching,
};
use crate::store::{Store, StoreError, constraint, json as from_json};

impl Persist for FederatedCredentialDocument {
    async fn find(connection: &impl ConnectionTrait, name_or_id: &str) -> Result<Option<Stored<Self>>, StoreError> {
        let mut found = all_called(connection, name_or_id).await?;
        if found.len() > 1 {
            return Err(StoreError::Ambiguous(name_or_id.to_owned()));
        }
        Ok(found.pop())
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
        let mut query = federated_credential::Entity::find()
            .order_by_asc(federated_credential::Column::NameFolded)
            .order_by_asc(federated_credential::Column::Principal)
            .limit(limit);
        if let Some(after) = after {
            let (name, principal) = after.split_once(':').unwrap_or((after, ""));
            let same = federated_credential::Column::NameFolded.eq(name);
            let later = same.and(federated_credential::Column::Principal.gt(principal));
            query = query.filter(federated_credential::Column::NameFolded.gt(name).or(later));
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
            .filter(federated_credential::Column::Id.eq(id::<CredentialId>(&object.id)?.0))
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
            .filter(federated_credential::Column::Id.eq(id::<CredentialId>(&object.id)?.0))
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

    fn page_key(object: &Stored<Self>) -> String {
        format!("{}:{}", object.name.to_ascii_lowercase(), object.document.principal)
    }
}

/// The rules that a reference may mean: an id, `principal:name`, or a name that those of several principals may have.
async fn all_called(connection: &impl ConnectionTrait, reference: &str) -> Result<Vec<StoredCredential>, StoreError> {
    let query = federated_credential::Entity::find();
    let rows = if let Ok(id) = reference.parse::<CredentialId>() {
        query.filter(federated_credential::Column::Id.eq(id.0)).all(connection).await?
    } else {
        let (principal, name) = reference.split_once(':').map_or((None, reference), |(of, name)| (Some(of), name));
        let named = query.filter(federated_credential::Column::NameFolded.eq(name.to_ascii_lowercase()));
        let mut rows = named.order_by_asc(federated_credential::Column::Principal).all(connection).await?;
        rows.retain(|row| principal.is_none_or(|principal| principal.eq_ignore_ascii_case(&row.principal)));
        rows
    };
    with_parts(connection, rows).await
}

impl Store {
    /// How many rules a principal has about a trusted issuer.
    pub async fn count_credentials(&self, principal: &str, trusted_issuer: &str) -> Result<u64, StoreError> {
        let own = federated_credential::Entity::find().filter(federated_credential::Column::Principal.eq(principal));
        let count =
            own.filter(federated_credential::Column::TrustedIssuer.eq(trusted_issuer)).count(&self.read).await?;
        Ok(count)
    }

    /// The rules of a time when nobody was asked who vouches for them.
    pub async fn assumed_credentials(&self) -> Result<Vec<CredentialId>, StoreError> {
        let ids: Vec<Uuid> = federated_credential::Entity::find()
            .select_only()
            .column(federated_credential::Column::Id)
            .filter(federated_credential::Column::Consent.eq(Vouching::Assumed.as_str()))
            .into_tuple()
            .all(&self.read)
            .await?;
        Ok(ids.into_iter().map(CredentialId).collect())
    }

    /// The rules that a reference may mean: an id, `principal:name`, or a name that those of several principals may have.
    pub async fn credentials_called(&self, reference: &str) -> Result<Vec<StoredCredential>, StoreError> {
        all_called(&self.read, reference).await
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
        consent: Set(state.vouching.as_str().to_owned()),
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
        .state
        .actors
        .iter()
        .zip(0..)
        .map(|(actor, position)| credential_actor::ActiveModel {
            credential_id: Set(id),
            position: Set(position),
            actor_id: Set(actor.id.0),
            revision: Set(i32::try_from(actor.revision).unwrap_or(i32::MAX)),
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
    let mut actors = HashMap::<_, Vec<(Listed, String)>>::new();
    if !ids.is_empty() {
        let all = credential_actor::Entity::find()
            .filter(credential_actor::Column::CredentialId.is_in(ids.iter().copied()))
            .order_by_asc(credential_actor::Column::Position)
            .all(connection)
            .await?;
        let actor_ids: Vec<_> = all.iter().map(|row| row.actor_id).collect();
        let known = names_of(connection, actor_ids).await?;
        for row in all {
            let Some((name, principal)) = known.get(&row.actor_id).cloned() else { continue };
            let revision = u32::try_from(row.revision).unwrap_or_default();
            let actor = Listed { name, id: CredentialId(row.actor_id), revision };
            actors.entry(row.credential_id).or_default().push((actor, principal));
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

/// Name and principal of these rules.
async fn names_of(
    connection: &impl ConnectionTrait,
    ids: Vec<Uuid>,
) -> Result<HashMap<Uuid, (String, String)>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, String, String)> = federated_credential::Entity::find()
        .select_only()
        .columns([
            federated_credential::Column::Id,
            federated_credential::Column::Name,
            federated_credential::Column::Principal,
        ])
        .filter(federated_credential::Column::Id.is_in(ids))
        .into_tuple()
        .all(connection)
        .await?;
    Ok(rows.into_iter().map(|(id, name, principal)| (id, (name, principal))).collect())
}

fn credential(
    row: federated_credential::Model,
    permissions: Vec<permission::Model>,
    actors: Vec<(Listed, String)>,
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
    // As the shortest that is sure to mean the same: a name among one's own needs no principal.
    let reference = |(actor, principal): &(Listed, String)| {
        if *principal == row.principal { actor.name.clone() } else { format!("{principal}:{}", actor.name) }
    };
    let references = actors.iter().map(reference).collect();
    let document = FederatedCredentialDocument {
        principal: row.principal,
        trusted_issuer: row.trusted_issuer,
        matcher: from_json(&row.matcher)?,
        permissions,
        actors: references,
        vouched: None,
        expires_at: time(row.expires_at),
        review_at: time(row.review_at),
        enabled: row.enabled,
    };
    let state = CredentialState {
        pinned: pinned.unwrap_or_default(),
        pending_until: time(row.pending_until),
        vouching: Vouching::from_word(&row.consent),
        actors: actors.into_iter().map(|(actor, _)| actor).collect(),
        revision: u32::try_from(row.revision).unwrap_or_default(),
        last_used_at: time(row.last_used_at),
    };
    let id = CredentialId(row.id).to_string();
    let stored = stored(id, row.name, row.version, (row.created_at, row.updated_at), document);
    Ok(Stored { state, ..stored })
}
