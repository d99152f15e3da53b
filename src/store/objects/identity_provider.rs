//! Identity providers. The client secret is sealed, beside the document.

use carnet_entity::{identity_provider, membership, person, session};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _, QuerySelect as _, Value,
};
use serde_json::json;

use super::{Persist, id, stored};
use crate::clock::Timestamp;
use crate::documents::{Dependents, IdentityProviderDocument, IdentityProviderState, Stored};
use crate::ids::IdentityProviderId;
use crate::store::{Store, StoreError, json as from_json};

impl Persist for IdentityProviderDocument {
    type Entity = identity_provider::Entity;

    const ID: identity_provider::Column = identity_provider::Column::Id;
    const NAME: identity_provider::Column = identity_provider::Column::NameFolded;
    const VERSION: identity_provider::Column = identity_provider::Column::Version;

    fn id_value(text: &str) -> Option<Value> {
        Some(text.parse::<IdentityProviderId>().ok()?.0.into())
    }

    fn new_id(now: Timestamp) -> String {
        IdentityProviderId::new(now).to_string()
    }

    async fn load(
        _: &impl ConnectionTrait,
        rows: Vec<identity_provider::Model>,
    ) -> Result<Vec<Stored<Self>>, StoreError> {
        rows.into_iter().map(of_row).collect()
    }

    fn row(object: &Stored<Self>) -> Result<identity_provider::ActiveModel, StoreError> {
        Ok(identity_provider::ActiveModel {
            id: Set(id::<IdentityProviderId>(&object.id)?.0),
            name: Set(object.name.clone()),
            name_folded: Set(object.name.to_ascii_lowercase()),
            document: Set(json!(object.document).to_string()),
            state: Set(json!(object.state).to_string()),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
        })
    }

    /// Fails with [`StoreError::Changed`] if the update changes what must not change, because a
    /// membership was written, or somebody signed in or was disabled, since the update was prepared.
    /// Ends the sessions of the identity provider if they are worth nothing after the update.
    ///
    /// The row is locked first: a sign-in that was judged by it either waits and is refused, or it is
    /// seen here. A new membership waits as well, by its foreign key.
    async fn before_update(
        transaction: &DatabaseTransaction,
        object: &Stored<Self>,
    ) -> Result<(), StoreError> {
        let id = id::<IdentityProviderId>(&object.id)?.0;
        let row = identity_provider::Entity::find_by_id(id)
            .lock_exclusive()
            .one(transaction)
            .await?;
        let Some(before) = row.map(of_row).transpose()? else {
            return Ok(());
        };
        let dependents = dependents(transaction, &before).await?;
        let fixed = object
            .document
            .changes_what_is_fixed(&before.document, dependents);
        if !fixed.is_empty() {
            return Err(StoreError::Changed);
        }
        if object.document.ends_sessions_of(&before.document) {
            session::Entity::delete_many()
                .filter(session::Column::IdentityProvider.eq(id))
                .exec(transaction)
                .await?;
        }
        Ok(())
    }

    fn change_key(object: &Stored<Self>) -> &str {
        &object.id
    }
}

fn of_row(row: identity_provider::Model) -> Result<Stored<IdentityProviderDocument>, StoreError> {
    let state: IdentityProviderState = from_json(&row.state)?;
    let stored = stored(
        IdentityProviderId(row.id).to_string(),
        row.name,
        row.version,
        (row.created_at, row.updated_at),
        from_json(&row.document)?,
    );
    Ok(Stored { state, ..stored })
}

impl Store {
    pub async fn count_identity_providers(&self) -> Result<u64, StoreError> {
        Ok(identity_provider::Entity::find().count(&self.read).await?)
    }

    /// What depends on this identity provider.
    pub async fn dependents_of(
        &self,
        provider: &Stored<IdentityProviderDocument>,
    ) -> Result<Dependents, StoreError> {
        dependents(&self.read, provider).await
    }
}

async fn dependents(
    connection: &impl ConnectionTrait,
    provider: &Stored<IdentityProviderDocument>,
) -> Result<Dependents, StoreError> {
    let id = id::<IdentityProviderId>(&provider.id)?.0;
    let referring = membership::Entity::find()
        .filter(membership::Column::IdentityProvider.eq(provider.name.as_str()))
        .one(connection)
        .await?;
    let people = person::Entity::find().filter(person::Column::IdentityProvider.eq(id));
    let disabled = people.clone().filter(person::Column::Enabled.eq(false));
    Ok(Dependents {
        memberships: referring.is_some(),
        people: people.one(connection).await?.is_some(),
        disabled_people: disabled.one(connection).await?.is_some(),
    })
}
