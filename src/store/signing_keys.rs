//! The table of signing keys. Private halves are stored encrypted; the states and their changes are
//! decided in [`crate::keys`].

use carnet_entity::signing_key;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
};

use serde_json::{Map, Value, json};

use super::{ChangeKind, Store, StoreError, audit, changes};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;

/// A signing key as stored. Its private half is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    pub key_id: String,
    /// The JOSE algorithm, such as `ES256`.
    pub algorithm: String,
    pub state: KeyState,
    /// The public half, as a JWK.
    pub public_jwk: String,
    /// The private half, as a JWE under the key-encryption key.
    pub sealed_private: String,
    pub created_at: Timestamp,
    /// When it began to sign; `None` while its state is `next`.
    pub activated_at: Option<Timestamp>,
    /// Until when it is published: the expiry of the last token that it may have signed.
    pub published_until: Option<Timestamp>,
}

/// What a signing key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published but not signing yet, so that registries know the key before its first token.
    Next,
    /// Published, and signs all new tokens.
    Active,
    /// No longer signs. Published until the last token that it signed expires.
    Retired,
}

impl KeyState {
    /// The name in JSON and in the database.
    pub fn word(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

impl Store {
    /// All signing keys, the oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let rows = signing_key::Entity::find()
            .order_by_asc(signing_key::Column::CreatedAt)
            .all(&self.read)
            .await?;
        rows.into_iter().map(key).collect()
    }

    /// Inserts, changes and removes signing keys in one transaction. Fails with
    /// [`StoreError::Changed`] if the stored keys differ from `expected`, because another replica
    /// changed them first.
    pub async fn change_signing_keys(
        &self,
        expected: &[StoredKey],
        put: &[StoredKey],
        remove: &[String],
        event: Option<&AuditEvent>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // Locks the counter's row first, so that of two replicas the second one reads what the
        // first one wrote.
        changes::record(&transaction, ChangeKind::SigningKey, "", now).await?;
        let rows = signing_key::Entity::find()
            .order_by_asc(signing_key::Column::CreatedAt)
            .all(&transaction)
            .await?;
        let present = rows.into_iter().map(key).collect::<Result<Vec<_>, _>>()?;
        if present != expected {
            return Err(StoreError::Changed);
        }
        signing_key::Entity::delete_many()
            .filter(signing_key::Column::Kid.is_in(put.iter().map(|key| &key.key_id).chain(remove)))
            .exec(&transaction)
            .await?;
        if !put.is_empty() {
            signing_key::Entity::insert_many(put.iter().map(row))
                .exec_without_returning(&transaction)
                .await?;
        }
        let event = event.map(|event| naming_keys(event, expected, put, remove));
        audit::insert(
            &transaction,
            event.as_slice().iter().collect::<Vec<_>>().as_slice(),
        )
        .await?;
        transaction.commit().await?;
        if let Some(event) = event {
            event.log();
        }
        Ok(())
    }
}

/// The event with the keys that were added or changed and those that were removed. Its name is the
/// `kid` that it was made with, or else that of the key that signs from now on.
fn naming_keys(
    event: &AuditEvent,
    expected: &[StoredKey],
    put: &[StoredKey],
    remove: &[String],
) -> AuditEvent {
    let shown = |key: &StoredKey| json!({ "kid": key.key_id, "algorithm": key.algorithm, "state": key.state });
    let removed = expected
        .iter()
        .filter(|key| {
            remove.contains(&key.key_id) && !put.iter().any(|one| one.key_id == key.key_id)
        })
        .map(|key| json!({ "kid": key.key_id, "algorithm": key.algorithm }));
    let active = put.iter().find(|key| key.state == KeyState::Active);
    let mut detail: Map<String, Value> = serde_json::from_str(&event.detail).unwrap_or_default();
    if let Some(active) = active {
        detail
            .entry("name")
            .or_insert_with(|| active.key_id.clone().into());
    }
    detail.insert("keys".to_owned(), put.iter().map(shown).collect());
    detail.insert("removed".to_owned(), removed.collect());
    AuditEvent {
        detail: Value::Object(detail).to_string(),
        ..event.clone()
    }
}

fn row(key: &StoredKey) -> signing_key::ActiveModel {
    signing_key::ActiveModel {
        kid: Set(key.key_id.clone()),
        algorithm: Set(key.algorithm.clone()),
        state: Set(key.state.word().to_owned()),
        public_jwk: Set(key.public_jwk.clone()),
        sealed_private: Set(key.sealed_private.clone()),
        created_at: Set(key.created_at.millis()),
        activated_at: Set(key.activated_at.map(Timestamp::millis)),
        published_until: Set(key.published_until.map(Timestamp::millis)),
    }
}

fn key(row: signing_key::Model) -> Result<StoredKey, StoreError> {
    let states = [KeyState::Next, KeyState::Active, KeyState::Retired];
    let state = states.into_iter().find(|state| state.word() == row.state);
    Ok(StoredKey {
        key_id: row.kid,
        algorithm: row.algorithm,
        state: state.ok_or_else(|| StoreError::Corrupt(row.state.clone()))?,
        public_jwk: row.public_jwk,
        sealed_private: row.sealed_private,
        created_at: Timestamp::from_millis(row.created_at),
        activated_at: row.activated_at.map(Timestamp::from_millis),
        published_until: row.published_until.map(Timestamp::from_millis),
    })
}
