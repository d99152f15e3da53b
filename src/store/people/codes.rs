//! Authorization codes, and what people agreed to in a session.

use carnet_entity::{authorization_code, session_consent};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
};

use super::StoredCode;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::{ClientRowId, CodeId, SessionId};
use crate::store::{Store, StoreError, audit};

/// How many things a session remembers to which the person agreed. For further ones the person is
/// asked each time.
const MAX_CONSENTS: u64 = 100;

/// What a person agreed to: the SHA-256 over client, resource, scope and principal.
pub type Agreed = [u8; 32];

impl Store {
    /// Writes a code under its SHA-256. If the person was asked, the event is written too, and
    /// `remembered` is what the session remembers of it.
    pub async fn write_code(
        &self,
        hash: [u8; 32],
        code: &StoredCode,
        (event, remembered): (Option<&AuditEvent>, Option<Agreed>),
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let row = authorization_code::ActiveModel {
            hash: Set(hash.to_vec()),
            id: Set(code.id.0),
            session: Set(code.session.0),
            client_id: Set(code.client_id.clone()),
            client: Set(code.client.0),
            redirect_uri: Set(code.redirect_uri.clone()),
            redirect_uri_sent: Set(code.redirect_uri_sent),
            challenge: Set(code.challenge.clone()),
            request: Set(code.request.clone()),
            created_at: Set(code.created_at.millis()),
            expires_at: Set(code.expires_at.millis()),
        };
        authorization_code::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await?;
        if let Some(what) = remembered {
            let of_session = session_consent::Column::Session.eq(code.session.0);
            let known = session_consent::Entity::find()
                .filter(of_session)
                .count(&transaction)
                .await?;
            if known < MAX_CONSENTS {
                let row = session_consent::ActiveModel {
                    session: Set(code.session.0),
                    what: Set(what.to_vec()),
                    given_at: Set(code.created_at.millis()),
                };
                session_consent::Entity::insert(row)
                    .on_conflict_do_nothing()
                    .exec_without_returning(&transaction)
                    .await?;
            }
        }
        if let Some(event) = event {
            audit::insert(&transaction, &[event]).await?;
        }
        transaction.commit().await?;
        if let Some(event) = event {
            event.log();
        }
        Ok(())
    }

    /// The code with this SHA-256, be it expired or used.
    pub async fn code_of(&self, hash: &[u8; 32]) -> Result<Option<StoredCode>, StoreError> {
        let row = authorization_code::Entity::find_by_id(hash.to_vec())
            .one(&self.read)
            .await?;
        Ok(row.map(|row| StoredCode {
            id: CodeId(row.id),
            session: SessionId(row.session),
            client_id: row.client_id,
            client: ClientRowId(row.client),
            redirect_uri: row.redirect_uri,
            redirect_uri_sent: row.redirect_uri_sent,
            challenge: row.challenge,
            request: row.request,
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: Timestamp::from_millis(row.expires_at),
        }))
    }

    /// Whether the person agreed to this in the session.
    pub async fn has_agreed(&self, session: SessionId, what: &Agreed) -> Result<bool, StoreError> {
        let found = session_consent::Entity::find_by_id((session.0, what.to_vec()))
            .one(&self.read)
            .await?;
        Ok(found.is_some())
    }

    /// Forgets what was agreed to before `until`.
    pub(in crate::store) async fn prune_consents(
        &self,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        session_consent::Entity::delete_many()
            .filter(session_consent::Column::GivenAt.lt(until.millis()))
            .exec(&self.write)
            .await?;
        Ok(())
    }
}
