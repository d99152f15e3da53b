//! Resource servers: the registries that tokens are for.

use carnet_entity::{front_door_issuer, resource_server};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _,
    QueryFilter as _, Value,
};
use serde_json::json;

use super::{Persist, id, in_use, stored, taken};
use crate::clock::Timestamp;
use crate::documents::{Kind, ResourceServerDocument, Stored};
use crate::ids::ResourceServerId;
use crate::store::{StoreError, constraint, json as from_json};

impl Persist for ResourceServerDocument {
    type Entity = resource_server::Entity;

    const ID: resource_server::Column = resource_server::Column::Id;
    const NAME: resource_server::Column = resource_server::Column::NameFolded;
    const VERSION: resource_server::Column = resource_server::Column::Version;

    fn id_value(text: &str) -> Option<Value> {
        Some(text.parse::<ResourceServerId>().ok()?.0.into())
    }

    fn new_id(now: Timestamp) -> String {
        ResourceServerId::new(now).to_string()
    }

    async fn load(
        _: &impl ConnectionTrait,
        rows: Vec<resource_server::Model>,
    ) -> Result<Vec<Stored<Self>>, StoreError> {
        let of_row = |row: resource_server::Model| {
            let document = from_json(&row.document)?;
            let id = ResourceServerId(row.id).to_string();
            Ok(stored(
                id,
                row.name,
                row.version,
                (row.created_at, row.updated_at),
                document,
            ))
        };
        rows.into_iter().map(of_row).collect()
    }

    fn row(object: &Stored<Self>) -> Result<resource_server::ActiveModel, StoreError> {
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

    async fn write_parts(
        transaction: &DatabaseTransaction,
        object: &Stored<Self>,
    ) -> Result<(), StoreError> {
        write_issuers(transaction, object).await
    }

    fn change_key(object: &Stored<Self>) -> &str {
        &object.name
    }
}

/// Replaces the rows of the trusted issuers that the front door names. The list itself stays in the
/// document; the rows keep these trusted issuers from being removed.
async fn write_issuers(
    transaction: &DatabaseTransaction,
    object: &Stored<ResourceServerDocument>,
) -> Result<(), StoreError> {
    let of_server = front_door_issuer::Column::ResourceServer.eq(&object.name);
    front_door_issuer::Entity::delete_many()
        .filter(of_server)
        .exec(transaction)
        .await?;
    let door = object.document.front_door.as_ref();
    let names = door.and_then(|door| door.trusted_issuers.as_ref());
    let rows: Vec<_> = names
        .into_iter()
        .flatten()
        .map(|name| front_door_issuer::ActiveModel {
            resource_server: Set(object.name.clone()),
            trusted_issuer: Set(name.clone()),
        })
        .collect();
    if !rows.is_empty() {
        front_door_issuer::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(|error| {
                let kind = Kind::ResourceServer;
                constraint(error, &taken(kind), &in_use(kind))
            })?;
    }
    Ok(())
}
