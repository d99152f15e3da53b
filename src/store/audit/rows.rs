//! The rows of audit events and of their parts.

use std::net::IpAddr;
use std::sync::Once;

use carnet_entity::audit_event;
use sea_orm::{ConnectionTrait, DbBackend, Statement, Value as DbValue};
use uuid::Uuid;

use crate::audit::{AssertionRef, AuditEvent, AuditPart, Outcome};
use crate::ids::{CredentialId, EventId, PersonId};
use crate::store::StoreError;
use crate::store::placeholders::placeholders;

const COLUMNS: [&str; 18] = [
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
    "person",
    "subject",
    "assertion_digest",
    "assertion_jti",
    "parts",
    "workload",
];
const PART_COLUMNS: [&str; 5] = [
    "principal_id",
    "event_id",
    "position",
    "credential_id",
    "sees_claims",
];

/// The outcome that a row names; `None`, which is logged once, if a newer release wrote the row and
/// this one does not know the outcome. Whoever reads events leaves such a row out, so that replicas
/// of two releases can share a database.
pub fn outcome(word: &str) -> Option<Outcome> {
    static LOGGED: Once = Once::new();
    let known = Outcome::from_word(word);
    if known.is_none() {
        LOGGED.call_once(|| {
            tracing::warn!(
                outcome = word,
                "audit events with an outcome that this release does not know are left out"
            );
        });
    }
    known
}

/// The event in a row; `None` if its [`outcome`] is not known.
pub fn event(row: audit_event::Model) -> Option<AuditEvent> {
    let outcome = outcome(&row.outcome)?;
    let assertion = row.assertion_digest.map(|digest| AssertionRef {
        digest,
        jti: row.assertion_jti,
    });
    Some(AuditEvent {
        id: EventId(row.id),
        outcome,
        reason: row.reason.and_then(|reason| reason.parse().ok()),
        trusted_issuer: row.trusted_issuer,
        credential: row.credential_id.map(CredentialId),
        principal: row.principal,
        resource: row.resource,
        client_id: row.client_id,
        actor: row.actor,
        person: row.person.map(PersonId),
        subject: row.subject,
        assertion,
        workload: read_workload(row.workload.as_deref()),
        parts: Vec::new(),
        fold: None,
        count: u32::try_from(row.count).unwrap_or(1),
        last: row.last_id.map(EventId),
        token_id: row.token_id,
        address: row
            .address
            .and_then(|address| address.parse::<IpAddr>().ok()),
        detail: row.detail,
    })
}

/// Inserts events with one statement, because every token waits for it. Their parts are indexed
/// later.
pub async fn insert(
    connection: &impl ConnectionTrait,
    events: &[&AuditEvent],
) -> Result<(), StoreError> {
    let rows = events.iter().flat_map(|event| values(event)).collect();
    insert_into(
        connection,
        ("audit_event", &COLUMNS),
        rows,
        events.len(),
        "",
    )
    .await
}

/// Inserts index rows of keys, some of which may exist.
pub async fn insert_keys(
    connection: &impl ConnectionTrait,
    keys: &[(Vec<u8>, Uuid)],
) -> Result<(), StoreError> {
    let values = keys
        .iter()
        .flat_map(|(key, event)| [key.clone().into(), (*event).into()]);
    insert_into(
        connection,
        ("audit_key", &["key", "event_id"]),
        values.collect(),
        keys.len(),
        " ON CONFLICT DO NOTHING",
    )
    .await
}

/// Inserts the `error_id` of refusals with the events that count them.
pub async fn insert_counted(
    connection: &impl ConnectionTrait,
    counted: &[(Uuid, Uuid)],
) -> Result<(), StoreError> {
    let values = counted
        .iter()
        .flat_map(|(refusal, event)| [(*refusal).into(), (*event).into()]);
    insert_into(
        connection,
        ("audit_counted", &["error_id", "event_id"]),
        values.collect(),
        counted.len(),
        " ON CONFLICT DO NOTHING",
    )
    .await
}

/// Inserts index rows of parts, some of which may exist.
pub async fn insert_parts(
    connection: &impl ConnectionTrait,
    parts: &[(Uuid, AuditPart, i16)],
) -> Result<(), StoreError> {
    let values = parts
        .iter()
        .flat_map(|(event, part, position)| part_values(*event, part, *position));
    insert_into(
        connection,
        ("audit_part", &PART_COLUMNS),
        values.collect(),
        parts.len(),
        " ON CONFLICT DO NOTHING",
    )
    .await
}

async fn insert_into(
    connection: &impl ConnectionTrait,
    (table, columns): (&str, &[&str]),
    values: Vec<DbValue>,
    rows: usize,
    otherwise: &str,
) -> Result<(), StoreError> {
    if rows == 0 {
        return Ok(());
    }
    let backend = connection.get_database_backend();
    // An error ends the whole transaction, so SQLite need not keep a journal to undo half a
    // statement.
    let insert = if backend == DbBackend::Sqlite {
        "INSERT OR FAIL"
    } else {
        "INSERT"
    };
    let places = placeholders(backend, rows, columns.len());
    let sql = format!(
        "{insert} INTO {table} ({}) VALUES {places}{otherwise}",
        columns.join(", ")
    );
    connection
        .execute_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
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
        event.person.map(|person| person.0).into(),
        event.subject.clone().into(),
        assertion.map(|assertion| assertion.digest.clone()).into(),
        assertion.and_then(|assertion| assertion.jti.clone()).into(),
        written_parts(&event.parts).into(),
        written_workload(&event.workload).into(),
    ]
}

/// A part as it is stored in the event's row: principal, rule, revision, and whether the principal
/// sees the claims.
type WrittenPart = (String, Option<String>, Option<u32>, bool);

fn written_parts(parts: &[AuditPart]) -> Option<String> {
    let written = |part: &AuditPart| -> WrittenPart {
        (
            part.principal_id.clone(),
            part.credential.map(|id| id.to_string()),
            part.revision,
            part.sees_claims,
        )
    };
    let written: Vec<WrittenPart> = parts.iter().map(written).collect();
    (!written.is_empty()).then(|| serde_json::to_string(&written).unwrap_or_default())
}

/// The parts of the principals that may see an event.
pub fn read_parts(text: Option<&str>) -> Vec<AuditPart> {
    let mut parts = read_all_parts(text);
    parts.retain(|part| !part.is_unseen());
    parts
}

/// The parts by which an event is found, those of [`AuditPart::unseen`] among them.
pub fn read_all_parts(text: Option<&str>) -> Vec<AuditPart> {
    let written: Vec<WrittenPart> = text
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let part = |(principal_id, credential, revision, sees_claims): WrittenPart| {
        let credential = credential.and_then(|id| id.parse().ok());
        AuditPart {
            principal_id,
            credential,
            revision,
            sees_claims,
        }
    };
    written.into_iter().map(part).collect()
}

fn written_workload(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| serde_json::to_string(names).unwrap_or_default())
}

pub fn read_workload(text: Option<&str>) -> Vec<String> {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn part_values(event: Uuid, part: &AuditPart, position: i16) -> [DbValue; PART_COLUMNS.len()] {
    [
        part.principal_id.clone().into(),
        event.into(),
        position.into(),
        part.credential.map(|credential| credential.0).into(),
        part.sees_claims.into(),
    ]
}
