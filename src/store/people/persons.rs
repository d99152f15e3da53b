//! People: how their provider last described them, and whether they may sign in.

use carnet_entity::person;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction,
    EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Value,
};

use super::sessions::end;
use super::{Person, SessionsToEnd};
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::{IdentityProviderId, PersonId};
use crate::store::{Store, StoreError, audit};

impl Store {
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
        let row = person::Entity::find_by_id(id.0)
            .lock_exclusive()
            .one(&transaction)
            .await?;
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

    /// Removes up to `step` people who were not seen since `oldest` and have no session. Those that
    /// are disabled stay, since they would be enabled if they came again. Returns whether there may
    /// be more.
    pub async fn prune_people(&self, oldest: Timestamp, step: u64) -> Result<bool, StoreError> {
        // On PostgreSQL the outer conditions are judged again for a row that another transaction
        // changed meanwhile: somebody who signed in or was disabled stays.
        let sql = format!(
            "DELETE FROM person WHERE last_seen < $1 AND enabled = $2 AND id IN \
             (SELECT id FROM person WHERE last_seen < $1 AND enabled = $2 AND NOT EXISTS \
             (SELECT 1 FROM session WHERE session.person = person.id) LIMIT {step})"
        );
        let values: [Value; 2] = [oldest.millis().into(), true.into()];
        let removed = self.write.execute_raw(self.statement(&sql, values)).await?;
        Ok(removed.rows_affected() >= step)
    }
}

/// Writes how a provider describes a person who signs in, and reads the person.
pub(super) async fn seen(
    transaction: &DatabaseTransaction,
    new: Person,
) -> Result<Person, StoreError> {
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
