//! Audit events. Each is one row, and one row of an index for each principal with a part in it,
//! which is written later. Events are read page by page.

mod record;
mod rows;
mod upkeep;

use std::collections::BTreeMap;

use carnet_entity::{audit_event, audit_part};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait as _,
};
use uuid::Uuid;

use self::rows::{event, read_parts};
use super::{Store, StoreError};
use crate::audit::{AuditEvent, AuditPart, Outcome};
use crate::clock::Timestamp;
use crate::ids::{self, CredentialId, EventId};

pub(super) use rows::insert;

/// How many rows are searched for one page. If a filter without an index finds little among them,
/// the page is short or empty.
const WINDOW: u64 = 5_000;
/// How many rows one query reads.
const CHUNK: u64 = 500;
/// Some events, each with a principal's view of it, and the id before which the next chunk begins;
/// `None` at the end.
type Chunk = (Vec<(AuditEvent, PrincipalView)>, Option<EventId>);

/// Which events a list contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only events of this federated credential.
    pub credential: Option<CredentialId>,
    /// Only events in which this principal has a part, by its id.
    pub principal: Option<String>,
    pub outcome: Option<Outcome>,
    /// Only events at or after this time.
    pub since: Option<Timestamp>,
    /// Only events of tokens and of federated credentials, no changes of other objects.
    pub of_credentials: bool,
}

/// A page of events, the latest first.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// The events, each with the view of the principal that the list is for.
    pub events: Vec<(AuditEvent, PrincipalView)>,
    /// The id before which the next page begins; `None` at the end. A page with a next one may be
    /// short or empty (see `WINDOW`).
    pub next: Option<EventId>,
}

/// What a principal may see of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrincipalView {
    /// The principal's own rules that the event concerns.
    pub credentials: Vec<CredentialId>,
    /// Whether the principal may see the assertion's claims.
    pub claims: bool,
}

impl Store {
    /// A page of events before `before`, the latest first.
    pub async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<AuditPage, StoreError> {
        let mut page = AuditPage {
            events: Vec::new(),
            next: before,
        };
        let mut looked_through = 0u64;
        while looked_through < WINDOW {
            let (found, last) = match &filter.principal {
                Some(principal) => self.parts_before(filter, principal, page.next).await?,
                None => self.events_before(filter, page.next).await?,
            };
            let Some(last) = last else {
                page.next = None;
                return Ok(page);
            };
            looked_through = looked_through.saturating_add(CHUNK);
            for (event, seen) in found {
                if page.events.len() == limit {
                    page.next = page.events.last().map(|(event, _)| event.id);
                    return Ok(page);
                }
                if filter.holds(&event) {
                    page.events.push((event, seen));
                }
            }
            page.next = Some(last);
        }
        Ok(page)
    }

    /// A chunk of the events in which a principal has a part. The parts of the newest events are
    /// not indexed yet, so those are read from the events themselves.
    async fn parts_before(
        &self,
        filter: &AuditFilter,
        principal: &str,
        before: Option<EventId>,
    ) -> Result<Chunk, StoreError> {
        let indexed = self.indexed_up_to(&self.read).await?;
        if before.is_none_or(|before| indexed.is_none_or(|indexed| before.0 > indexed)) {
            let recent = self
                .recent_parts_before(filter, principal, before, indexed)
                .await?;
            match (recent.1, indexed) {
                (Some(_), _) => return Ok(recent),
                (None, None) => return Ok((Vec::new(), None)),
                (None, Some(_)) => {}
            }
        }
        self.indexed_parts_before(filter, principal, before).await
    }

    async fn recent_parts_before(
        &self,
        filter: &AuditFilter,
        principal: &str,
        before: Option<EventId>,
        indexed: Option<Uuid>,
    ) -> Result<Chunk, StoreError> {
        let (rows, last) = self.rows_between(filter, before, indexed).await?;
        let mut found = Vec::new();
        for row in rows {
            let parts = read_parts(row.parts.as_deref());
            let own: Vec<&AuditPart> = parts
                .iter()
                .filter(|part| part.principal_id == principal)
                .collect();
            if own.is_empty() {
                continue;
            }
            let credentials: Vec<CredentialId> =
                own.iter().filter_map(|part| part.credential).collect();
            let seen = PrincipalView {
                claims: own.iter().any(|part| part.sees_claims),
                credentials,
            };
            if filter
                .credential
                .is_none_or(|one| seen.credentials.contains(&one))
            {
                found.push((event(row)?, seen));
            }
        }
        Ok((found, last))
    }

    async fn indexed_parts_before(
        &self,
        filter: &AuditFilter,
        principal: &str,
        before: Option<EventId>,
    ) -> Result<Chunk, StoreError> {
        let rows = audit_part::Entity::find()
            .filter(audit_part::Column::PrincipalId.eq(principal))
            .apply_if(before, |query, before| {
                query.filter(audit_part::Column::EventId.lt(before.0))
            })
            .apply_if(filter.since, |query, since| {
                query.filter(audit_part::Column::EventId.gte(ids::first_at(since)))
            })
            .order_by_desc(audit_part::Column::EventId)
            .order_by_desc(audit_part::Column::Position)
            .limit(CHUNK)
            .all(&self.read)
            .await?;
        let full = u64::try_from(rows.len()).ok() == Some(CHUNK);
        let mut seen: BTreeMap<Uuid, PrincipalView> = BTreeMap::new();
        for row in rows {
            let seen = seen.entry(row.event_id).or_default();
            seen.claims |= row.sees_claims;
            seen.credentials.extend(row.credential_id.map(CredentialId));
        }
        // The last event may have more parts beyond this chunk, so leave it to the next one.
        if full && seen.len() > 1 {
            seen.pop_first();
        }
        let last = seen.keys().next().copied().map(EventId);
        let wanted = seen.iter().filter(|(_, seen)| {
            filter
                .credential
                .is_none_or(|one| seen.credentials.contains(&one))
        });
        let mut events = self.events_of(wanted.map(|(id, _)| *id).collect()).await?;
        let found = events.drain(..).map(|event| {
            let seen = seen.get(&event.id.0).cloned().unwrap_or_default();
            (event, seen)
        });
        Ok((found.collect(), last))
    }

    /// The last event whose parts are indexed.
    pub(super) async fn indexed_up_to(
        &self,
        connection: &impl ConnectionTrait,
    ) -> Result<Option<Uuid>, StoreError> {
        let row = connection
            .query_one_raw(self.statement("SELECT up_to FROM audit_watermark", []))
            .await?;
        Ok(row
            .map(|row| row.try_get_by_index(0))
            .transpose()?
            .flatten())
    }

    /// A chunk of all events.
    async fn events_before(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
    ) -> Result<Chunk, StoreError> {
        let (rows, last) = self.rows_between(filter, before, None).await?;
        let about = |row: &audit_event::Model| {
            filter
                .credential
                .is_none_or(|one| row.credential_id == Some(one.0))
        };
        let all = PrincipalView {
            credentials: Vec::new(),
            claims: true,
        };
        let found = rows
            .into_iter()
            .filter(about)
            .map(|row| Ok((event(row)?, all.clone())));
        Ok((found.collect::<Result<_, StoreError>>()?, last))
    }

    /// Rows with an id below `before` and above `behind`, the latest first, and the last id.
    async fn rows_between(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        behind: Option<Uuid>,
    ) -> Result<(Vec<audit_event::Model>, Option<EventId>), StoreError> {
        let rows = audit_event::Entity::find()
            .apply_if(before, |query, before| {
                query.filter(audit_event::Column::Id.lt(before.0))
            })
            .apply_if(behind, |query, behind| {
                query.filter(audit_event::Column::Id.gt(behind))
            })
            .apply_if(filter.since, |query, since| {
                query.filter(audit_event::Column::Id.gte(ids::first_at(since)))
            })
            .order_by_desc(audit_event::Column::Id)
            .limit(CHUNK)
            .all(&self.read)
            .await?;
        let last = rows.last().map(|row| EventId(row.id));
        Ok((rows, last))
    }

    async fn events_of(&self, ids: Vec<Uuid>) -> Result<Vec<AuditEvent>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = audit_event::Entity::find()
            .filter(audit_event::Column::Id.is_in(ids))
            .order_by_desc(audit_event::Column::Id)
            .all(&self.read)
            .await?;
        rows.into_iter().map(event).collect()
    }
}

impl AuditFilter {
    fn holds(&self, event: &AuditEvent) -> bool {
        let of_tokens = matches!(
            event.outcome,
            Outcome::Issued | Outcome::Refused | Outcome::Revoked
        );
        self.outcome.is_none_or(|outcome| event.outcome == outcome)
            && (!self.of_credentials || of_tokens || event.credential.is_some())
    }
}
