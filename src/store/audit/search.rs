//! Finds audit events, the latest first.

use carnet_entity::audit_event;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, QueryTrait, Select, Value as DbValue,
};
use uuid::Uuid;

use super::chunk::{Chunk, Outline, Outlines, PrincipalView};
use super::counted::before_id;
use super::filter::AuditFilter;
use super::issued::around;
use super::keys::AuditKey;
use super::parts::outcomes_of;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::{self, EventId};
use crate::store::{Store, StoreError};

/// How many rows are searched for one page. If a filter without an index finds little among them,
/// the page is short or empty.
pub(super) const WINDOW: u64 = 5_000;
/// How many rows one query reads at most.
pub(super) const CHUNK: u64 = 500;
/// The first query reads as many rows as the page needs if each of them is wanted. Each further one
/// reads so many times more.
const GROWTH: u64 = 4;

/// A page of events, the latest first.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// The events, each with the view of the principal that the list is for.
    pub events: Vec<(AuditEvent, PrincipalView)>,
    /// The id before which the next page begins; `None` at the end. A page with a next one may be
    /// short or empty (see `WINDOW`). No later event of the list is missing from the page.
    pub next: Option<EventId>,
}

impl Store {
    /// A page of events before `before`, the latest first.
    pub async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<AuditPage, StoreError> {
        let after = filter.until.map(|until| {
            EventId(ids::first_at(Timestamp::from_millis(
                until.millis().saturating_add(1),
            )))
        });
        let mut page = AuditPage {
            events: Vec::new(),
            next: match (before, after) {
                (Some(before), Some(after)) => Some(before.min(after)),
                (before, after) => before.or(after),
            },
        };
        let mut left = WINDOW;
        let mut size = u64::try_from(limit).unwrap_or(CHUNK).saturating_add(1);
        while left > 0 {
            size = size.min(CHUNK).min(left);
            let chunk = self.chunk_before(filter, page.next, size).await?;
            for (event, seen) in chunk.events {
                if page.events.len() == limit {
                    page.next = page.events.last().map(|(event, _)| event.id);
                    return Ok(page);
                }
                if filter.holds(&event, &seen) {
                    page.events.push((event, seen));
                }
            }
            page.next = chunk.next;
            if chunk.next.is_none() {
                return Ok(page);
            }
            left = left.saturating_sub(chunk.searched);
            size = size.saturating_mul(GROWTH);
        }
        Ok(page)
    }

    async fn chunk_before(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        size: u64,
    ) -> Result<Chunk, StoreError> {
        if let Some(id) = filter.error_id {
            let rows = self.event_of_refusal(id, before).await?;
            return Ok(Chunk::of(filter, rows, None, size));
        }
        let Some(since) = filter.since.map(|since| EventId(ids::first_at(since))) else {
            return self.begun_before(filter, before, size).await;
        };
        if before.is_some_and(|before| before <= since) {
            let rows = self.counted_since(since, before, size).await?;
            let full = u64::try_from(rows.len()).ok() == Some(size);
            let last = rows.last().map(|row| EventId(row.id)).filter(|_| full);
            return Ok(Chunk::of(filter, rows, last, size));
        }
        let found = self.begun_before(filter, before, size).await?;
        Ok(Chunk {
            next: found.next.or(Some(since)),
            ..found
        })
    }

    /// A chunk of the events that began since the time of the filter.
    async fn begun_before(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        size: u64,
    ) -> Result<Chunk, StoreError> {
        if filter.person.is_some() && !filter.for_principal {
            return self.recent_before(filter, before, None, size).await;
        }
        if let Some(key) = filter.key() {
            return self.keyed_before(filter, key, before, size).await;
        }
        if filter.principal.is_some() {
            return self.parts_before(filter, before, size).await;
        }
        self.recent_before(filter, before, None, size).await
    }

    /// A chunk of the events with a key. The newest events are not indexed yet, so those are
    /// searched one by one.
    async fn keyed_before(
        &self,
        filter: &AuditFilter,
        key: AuditKey<'_>,
        before: Option<EventId>,
        size: u64,
    ) -> Result<Chunk, StoreError> {
        let indexed = self.indexed_up_to(&self.read).await?;
        if let Some(recent) = self.unindexed_before(filter, before, indexed, size).await? {
            return Ok(recent);
        }
        let latest = before.map_or(Uuid::max(), |before| before.0);
        let earliest = filter.since.map_or(Uuid::nil(), ids::first_at);
        let mut values: Vec<DbValue> = vec![key.bytes().into(), latest.into(), earliest.into()];
        let own = filter.principal.as_ref().filter(|_| filter.for_principal);
        values.extend(own.map(|own| DbValue::from(own.as_str())));
        let is_own = match own {
            Some(_) => {
                "AND EXISTS (SELECT 1 FROM audit_part p WHERE p.principal_id = $4 AND p.event_id = audit_key.event_id)"
            }
            None => "",
        };
        let sql = format!(
            "SELECT event_id FROM audit_key WHERE key = $1 AND event_id < $2 AND event_id >= $3 {is_own} \
             ORDER BY event_id DESC LIMIT {size}"
        );
        let rows = self
            .read
            .query_all_raw(self.statement(&sql, values))
            .await?;
        let ids = rows
            .iter()
            .map(|row| row.try_get_by_index(0))
            .collect::<Result<Vec<Uuid>, _>>()?;
        let last = ids.last().copied().map(EventId);
        if let (AuditKey::Token(token), None) = (key, last) {
            let rows = self.issuance_of(filter, token, before).await?;
            return Ok(Chunk::of(filter, rows, None, size));
        }
        Ok(Chunk::of(filter, self.rows_of(ids).await?, last, size))
    }

    /// The event of the issuance of a token. The time in the token's id is that of the issuance,
    /// which is earlier than anything that is done with the token.
    async fn issuance_of(
        &self,
        filter: &AuditFilter,
        token: &str,
        before: Option<EventId>,
    ) -> Result<Vec<audit_event::Model>, StoreError> {
        let Ok(id) = Uuid::try_parse(token) else {
            return Ok(Vec::new());
        };
        let query = between(filter, before)
            .filter(around(id))
            .filter(audit_event::Column::TokenId.eq(token))
            .limit(1);
        Ok(query.all(&self.read).await?)
    }

    /// A chunk of the events in which a principal has a part. The parts of the newest events are
    /// not indexed yet, so those are read from the events themselves.
    async fn parts_before(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        size: u64,
    ) -> Result<Chunk, StoreError> {
        let indexed = self.indexed_up_to(&self.read).await?;
        if let Some(recent) = self.unindexed_before(filter, before, indexed, size).await? {
            return Ok(recent);
        }
        self.indexed_parts_before(filter, before, size).await
    }

    /// A chunk of the events that are not indexed yet; `None` if the search has passed them.
    pub(super) async fn unindexed_before(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        indexed: Option<Uuid>,
        size: u64,
    ) -> Result<Option<Chunk>, StoreError> {
        if indexed.is_some_and(|indexed| before.is_some_and(|before| before.0 <= indexed)) {
            return Ok(None);
        }
        let recent = self.recent_before(filter, before, indexed, size).await?;
        Ok(Some(recent).filter(|recent| recent.next.is_some() || indexed.is_none()))
    }

    /// A chunk of the events after `behind`, without an index.
    async fn recent_before(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        behind: Option<Uuid>,
        size: u64,
    ) -> Result<Chunk, StoreError> {
        if filter.is_selective() {
            // Most of these events are of others: only those are read whole that may be wanted.
            let Outlines { rows, last, .. } =
                self.outlines_before(filter, before, behind, size).await?;
            let wanted = rows.into_iter().filter(|row| row.may_be_wanted(filter));
            let wanted = wanted.map(|row| row.id).collect();
            return Ok(Chunk::of(filter, self.rows_of(wanted).await?, last, size));
        }
        let rows = recent(filter, before, behind, size);
        let rows = rows.all(&self.read).await?;
        let last = rows.last().map(|row| EventId(row.id));
        Ok(Chunk::of(filter, rows, last, size))
    }

    /// What decides about a chunk of the events after `behind`. Each row that leaves the database costs
    /// far more than one that it passes over, so it leaves out most of those that are not wanted.
    pub(super) async fn outlines_before(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        behind: Option<Uuid>,
        size: u64,
    ) -> Result<Outlines, StoreError> {
        let chunk = recent(filter, before, behind, size);
        let id_of = |query: Select<audit_event::Entity>| {
            query
                .select_only()
                .column(audit_event::Column::Id)
                .limit(1)
                .into_tuple::<Uuid>()
                .one(&self.read)
        };
        let end = id_of(chunk.clone().offset(size.saturating_sub(1))).await?;
        let last = if end.is_some() {
            end
        } else {
            let mut earliest = chunk.clone();
            QueryTrait::query(&mut earliest).clear_order_by();
            id_of(earliest.order_by_asc(audit_event::Column::Id)).await?
        };
        let Some(last) = last else {
            return Ok(Outlines::default());
        };
        let rows = likely(chunk, filter)
            .filter(audit_event::Column::Id.gte(last))
            .select_only()
            .columns([
                audit_event::Column::Id,
                audit_event::Column::Outcome,
                audit_event::Column::CredentialId,
                audit_event::Column::TokenId,
                audit_event::Column::Workload,
                audit_event::Column::Parts,
                audit_event::Column::Count,
            ])
            .into_model::<Outline>()
            .all(&self.read)
            .await?;
        Ok(Outlines {
            rows,
            last: Some(EventId(last)),
            is_end: end.is_none(),
        })
    }

    /// The last event that is indexed.
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

    pub(super) async fn rows_of(
        &self,
        ids: Vec<Uuid>,
    ) -> Result<Vec<audit_event::Model>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = audit_event::Entity::find()
            .filter(audit_event::Column::Id.is_in(ids))
            .order_by_desc(audit_event::Column::Id);
        Ok(query.all(&self.read).await?)
    }
}

/// The events before `before` that began since the time of the filter, the latest first; only those
/// of the person of the filter, for which there is an index.
fn between(filter: &AuditFilter, before: Option<EventId>) -> Select<audit_event::Entity> {
    before_id(before)
        .apply_if(filter.since, |query, since| {
            query.filter(audit_event::Column::Id.gte(ids::first_at(since)))
        })
        .apply_if(filter.person, |query, person| {
            query.filter(audit_event::Column::Person.eq(person.0))
        })
}

/// Leaves out events that [`Outline::may_be_wanted`] would refuse, as far as that can be seen from the
/// text of a column.
fn likely(query: Select<audit_event::Entity>, filter: &AuditFilter) -> Select<audit_event::Entity> {
    use audit_event::Column;
    let outcomes = outcomes_of(filter);
    let words = outcomes.iter().map(|outcome| outcome.as_str());
    let words = Some(words.collect::<Vec<_>>()).filter(|words| !words.is_empty());
    // An id with other characters may stand there in another form.
    let is_plain = |id: &&String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        id.bytes().all(plain)
    };
    let principal = filter.principal.as_ref().filter(is_plain);
    let of_principal = filter.principal.is_some();
    query
        .apply_if(words, |query, words| {
            query.filter(Column::Outcome.is_in(words))
        })
        .apply_if(filter.token_id.as_ref(), |query, token| {
            query.filter(Column::TokenId.eq(token.as_str()))
        })
        .apply_if(principal, |query, id| {
            query.filter(Column::Parts.like(format!("%{id}\"%")))
        })
        .apply_if(filter.credential, |query, rule| {
            query.filter(if of_principal {
                Column::Parts.like(format!("%{rule}%"))
            } else {
                Column::CredentialId.eq(rule.0)
            })
        })
}

/// The events after `behind`.
fn recent(
    filter: &AuditFilter,
    before: Option<EventId>,
    behind: Option<Uuid>,
    size: u64,
) -> Select<audit_event::Entity> {
    between(filter, before)
        .apply_if(behind, |query, behind| {
            query.filter(audit_event::Column::Id.gt(behind))
        })
        .limit(size)
}
