//! Reads the index of the principals that have a part in an event.

use std::cmp::max;
use std::collections::BTreeMap;

use carnet_entity::{audit_event, audit_part};
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Query};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Select,
};
use uuid::Uuid;

use super::chunk::{Chunk, PrincipalView};
use super::filter::AuditFilter;
use super::rows::event;
use super::search::{CHUNK, WINDOW};
use crate::audit::Outcome;
use crate::ids::{self, CredentialId, EventId};
use crate::store::{Store, StoreError};

/// How many parts the database looks through at once. Each costs it a look at the event, so this is the
/// whole search for a page.
const LOOKED_THROUGH: u64 = 2_000;
/// The fewest parts that are read.
const FEWEST: u64 = 50;

/// The latest parts of a principal.
#[derive(Debug)]
struct Parts {
    rows: Vec<audit_part::Model>,
    /// The id before which there are others; `None` if there are none. Of events before it, not all parts
    /// are here.
    next: Option<Uuid>,
    /// What this uses up of a search, if the database has looked through as many as it may.
    searched: Option<u64>,
}

impl Store {
    /// A chunk of at most `size` events by the index of parts. An event has a part for each rule, so
    /// more parts than that are read.
    pub(super) async fn indexed_parts_before(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        size: u64,
    ) -> Result<Chunk, StoreError> {
        let mut seen = BTreeMap::<Uuid, PrincipalView>::new();
        let (mut next, mut searched) = (None, size);
        for principal in filter.principals() {
            let parts = self.parts_of(filter, &principal, before, size).await?;
            next = max(next, parts.next);
            searched = max(searched, parts.searched.unwrap_or_default());
            let unseen = filter.principal.as_ref() != Some(&principal);
            for row in parts.rows {
                let seen = seen.entry(row.event_id).or_default();
                seen.claims |= row.sees_claims || unseen;
                seen.credentials.extend(row.credential_id.map(CredentialId));
            }
        }
        if let Some(next) = next {
            seen.retain(|id, _| *id >= next);
        }
        let of_rule = |seen: &PrincipalView| {
            filter
                .credential
                .is_none_or(|one| seen.credentials.contains(&one))
        };
        let latest_first = seen.iter().rev();
        let wanted = latest_first.filter(|(_, seen)| of_rule(seen));
        let mut wanted: Vec<Uuid> = wanted.map(|(id, _)| *id).collect();
        let most = usize::try_from(size).unwrap_or(usize::MAX);
        if wanted.len() > most {
            wanted.truncate(most);
            next = wanted.last().copied();
            searched = size;
        }
        let rows = self.rows_of(wanted).await?;
        let found = rows.into_iter().filter_map(|row| {
            let seen = seen.get(&row.id).cloned().unwrap_or_default();
            Some((event(row)?, seen))
        });
        Ok(Chunk {
            events: found.collect(),
            next: next.map(EventId),
            searched,
        })
    }

    /// The latest parts of a principal in events before `before`, for `size` events. If the filter asks for
    /// outcomes or a rule, the database looks through `LOOKED_THROUGH` parts for those that have it.
    async fn parts_of(
        &self,
        filter: &AuditFilter,
        principal: &str,
        before: Option<EventId>,
        size: u64,
    ) -> Result<Parts, StoreError> {
        let parts = audit_part::Entity::find()
            .filter(audit_part::Column::PrincipalId.eq(principal))
            .apply_if(before, |query, before| {
                query.filter(audit_part::Column::EventId.lt(before.0))
            })
            .apply_if(filter.since, |query, since| {
                query.filter(audit_part::Column::EventId.gte(ids::first_at(since)))
            })
            .order_by_desc(audit_part::Column::EventId)
            .order_by_desc(audit_part::Column::Position);
        let outcomes = outcomes_of(filter);
        let (parts, earliest) = if outcomes.is_empty() && filter.credential.is_none() {
            (parts, None)
        } else {
            let earliest = parts
                .clone()
                .select_only()
                .column(audit_part::Column::EventId)
                .offset(LOOKED_THROUGH.saturating_sub(1))
                .limit(1)
                .into_tuple::<Uuid>()
                .one(&self.read)
                .await?;
            let looked_through = parts.apply_if(earliest, |query, earliest| {
                query.filter(audit_part::Column::EventId.gte(earliest))
            });
            (of_filter(looked_through, filter, &outcomes), earliest)
        };
        let mut limit = size.clamp(FEWEST, CHUNK);
        let mut rows = parts.clone().limit(limit).all(&self.read).await?;
        // An event of many rules has more parts than that.
        if is_of_one(&rows, limit) {
            limit = CHUNK;
            rows = parts.limit(limit).all(&self.read).await?;
        }
        let cut = next_of(&rows, limit);
        Ok(Parts {
            next: cut.or(earliest),
            rows,
            searched: earliest.filter(|_| cut.is_none()).map(|_| WINDOW),
        })
    }
}

/// The outcomes that the filter asks for; none if it asks for all.
pub(super) fn outcomes_of(filter: &AuditFilter) -> Vec<Outcome> {
    match filter.outcome {
        Some(outcome) => vec![outcome],
        None if filter.of_runs => {
            let all = Outcome::ALL.into_iter();
            all.filter(|outcome| outcome.is_of_run()).collect()
        }
        None => Vec::new(),
    }
}

/// The parts of events with one of these outcomes, and with a part of the rule of the filter.
fn of_filter(
    parts: Select<audit_part::Entity>,
    filter: &AuditFilter,
    outcomes: &[Outcome],
) -> Select<audit_part::Entity> {
    let words = outcomes.iter().map(|outcome| outcome.as_str());
    let words: Option<Vec<&str>> = Some(words.collect()).filter(|words: &Vec<_>| !words.is_empty());
    let of_event = |column| Expr::col((audit_part::Entity, column));
    parts
        .apply_if(words, |query, words| {
            let mut event = Query::select();
            event
                .expr(Expr::val(1))
                .from(audit_event::Entity)
                .and_where(
                    Expr::col((audit_event::Entity, audit_event::Column::Id))
                        .eq(of_event(audit_part::Column::EventId)),
                )
                .and_where(audit_event::Column::Outcome.is_in(words));
            query.filter(Expr::exists(event))
        })
        .apply_if(filter.credential, |query, rule| {
            let other = Alias::new("of_rule");
            let column = |column| Expr::col((other.clone(), column));
            let mut part = Query::select();
            part.expr(Expr::val(1))
                .from_as(audit_part::Entity, other.clone())
                .and_where(
                    column(audit_part::Column::PrincipalId)
                        .eq(of_event(audit_part::Column::PrincipalId)),
                )
                .and_where(
                    column(audit_part::Column::EventId).eq(of_event(audit_part::Column::EventId)),
                )
                .and_where(column(audit_part::Column::CredentialId).eq(rule.0));
            query.filter(Expr::exists(part))
        })
}

/// The id before which the next chunk begins after these rows, if they are as many as were asked for. The
/// last event may have parts beyond them, so it is left to the next chunk, unless there is no other.
fn next_of(rows: &[audit_part::Model], limit: u64) -> Option<Uuid> {
    let last = rows.last()?.event_id;
    if u64::try_from(rows.len()).ok() != Some(limit) {
        return None;
    }
    Some(if is_of_one(rows, limit) {
        last
    } else {
        after(last)
    })
}

/// Whether these rows are as many as were asked for, and all of one event.
fn is_of_one(rows: &[audit_part::Model], limit: u64) -> bool {
    let is_full = u64::try_from(rows.len()).ok() == Some(limit);
    let first = rows.first().map(|row| row.event_id);
    is_full && rows.iter().all(|row| Some(row.event_id) == first)
}

/// The id after this one.
fn after(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128().saturating_add(1))
}
