use carnet_entity::signing_key;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};

use super::{ChangeKind, Store, StoreError, audit, changes};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;

/// A signing key as it rests: the private half is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Its `kid`.
    pub key_id: String,
    /// Its algorithm.
    pub algorithm: String,
    /// What it is used for now.
    pub state: KeyState,
    /// The public half, as a JWK.
    pub public_jwk: String,
    /// The private half, as a JWE.
    pub sealed_private: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it began to sign.
    pub activated_at: Option<Timestamp>,
    /// When the last token it signed is over.
    pub published_until: Option<Timestamp>,
}

/// What a signing key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, so that everybody knows it before it signs.
    Next,
    /// Signs.
    Active,
    /// Signed, and is published until its last token is over.
    Retired,
}

impl KeyState {
    fn word(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

impl Store {
    /// Every signing key, the oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let rows = signing_key::Entity::find().order_by_asc(signing_key::Column::CreatedAt).all(&self.read).await?;
        rows.into_iter().map(key).collect()
    }

    /// Puts keys in or changes them, removes others, and records the change: all of it, or none if the keys are not `expected`
    /// any more, because another replica was faster.
    pub async fn change_signing_keys(
        &self,
        expected: &[StoredKey],
        put: &[StoredKey],
        remove: &[String],
        event: Option<&AuditEvent>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        // Takes the counter's lock first: whoever comes second sees what the first one did.
        changes::record(&transaction, ChangeKind::SigningKey, "", now).await?;
        let rows = signing_key::Entity::find().order_by_asc(signing_key::Column::CreatedAt).all(&transaction).await?;
        let present = rows.into_iter().map(key).collect::<Result<Vec<_>, _>>()?;
        if present != expected {
            return Err(StoreError::Changed);
        }
        signing_key::Entity::delete_many()
            .filter(signing_key::Column::Kid.is_in(put.iter().map(|key| &key.key_id).chain(remove)))
            .exec(&transaction)
            .await?;
        if !put.is_empty() {
            signing_key::Entity::insert_many(put.iter().map(row)).exec_without_returning(&transaction).await?;
        }
        if let Some(event) = event {
            audit::insert(&transaction, &[event]).await?;
        }
        Ok(transaction.commit().await?)
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
