//! Which events a search finds.

use std::net::IpAddr;

use super::chunk::PrincipalView;
use super::keys::{AuditKey, has_key, is_rare};
use crate::audit::{AuditEvent, AuditPart, Outcome};
use crate::clock::Timestamp;
use crate::ids::{CredentialId, EventId, PersonId};
use crate::reason::Reason;

/// Which events a list contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only events of this federated credential.
    pub credential: Option<CredentialId>,
    /// Only events in which this principal has a part, by its id.
    pub principal: Option<String>,
    pub outcome: Option<Outcome>,
    /// Only events that happened at or after this time, be it for the last time.
    pub since: Option<Timestamp>,
    /// Only events at or before this time.
    pub until: Option<Timestamp>,
    /// Only the event of this id, or the one that counts the refusal with this id.
    pub error_id: Option<EventId>,
    pub reason: Option<Reason>,
    /// Only events of a workload with this name, without ASCII case.
    pub repository: Option<String>,
    /// The `jti` of an issued token, or of the admin token that was used.
    pub token_id: Option<String>,
    pub address: Option<IpAddr>,
    pub trusted_issuer: Option<String>,
    /// The registry that the event is about, by its resource URI.
    pub resource: Option<String>,
    pub client_id: Option<String>,
    /// The person who signed in or out, or who was changed.
    pub person: Option<PersonId>,
    /// The digest or the `jti` of an assertion.
    pub assertion: Option<String>,
    /// Only events of tokens and publications, no changes and sessions.
    pub of_runs: bool,
    /// Only events of tokens and of federated credentials, no changes of other objects.
    pub of_credentials: bool,
    /// The list is for `principal` itself. Only events in which it has a part are then searched, so that
    /// neither pages nor cursors tell anything of the events of others, and what the principal may not see
    /// of an event does not find it.
    pub for_principal: bool,
}

impl AuditFilter {
    /// The key by which the fewest events are searched; `None` if the filter has none.
    pub(super) fn key(&self) -> Option<AuditKey<'_>> {
        let is_of_changes = self.outcome.is_some_and(Outcome::is_change);
        if let Some(rule) = self.credential.filter(|_| is_of_changes) {
            return Some(AuditKey::Change(rule));
        }
        let token = self.token_id.as_deref().map(AuditKey::Token);
        let workload = self.repository.as_deref().map(AuditKey::Workload);
        let client = self.client_id.as_deref().filter(|id| has_key(id));
        let reason = self.reason.map(|reason| AuditKey::Reason(reason.code()));
        let outcome = self.outcome.filter(|outcome| is_rare(*outcome));
        token
            .or(workload)
            .or(self.address.map(AuditKey::Address))
            .or(client.map(AuditKey::Client))
            .or(reason)
            .or(outcome.map(AuditKey::Outcome))
            .filter(|_| !self.for_principal)
    }

    /// Whether most events are probably not wanted.
    pub(super) fn is_selective(&self) -> bool {
        self.principal.is_some()
            || self.credential.is_some()
            || self.outcome.is_some()
            || self.token_id.is_some()
            || self.repository.is_some()
    }

    /// Whether a list contains an event of which the list's reader sees this.
    pub(super) fn holds(&self, event: &AuditEvent, seen: &PrincipalView) -> bool {
        let of_tokens = event.outcome.is_of_run();
        let is = |wanted: Option<&String>, value: Option<&String>| {
            wanted.is_none_or(|wanted| value == Some(wanted))
        };
        let presented = |wanted: &String| {
            event.assertion.as_ref().is_some_and(|assertion| {
                assertion.digest == *wanted || assertion.jti.as_ref() == Some(wanted)
            })
        };
        self.outcome.is_none_or(|outcome| event.outcome == outcome)
            && self.since.is_none_or(|since| event.latest() >= since)
            && (!self.of_runs || of_tokens)
            && (!self.of_credentials || of_tokens || event.credential.is_some())
            && self
                .reason
                .is_none_or(|reason| event.reason == Some(reason))
            && (seen.claims || !self.for_principal || !self.asks_for_claims())
            && self.holds_workload(&event.workload)
            && self.assertion.as_ref().is_none_or(presented)
            && self
                .address
                .is_none_or(|address| event.address == Some(address))
            && is(self.token_id.as_ref(), event.token_id.as_ref())
            && is(self.trusted_issuer.as_ref(), event.trusted_issuer.as_ref())
            && is(self.resource.as_ref(), event.resource.as_ref())
            && is(self.client_id.as_ref(), event.client_id.as_ref())
            && self
                .person
                .is_none_or(|person| event.person == Some(person))
    }

    /// Whether the list contains events of a workload with these names.
    pub(super) fn holds_workload(&self, names: &[String]) -> bool {
        let is_one = |wanted: &String| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        self.repository.as_ref().is_none_or(is_one)
    }

    /// The principals whose parts the list consists of. A list for a principal itself has no events
    /// of its unseen parts.
    pub(super) fn principals(&self) -> Vec<String> {
        let unseen = |principal: &String| AuditPart::unseen_id(principal);
        let unseen = self.principal.as_ref().map(unseen);
        let unseen = unseen.filter(|_| !self.for_principal);
        self.principal.iter().cloned().chain(unseen).collect()
    }

    /// Whether the filter reads what a principal sees only with the claims of the workload.
    fn asks_for_claims(&self) -> bool {
        self.repository.is_some()
            || self.assertion.is_some()
            || self.address.is_some()
            || self.token_id.is_some()
            || self.trusted_issuer.is_some()
            || self.resource.is_some()
            || self.client_id.is_some()
    }
}
