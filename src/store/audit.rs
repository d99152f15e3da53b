//! Audit events: written one row each with a row for each principal that has a part in it, and read a page at a time.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use carnet_entity::{audit_event, audit_part};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, QueryTrait as _, Statement, Value as DbValue,
};

use uuid::Uuid;

use super::placeholders::placeholders;
use super::{Store, StoreError};
use crate::audit::{AssertionRef, AuditEvent, AuditPart, Outcome};
use crate::clock::Timestamp;
use crate::ids::{self, CredentialId, EventId};

const COLUMNS: [&str; 16] = [
    "id",
    "outcome",
    "reason",
    "trusted_issuer",
    "credential_id",
    "principal",
    "resource",
    "client_id",
    "token_id",
    "address",
    "detail",
    "actor",
    "subject",
    "assertion_digest",
    "assertion_jti",
    "parts",
];
const PART_COLUMNS: [&str; 6] = ["principal_id", "event_id", "position", "credential_id", "revision", "sees_claims"];
/// Rows that are looked through for one page: what is not found by an index is sought within a window.
const WINDOW: u64 = 5_000;
/// Rows read at once while doing so.
const CHUNK: u64 = 500;
/// Events whose parts are indexed at once.
const INDEXED_AT_ONCE: u64 = 5_000;

/// Some events, each with what a principal has to do with it, and where the next ones begin.
type Chunk = (Vec<(AuditEvent, Seen)>, Option<EventId>);

/// Which events a list holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// About this federated credential.
    pub credential: Option<CredentialId>,
    /// In which this principal has a part, by id.
    pub principal: Option<String>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Without changes of other objects than federated credentials.
    pub of_credentials: bool,
}

/// A page of events, the latest first.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// The events, each with the part that the principal has in it for whom the list is.
    pub events: Vec<(AuditEvent, Seen)>,
    /// Where the next page begins, if there may be one: a page may be short, or empty, since only so much is looked through.
    pub next: Option<EventId>,
}

/// What a principal has to do with an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The principal's rules in it.
    pub credentials: Vec<CredentialId>,
    /// Whether what the assertion says of the workload is for the principal's eyes.
    pub claims: bool,
}

impl Store {
    /// Records events that are not part of another transaction. Those that are like one of the same hour are counted there.
    pub async fn record(&self, events: &[AuditEvent], folded_until: Timestamp) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        let mut alone: Vec<&AuditEvent> = Vec::new();
        let mut folded: BTreeMap<[u8; 32], Vec<&AuditEvent>> = BTreeMap::new();
        for event in events {
            match event.fold {
                None => alone.push(event),
                Some(key) => folded.entry(key).or_default().push(event),
            }
        }
        for (key, alike) in folded {
            let (Some(first), Some(last)) = (alike.first(), alike.last()) else { continue };
            if !self.begin_fold(&transaction, &key, first.id, folded_until).await? {
                self.add_to_fold(&transaction, &key, alike.len(), last.id).await?;
                continue;
            }
            insert(&transaction, &[*first]).await?;
            if alike.len() > 1 {
                self.add_to_fold(&transaction, &key, alike.len().saturating_sub(1), last.id).await?;
            }
        }
        insert(&transaction, &alone).await?;
        Ok(transaction.commit().await?)
    }

    /// Whether an event is the first of its kind.
    async fn begin_fold(
        &self,
        transaction: &DatabaseTransaction,
        key: &[u8; 32],
        event: EventId,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO audit_fold (key, event_id, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let values = [key.to_vec().into(), event.0.into(), until.millis().into()];
        Ok(transaction.execute_raw(self.statement(sql, values)).await?.rows_affected() == 1)
    }

    /// Counts so many more of a kind.
    async fn add_to_fold(
        &self,
        transaction: &DatabaseTransaction,
        key: &[u8; 32],
        more: usize,
        last: EventId,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE audit_event SET count = count + $1, last_at = $2, last_id = $3 \
                   WHERE id = (SELECT event_id FROM audit_fold WHERE key = $4)";
        let more = i32::try_from(more).unwrap_or(i32::MAX);
        let at = ids::time_of(last.0).millis();
        transaction
            .execute_raw(self.statement(sql, [more.into(), at.into(), last.0.into(), key.to_vec().into()]))
            .await?;
        Ok(())
    }

    /// Events, the latest first, beginning before one.
    pub async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<AuditPage, StoreError> {
        let mut page = AuditPage { events: Vec::new(), next: before };
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

    /// A chunk of the events in which a principal has a part, and where it ends. The latest ones stand in no index yet.
    async fn parts_before(
        &self,
        filter: &AuditFilter,
        principal: &str,
        before: Option<EventId>,
    ) -> Result<Chunk, StoreError> {
        let indexed = self.indexed_up_to(&self.read).await?;
        if before.is_none_or(|before| indexed.is_none_or(|indexed| before.0 > indexed)) {
            let recent = self.recent_parts_before(filter, principal, before, indexed).await?;
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
        let rows = audit_event::Entity::find()
            .apply_if(before, |query, before| query.filter(audit_event::Column::Id.lt(before.0)))
            .apply_if(indexed, |query, indexed| query.filter(audit_event::Column::Id.gt(indexed)))
            .apply_if(filter.since, |query, since| query.filter(audit_event::Column::Id.gte(ids::first_at(since))))
            .order_by_desc(audit_event::Column::Id)
            .limit(CHUNK)
            .all(&self.read)
            .await?;
        let last = rows.last().map(|row| EventId(row.id));
        let mut found = Vec::new();
        for row in rows {
            let parts = read_parts(row.parts.as_deref());
            let own: Vec<&AuditPart> = parts.iter().filter(|part| part.principal_id == principal).collect();
            if own.is_empty() {
                continue;
            }
            let credentials: Vec<CredentialId> = own.iter().filter_map(|part| part.credential).collect();
            let seen = Seen { claims: own.iter().any(|part| part.sees_claims), credentials };
            if filter.credential.is_none_or(|one| seen.credentials.contains(&one)) {
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
            .apply_if(before, |query, before| query.filter(audit_part::Column::EventId.lt(before.0)))
            .apply_if(filter.since, |query, since| query.filter(audit_part::Column::EventId.gte(ids::first_at(since))))
            .order_by_desc(audit_part::Column::EventId)
            .order_by_desc(audit_part::Column::Position)
            .limit(CHUNK)
            .all(&self.read)
            .await?;
        let full = u64::try_from(rows.len()).ok() == Some(CHUNK);
        let mut seen: BTreeMap<Uuid, Seen> = BTreeMap::new();
        for row in rows {
            let seen = seen.entry(row.event_id).or_default();
            seen.claims |= row.sees_claims;
            seen.credentials.extend(row.credential_id.map(CredentialId));
        }
        // The parts of the last event may go on behind the chunk: it is read again with the next one.
        if full && seen.len() > 1 {
            seen.pop_first();
        }
        let last = seen.keys().next().copied().map(EventId);
        let wanted =
            seen.iter().filter(|(_, seen)| filter.credential.is_none_or(|one| seen.credentials.contains(&one)));
        let mut events = self.events_of(wanted.map(|(id, _)| *id).collect()).await?;
        let found = events.drain(..).map(|event| {
            let seen = seen.get(&event.id.0).cloned().unwrap_or_default();
            (event, seen)
        });
        Ok((found.collect(), last))
    }

    /// Up to which event the parts are indexed.
    async fn indexed_up_to(&self, connection: &impl ConnectionTrait) -> Result<Option<Uuid>, StoreError> {
        let row = connection.query_one_raw(self.statement("SELECT up_to FROM audit_watermark", [])).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.flatten())
    }

    /// Indexes the parts of a step of the events from before a time; says whether there are more. Events are committed some time
    /// after their ids were made, so the time has to lie that far back.
    pub async fn index_parts(&self, before: Timestamp) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        // Replicas take turns: whoever comes second waits for this row.
        transaction.execute_unprepared("UPDATE audit_watermark SET id = id").await?;
        let indexed = self.indexed_up_to(&transaction).await?;
        let rows: Vec<(Uuid, Option<String>)> = audit_event::Entity::find()
            .select_only()
            .columns([audit_event::Column::Id, audit_event::Column::Parts])
            .apply_if(indexed, |query, indexed| query.filter(audit_event::Column::Id.gt(indexed)))
            .filter(audit_event::Column::Id.lt(ids::first_at(before)))
            .order_by_asc(audit_event::Column::Id)
            .limit(INDEXED_AT_ONCE)
            .into_tuple()
            .all(&transaction)
            .await?;
        let Some(last) = rows.last().map(|(id, _)| *id) else {
            transaction.rollback().await?;
            return Ok(false);
        };
        let more = u64::try_from(rows.len()).ok() == Some(INDEXED_AT_ONCE);
        let mut parts: Vec<(Uuid, AuditPart, i16)> = Vec::new();
        for (id, text) in rows {
            parts.extend(read_parts(text.as_deref()).into_iter().zip(0..).map(|(part, position)| (id, part, position)));
        }
        parts.sort_by(|left, right| (&left.1.principal_id, left.0).cmp(&(&right.1.principal_id, right.0)));
        for some in parts.chunks(1_000) {
            let values = some.iter().flat_map(|(event, part, position)| part_values(EventId(*event), part, *position));
            insert_into(&transaction, "audit_part", &PART_COLUMNS, values.collect(), some.len()).await?;
        }
        let moved = self.statement("UPDATE audit_watermark SET up_to = $1", [last.into()]);
        transaction.execute_raw(moved).await?;
        transaction.commit().await?;
        Ok(more)
    }

    /// A chunk of all events, and where it ends.
    async fn events_before(&self, filter: &AuditFilter, before: Option<EventId>) -> Result<Chunk, StoreError> {
        let rows = audit_event::Entity::find()
            .apply_if(before, |query, before| query.filter(audit_event::Column::Id.lt(before.0)))
            .apply_if(filter.since, |query, since| query.filter(audit_event::Column::Id.gte(ids::first_at(since))))
            .order_by_desc(audit_event::Column::Id)
            .limit(CHUNK)
            .all(&self.read)
            .await?;
        let last = rows.last().map(|row| EventId(row.id));
        let about = |row: &audit_event::Model| filter.credential.is_none_or(|one| row.credential_id == Some(one.0));
        let all = Seen { credentials: Vec::new(), claims: true };
        let found = rows.into_iter().filter(about).map(|row| Ok((event(row)?, all.clone())));
        Ok((found.collect::<Result<_, StoreError>>()?, last))
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

    /// Removes events with their parts.
    pub(super) async fn remove_events(&self, ids: Vec<Uuid>) -> Result<(), StoreError> {
        let rows: Vec<(Uuid, Option<String>)> = audit_event::Entity::find()
            .select_only()
            .columns([audit_event::Column::Id, audit_event::Column::Parts])
            .filter(audit_event::Column::Id.is_in(ids.clone()))
            .into_tuple()
            .all(&self.read)
            .await?;
        let mut seen: HashMap<String, Vec<Uuid>> = HashMap::new();
        for (id, parts) in rows {
            for part in read_parts(parts.as_deref()) {
                seen.entry(part.principal_id).or_default().push(id);
            }
        }
        let transaction = self.begin().await?;
        for (principal, events) in seen {
            let parts = audit_part::Entity::delete_many().filter(audit_part::Column::PrincipalId.eq(principal));
            parts.filter(audit_part::Column::EventId.is_in(events)).exec(&transaction).await?;
        }
        audit_event::Entity::delete_many().filter(audit_event::Column::Id.is_in(ids)).exec(&transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// The events that are folded under keys that are over; a step of them, which is forgotten as keys.
    pub(super) async fn forget_folds(&self, now: Timestamp, step: u64) -> Result<Vec<Uuid>, StoreError> {
        let sql =
            format!("SELECT key, event_id FROM audit_fold WHERE expires_at < $1 ORDER BY expires_at LIMIT {step}");
        let rows = self.read.query_all_raw(self.statement(&sql, [now.millis().into()])).await?;
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let key: Vec<u8> = row.try_get_by_index(0)?;
            events.push(row.try_get_by_index(1)?);
            self.write.execute_raw(self.statement("DELETE FROM audit_fold WHERE key = $1", [key.into()])).await?;
        }
        Ok(events)
    }

    /// The oldest events that are from before a time; a step of them.
    pub(super) async fn events_from_before(&self, oldest: Timestamp, step: u64) -> Result<Vec<Uuid>, StoreError> {
        let query = audit_event::Entity::find()
            .select_only()
            .column(audit_event::Column::Id)
            .filter(Expr::col(audit_event::Column::Id).lt(ids::first_at(oldest)))
            .order_by_asc(audit_event::Column::Id)
            .limit(step);
        Ok(query.into_tuple().all(&self.read).await?)
    }
}

impl AuditFilter {
    fn holds(&self, event: &AuditEvent) -> bool {
        let of_tokens = matches!(event.outcome, Outcome::Issued | Outcome::Refused | Outcome::Revoked);
        self.outcome.is_none_or(|outcome| event.outcome == outcome)
            && (!self.of_credentials || of_tokens || event.credential.is_some())
    }
}

fn event(row: audit_event::Model) -> Result<AuditEvent, StoreError> {
    let assertion = row.assertion_digest.map(|digest| AssertionRef { digest, jti: row.assertion_jti });
    Ok(AuditEvent {
        id: EventId(row.id),
        outcome: Outcome::from_word(&row.outcome).ok_or(StoreError::Corrupt(row.outcome))?,
        reason: row.reason.and_then(|reason| reason.parse().ok()),
        trusted_issuer: row.trusted_issuer,
        credential: row.credential_id.map(CredentialId),
        principal: row.principal,
        resource: row.resource,
        client_id: row.client_id,
        actor: row.actor,
        subject: row.subject,
        assertion,
        parts: Vec::new(),
        fold: None,
        count: u32::try_from(row.count).unwrap_or(1),
        last: row.last_id.map(EventId),
        token_id: row.token_id,
        address: row.address.and_then(|address| address.parse::<IpAddr>().ok()),
        detail: row.detail,
    })
}

/// Inserts events as one statement: it is on the path of every token. Their parts are indexed later.
pub(super) async fn insert(connection: &impl ConnectionTrait, events: &[&AuditEvent]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let rows = events.iter().flat_map(|event| values(event)).collect();
    insert_into(connection, "audit_event", &COLUMNS, rows, events.len()).await?;
    Ok(())
}

async fn insert_into(
    connection: &impl ConnectionTrait,
    table: &str,
    columns: &[&str],
    values: Vec<DbValue>,
    rows: usize,
) -> Result<(), StoreError> {
    let backend = connection.get_database_backend();
    // Whatever fails ends the transaction, so SQLite need not be able to undo half a statement.
    let insert = if backend == DbBackend::Sqlite { "INSERT OR FAIL" } else { "INSERT" };
    let places = placeholders(backend, rows, columns.len());
    let sql = format!("{insert} INTO {table} ({}) VALUES {places}", columns.join(", "));
    connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    Ok(())
}

fn values(event: &AuditEvent) -> [DbValue; COLUMNS.len()] {
    let assertion = event.assertion.as_ref();
    [
        event.id.0.into(),
        event.outcome.as_str().into(),
        event.reason.map(|reason| reason.code().to_owned()).into(),
        event.trusted_issuer.clone().into(),
        event.credential.map(|credential| credential.0).into(),
        event.principal.clone().into(),
        event.resource.clone().into(),
        event.client_id.clone().into(),
        event.token_id.clone().into(),
        event.address.map(|address| address.to_string()).into(),
        event.detail.clone().into(),
        event.actor.clone().into(),
        event.subject.clone().into(),
        assertion.map(|assertion| assertion.digest.clone()).into(),
        assertion.and_then(|assertion| assertion.jti.clone()).into(),
        written_parts(&event.parts).into(),
    ]
}

/// The parts as they stand in the event's row: principal, rule, revision, and whether claims are seen.
type WrittenPart = (String, Option<String>, Option<u32>, bool);

fn written_parts(parts: &[AuditPart]) -> Option<String> {
    let written = |part: &AuditPart| -> WrittenPart {
        (part.principal_id.clone(), part.credential.map(|id| id.to_string()), part.revision, part.sees_claims)
    };
    let written: Vec<WrittenPart> = parts.iter().map(written).collect();
    (!written.is_empty()).then(|| serde_json::to_string(&written).unwrap_or_default())
}

fn read_parts(text: Option<&str>) -> Vec<AuditPart> {
    let written: Vec<WrittenPart> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let part = |(principal_id, credential, revision, sees_claims): WrittenPart| {
        let credential = credential.and_then(|id| id.parse().ok());
        AuditPart { principal_id, credential, revision, sees_claims }
    };
    written.into_iter().map(part).collect()
}

fn part_values(event: EventId, part: &AuditPart, position: i16) -> [DbValue; PART_COLUMNS.len()] {
    [
        part.principal_id.clone().into(),
        event.0.into(),
        position.into(),
        part.credential.map(|credential| credential.0).into(),
        part.revision.map(|revision| i32::try_from(revision).unwrap_or(i32::MAX)).into(),
        part.sees_claims.into(),
    ]
}
