//! Finds the record of a token by its `jti`, which holds the time of issue.

use carnet_entity::audit_event;
use sea_orm::sea_query::Condition;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use uuid::Uuid;

use super::rows::{event, read_parts};
use crate::audit::{AuditEvent, Outcome};
use crate::config::MAX_REQUEST_SECONDS;
use crate::ids;
use crate::store::{Store, StoreError};

/// How long before its token's `jti` an event may have got its id, in seconds. The id of the event
/// is made when the request arrives, the `jti` when the token is minted, at the request's deadline
/// at the latest; the deadline may have been longer when the token was issued than it is now.
const MAX_WAIT_SECONDS: u32 = MAX_REQUEST_SECONDS + 5;
/// How much later than the `jti` the id of its event may be, in seconds: a local command makes the
/// token first.
const MARGIN_SECONDS: i64 = 5;

/// Selects the events whose ids may be that of the issuance of the token with this `jti`.
pub(super) fn around(jti: Uuid) -> Condition {
    let at = ids::time_of(jti);
    let earliest = ids::first_at(at.plus_seconds(i64::from(MAX_WAIT_SECONDS).saturating_neg()));
    let latest = ids::first_at(at.plus_seconds(MARGIN_SECONDS));
    Condition::all()
        .add(audit_event::Column::Id.gte(earliest))
        .add(audit_event::Column::Id.lt(latest))
}

impl Store {
    /// The event of the token with this `jti`, if this server issued it. Only events around the
    /// time in the `jti` are searched, since there is no index of token ids.
    pub async fn issued_token(&self, token_id: &str) -> Result<Option<AuditEvent>, StoreError> {
        let Ok(id) = token_id.parse::<Uuid>() else {
            return Ok(None);
        };
        let row = audit_event::Entity::find()
            .filter(around(id))
            .filter(audit_event::Column::TokenId.eq(token_id))
            .filter(audit_event::Column::Outcome.eq(Outcome::Issued.as_str()))
            // Most requests are short, so the event is among the last of them.
            .order_by_desc(audit_event::Column::Id)
            .limit(1)
            .one(&self.read)
            .await?;
        Ok(row.and_then(|row| {
            let parts = read_parts(row.parts.as_deref());
            Some(AuditEvent {
                parts,
                ..event(row)?
            })
        }))
    }
}
