use std::net::IpAddr;

use carnet_entity::audit_event;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbBackend, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Statement, Value as DbValue,
};

use uuid::Uuid;

use super::{Store, StoreError};
use crate::audit::{AuditEvent, Outcome};
use crate::clock::Timestamp;
use crate::ids::{self, CredentialId, EventId};

const COLUMNS: [&str; 11] = [
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
];

/// Which events a list holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// About this federated credential.
    pub credential: Option<CredentialId>,
    /// About this principal, by name.
    pub principal: Option<String>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Without changes of other objects than federated credentials.
    pub of_credentials: bool,
}

impl Store {
    /// Records events that are not part of another transaction.
    pub async fn record(&self, events: &[AuditEvent]) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        insert(&transaction, &events.iter().collect::<Vec<_>>()).await?;
        Ok(transaction.commit().await?)
    }

    /// Events, the latest first, beginning before one.
    pub async fn audit_events(
        &self,
        filter: &AuditFilter,
        before: Option<EventId>,
        limit: u64,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        // The ids first: that takes an index alone.
        let mut query = audit_event::Entity::find()
            .select_only()
            .column(audit_event::Column::Id)
            .order_by_desc(audit_event::Column::Id)
            .limit(limit);
        if let Some(credential) = filter.credential {
            query = query.filter(audit_event::Column::CredentialId.eq(credential.0));
        }
        if let Some(principal) = &filter.principal {
            query = query.filter(audit_event::Column::Principal.eq(principal));
        }
        if let Some(outcome) = filter.outcome {
            query = query.filter(audit_event::Column::Outcome.eq(outcome.as_str()));
        }
        if let Some(since) = filter.since {
            query = query.filter(audit_event::Column::Id.gte(ids::first_at(since)));
        }
        if filter.of_credentials {
            let outcomes = [Outcome::Issued, Outcome::Refused, Outcome::Revoked].map(Outcome::as_str);
            let of_tokens = audit_event::Column::Outcome.is_in(outcomes);
            query = query.filter(of_tokens.or(audit_event::Column::CredentialId.is_not_null()));
        }
        if let Some(before) = before {
            query = query.filter(audit_event::Column::Id.lt(before.0));
        }
        let found: Vec<Uuid> = query.into_tuple().all(&self.read).await?;
        let events = audit_event::Entity::find()
            .filter(audit_event::Column::Id.is_in(found))
            .order_by_desc(audit_event::Column::Id);
        events.all(&self.read).await?.into_iter().map(event).collect()
    }
}

fn event(row: audit_event::Model) -> Result<AuditEvent, StoreError> {
    Ok(AuditEvent {
        id: EventId(row.id),
        outcome: Outcome::from_word(&row.outcome).ok_or(StoreError::Corrupt(row.outcome))?,
        reason: row.reason.and_then(|reason| reason.parse().ok()),
        trusted_issuer: row.trusted_issuer,
        credential: row.credential_id.map(CredentialId),
        principal: row.principal,
        resource: row.resource,
        client_id: row.client_id,
        token_id: row.token_id,
        address: row.address.and_then(|address| address.parse::<IpAddr>().ok()),
        detail: row.detail,
    })
}

/// Inserts events as one statement: it is on the path of every token.
pub(super) async fn insert(connection: &impl ConnectionTrait, events: &[&AuditEvent]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let backend = connection.get_database_backend();
    // Whatever fails ends the transaction, so SQLite need not be able to undo half a statement.
    let insert = if backend == DbBackend::Sqlite { "INSERT OR FAIL" } else { "INSERT" };
    let sql = format!(
        "{insert} INTO audit_event ({}) VALUES {}",
        COLUMNS.join(", "),
        super::placeholders::placeholders(backend, events.len(), COLUMNS.len())
    );
    let mut bound = Vec::with_capacity(events.len().saturating_mul(COLUMNS.len()));
    for event in events {
        bound.extend(values(event));
    }
    let statement = Statement::from_sql_and_values(backend, sql, bound);
    connection.execute_raw(statement).await?;
    Ok(())
}

fn values(event: &AuditEvent) -> [DbValue; COLUMNS.len()] {
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
    ]
}
