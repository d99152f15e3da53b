//! The entries of a token: one for each permission of each matching rule.

use std::sync::Arc;

use carnet_resource_server::{AuthorizationDetail, DETAIL_TYPE};

use super::Principal;
use crate::profile::Claims;
use crate::token::ScopeSet;
use crate::trust::{Candidate, Permission, ResourceServer, Rule, TrustedIssuer, version_in};

/// The most entries a token may have; beyond that the oldest credentials win, so that nobody can push others out.
const MAX_ENTRIES: usize = 100;

/// One entry, still tied to the rule that gives it.
#[derive(Clone, Debug)]
pub(super) struct Entry<'r> {
    pub candidate: &'r Candidate,
    pub principal: &'r Arc<Principal>,
    pub detail: AuthorizationDetail,
}

/// Every entry that the matching rules have at this resource server.
pub(super) fn entries<'r>(
    matching: &[(&'r Candidate, Rule<'r>)],
    server: &ResourceServer,
    issuer: &TrustedIssuer,
    claims: &Claims,
) -> Vec<Entry<'r>> {
    let mut entries = Vec::new();
    for (candidate, rule) in matching {
        let Some(principal) = &candidate.principal else { continue };
        let version = rule.conditions.iter().find_map(|condition| version_in(condition, &issuer.profile, claims));
        let here = rule.permissions.iter().filter(|permission| permission.resource_server == server.name);
        entries.extend(here.map(|permission| Entry {
            candidate,
            principal,
            detail: detail(permission, candidate, principal, server, version),
        }));
    }
    entries
}

fn detail(
    permission: &Permission<'_>,
    candidate: &Candidate,
    principal: &Principal,
    server: &ResourceServer,
    version: Option<&str>,
) -> AuthorizationDetail {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    AuthorizationDetail {
        kind: DETAIL_TYPE.to_owned(),
        actions: owned(&permission.actions),
        packages: owned(&permission.packages),
        owner: permission.owner.unwrap_or(&principal.name).to_owned(),
        principal: principal.name.clone(),
        credential: candidate.credential.id.to_string(),
        revision: candidate.credential.revision,
        locations: vec![server.resource.clone()],
        version: version.map(str::to_owned),
        digest: None,
    }
}

/// The scope that all of these permit together; none if they permit nothing.
pub(super) fn union(entries: &[Entry<'_>]) -> Option<ScopeSet> {
    ScopeSet::of(entries.iter().flat_map(|entry| &entry.detail.actions).map(String::as_str))
}

/// Keeps the first [`MAX_ENTRIES`] of the oldest credentials, then puts the newest first.
pub(super) fn newest_first(mut entries: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    let age = |entry: &Entry<'_>| (entry.candidate.credential.created_at, entry.candidate.credential.id);
    entries.sort_by_key(age);
    entries.truncate(MAX_ENTRIES);
    entries.sort_by_key(|entry| std::cmp::Reverse(age(entry)));
    let mut kept: Vec<Entry<'_>> = Vec::with_capacity(entries.len());
    for entry in entries {
        if !kept.iter().any(|other| other.detail == entry.detail) {
            kept.push(entry);
        }
    }
    kept
}
