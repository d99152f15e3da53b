//! Decides what a token may permit, as a pure function: target, floor, principal, scope and
//! details, in this order. Decision D-01 gives the order; the floor needs the target.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use carnet_access::{AuthorizationDetail, DETAIL_TYPE, ProofLevel};
use serde_json::Map;

use super::entry::{self, Entry};
use super::fit::{self, Fitted, Frame, TokenRoom};
use super::narrowing::Narrow;
use super::{AccessRequest, floor, narrowing, target};
use crate::clock::Timestamp;
use crate::model::{
    Client, ClientPermission, DecisionContext, Principal, ResourceServer, Rule, Snapshot,
    TokenFormat, TrustedIssuer,
};
use crate::own_token::LiveToken;
use crate::possession::{Possession, ProofDemand};
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::trust::{Candidate, Door, MatchReport, MatchedRule, Rank};

/// What a token will permit: for one resource server, and for one principal or for the workload
/// itself.
#[derive(Clone, Debug)]
pub struct Entitlement {
    pub resource_server: Arc<ResourceServer>,
    /// The form of the token.
    pub format: TokenFormat,
    /// The `sub` of the token.
    pub subject: String,
    /// `None` if the entries belong to several principals, and in a client's own token.
    pub principal: Option<Arc<Principal>>,
    /// The union of the entries' actions.
    pub scope: ScopeSet,
    /// The entries of `authorization_details`, newest rule first.
    pub details: Vec<AuthorizationDetail>,
    /// The rules that gave the entries; empty for a client's own token.
    pub credentials: Vec<MatchedRule>,
    /// How many permissions did not fit into the token.
    pub left_out: usize,
    /// Why a permission does not count for what the request proved, if one does not.
    pub unproved: Option<Reason>,
}

impl Entitlement {
    /// Adds to each entry the rules that `lent` returns for it: the entry rests on them beside its
    /// own rule.
    pub fn rest_on(&mut self, lent: impl Fn(&AuthorizationDetail) -> Vec<MatchedRule>) {
        for entry in &mut self.details {
            let lent = lent(entry)
                .iter()
                .map(MatchedRule::rests_on)
                .collect::<Vec<_>>();
            entry.rests_on.extend(lent);
        }
    }

    /// When the rules end the token; `None` if they do not. For one principal the first of its
    /// rules to end decides. Of several principals the last to end decides: introspection leaves
    /// out the entries that ended sooner, and the others stay valid.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let mut ends: BTreeMap<&str, Option<Timestamp>> = BTreeMap::new();
        for MatchedRule { credential, .. } in &self.credentials {
            let end = ends.entry(&credential.principal).or_default();
            *end = [*end, credential.expires_at].into_iter().flatten().min();
        }
        // `None` is later than any end.
        ends.into_values()
            .max_by_key(|end| end.map_or(i64::MAX, Timestamp::millis))
            .flatten()
    }
}

/// What a token is asked for, and under which conditions.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub access: &'a AccessRequest,
    /// The space that the token takes beside its entries.
    pub frame: Frame,
    /// What the request proved.
    pub possession: &'a Possession,
}

impl Asked<'_> {
    /// Refuses a request that proved less than the registry asks for.
    pub(super) fn check_proof(&self, server: &ResourceServer) -> Result<(), Refusal> {
        match server.demand.unmet_by(self.possession) {
            None => Ok(()),
            Some(reason) => Err(unproved(reason, self.possession)),
        }
    }
}

/// The refusal of what was proved.
fn unproved(reason: Reason, possession: &Possession) -> Refusal {
    if reason == Reason::ProofTooWeak {
        too_weak(possession)
    } else {
        reason.into()
    }
}

/// The refusal of a weaker proof than a registry or a permission asks for.
pub fn too_weak(possession: &Possession) -> Refusal {
    Refusal::from(Reason::ProofTooWeak)
        .received(possession.level.as_str())
        .permitted(ProofLevel::Key.as_str())
}

/// Decides what a token may permit, from the rules that matched. Permits, explanations and offline
/// cases all use this function.
pub fn entitle(
    report: &MatchReport,
    context: &DecisionContext<'_>,
    issuer: &TrustedIssuer,
    claims: &Claims,
    asked: Asked<'_>,
) -> Result<Entitlement, Refusal> {
    let (request, frame) = (asked.access, asked.frame);
    // Rules that only a rate limit holds back still take part in choosing target and principal:
    // otherwise the refusal of a principal over its limit would become a token of another one.
    let matching = report
        .candidates
        .iter()
        .filter(|candidate| candidate.matches_but_for_limits());
    let matching: Vec<(&Candidate, Rule<'_>)> = matching
        .filter_map(|candidate| Some((candidate, candidate.credential.rule.open()?)))
        .collect();
    let server = target::target(&matching, &context.rules, request)?;
    asked.check_proof(&server)?;
    let matching = floor::above_floor(matching, &server, issuer, claims)?;
    let entries = entry::entries(&matching, &server, issuer, claims, request.door());
    if entries.is_empty() {
        return Err(nothing_here(&matching, &server, request));
    }
    let (entries, unproved) = proved(entries, asked.possession, |entry| entry.demand)?;
    let entries = narrowing::for_package(entries, &server, request)?;
    let entries = of_one_principal(entries, &server, request)?;
    let format = request.token_format(&server);
    let of_principal = |principal: &Principal| {
        let external = principal.external_id.as_ref().map_or(0, String::len);
        [principal.id.len(), principal.name.len(), external]
            .into_iter()
            .sum()
    };
    let room = room(
        &entries,
        (&server, format),
        frame,
        entries
            .first()
            .map_or(0, |entry| of_principal(entry.principal)),
    );
    let turns = entry::turns(&entries);
    let sizes = match request.door() {
        Door::Nameless => entry::sizes(&entries),
        Door::Token => HashMap::new(),
    };
    // Within a turn the smaller rules come first: a stranger's rule that fills a whole key must not
    // push out those of other principals. Rules of one principal never have the same turn.
    let turn = |entry: &Entry<'_>| {
        let credential = &entry.candidate.credential;
        (
            entry.candidate.rank <= Rank::Vouched,
            Reverse(turns.get(&credential.id).copied()),
            Reverse(sizes.get(&credential.id).copied()),
            entry::age(credential),
        )
    };
    let mut fitted = narrow_and_fit(entries, turn, &server, request, room)?;
    fitted
        .entries
        .sort_by_cached_key(|entry| Reverse(entry::age(&entry.candidate.credential)));
    let entitlement = assemble(fitted, (server, format), issuer, claims)?;
    Ok(Entitlement {
        unproved,
        ..entitlement
    })
}

/// The entries whose permissions ask for no more than the request proved, and why others were left
/// out. If none is left, that is the refusal.
pub(super) fn proved<E>(
    mut entries: Vec<E>,
    possession: &Possession,
    demand: impl Fn(&E) -> ProofDemand,
) -> Result<(Vec<E>, Option<Reason>), Refusal> {
    let unmet = |entry: &E| demand(entry).unmet_by(possession);
    let last = entries.iter().rev().find_map(unmet);
    entries.retain(|entry| unmet(entry).is_none());
    match last {
        Some(reason) if entries.is_empty() => Err(unproved(reason, possession)),
        last => Ok((entries, last)),
    }
}

/// The refusal if no rule gives an entry at this registry. Rules that only ever create packages give
/// none at a door that cannot name their principal.
fn nothing_here(
    matching: &[(&Candidate, Rule<'_>)],
    server: &ResourceServer,
    request: &AccessRequest,
) -> Refusal {
    let covers = |(_, rule): &(&Candidate, Rule<'_>)| {
        let mut permissions = rule.permissions.iter();
        permissions.any(|permission| permission.resource_server == server.name)
    };
    if request.door() == Door::Nameless && matching.iter().any(covers) {
        Reason::CreateNeedsPrincipal.into()
    } else {
        Refusal::parameter(Reason::TargetNotGranted, "resource")
    }
}

/// The space for entries in a token for this registry; the principal takes `principal` bytes.
pub(super) fn room<E: Narrow>(
    entries: &[E],
    (server, format): (&ResourceServer, TokenFormat),
    frame: Frame,
    principal: usize,
) -> TokenRoom {
    let scope = entry::union(entries).map_or(0, |scope| scope.to_string().len());
    TokenRoom::of((server, format), frame, scope.saturating_add(principal))
}

/// Narrows the entries to the request and to the space in the token. With `authorization_details`
/// everything requested has to fit; otherwise as much as fits is granted.
pub(super) fn narrow_and_fit<E: Narrow, A: Ord>(
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
            fit::fit(
                narrowing::within_details(&merged, wanted, server, request)?,
                age,
                room,
            )
        }
    };
    if fitted.entries.is_empty() || (request.details.is_some() && fitted.left_out > 0) {
        return Err(Refusal::too_many(fitted.packages));
    }
    Ok(fitted)
}

/// A token is for one principal: the named one, or else the only one whose rules count
/// (`docs/src/explanation/consent.md`). A [`Door`] where no principal can be named gives keys that
/// may hold the entries of several.
fn of_one_principal<'r>(
    entries: Vec<Entry<'r>>,
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<Entry<'r>>, Refusal> {
    let required = || Refusal::parameter(Reason::PrincipalRequired, "principal");
    if request.principal.is_none() && server.require_principal {
        return Err(required());
    }
    let (free, held_off): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| entry.candidate.matches());
    let is_free = |held: &Entry<'_>| {
        free.iter()
            .any(|entry| entry.principal.id == held.principal.id)
    };
    // The request did not ask for a visiting rule, and the workloads of others use up its limit as
    // well: it must not hold off what other rules give.
    let is_left_out = |held: &Entry<'_>| held.candidate.rank == Rank::Visiting && !free.is_empty();
    if !held_off
        .iter()
        .all(|held| is_free(held) || is_left_out(held))
    {
        return Err(Reason::RateLimited.into());
    }
    let several = free.iter().any(|entry| {
        free.first()
            .is_some_and(|first| first.principal.id != entry.principal.id)
    });
    if several && request.door() == Door::Token {
        return Err(required());
    }
    Ok(free)
}

fn assemble(
    Fitted {
        entries, left_out, ..
    }: Fitted<Entry<'_>>,
    (server, format): (Arc<ResourceServer>, TokenFormat),
    issuer: &TrustedIssuer,
    claims: &Claims,
) -> Result<Entitlement, Refusal> {
    let scope = entry::union(&entries).ok_or(Reason::ScopeNotGranted)?;
    let first = entries
        .first()
        .map(|entry| entry.principal)
        .ok_or(Reason::NoMatchingCredential)?;
    let only = entries
        .iter()
        .all(|entry| entry.principal.id == first.id)
        .then(|| first.clone());
    let subject = if let Some(principal) = &only {
        principal.id.clone()
    } else {
        let id = issuer
            .workload_id(claims)
            .map_err(|unreadable| Refusal::new(unreadable.into()))?;
        format!("workload:{}:{id}", issuer.name)
    };
    let credentials =
        MatchedRule::distinct(entries.iter().map(|entry| MatchedRule::of(entry.candidate)));
    let details = entries.into_iter().map(|entry| entry.detail).collect();
    Ok(Entitlement {
        resource_server: server,
        format,
        subject,
        principal: only,
        scope,
        details,
        credentials,
        left_out,
        unproved: None,
    })
}

/// What a token may permit that is exchanged for one of our own tokens. Subject and registry stay.
/// Each entry stays or gets narrower, and entries for which `may_stay` is false are left out. An
/// opaque key stays one: a front door may have given it, whose keys the registry has to introspect.
pub fn of_token(
    token: &LiveToken,
    rules: &Snapshot,
    asked: Asked<'_>,
    may_stay: impl Fn(&AuthorizationDetail) -> bool,
) -> Result<Entitlement, Refusal> {
    let (request, frame) = (asked.access, asked.frame);
    let (token, is_opaque) = (token.claims(), token.is_opaque());
    let server = rules
        .resource_server_of(&token.aud)
        .ok_or(Reason::SubjectTokenInvalid)?;
    let server = target::target_among(std::iter::once(server.name.as_str()), rules, request)?;
    asked.check_proof(&server)?;
    let entries: Vec<_> = token
        .authorization_details
        .iter()
        .filter(|entry| may_stay(entry))
        .cloned()
        .collect();
    if entries.is_empty() {
        return Err(Reason::ActorNotAllowed.into());
    }
    let entries = narrowing::of_principal(entries, &server, request)?;
    let credential =
        |detail: &AuthorizationDetail| rules.credential(detail.credential.parse().ok()?);
    // A JWT never holds entries of several principals.
    let is_of_several = entries.iter().any(|entry| {
        entries
            .first()
            .is_some_and(|first| first.principal != entry.principal)
    });
    let format = if is_opaque || is_of_several {
        TokenFormat::Opaque
    } else {
        server.token_format
    };
    let room = room(&entries, (&server, format), frame, 0);
    let age =
        |detail: &AuthorizationDetail| credential(detail).map(|credential| entry::age(credential));
    let Fitted {
        entries: details,
        left_out,
        ..
    } = narrow_and_fit(entries, age, &server, request, room)?;
    let scope = entry::union(&details).ok_or(Reason::ScopeNotGranted)?;
    let grants = details.iter().filter_map(credential);
    let credentials = MatchedRule::distinct(grants.map(|credential| MatchedRule {
        credential: credential.clone(),
        pins: Map::new(),
    }));
    let principal = token
        .principal
        .as_ref()
        .and_then(|claim| rules.principal(&claim.name.to_ascii_lowercase()));
    Ok(Entitlement {
        resource_server: server,
        format,
        subject: token.sub.clone(),
        principal: principal
            .filter(|principal| principal.id == token.sub)
            .cloned(),
        scope,
        details,
        credentials,
        left_out,
        unproved: None,
    })
}

/// An entry by a permission of a client, with what the permission asks of proofs of possession.
#[derive(Clone, Debug)]
pub(super) struct WithDemand {
    pub(super) detail: AuthorizationDetail,
    pub(super) demand: ProofDemand,
}

impl Narrow for WithDemand {
    fn detail(&self) -> &AuthorizationDetail {
        &self.detail
    }

    fn detail_mut(&mut self) -> &mut AuthorizationDetail {
        &mut self.detail
    }

    fn demand(&self) -> ProofDemand {
        self.demand
    }
}

/// What a client may do for itself: one entry for each of its permissions at the requested resource
/// server whose owner is enabled.
pub fn of_client(
    client: &Client,
    rules: &Snapshot,
    asked: Asked<'_>,
) -> Result<Entitlement, Refusal> {
    let (request, frame) = (asked.access, asked.frame);
    let covered = client
        .permissions
        .iter()
        .map(|permission| permission.resource_server.as_str());
    let server = target::target_among(covered, rules, request)?;
    asked.check_proof(&server)?;
    let enabled = |owner: &str| {
        rules
            .principal(&owner.to_ascii_lowercase())
            .is_some_and(|owner| owner.enabled)
    };
    let permissions = client.permissions.iter().filter(|permission| {
        permission.resource_server == server.name && enabled(&permission.owner)
    });
    let (permissions, unproved) = proved(permissions.collect(), asked.possession, |permission| {
        permission.demand
    })?;
    let detail = |permission: &ClientPermission| AuthorizationDetail {
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
    };
    let entries = permissions.into_iter().map(|permission| WithDemand {
        detail: detail(permission),
        demand: permission.demand,
    });
    let entries: Vec<WithDemand> = entries.collect();
    if entries.is_empty() {
        return Err(Reason::PrincipalDisabled.into());
    }
    let entries = narrowing::of_principal(entries, &server, request)?;
    let format = server.token_format;
    let room = room(&entries, (&server, format), frame, client.client_id.len());
    let Fitted {
        entries, left_out, ..
    } = narrow_and_fit(entries, |_| (), &server, request, room)?;
    let scope = entry::union(&entries).ok_or(Reason::ScopeNotGranted)?;
    let details = entries.into_iter().map(|entry| entry.detail).collect();
    Ok(Entitlement {
        resource_server: server,
        format,
        subject: client.client_id.clone(),
        principal: None,
        scope,
        details,
        credentials: Vec::new(),
        left_out,
        unproved,
    })
}
