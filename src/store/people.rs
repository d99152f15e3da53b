//! People who signed in, and their sessions. Whether a session is good is judged at each request, from
//! its row: nothing of it is kept in memory.

use carnet_entity::{identity_provider, person, session};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction,
    EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Value,
};
use serde_json::Map;

use super::{Store, StoreError, audit, json};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::{IdentityProviderId, PersonId, SessionId};

/// How many sessions a person has at most: a further one ends the oldest.
pub const MAX_SESSIONS: u64 = 20;

/// A person, as the identity provider last described them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: PersonId,
    pub identity_provider: IdentityProviderId,
    /// The `sub` of the identity provider, unique there.
    pub sub: String,
    pub name: Option<String>,
    pub username: Option<String>,
    pub email: Option<String>,
    pub first_seen: Timestamp,
    /// When the person signed in for the last time.
    pub last_seen: Timestamp,
    /// Whether the person may sign in. An administrator decides.
    pub enabled: bool,
}

/// A session of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    pub id: SessionId,
    pub person: PersonId,
    pub identity_provider: IdentityProviderId,
    /// The claims that rules can read, as they came at the sign-in.
    pub claims: Map<String, serde_json::Value>,
    /// When the person proved who they are, as the identity provider says.
    pub auth_time: Option<Timestamp>,
    /// Whether the identity provider says that the person used a second factor.
    pub second_factor: bool,
    pub acr: Option<String>,
    pub amr: Vec<String>,
    /// The ID token, sealed, for the sign-out at the identity provider.
    pub sealed_id_token: Option<String>,
    pub created_at: Timestamp,
    /// Up to a minute before the last use.
    pub last_used_at: Timestamp,
    pub expires_at: Timestamp,
}

/// What a person's sign-in writes.
#[derive(Debug)]
pub struct NewSession {
    /// `person.id` is taken only for a person who is not known yet, `person.enabled` never.
    pub person: Person,
    pub session: StoredSession,
    /// The version of the identity provider by which the sign-in was judged.
    pub provider_version: i64,
    /// The SHA-256 of the cookie.
    pub cookie_hash: [u8; 32],
    /// The SHA-256 of the cookie of the session that this one takes the place of.
    pub replaces: Option<[u8; 32]>,
}

/// What came of a sign-in.
#[derive(Debug)]
pub enum SessionBegun {
    Begun(Person),
    /// The person is not enabled; nothing was written.
    Disabled(Person),
    /// The identity provider has another version than the one that judged the sign-in; nothing was
    /// written.
    ProviderChanged,
}

/// Sessions to end.
#[derive(Clone, Copy, Debug)]
pub enum SessionsToEnd {
    One(SessionId),
    AllOf(PersonId),
}

impl Store {
    /// Writes a sign-in: the person as the provider describes them, the session, and the event, to
    /// which the person is added. The session with the cookie `replaces` ends, and so do the oldest
    /// ones beyond [`MAX_SESSIONS`].
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
        if let Some(hash) = new.replaces {
            session::Entity::delete_many()
                .filter(session::Column::CookieHash.eq(hash.to_vec()))
                .exec(&transaction)
                .await?;
        }
        let row = session_row(&new.session, person.id, new.cookie_hash);
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

    /// Enables or disables a person. Disabling ends all sessions. Writes the event if that changes
    /// anything; returns the person before, and how many sessions ended, or `None` if there is no
    /// such person.
    pub async fn enable_person(
        &self,
        id: PersonId,
        enabled: bool,
        event: &AuditEvent,
    ) -> Result<Option<(Person, u64)>, StoreError> {
        let transaction = self.begin().await?;
        // Locks the row on PostgreSQL, so that a sign-in waits, or is seen here.
        let sql = "UPDATE person SET enabled = enabled WHERE id = $1";
        transaction
            .execute_raw(self.statement(sql, [id.0.into()]))
            .await?;
        let row = person::Entity::find_by_id(id.0).one(&transaction).await?;
        let Some(before) = row.map(of_person_row) else {
            return Ok(None);
        };
        if before.enabled == enabled {
            return Ok(Some((before, 0)));
        }
        let row = person::ActiveModel {
            enabled: Set(enabled),
            ..Default::default()
        };
        person::Entity::update_many()
            .set(row)
            .filter(person::Column::Id.eq(id.0))
            .exec(&transaction)
            .await?;
        let ended = if enabled {
            0
        } else {
            end(&transaction, SessionsToEnd::AllOf(id)).await?
        };
        audit::insert(&transaction, &[event]).await?;
        transaction.commit().await?;
        event.log();
        Ok(Some((before, ended)))
    }

    pub async fn person(&self, id: PersonId) -> Result<Option<Person>, StoreError> {
        let row = person::Entity::find_by_id(id.0).one(&self.read).await?;
        Ok(row.map(of_person_row))
    }

    /// The person with this `sub` at an identity provider.
    pub async fn person_at(
        &self,
        provider: IdentityProviderId,
        sub: &str,
    ) -> Result<Option<Person>, StoreError> {
        let row = person::Entity::find()
            .filter(person::Column::IdentityProvider.eq(provider.0))
            .filter(person::Column::Sub.eq(sub))
            .one(&self.read)
            .await?;
        Ok(row.map(of_person_row))
    }

    /// People in the order in which they were first seen.
    pub async fn people(
        &self,
        provider: Option<IdentityProviderId>,
        after: Option<PersonId>,
        limit: u64,
    ) -> Result<Vec<Person>, StoreError> {
        let rows = person::Entity::find()
            .apply_if(provider, |query, provider| {
                query.filter(person::Column::IdentityProvider.eq(provider.0))
            })
            .apply_if(after, |query, after| {
                query.filter(person::Column::Id.gt(after.0))
            })
            .order_by_asc(person::Column::Id)
            .limit(limit)
            .all(&self.read)
            .await?;
        Ok(rows.into_iter().map(of_person_row).collect())
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

    /// Removes up to `step` people who were not seen since `oldest` and have no session. Those that
    /// are disabled stay, since they would be enabled if they came again. Returns whether there may
    /// be more.
    pub(super) async fn prune_people(
        &self,
        oldest: Timestamp,
        step: u64,
    ) -> Result<bool, StoreError> {
        let sql = format!(
            "SELECT id FROM person WHERE last_seen < $1 AND enabled = $2 AND NOT EXISTS \
             (SELECT 1 FROM session WHERE session.person = person.id) LIMIT {step}"
        );
        let values: [Value; 2] = [oldest.millis().into(), true.into()];
        let rows = self
            .read
            .query_all_raw(self.statement(&sql, values))
            .await?;
        let gone = rows
            .iter()
            .map(|row| row.try_get_by_index(0).map(PersonId))
            .collect::<Result<Vec<PersonId>, _>>()?;
        if gone.is_empty() {
            return Ok(false);
        }
        let full = u64::try_from(gone.len()).ok() == Some(step);
        self.forget(&gone, oldest).await?;
        Ok(full)
    }

    /// Removes people, except those who were seen since `oldest` or are disabled: that may have come
    /// about after they were chosen.
    pub async fn forget(&self, people: &[PersonId], oldest: Timestamp) -> Result<(), StoreError> {
        let ids = people.iter().map(|person| person.0);
        person::Entity::delete_many()
            .filter(person::Column::Id.is_in(ids))
            .filter(person::Column::LastSeen.lt(oldest.millis()))
            .filter(person::Column::Enabled.eq(true))
            .exec(&self.write)
            .await?;
        Ok(())
    }
}

async fn end(transaction: &DatabaseTransaction, which: SessionsToEnd) -> Result<u64, StoreError> {
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

/// Writes how a provider describes a person who signs in, and reads the person.
async fn seen(transaction: &DatabaseTransaction, new: Person) -> Result<Person, StoreError> {
    use person::Column;
    let (provider, sub) = (new.identity_provider, new.sub.clone());
    let row = person::ActiveModel {
        id: Set(new.id.0),
        identity_provider: Set(provider.0),
        sub: Set(new.sub),
        name: Set(new.name),
        username: Set(new.username),
        email: Set(new.email),
        first_seen: Set(new.first_seen.millis()),
        last_seen: Set(new.last_seen.millis()),
        enabled: Set(true),
    };
    let known = OnConflict::columns([Column::IdentityProvider, Column::Sub])
        .update_columns([
            Column::Name,
            Column::Username,
            Column::Email,
            Column::LastSeen,
        ])
        .to_owned();
    person::Entity::insert(row)
        .on_conflict(known)
        .exec_without_returning(transaction)
        .await?;
    let row = person::Entity::find()
        .filter(Column::IdentityProvider.eq(provider.0))
        .filter(Column::Sub.eq(sub))
        .one(transaction)
        .await?;
    row.map(of_person_row).ok_or(StoreError::Changed)
}

fn session_row(
    session: &StoredSession,
    person: PersonId,
    cookie_hash: [u8; 32],
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
    }
}

fn of_session_row(row: session::Model) -> Result<StoredSession, StoreError> {
    Ok(StoredSession {
        id: SessionId(row.id),
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

fn of_person_row(row: person::Model) -> Person {
    Person {
        id: PersonId(row.id),
        identity_provider: IdentityProviderId(row.identity_provider),
        sub: row.sub,
        name: row.name,
        username: row.username,
        email: row.email,
        first_seen: Timestamp::from_millis(row.first_seen),
        last_seen: Timestamp::from_millis(row.last_seen),
        enabled: row.enabled,
    }
}
