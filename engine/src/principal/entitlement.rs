//! The decision, a pure function: target, floor, principal, scope and details, in this order (decision D-01, step 9).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use carnet_access::{AccessToken, AuthorizationDetail, DETAIL_TYPE};
use serde_json::Map;

use super::entry::{self, Entry};
use super::fit::{self, Fitted, Frame, TokenRoom};
use super::narrowing::Narrow;
use super::{AccessRequest, floor, narrowing, target};
use crate::clock::Timestamp;
use crate::model::{Client, DecisionContext, Principal, ResourceServer, Rule, Snapshot, TrustedIssuer};
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::trust::{Candidate, Door, MatchReport, MatchedRule, Rank};

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
    pub credentials: Vec<MatchedRule>,
    /// How many permissions found no room in the token.
    pub left_out: usize,
}

impl Entitlement {
    /// Notes for each entry which rules it rests on beside its own.
    pub fn rest_on(&mut self, lent: impl Fn(&AuthorizationDetail) -> Vec<MatchedRule>) {
        for entry in &mut self.details {
            let lent = lent(entry).iter().map(MatchedRule::rests_on).collect::<Vec<_>>();
            entry.rests_on.extend(lent);
        }
    }

    /// When it ends because its credentials do: a principal's part ends with the first of them. Where there are several parts, one
    /// that ends sooner is left out of what introspection tells, and cuts nobody else's short.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let mut ends: BTreeMap<&str, Option<Timestamp>> = BTreeMap::new();
        for MatchedRule { credential, .. } in &self.credentials {
            let end = ends.entry(&credential.principal).or_default();
            *end = [*end, credential.expires_at].into_iter().flatten().min();
        }
        // A part without an end is the last to end.
        ends.into_values().max_by_key(|end| end.map_or(i64::MAX, Timestamp::millis)).flatten()
    }
}

/// The decision itself, for permits, explanations and offline cases alike.
pub fn entitle(
    report: &MatchReport,
    context: &DecisionContext<'_>,
    issuer: &TrustedIssuer,
    claims: &Claims,
    (request, frame): (&AccessRequest, Frame),
) -> Result<Entitlement, Refusal> {
    // What is held off by a limit has its say in whose token it is, and for which registry: that a rule gives nothing now must not
    // turn somebody's no into another one's yes.
    let matching = report.candidates.iter().filter(|candidate| candidate.matches_but_for_limits());
    let matching: Vec<(&Candidate, Rule<'_>)> =
        matching.filter_map(|candidate| Some((candidate, candidate.credential.rule.open()?))).collect();
    let server = target::target(&matching, &context.rules, request)?;
    let matching = floor::above_floor(matching, &server, issuer, claims)?;
    let entries = entry::entries(&matching, &server, issuer, claims, request.door);
    if entries.is_empty() {
        return Err(Refusal::parameter(Reason::TargetNotGranted, "resource"));
    }
    let entries = of_one_principal(entries, &server, request)?;
    let of_principal = |principal: &Principal| {
        let external = principal.external_id.as_ref().map_or(0, String::len);
        [principal.id.len(), principal.name.len(), external].into_iter().sum()
    };
    let room = room(&entries, &server, frame, entries.first().map_or(0, |entry| of_principal(entry.principal)));
    let turns = entry::turns(&entries);
    let turn = |entry: &Entry<'_>| {
        let credential = &entry.candidate.credential;
        (entry.candidate.rank <= Rank::Vouched, Reverse(turns.get(&credential.id).copied()), entry::age(credential))
    };
    let mut fitted = narrow_and_fit(entries, turn, &server, request, room)?;
    fitted.entries.sort_by_cached_key(|entry| Reverse(entry::age(&entry.candidate.credential)));
    assemble(fitted, server, issuer, claims)
}

/// The room that a token for this registry has for these entries.
fn room<E: Narrow>(entries: &[E], server: &ResourceServer, frame: Frame, principal: usize) -> TokenRoom {
    let scope = entry::union(entries).map_or(0, |scope| scope.to_string().len());
    TokenRoom::of(server, frame, scope.saturating_add(principal))
}

/// As much of these entries as is asked for and fits. All of what a request names in detail has to fit; of the rest as much as does.
fn narrow_and_fit<E: Narrow, A: Ord>(
    entries: Vec<E>,
    age: impl Fn(&E) -> A,
    server: &ResourceServer,
    request: &AccessRequest,
    room: TokenRoom,
) -> Result<Fitted<E>, Refusal> {
    let fitted = match &request.details {
        None => fit::fit(narrowing::within_scope(entries, request)?, age, room),
        Some(wanted) => {
            let merged = fit::merged(entries, &age);
            fit::fit(narrowing::within_details(&merged, wanted, server, request)?, age, room)
        }
    };
    if fitted.entries.is_empty() || (request.details.is_some() && fitted.left_out > 0) {
        return Err(Refusal::too_many(fitted.packages));
    }
    Ok(fitted)
}

/// One token, one principal: the named one, else the only one whose rules count (contract, section 4). A door that cannot name one
/// gives keys that may hold entries of several.
fn of_one_principal<'r>(
    entries: Vec<Entry<'r>>,
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<Entry<'r>>, Refusal> {
    let required = || Refusal::parameter(Reason::PrincipalRequired, "principal");
    if request.principal.is_none() && server.require_principal {
        return Err(required());
    }
    let (free, held_off): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.candidate.matches());
    let is_free = |held: &Entry<'_>| free.iter().any(|entry| entry.principal.id == held.principal.id);
    // A visitor over its limit takes nothing from those who were invited; beside other visitors it may have been the one that is meant.
    let invited = free.iter().any(|entry| entry.candidate.rank <= Rank::Vouched);
    let is_visiting = |held: &Entry<'_>| held.candidate.rank == Rank::Visiting && invited;
    if !held_off.iter().all(|held| is_free(held) || is_visiting(held)) {
        return Err(Reason::RateLimited.into());
    }
    let several = free.iter().any(|entry| free.first().is_some_and(|first| first.principal.id != entry.principal.id));
    if several && request.door == Door::Token {
        return Err(required());
    }
    Ok(free)
}

fn assemble(
    Fitted { entries, left_out, .. }: Fitted<Entry<'_>>,
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
    let credentials = MatchedRule::distinct(entries.iter().map(|entry| MatchedRule::of(entry.candidate)));
    let details = entries.into_iter().map(|entry| entry.detail).collect();
    Ok(Entitlement { resource_server: server, subject, principal: only, scope, details, credentials, left_out })
}

/// How much of a token of ours goes into one that is made from it. Its subject and its registry stay; each entry stays as it is or gets
/// narrower, and one that is not `may_stay` is left out.
pub fn of_token(
    token: &AccessToken,
    rules: &Snapshot,
    (request, frame): (&AccessRequest, Frame),
    may_stay: impl Fn(&AuthorizationDetail) -> bool,
) -> Result<Entitlement, Refusal> {
    let server = rules.resource_server_of(&token.aud).ok_or(Reason::SubjectTokenInvalid)?;
    let server = target::target_among(std::iter::once(server.name.as_str()), rules, request)?;
    let entries: Vec<_> = token.authorization_details.iter().filter(|entry| may_stay(entry)).cloned().collect();
    if entries.is_empty() {
        return Err(Reason::ActorNotAllowed.into());
    }
    let entries = narrowing::of_principal(entries, &server, request)?;
    let credential = |detail: &AuthorizationDetail| rules.credential(detail.credential.parse().ok()?);
    let room = room(&entries, &server, frame, 0);
    let age = |detail: &AuthorizationDetail| credential(detail).map(|credential| entry::age(credential));
    let Fitted { entries: details, left_out, .. } = narrow_and_fit(entries, age, &server, request, room)?;
    let scope = entry::union(&details).ok_or(Reason::ScopeNotGranted)?;
    let grants = details.iter().filter_map(credential);
    let credentials = MatchedRule::distinct(
        grants.map(|credential| MatchedRule { credential: credential.clone(), pins: Map::new() }),
    );
    let principal = token.principal.as_ref().and_then(|claim| rules.principal(&claim.name.to_ascii_lowercase()));
    Ok(Entitlement {
        resource_server: server,
        subject: token.sub.clone(),
        principal: principal.filter(|principal| principal.id == token.sub).cloned(),
        scope,
        details,
        credentials,
        left_out,
    })
}

/// What a client gets for itself: an entry for each of its permissions at the one resource server that is meant.
pub fn of_client(
    client: &Client,
    rules: &Snapshot,
    (request, frame): (&AccessRequest, Frame),
) -> Result<Entitlement, Refusal> {
    let covered = client.permissions.iter().map(|permission| permission.resource_server.as_str());
    let server = target::target_among(covered, rules, request)?;
    let enabled = |owner: &str| rules.principal(&owner.to_ascii_lowercase()).is_some_and(|owner| owner.enabled);
    let permissions = client
        .permissions
        .iter()
        .filter(|permission| permission.resource_server == server.name && enabled(&permission.owner));
    let entries: Vec<AuthorizationDetail> = permissions
        .map(|permission| AuthorizationDetail {
            kind: DETAIL_TYPE.to_owned(),
            actions: permission.actions.clone(),
            packages: permission.packages.clone(),
            owner: permission.owner.clone(),
            principal: permission.owner.clone(),
            credential: client.id.to_string(),
            revision: client.revision,
            rests_on: Vec::new(),
            locations: vec![server.resource.clone()],
            version: None,
            digest: None,
        })
        .collect();
    if entries.is_empty() {
        return Err(Reason::PrincipalDisabled.into());
    }
    let entries = narrowing::of_principal(entries, &server, request)?;
    let room = room(&entries, &server, frame, client.client_id.len());
    let Fitted { entries: details, left_out, .. } = narrow_and_fit(entries, |_| (), &server, request, room)?;
    let scope = entry::union(&details).ok_or(Reason::ScopeNotGranted)?;
    Ok(Entitlement {
        resource_server: server,
        subject: client.client_id.clone(),
        principal: None,
        scope,
        details,
        credentials: Vec::new(),
        left_out,
    })
}
