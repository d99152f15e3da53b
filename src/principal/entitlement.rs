//! The decision, a pure function: target, floor, principal, scope and details, in this order (decision D-01, step 9).

use std::sync::Arc;

use carnet_resource_server::AuthorizationDetail;
use serde_json::{Map, Value};

use super::entry::{self, Entry};
use super::{AccessRequest, Principal, floor, narrowing, target};
use crate::clock::Timestamp;
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::token::ScopeSet;
use crate::trust::{Candidate, FederatedCredential, MatchReport, ResourceServer, Rule, Snapshot, TrustedIssuer};

/// What a token will say: for one resource server, for one principal or for the workload itself.
#[derive(Clone, Debug)]
pub struct Entitlement {
    /// The resource server.
    pub resource_server: Arc<ResourceServer>,
    /// `sub`.
    pub subject: String,
    /// The one principal, if it is one.
    pub principal: Option<Arc<Principal>>,
    /// The union of the entries' actions.
    pub scope: ScopeSet,
    /// The entries, newest credential first.
    pub details: Vec<AuthorizationDetail>,
    /// The credentials that gave the entries, newest first.
    pub credentials: Vec<Granting>,
}

/// A federated credential that a token rests on.
#[derive(Clone, Debug)]
pub struct Granting {
    /// The credential.
    pub credential: Arc<FederatedCredential>,
    /// The ids that the token's transaction pins.
    pub pins: Map<String, Value>,
}

impl Entitlement {
    /// When the first of its credentials ends.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.credentials.iter().filter_map(|granting| granting.credential.expires_at).min()
    }
}

/// The decision itself, for permits, explanations and offline cases alike.
pub fn entitle(
    report: &MatchReport,
    snapshot: &Snapshot,
    issuer: &TrustedIssuer,
    claims: &Claims,
    request: &AccessRequest,
) -> Result<Entitlement, Refusal> {
    let matching: Vec<(&Candidate, Rule<'_>)> =
        report.matching().filter_map(|candidate| Some((candidate, candidate.credential.rule.open()?))).collect();
    let server = target::target(&matching, snapshot, request)?;
    let matching = floor::above_floor(matching, &server, issuer, claims)?;
    let entries = entry::entries(&matching, &server, issuer, claims);
    let entries = narrowing::of_principal(entries, &server, request)?;
    let entries = narrowing::within_scope_and_details(entries, &server, request)?;
    let entries = entry::newest_first(entry::lasting(entries, report.at, &server));
    assemble(entries, server, issuer, claims)
}

fn assemble(
    entries: Vec<Entry<'_>>,
    server: Arc<ResourceServer>,
    issuer: &TrustedIssuer,
    claims: &Claims,
) -> Result<Entitlement, Refusal> {
    let scope = entry::union(&entries).ok_or(Reason::ScopeNotGranted)?;
    let first = entries.first().map(|entry| entry.principal).ok_or(Reason::NoMatchingCredential)?;
    let only = entries.iter().all(|entry| entry.principal.id == first.id).then(|| first.clone());
    let subject = if let Some(principal) = &only {
        principal.id.clone()
    } else {
        let id = issuer.workload_id(claims).map_err(|unreadable| Refusal::new(unreadable.into()))?;
        format!("workload:{}:{id}", issuer.name)
    };
    let mut credentials: Vec<Granting> = Vec::new();
    for entry in &entries {
        if !credentials.iter().any(|granting| granting.credential.id == entry.candidate.credential.id) {
            let pins = entry.candidate.pins.clone();
            credentials.push(Granting { credential: entry.candidate.credential.clone(), pins });
        }
    }
    let details = entries.into_iter().map(|entry| entry.detail).collect();
    Ok(Entitlement { resource_server: server, subject, principal: only, scope, details, credentials })
}
