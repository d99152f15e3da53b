//! Resource servers: the registries that tokens are for.

use carnet_entity::resource_server;
use sea_orm::{ActiveValue::Set, ConnectionTrait, Value};
use serde_json::json;

use super::{Persist, id, stored};
use crate::clock::Timestamp;
use crate::documents::{ResourceServerDocument, Stored};
use crate::ids::ResourceServerId;
use crate::store::{StoreError, json as from_json};

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

    fn change_key(object: &Stored<Self>) -> &str {
        &object.name
    }
}
