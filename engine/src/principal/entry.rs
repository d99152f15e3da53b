//! The entries of a token: one for each permission of each matching rule.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use carnet_access::{AuthorizationDetail, CREATE, DETAIL_TYPE};

use super::narrowing::Narrow;
use crate::clock::Timestamp;
use crate::ids::CredentialId;
use crate::json::element_bytes;
use crate::model::Principal;
use crate::model::{FederatedCredential, Permission, ResourceServer, Rule, TrustedIssuer};
use crate::possession::ProofDemand;
use crate::profile::Claims;
use crate::scope::ScopeSet;
use crate::trust::{Candidate, Door, version_in};

/// One entry, together with the rule that gives it.
#[derive(Clone, Debug)]
pub(super) struct Entry<'r> {
    pub candidate: &'r Candidate,
    pub principal: &'r Arc<Principal>,
    pub detail: AuthorizationDetail,
    /// What its permission asks of proofs of possession.
    pub demand: ProofDemand,
}

/// All entries that the matching rules give at this resource server.
pub(super) fn entries<'r>(
    matching: &[(&'r Candidate, Rule<'r>)],
    server: &ResourceServer,
    issuer: &TrustedIssuer,
    claims: &Claims,
    door: Door,
) -> Vec<Entry<'r>> {
    let mut entries = Vec::new();
    for (candidate, rule) in matching {
        let Some(principal) = &candidate.principal else {
            continue;
        };
        let version = rule
            .conditions
            .iter()
            .find_map(|condition| version_in(condition, &issuer.profile, claims));
        let is_vouched = candidate.credential.is_vouched_under(issuer);
        let here = rule.permissions.iter().filter(|permission| {
            let owner = permission.owner.unwrap_or(&principal.name);
            permission.resource_server == server.name
                && (candidate.credential.vouched || principal.may_name_owner(owner))
        });
        let all = here.map(|permission| {
            let credential = &candidate.credential;
            let detail = detail(permission, credential, &principal.name, server, version);
            (detail, permission.demand)
        });
        let all = all.map(|(mut detail, demand)| {
            // The caller could not name a principal here, so self-service rules may not create
            // packages.
            if door == Door::Nameless && !is_vouched {
                detail.actions.retain(|action| action != CREATE);
            }
            (detail, demand)
        });
        let all = all.filter(|(detail, _)| !detail.actions.is_empty());
        entries.extend(all.map(|(detail, demand)| Entry {
            candidate,
            principal,
            detail,
            demand,
        }));
    }
    entries
}

/// The entry for one permission of a rule; `principal` is the name of the rule's principal.
pub fn detail(
    permission: &Permission<'_>,
    credential: &FederatedCredential,
    principal: &str,
    server: &ResourceServer,
    version: Option<&str>,
) -> AuthorizationDetail {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    AuthorizationDetail {
        kind: DETAIL_TYPE.to_owned(),
        actions: owned(&permission.actions),
        packages: owned(&permission.packages),
        owner: permission.owner.unwrap_or(principal).to_owned(),
        principal: principal.to_owned(),
        credential: credential.id.to_string(),
        revision: credential.revision,
        rests_on: Vec::new(),
        locations: vec![server.resource.clone()],
        version: version.map(str::to_owned),
        digest: None,
    }
}

/// The scope of the actions of all entries; `None` if they permit nothing.
pub(super) fn union<E: Narrow>(entries: &[E]) -> Option<ScopeSet> {
    ScopeSet::of(
        entries
            .iter()
            .flat_map(|entry| &entry.detail().actions)
            .map(String::as_str),
    )
}

/// How many bytes the entries of each rule take in a token.
pub(super) fn sizes(entries: &[Entry<'_>]) -> HashMap<CredentialId, usize> {
    let mut sizes = HashMap::new();
    for entry in entries {
        let size: &mut usize = sizes.entry(entry.candidate.credential.id).or_default();
        *size = size.saturating_add(element_bytes(&entry.detail));
    }
    sizes
}

/// The sort key of rules: creation time, then id.
pub(super) fn age(credential: &FederatedCredential) -> (Timestamp, CredentialId) {
    (credential.created_at, credential.id)
}

/// For each rule, how many newer rules of its principal are among the entries. If several
/// principals share a token, they take turns in this order.
pub(super) fn turns(entries: &[Entry<'_>]) -> HashMap<CredentialId, usize> {
    let mut credentials: Vec<&FederatedCredential> = entries
        .iter()
        .map(|entry| &*entry.candidate.credential)
        .collect();
    credentials.sort_by_key(|credential| Reverse(age(credential)));
    credentials.dedup_by_key(|credential| credential.id);
    let mut before: HashMap<&str, usize> = HashMap::new();
    let mut turns = HashMap::with_capacity(credentials.len());
    for credential in credentials {
        let newer = before.entry(&credential.principal).or_default();
        turns.insert(credential.id, *newer);
        *newer = newer.saturating_add(1);
    }
    turns
}
