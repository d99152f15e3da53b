//! Clients. The objects that a client's document names are also rows of `client_reference`, whose
//! foreign keys keep those objects from being removed.

use carnet_entity::{client, client_reference};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _,
    QueryFilter as _, Value,
};
use serde_json::json;

use super::{Persist, id, in_use, stored, taken};
use crate::clock::Timestamp;
use crate::documents::{ClientDocument, Kind, Stored};
use crate::ids::{ClientRowId, CredentialId};
use crate::scope::limited_scope;
use crate::store::{StoreError, constraint, json as from_json};

impl Persist for ClientDocument {
    type Entity = client::Entity;

    const ID: client::Column = client::Column::Id;
    const NAME: client::Column = client::Column::NameFolded;
    const VERSION: client::Column = client::Column::Version;

    fn id_value(text: &str) -> Option<Value> {
        Some(text.parse::<ClientRowId>().ok()?.0.into())
    }

    fn new_id(now: Timestamp) -> String {
        ClientRowId::new(now).to_string()
    }

    async fn load(
        _: &impl ConnectionTrait,
        rows: Vec<client::Model>,
    ) -> Result<Vec<Stored<Self>>, StoreError> {
        let of_row = |row: client::Model| {
            let document = from_json(&row.document)?;
            let state = row.state.as_deref().map(from_json).transpose()?;
            let id = ClientRowId(row.id).to_string();
            let stored = stored(
                id,
                row.name,
                row.version,
                (row.created_at, row.updated_at),
                document,
            );
            Ok(Stored {
                state: state.unwrap_or_default(),
                ..stored
            })
        };
        rows.into_iter().map(of_row).collect()
    }

    fn row(object: &Stored<Self>) -> Result<client::ActiveModel, StoreError> {
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

    async fn write_parts(
        transaction: &DatabaseTransaction,
        object: &Stored<Self>,
    ) -> Result<(), StoreError> {
        write_references(transaction, object).await
    }

    fn change_key(object: &Stored<Self>) -> &str {
        &object.name
    }
}

/// Replaces the references of a client.
async fn write_references(
    transaction: &DatabaseTransaction,
    object: &Stored<ClientDocument>,
) -> Result<(), StoreError> {
    let id = id::<ClientRowId>(&object.id)?.0;
    client_reference::Entity::delete_many()
        .filter(client_reference::Column::ClientId.eq(id))
        .exec(transaction)
        .await?;
    let document = &object.document;
    let owners = document
        .permissions
        .iter()
        .filter_map(|permission| permission.owner.as_ref());
    let servers = document
        .permissions
        .iter()
        .map(|permission| &permission.resource_server);
    let servers = servers.chain(&document.resource_server);
    let scoped = document
        .scopes
        .iter()
        .filter_map(|scope| Some(limited_scope(scope)?.1));
    let rules = object.state.listed.iter().filter_map(|rule| {
        Some((
            rule.credential.parse::<CredentialId>().ok()?.0,
            i32::try_from(rule.revision).unwrap_or(i32::MAX),
        ))
    });
    let named = owners
        .map(String::as_str)
        .chain(scoped)
        .map(|name| (Some(name), None, None))
        .chain(servers.map(|name| (None, Some(name.as_str()), None)))
        .chain(rules.map(|rule| (None, None, Some(rule))));
    let rows: Vec<_> = named
        .zip(0..)
        .map(
            |((principal, resource_server, rule), position)| client_reference::ActiveModel {
                client_id: Set(id),
                position: Set(position),
                principal: Set(principal.map(str::to_owned)),
                resource_server: Set(resource_server.map(str::to_owned)),
                credential_id: Set(rule.map(|(id, _)| id)),
                revision: Set(rule.map(|(_, revision)| revision)),
            },
        )
        .collect();
    if !rows.is_empty() {
        client_reference::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(|error| constraint(error, &taken(Kind::Client), &in_use(Kind::Client)))?;
    }
    Ok(())
}
