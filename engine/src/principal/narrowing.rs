//! Narrows the permitted entries to what the request asks for: principal, then scope, then details
//! (RFC 9396).

use carnet_access::{AuthorizationDetail, PackageSet};

use super::entry::{Entry, union};
use super::{AccessRequest, DetailRequest};
use crate::model::ResourceServer;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;

/// The most comparisons of a requested package with a pattern for one request: some milliseconds.
const MAX_COMPARISONS: usize = 200_000;
/// The most entries after narrowing: a requested entry is kept once for each permitted entry that
/// covers it.
const MAX_NARROWED: usize = 5_000;

/// A value that holds an entry of `authorization_details`.
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

/// The entries of the principal that the request names, or all entries if the registry does not
/// require a name.
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
    let entries: Vec<E> = entries
        .into_iter()
        .filter(|entry| entry.detail().principal.eq_ignore_ascii_case(name))
        .collect();
    // A principal without a matching rule is answered like an unknown name, so that names cannot be
    // probed.
    if entries.is_empty() {
        Err(Reason::NoMatchingCredential.into())
    } else {
        Ok(entries)
    }
}

/// The entries cut down to the requested scope. A scope beyond what is permitted is refused, never
/// cut.
pub(super) fn within_scope<E: Narrow>(
    entries: Vec<E>,
    request: &AccessRequest,
) -> Result<Vec<E>, Refusal> {
    let Some(scope) = &request.scope else {
        return Ok(entries);
    };
    if !union(&entries).is_some_and(|permitted| scope.is_within(&permitted)) {
        return Err(Refusal::parameter(Reason::ScopeNotGranted, "scope"));
    }
    Ok(entries
        .into_iter()
        .filter_map(|entry| cut(entry, scope))
        .collect())
}

/// The entries cut down to the requested details, and these to the requested scope.
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
        .map(|entry| {
            PackageSet::new(
                entry.detail().packages.iter().map(String::as_str),
                server.package_names,
            )
        })
        .collect();
    let patterns: usize = sets
        .iter()
        .map(PackageSet::patterns)
        .fold(0, usize::saturating_add);
    let packages: usize = wanted.iter().map(|wanted| wanted.packages.len()).sum();
    let too_large = || Refusal::parameter(Reason::RulesTooLarge, "authorization_details");
    if patterns
        .saturating_add(entries.len())
        .saturating_mul(packages)
        > MAX_COMPARISONS
    {
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
    narrowed
        .into_iter()
        .map(|entry| cut(entry, scope).ok_or_else(too_wide))
        .collect()
}

/// The entry without the actions outside `scope`; `None` if no action is left.
fn cut<E: Narrow>(mut entry: E, scope: &ScopeSet) -> Option<E> {
    entry
        .detail_mut()
        .actions
        .retain(|action| scope.contains(action));
    (!entry.detail().actions.is_empty()).then_some(entry)
}

/// The permitted entries that cover the requested one completely, each narrowed to it.
fn inside<E: Narrow>(
    wanted: &DetailRequest,
    entries: &[E],
    sets: &[PackageSet],
    server: &ResourceServer,
) -> Result<Vec<E>, Refusal> {
    let refused = |reason| Refusal::parameter(reason, "authorization_details");
    let covers = |set: &PackageSet| wanted.packages.iter().all(|package| set.permits(package));
    let covering: Vec<&E> = entries
        .iter()
        .zip(sets)
        .filter(|(_, set)| covers(set))
        .map(|(entry, _)| entry)
        .collect();
    if covering.is_empty() {
        return Err(refused(Reason::PackageOutOfScope));
    }
    let acting: Vec<&E> = covering
        .into_iter()
        .filter(|entry| {
            wanted
                .actions
                .iter()
                .all(|action| entry.detail().actions.contains(action))
        })
        .collect();
    if acting.is_empty() {
        return Err(refused(Reason::ActionOutOfScope));
    }
    let here = wanted
        .locations
        .as_ref()
        .is_none_or(|places| places.iter().all(|place| *place == server.resource));
    // The request may add a version or digest where the entry has none, but not change one.
    let compatible = |limit: &Option<String>, wanted: &Option<String>| {
        limit.is_none() || wanted.is_none() || limit == wanted
    };
    let fitting: Vec<E> = acting
        .into_iter()
        .filter(|entry| {
            let detail = entry.detail();
            here && wanted
                .owner
                .as_ref()
                .is_none_or(|owner| detail.owner.eq_ignore_ascii_case(owner))
                && compatible(&detail.version, &wanted.version)
                && compatible(&detail.digest, &wanted.digest)
        })
        .map(|entry| narrow(entry, wanted))
        .collect();
    if fitting.is_empty() {
        Err(refused(Reason::OwnerOutOfScope))
    } else {
        Ok(fitting)
    }
}

fn narrow<E: Narrow>(entry: &E, wanted: &DetailRequest) -> E {
    let mut entry = entry.clone();
    let detail = entry.detail_mut();
    detail
        .actions
        .retain(|action| wanted.actions.contains(action));
    detail.packages.clone_from(&wanted.packages);
    detail.version = detail.version.take().or_else(|| wanted.version.clone());
    detail.digest = detail.digest.take().or_else(|| wanted.digest.clone());
    entry
}
