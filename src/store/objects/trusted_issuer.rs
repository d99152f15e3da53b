//! Trusted issuers: the platforms whose assertions are accepted.

use carnet_entity::trusted_issuer;
use sea_orm::{ActiveValue::Set, ConnectionTrait, Value};
use serde_json::json;

use super::{Persist, id, stored};
use crate::clock::Timestamp;
use crate::documents::{Stored, TrustedIssuerDocument};
use crate::ids::TrustedIssuerId;
use crate::store::{StoreError, json as from_json};

impl Persist for TrustedIssuerDocument {
    type Entity = trusted_issuer::Entity;

    const ID: trusted_issuer::Column = trusted_issuer::Column::Id;
    const NAME: trusted_issuer::Column = trusted_issuer::Column::NameFolded;
    const VERSION: trusted_issuer::Column = trusted_issuer::Column::Version;

    fn id_value(text: &str) -> Option<Value> {
        Some(text.parse::<TrustedIssuerId>().ok()?.0.into())
    }

    fn new_id(now: Timestamp) -> String {
        TrustedIssuerId::new(now).to_string()
    }

    async fn load(
        _: &impl ConnectionTrait,
        rows: Vec<trusted_issuer::Model>,
    ) -> Result<Vec<Stored<Self>>, StoreError> {
        let of_row = |row: trusted_issuer::Model| {
            let document = from_json(&row.document)?;
            let id = TrustedIssuerId(row.id).to_string();
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

    fn row(object: &Stored<Self>) -> Result<trusted_issuer::ActiveModel, StoreError> {
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

    fn change_key(object: &Stored<Self>) -> &str {
        &object.id
    }
}
