//! From what the rules permit to what the request wants of it: principal, then scope, then details (RFC 9396).

use carnet_access::{AuthorizationDetail, PackageSet};

use super::entry::{Entry, union};
use super::{AccessRequest, DetailRequest};
use crate::model::ResourceServer;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;

/// Comparisons of a requested package with a pattern, for one request: some milliseconds.
const MAX_COMPARISONS: usize = 200_000;
/// Entries that may come of them: a requested one is kept for each permitted one that it lies in.
const MAX_NARROWED: usize = 5_000;

/// Something with an entry of `authorization_details` in it.
pub trait Narrow: Clone {
    fn detail(&self) -> &AuthorizationDetail;
    fn detail_mut(&mut self) -> &mut AuthorizationDetail;
}

impl Narrow for AuthorizationDetail {
    fn detail(&self) -> &AuthorizationDetail {
        self
    }

    fn detail_mut(&mut self) -> &mut AuthorizationDetail {
        self
    }
}

impl Narrow for Entry<'_> {
    fn detail(&self) -> &AuthorizationDetail {
        &self.detail
    }

    fn detail_mut(&mut self) -> &mut AuthorizationDetail {
        &mut self.detail
    }
}

/// The entries of the principal that is named, or of all where none has to be.
pub(super) fn of_principal<E: Narrow>(
    entries: Vec<E>,
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<E>, Refusal> {
    let Some(name) = &request.principal else {
        if server.require_principal {
            return Err(Refusal::parameter(Reason::PrincipalRequired, "principal"));
        }
        return Ok(entries);
    };
    let entries: Vec<E> =
        entries.into_iter().filter(|entry| entry.detail().principal.eq_ignore_ascii_case(name)).collect();
    // The name of an account without a matching rule is answered like a name that nobody has.
    if entries.is_empty() { Err(Reason::NoMatchingCredential.into()) } else { Ok(entries) }
}

/// The entries cut down to the scope that is asked for; more than is permitted is refused, never cut.
pub(super) fn within_scope<E: Narrow>(entries: Vec<E>, request: &AccessRequest) -> Result<Vec<E>, Refusal> {
    let Some(scope) = &request.scope else {
        return Ok(entries);
    };
    if !union(&entries).is_some_and(|permitted| scope.is_within(&permitted)) {
        return Err(Refusal::parameter(Reason::ScopeNotGranted, "scope"));
    }
    Ok(entries.into_iter().filter_map(|entry| cut(entry, scope)).collect())
}

/// The entries cut down to the details that are asked for, and these to the scope.
pub(super) fn within_details<E: Narrow>(
    entries: &[E],
    wanted: &[DetailRequest],
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<E>, Refusal> {
    let too_wide = || Refusal::parameter(Reason::ScopeNotGranted, "scope");
    if let Some(scope) = &request.scope
        && !union(entries).is_some_and(|permitted| scope.is_within(&permitted))
    {
        return Err(too_wide());
    }
    let sets: Vec<PackageSet> = entries
        .iter()
        .map(|entry| PackageSet::new(entry.detail().packages.iter().map(String::as_str), server.package_names))
        .collect();
    let patterns: usize = sets.iter().map(PackageSet::patterns).fold(0, usize::saturating_add);
    let packages: usize = wanted.iter().map(|wanted| wanted.packages.len()).sum();
    let too_large = || Refusal::parameter(Reason::RulesTooLarge, "authorization_details");
    if patterns.saturating_add(entries.len()).saturating_mul(packages) > MAX_COMPARISONS {
        return Err(too_large());
    }
    let mut narrowed = Vec::new();
    for wanted in wanted {
        narrowed.extend(inside(wanted, entries, &sets, server)?);
        if narrowed.len() > MAX_NARROWED {
            return Err(too_large());
        }
    }
    let Some(scope) = &request.scope else {
        return Ok(narrowed);
    };
    narrowed.into_iter().map(|entry| cut(entry, scope).ok_or_else(too_wide)).collect()
}

/// An entry without the actions that are not in the scope; none if nothing is left.
fn cut<E: Narrow>(mut entry: E, scope: &ScopeSet) -> Option<E> {
    entry.detail_mut().actions.retain(|action| scope.contains(action));
    (!entry.detail().actions.is_empty()).then_some(entry)
}

/// The permitted entries that hold all of a requested one, each with the narrower values.
fn inside<E: Narrow>(
    wanted: &DetailRequest,
    entries: &[E],
    sets: &[PackageSet],
    server: &ResourceServer,
) -> Result<Vec<E>, Refusal> {
    let refused = |reason| Refusal::parameter(reason, "authorization_details");
    let covers = |set: &PackageSet| wanted.packages.iter().all(|package| set.permits(package));
    let covering: Vec<&E> = entries.iter().zip(sets).filter(|(_, set)| covers(set)).map(|(entry, _)| entry).collect();
    if covering.is_empty() {
        return Err(refused(Reason::PackageOutOfScope));
    }
    let acting: Vec<&E> = covering
        .into_iter()
        .filter(|entry| wanted.actions.iter().all(|action| entry.detail().actions.contains(action)))
        .collect();
    if acting.is_empty() {
        return Err(refused(Reason::ActionOutOfScope));
    }
    let here = wanted.locations.as_ref().is_none_or(|places| places.iter().all(|place| *place == server.resource));
    // A limit that an entry has already stays; a request may only set one where there is none.
    let compatible =
        |limit: &Option<String>, wanted: &Option<String>| limit.is_none() || wanted.is_none() || limit == wanted;
    let fitting: Vec<E> = acting
        .into_iter()
        .filter(|entry| {
            let detail = entry.detail();
            here && wanted.owner.as_ref().is_none_or(|owner| detail.owner.eq_ignore_ascii_case(owner))
                && compatible(&detail.version, &wanted.version)
                && compatible(&detail.digest, &wanted.digest)
        })
        .map(|entry| narrow(entry, wanted))
        .collect();
    if fitting.is_empty() { Err(refused(Reason::OwnerOutOfScope)) } else { Ok(fitting) }
}

fn narrow<E: Narrow>(entry: &E, wanted: &DetailRequest) -> E {
    let mut entry = entry.clone();
    let detail = entry.detail_mut();
    detail.actions.retain(|action| wanted.actions.contains(action));
    detail.packages.clone_from(&wanted.packages);
    detail.version = detail.version.take().or_else(|| wanted.version.clone());
    detail.digest = detail.digest.take().or_else(|| wanted.digest.clone());
    entry
}
