//! Sessions: how they begin, are used, and end.

use carnet_entity::{identity_provider, session};
use sea_orm::sea_query::Condition;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction,
    EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Value,
};

use super::persons::seen;
use super::{NewSession, Person, SessionBegun, SessionsToEnd, StoredSession};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::{IdentityProviderId, PersonId, SessionId};
use crate::store::{Store, StoreError, audit, json};

/// How many sessions a person has at most: a further one ends the oldest.
const MAX_SESSIONS: u64 = 20;

impl Store {
    /// Writes a sign-in: the person as the provider describes them, the session, and the event, to
    /// which the person is added. The session with the cookie `replaces` ends, and so do the oldest
    /// ones beyond `MAX_SESSIONS`.
    pub async fn begin_session(
        &self,
        new: NewSession,
        mut event: AuditEvent,
    ) -> Result<SessionBegun, StoreError> {
        let transaction = self.begin().await?;
        // Locks the row on PostgreSQL, so that a change of the provider waits, or is seen here.
        let version: Option<i64> =
            identity_provider::Entity::find_by_id(new.person.identity_provider.0)
                .select_only()
                .column(identity_provider::Column::Version)
                .lock_shared()
                .into_tuple()
                .one(&transaction)
                .await?;
        if version != Some(new.provider_version) {
            return Ok(SessionBegun::ProviderChanged);
        }
        let person = seen(&transaction, new.person).await?;
        if !person.enabled {
            return Ok(SessionBegun::Disabled(person));
        }
        let replaced = match new.replaces {
            Some(hash) => replaced(&transaction, hash).await?,
            None => None,
        };
        // Tokens that a client got in a session outlive that its person signs in again in it.
        let lineage = replaced
            .filter(|old| new.goes_on && old.person == person.id.0)
            .map_or(new.session.id, |old| {
                SessionId(old.lineage.unwrap_or(old.id))
            });
        let row = session_row(&new.session, person.id, (lineage, new.cookie_hash));
        session::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await?;
        let oldest = format!(
            "DELETE FROM session WHERE person = $1 AND id NOT IN (SELECT id FROM session WHERE person = $1 \
             ORDER BY created_at DESC, id DESC LIMIT {MAX_SESSIONS})"
        );
        transaction
            .execute_raw(self.statement(&oldest, [person.id.0.into()]))
            .await?;
        event.person = Some(person.id);
        audit::insert(&transaction, &[&event]).await?;
        transaction.commit().await?;
        Ok(SessionBegun::Begun(person))
    }

    /// The session whose cookie has this SHA-256, and its person.
    pub async fn session_of_cookie(
        &self,
        hash: &[u8; 32],
    ) -> Result<Option<(StoredSession, Person)>, StoreError> {
        let row = session::Entity::find()
            .filter(session::Column::CookieHash.eq(hash.to_vec()))
            .one(&self.read)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let person = self.person(PersonId(row.person)).await?;
        person
            .map(|person| Ok((of_session_row(row)?, person)))
            .transpose()
    }

    /// The session by which tokens are known as `lineage`, and its person.
    pub async fn session_of_lineage(
        &self,
        lineage: SessionId,
    ) -> Result<Option<(StoredSession, Person)>, StoreError> {
        let row = session::Entity::find()
            .filter(is_of_lineage(lineage))
            .order_by_desc(session::Column::CreatedAt)
            .one(&self.read)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let person = self.person(PersonId(row.person)).await?;
        person
            .map(|person| Ok((of_session_row(row)?, person)))
            .transpose()
    }

    /// Whether a session by which tokens are known as `lineage` was not ended.
    pub async fn is_signed_in(&self, lineage: SessionId) -> Result<bool, StoreError> {
        let id: Option<uuid::Uuid> = session::Entity::find()
            .select_only()
            .column(session::Column::Id)
            .filter(is_of_lineage(lineage))
            .into_tuple()
            .one(&self.read)
            .await?;
        Ok(id.is_some())
    }

    /// Notes that a session was used, unless that was noted after `unless_since`.
    pub async fn note_session_use(
        &self,
        id: SessionId,
        now: Timestamp,
        unless_since: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE session SET last_used_at = $1 WHERE id = $2 AND last_used_at <= $3";
        let values: [Value; 3] = [
            now.millis().into(),
            id.0.into(),
            unless_since.millis().into(),
        ];
        self.write.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// Ends sessions and writes the event, if there are any. Returns how many.
    pub async fn end_sessions(
        &self,
        which: SessionsToEnd,
        event: &AuditEvent,
    ) -> Result<u64, StoreError> {
        let transaction = self.begin().await?;
        let ended = end(&transaction, which).await?;
        if ended > 0 {
            audit::insert(&transaction, &[event]).await?;
            transaction.commit().await?;
            event.log();
        }
        Ok(ended)
    }

    /// The sessions of a person, the newest first, those that are over among them until they are
    /// removed.
    pub async fn sessions_of(&self, person: PersonId) -> Result<Vec<StoredSession>, StoreError> {
        let rows = session::Entity::find()
            .filter(session::Column::Person.eq(person.0))
            .order_by_desc(session::Column::CreatedAt)
            .order_by_desc(session::Column::Id)
            .all(&self.read)
            .await?;
        rows.into_iter().map(of_session_row).collect()
    }

    /// Whose session this is.
    pub async fn person_of_session(&self, id: SessionId) -> Result<Option<PersonId>, StoreError> {
        let person = session::Entity::find_by_id(id.0)
            .select_only()
            .column(session::Column::Person)
            .into_tuple()
            .one(&self.read)
            .await?;
        Ok(person.map(PersonId))
    }
}

fn is_of_lineage(lineage: SessionId) -> Condition {
    Condition::any()
        .add(session::Column::Lineage.eq(lineage.0))
        .add(session::Column::Id.eq(lineage.0))
}

/// Removes the session with this cookie, and returns it.
async fn replaced(
    transaction: &DatabaseTransaction,
    hash: [u8; 32],
) -> Result<Option<session::Model>, StoreError> {
    let is_it = session::Column::CookieHash.eq(hash.to_vec());
    let row = session::Entity::find()
        .filter(is_it.clone())
        .one(transaction)
        .await?;
    session::Entity::delete_many()
        .filter(is_it)
        .exec(transaction)
        .await?;
    Ok(row)
}

/// Ends sessions. Returns how many.
pub(super) async fn end(
    transaction: &DatabaseTransaction,
    which: SessionsToEnd,
) -> Result<u64, StoreError> {
    let selected = match which {
        SessionsToEnd::One(id) => session::Column::Id.eq(id.0),
        SessionsToEnd::AllOf(person) => session::Column::Person.eq(person.0),
    };
    let ended = session::Entity::delete_many()
        .filter(selected)
        .exec(transaction)
        .await?;
    Ok(ended.rows_affected)
}

fn session_row(
    session: &StoredSession,
    person: PersonId,
    (lineage, cookie_hash): (SessionId, [u8; 32]),
) -> session::ActiveModel {
    session::ActiveModel {
        id: Set(session.id.0),
        cookie_hash: Set(cookie_hash.to_vec()),
        person: Set(person.0),
        identity_provider: Set(session.identity_provider.0),
        claims: Set(serde_json::Value::Object(session.claims.clone()).to_string()),
        auth_time: Set(session.auth_time.map(Timestamp::millis)),
        second_factor: Set(session.second_factor),
        acr: Set(session.acr.clone()),
        amr: Set(Some(serde_json::json!(session.amr).to_string())),
        id_token: Set(session.sealed_id_token.clone()),
        created_at: Set(session.created_at.millis()),
        last_used_at: Set(session.last_used_at.millis()),
        expires_at: Set(session.expires_at.millis()),
        lineage: Set(Some(lineage.0)),
    }
}

fn of_session_row(row: session::Model) -> Result<StoredSession, StoreError> {
    Ok(StoredSession {
        id: SessionId(row.id),
        lineage: SessionId(row.lineage.unwrap_or(row.id)),
        person: PersonId(row.person),
        identity_provider: IdentityProviderId(row.identity_provider),
        claims: json(&row.claims)?,
        auth_time: row.auth_time.map(Timestamp::from_millis),
        second_factor: row.second_factor,
        acr: row.acr,
        amr: row.amr.map_or_else(|| Ok(Vec::new()), |amr| json(&amr))?,
        sealed_id_token: row.id_token,
        created_at: Timestamp::from_millis(row.created_at),
        last_used_at: Timestamp::from_millis(row.last_used_at),
        expires_at: Timestamp::from_millis(row.expires_at),
    })
}
