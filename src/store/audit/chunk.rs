//! Events of a search before they are compared with all of its filter: those that may be wanted, with what
//! a principal may see of each.

use carnet_entity::audit_event;
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::filter::AuditFilter;
use super::rows::{event, read_all_parts, read_workload};
use crate::audit::{AuditEvent, AuditPart, Outcome};
use crate::ids::{CredentialId, EventId};

/// What a principal may see of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrincipalView {
    /// The principal's own rules that the event concerns.
    pub credentials: Vec<CredentialId>,
    /// Whether the principal may see the assertion's claims.
    pub claims: bool,
}

/// Some of the events that are searched.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Those that may be wanted, each with a principal's view of it, the latest first.
    pub events: Vec<(AuditEvent, PrincipalView)>,
    /// The id before which the next chunk begins; `None` at the end.
    pub next: Option<EventId>,
    /// What of the search for a page it uses up.
    pub searched: u64,
}

impl Chunk {
    /// The events of these rows that concern the principal and the rule of the filter.
    pub fn of(
        filter: &AuditFilter,
        rows: Vec<audit_event::Model>,
        next: Option<EventId>,
        searched: u64,
    ) -> Self {
        let found = rows.into_iter().filter_map(|row| {
            let seen = view(filter, row.credential_id, row.parts.as_deref())?;
            Some((event(row)?, seen))
        });
        Self {
            events: found.collect(),
            next,
            searched,
        }
    }
}

/// What decides whether an event is read whole.
#[derive(Debug, FromQueryResult)]
pub(super) struct Outline {
    pub id: Uuid,
    pub outcome: String,
    credential_id: Option<Uuid>,
    token_id: Option<String>,
    workload: Option<String>,
    parts: Option<String>,
    pub count: i32,
}

/// The outlines of some of the events that are searched.
#[derive(Debug, Default)]
pub(super) struct Outlines {
    /// Those that may be wanted, and perhaps others, the latest first.
    pub rows: Vec<Outline>,
    /// The id before which the next ones begin; `None` if there was nothing to look at.
    pub last: Option<EventId>,
    /// Whether there are no others.
    pub is_end: bool,
}

impl Outline {
    pub fn may_be_wanted(&self, filter: &AuditFilter) -> bool {
        let is_wanted = |outcome: Outcome| outcome.as_str() == self.outcome;
        filter.outcome.is_none_or(is_wanted)
            && (filter.token_id.is_none() || filter.token_id == self.token_id)
            && filter.holds_workload(&read_workload(self.workload.as_deref()))
            && view(filter, self.credential_id, self.parts.as_deref()).is_some()
    }
}

/// What the principal of the filter may see of an event with these parts; `None` if the event does not
/// concern the principal and the rule of the filter.
fn view(
    filter: &AuditFilter,
    credential: Option<Uuid>,
    parts: Option<&str>,
) -> Option<PrincipalView> {
    if filter.principal.is_none() {
        let concerns = filter
            .credential
            .is_none_or(|one| credential == Some(one.0));
        return concerns.then_some(PrincipalView {
            credentials: Vec::new(),
            claims: true,
        });
    }
    let principals = filter.principals();
    let parts = read_all_parts(parts);
    let own: Vec<&AuditPart> = parts
        .iter()
        .filter(|part| principals.contains(&part.principal_id))
        .collect();
    let seen = PrincipalView {
        claims: own.iter().any(|part| part.sees_claims || part.is_unseen()),
        credentials: own.iter().filter_map(|part| part.credential).collect(),
    };
    let concerns = filter
        .credential
        .is_none_or(|one| seen.credentials.contains(&one));
    (!own.is_empty() && concerns).then_some(seen)
}
