//! The sealed secrets in the states of objects, and their replacement when they are sealed anew.

use sea_orm::ConnectionTrait as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Persist;
use crate::documents::{
    IdentityProviderDocument, IdentityProviderState, NotificationDocument, NotificationState,
};
use crate::store::{Store, StoreError, json};

/// How often an object that changes meanwhile is sealed anew before it is left as it is.
const RESEAL_ATTEMPTS: usize = 10;

/// A kind of objects in whose state secrets are sealed under the encryption key.
pub trait HasSecrets: Persist<State: Serialize + DeserializeOwned> {
    /// The table, which has the columns `id`, `name` and `state`.
    const TABLE: &'static str;

    /// The sealed secrets in a state.
    fn sealed_in(state: &mut Self::State) -> Vec<&mut String>;
}

impl HasSecrets for NotificationDocument {
    const TABLE: &'static str = "notification";

    fn sealed_in(state: &mut NotificationState) -> Vec<&mut String> {
        let secrets = state.secrets.iter_mut();
        secrets.map(|secret| &mut secret.sealed).collect()
    }
}

impl HasSecrets for IdentityProviderDocument {
    const TABLE: &'static str = "identity_provider";

    fn sealed_in(state: &mut IdentityProviderState) -> Vec<&mut String> {
        state.sealed_secret.iter_mut().collect()
    }
}

impl Store {
    /// The sealed secrets of all objects of a kind, each with the name of its object.
    pub async fn sealed_secrets<D: HasSecrets>(&self) -> Result<Vec<(String, String)>, StoreError> {
        let mut found = Vec::new();
        for (_, name, state) in self.states_of::<D>().await? {
            let mut state: D::State = json(&state)?;
            let sealed = D::sealed_in(&mut state).into_iter().map(std::mem::take);
            found.extend(sealed.map(|sealed| (name.clone(), sealed)));
        }
        Ok(found)
    }

    /// Replaces the sealed secrets of every object of a kind by what `reseal` makes of them, given
    /// the object's name; `None` leaves one as it is. Returns how many secrets were replaced.
    pub async fn reseal<D: HasSecrets, E: From<StoreError>>(
        &self,
        reseal: impl Fn(&str, &str) -> Result<Option<String>, E>,
    ) -> Result<usize, E> {
        let mut replaced = 0usize;
        for (id, name, state) in self.states_of::<D>().await? {
            let resealed = self.reseal_one::<D, E>(id, state, |sealed| reseal(&name, sealed));
            replaced = replaced.saturating_add(resealed.await?);
        }
        Ok(replaced)
    }

    /// The same for one object. If it is changed meanwhile, by a rotation for example, it is read
    /// again: a server that does not have the new encryption key yet seals under the old one.
    async fn reseal_one<D: HasSecrets, E: From<StoreError>>(
        &self,
        id: Uuid,
        mut before: String,
        reseal: impl Fn(&str) -> Result<Option<String>, E>,
    ) -> Result<usize, E> {
        for _ in 0..RESEAL_ATTEMPTS {
            let mut state: D::State = json(&before)?;
            let mut changed = 0usize;
            for sealed in D::sealed_in(&mut state) {
                if let Some(anew) = reseal(sealed)? {
                    *sealed = anew;
                    changed = changed.saturating_add(1);
                }
            }
            if changed == 0 {
                return Ok(0);
            }
            let after = serde_json::json!(state).to_string();
            if self.replace_state(D::TABLE, id, &before, after).await? {
                return Ok(changed);
            }
            match self.state_of(D::TABLE, id).await? {
                Some(state) => before = state,
                None => return Ok(0),
            }
        }
        Ok(0)
    }

    /// Id, name and state of all objects of a kind.
    async fn states_of<D: HasSecrets>(&self) -> Result<Vec<(Uuid, String, String)>, StoreError> {
        let sql = format!("SELECT id, name, state FROM {} ORDER BY id", D::TABLE);
        let rows = self.read.query_all_raw(self.statement(&sql, [])).await?;
        let columns = rows.iter().map(|row| {
            Ok((
                row.try_get_by_index(0)?,
                row.try_get_by_index(1)?,
                row.try_get_by_index(2)?,
            ))
        });
        Ok(columns.collect::<Result<_, sea_orm::DbErr>>()?)
    }

    async fn state_of(&self, table: &str, id: Uuid) -> Result<Option<String>, StoreError> {
        let sql = format!("SELECT state FROM {table} WHERE id = $1");
        let statement = self.statement(&sql, [id.into()]);
        let row = self.read.query_one_raw(statement).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
    }

    /// Replaces the state of an object if it is still the one of before. Returns whether it was.
    async fn replace_state(
        &self,
        table: &str,
        id: Uuid,
        before: &str,
        after: String,
    ) -> Result<bool, StoreError> {
        let sql = format!("UPDATE {table} SET state = $1 WHERE id = $2 AND state = $3");
        let statement = self.statement(&sql, [after.into(), id.into(), before.into()]);
        let done = self.write.execute_raw(statement).await?;
        Ok(done.rows_affected() == 1)
    }
}
