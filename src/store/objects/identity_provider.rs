//! Identity providers. The client secret is sealed, beside the document.

use carnet_entity::{identity_provider, membership, person, session};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait as _,
    PaginatorTrait as _, QueryFilter as _, QuerySelect as _, Value,
};
use serde_json::json;

use super::{Persist, id, stored};
use crate::clock::Timestamp;
use crate::documents::{IdentityProviderDocument, IdentityProviderState, Stored};
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
            issuer: Set(object.document.issuer.clone()),
            enabled: Set(object.document.enabled),
            document: Set(json!(object.document).to_string()),
            state: Set(json!(object.state).to_string()),
            version: Set(object.version),
            created_at: Set(object.created_at.millis()),
            updated_at: Set(object.updated_at.millis()),
        })
    }

    /// Ends the sessions of the identity provider if they are worth nothing after the update. The
    /// row is locked first: a sign-in that was judged by it either waits and is refused, or its
    /// session ends here.
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

    /// Whether any membership refers to this identity provider, by name.
    pub async fn has_memberships_of(&self, identity_provider: &str) -> Result<bool, StoreError> {
        let of_provider = membership::Column::IdentityProvider.eq(identity_provider);
        let found = membership::Entity::find().filter(of_provider);
        Ok(found.one(&self.read).await?.is_some())
    }

    /// Whether anybody has signed in at this identity provider.
    pub async fn has_people_of(&self, provider: IdentityProviderId) -> Result<bool, StoreError> {
        let of_provider = person::Column::IdentityProvider.eq(provider.0);
        let found = person::Entity::find().filter(of_provider);
        Ok(found.one(&self.read).await?.is_some())
    }

    /// Whether anybody is disabled who has signed in at this identity provider.
    pub async fn has_disabled_people_of(
        &self,
        provider: IdentityProviderId,
    ) -> Result<bool, StoreError> {
        let found = person::Entity::find()
            .filter(person::Column::IdentityProvider.eq(provider.0))
            .filter(person::Column::Enabled.eq(false));
        Ok(found.one(&self.read).await?.is_some())
    }

    /// The sealed client secrets, each with the name of its identity provider.
    pub async fn provider_secrets(&self) -> Result<Vec<(String, String)>, StoreError> {
        let all = self.all_objects::<IdentityProviderDocument>().await?;
        let sealed = all
            .into_iter()
            .filter_map(|stored| Some((stored.name, stored.state.sealed_secret?)));
        Ok(sealed.collect())
    }

    /// Replaces a sealed client secret, if it is still the one of before. Returns whether it was.
    pub async fn replace_provider_secret(
        &self,
        name: &str,
        before: &str,
        after: String,
    ) -> Result<bool, StoreError> {
        let Some(stored) = self.named::<IdentityProviderDocument>(name).await? else {
            return Ok(false);
        };
        if stored.state.sealed_secret.as_deref() != Some(before) {
            return Ok(false);
        }
        let (was, id) = (
            json!(stored.state).to_string(),
            id::<IdentityProviderId>(&stored.id)?,
        );
        let state = IdentityProviderState {
            sealed_secret: Some(after),
            ..stored.state
        };
        let sql = "UPDATE identity_provider SET state = $1 WHERE id = $2 AND state = $3";
        let values = [json!(state).to_string().into(), id.0.into(), was.into()];
        let done = self.write.execute_raw(self.statement(sql, values)).await?;
        Ok(done.rows_affected() == 1)
    }
}
