//! The entries of a token: one for each permission of each matching rule.

use std::sync::Arc;

use carnet_resource_server::{AuthorizationDetail, CREATE, DETAIL_TYPE};

use super::narrowing::Narrow;
use crate::clock::Timestamp;
use crate::ids::CredentialId;
use crate::model::Principal;
use crate::model::{FederatedCredential, Permission, ResourceServer, Rule, TrustedIssuer};
use crate::profile::Claims;
use crate::scope::ScopeSet;
use crate::trust::{Candidate, Door, version_in};

/// The most entries a token may have; beyond that the oldest credentials win, so that nobody can push others out.
const MAX_ENTRIES: usize = 100;
/// The most room that entries may take, for the same reason: a token travels in a header, and servers take 16 KiB of those at most.
const MAX_BYTES: usize = 8 * 1024;

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
    door: Door,
) -> Vec<Entry<'r>> {
    let mut entries = Vec::new();
    for (candidate, rule) in matching {
        let Some(principal) = &candidate.principal else { continue };
        let version = rule.conditions.iter().find_map(|condition| version_in(condition, &issuer.profile, claims));
        let is_vouched = candidate.credential.is_vouched_under(issuer);
        let here = rule.permissions.iter().filter(|permission| {
            let owner = permission.owner.unwrap_or(&principal.name);
            permission.resource_server == server.name && (is_vouched || principal.may_name_owner(owner))
        });
        let all = here.map(|permission| detail(permission, candidate, principal, server, version));
        let all = all.map(|mut detail| {
            // Whom nobody asked for makes no new packages.
            if door == Door::Nameless && !is_vouched {
                detail.actions.retain(|action| action != CREATE);
            }
            detail
        });
        let all = all.filter(|detail| !detail.actions.is_empty());
        entries.extend(all.map(|detail| Entry { candidate, principal, detail }));
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
        rests_on: Vec::new(),
        locations: vec![server.resource.clone()],
        version: version.map(str::to_owned),
        digest: None,
    }
}

/// The scope that all of these permit together; none if they permit nothing.
pub(super) fn union<E: Narrow>(entries: &[E]) -> Option<ScopeSet> {
    ScopeSet::of(entries.iter().flat_map(|entry| &entry.detail().actions).map(String::as_str))
}

/// When a credential was made, and its id.
pub(super) fn age(credential: &FederatedCredential) -> (Timestamp, CredentialId) {
    (credential.created_at, credential.id)
}

/// Keeps the first [`MAX_ENTRIES`] of the oldest credentials, then puts the newest first, each entry once.
pub(super) fn newest_first<E: Narrow, A: Ord>(mut entries: Vec<E>, age: impl Fn(&E) -> A) -> Vec<E> {
    entries.sort_by_cached_key(&age);
    let mut room = MAX_BYTES;
    let fitting = entries.iter().take(MAX_ENTRIES).take_while(|entry| {
        let left = room.checked_sub(size(entry.detail()));
        room = left.unwrap_or_default();
        left.is_some()
    });
    // A token has one entry at least; a single one is bounded when it is saved.
    let fitting = fitting.count().max(1);
    entries.truncate(fitting);
    entries.sort_by_cached_key(|entry| std::cmp::Reverse(age(entry)));
    let mut kept: Vec<E> = Vec::with_capacity(entries.len());
    for entry in entries {
        // Two requested entries may be cut from one permitted entry alike.
        if !kept.iter().any(|other| other.detail() == entry.detail()) {
            kept.push(entry);
        }
    }
    kept
}

/// About how many bytes an entry takes in a token.
fn size(detail: &AuthorizationDetail) -> usize {
    const AROUND: usize = 200;
    let texts = detail.actions.iter().chain(&detail.packages).chain(&detail.locations);
    let texts: usize = texts.map(|text| text.len().saturating_add(3)).sum();
    texts.saturating_add(detail.owner.len()).saturating_add(detail.principal.len()).saturating_add(AROUND)
}
