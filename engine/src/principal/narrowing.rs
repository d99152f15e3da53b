//! Narrows the permitted entries to what the request asks for: principal, then scope, then details
//! (RFC 9396).

use carnet_access::{AuthorizationDetail, PackageSet};
use serde_json::{Map, Value};

use super::entry::{Entry, union};
use super::{AccessRequest, DetailRequest};
use crate::model::ResourceServer;
use crate::possession::ProofDemand;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::trust::Rank;

/// The most comparisons of a requested package with a pattern for one request: some milliseconds.
const MAX_COMPARISONS: usize = 200_000;
/// The most entries after narrowing: a requested entry is kept once for each permitted entry that
/// covers it.
const MAX_NARROWED: usize = 5_000;
/// The most values of the rules in a refusal.
const MAX_SHOWN: usize = 20;
/// Why packages are refused although each of them is covered.
const ONE_ENTRY: &str = "each package is covered by some permission and no permission covers all of them: put them into several \
                         entries";

/// A value that holds an entry of `authorization_details`.
pub trait Narrow: Clone {
    fn detail(&self) -> &AuthorizationDetail;
    fn detail_mut(&mut self) -> &mut AuthorizationDetail;

    /// What the permission behind the entry asks of proofs of possession. Permissions that differ in
    /// it are not merged.
    fn demand(&self) -> ProofDemand {
        ProofDemand::default()
    }
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

    fn demand(&self) -> ProofDemand {
        self.demand
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

/// The entries that cover the one package that a front door is asked for, each cut down to it.
pub(super) fn for_package<'r>(
    entries: Vec<Entry<'r>>,
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<Entry<'r>>, Refusal> {
    let package = request
        .front_door
        .as_ref()
        .and_then(|at| at.package.as_ref());
    let Some(package) = package else {
        return Ok(entries);
    };
    let covers = |entry: &&Entry<'_>| {
        let patterns = entry.detail().packages.iter().map(String::as_str);
        PackageSet::new(patterns, server.package_names).permits(package)
    };
    let mut covering: Vec<Entry<'_>> = entries.iter().filter(covers).cloned().collect();
    if covering.is_empty() {
        let refused =
            Refusal::parameter(Reason::PackageOutOfScope, "package").received(package.as_str());
        let shown = of_one_principal(&entries);
        return Err(if shown.is_empty() {
            refused
        } else {
            refused.permitted(all_of(&shown, |detail| &detail.packages))
        });
    }
    for entry in &mut covering {
        entry.detail_mut().packages = vec![package.clone()];
    }
    Ok(covering)
}

/// The entries whose patterns a refusal may show: those with consent, or else all, and none if they
/// belong to several principals. Each principal may see the refusal, and none the others' patterns.
fn of_one_principal<'e, 'r>(entries: &'e [Entry<'r>]) -> Vec<&'e Entry<'r>> {
    let has_consent = |entry: &&Entry<'_>| entry.candidate.rank <= Rank::Vouched;
    let mut shown: Vec<&Entry<'_>> = entries.iter().filter(has_consent).collect();
    if shown.is_empty() {
        shown = entries.iter().collect();
    }
    let first = shown.first().map(|entry| entry.principal.id.as_str());
    let is_others = |entry: &&Entry<'_>| Some(entry.principal.id.as_str()) != first;
    if shown.iter().any(is_others) {
        return Vec::new();
    }
    shown
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
    check_scope(&entries, scope)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| cut(entry, scope))
        .collect())
}

/// Checks that each action of `scope` is permitted by some entry. The refusal names the actions
/// that are not, and all permitted ones: a request without `scope` would be granted them.
fn check_scope<E: Narrow>(entries: &[E], scope: &ScopeSet) -> Result<(), Refusal> {
    let permitted = union(entries);
    if permitted
        .as_ref()
        .is_some_and(|permitted| scope.is_within(permitted))
    {
        return Ok(());
    }
    let is_permitted = |action: &&str| {
        permitted
            .as_ref()
            .is_some_and(|permitted| permitted.contains(action))
    };
    let beyond: Vec<&str> = scope
        .tokens()
        .filter(|action| !is_permitted(action))
        .collect();
    let permitted: Vec<&str> = permitted.iter().flat_map(ScopeSet::tokens).collect();
    Err(Refusal::parameter(Reason::ScopeNotGranted, "scope")
        .received(beyond)
        .permitted(permitted))
}

/// The entries cut down to the requested details, and these to the requested scope.
pub(super) fn within_details<E: Narrow>(
    entries: &[E],
    wanted: &[DetailRequest],
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<E>, Refusal> {
    if let Some(scope) = &request.scope {
        check_scope(entries, scope)?;
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
        .map(|entry| {
            let asked = entry.detail().actions.clone();
            cut(entry, scope).ok_or_else(|| {
                Refusal::parameter(Reason::ScopeNotGranted, "scope")
                    .received(scope.to_string())
                    .permitted(asked)
            })
        })
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
        return Err(outside(wanted, entries, sets));
    }
    let acting: Vec<&E> = covering
        .iter()
        .copied()
        .filter(|entry| {
            wanted
                .actions
                .iter()
                .all(|action| entry.detail().actions.contains(action))
        })
        .collect();
    if acting.is_empty() {
        return Err(refused(Reason::ActionOutOfScope)
            .received(wanted.actions.clone())
            .permitted(all_of(&covering, |detail| &detail.actions)));
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
        .iter()
        .copied()
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
        Err(refused(Reason::OwnerOutOfScope)
            .received(limits_of(
                wanted.owner.as_deref(),
                wanted.version.as_deref(),
                wanted.digest.as_deref(),
                wanted.locations.as_deref().unwrap_or_default(),
            ))
            .permitted(
                acting
                    .iter()
                    .take(MAX_SHOWN)
                    .map(|entry| {
                        let detail = entry.detail();
                        limits_of(
                            Some(&detail.owner),
                            detail.version.as_deref(),
                            detail.digest.as_deref(),
                            &detail.locations,
                        )
                    })
                    .collect::<Value>(),
            ))
    } else {
        Ok(fitting)
    }
}

/// The refusal of packages that no entry covers together: those that no entry covers at all, or
/// else all of them, beside the permitted patterns.
fn outside<E: Narrow>(wanted: &DetailRequest, entries: &[E], sets: &[PackageSet]) -> Refusal {
    let uncovered: Vec<&str> = wanted
        .packages
        .iter()
        .map(String::as_str)
        .filter(|package| !sets.iter().any(|set| set.permits(package)))
        .collect();
    let refused = Refusal::parameter(Reason::PackageOutOfScope, "authorization_details");
    let refused = if uncovered.is_empty() {
        refused
            .received(wanted.packages.clone())
            .noting(|facts| facts.malformed = Some(ONE_ENTRY.to_owned()))
    } else {
        refused.received(uncovered)
    };
    let entries: Vec<&E> = entries.iter().collect();
    refused.permitted(all_of(&entries, |detail| &detail.packages))
}

/// The distinct values of one list of all entries, in order, in the number that an answer shows.
fn all_of<E: Narrow>(
    entries: &[&E],
    list: impl Fn(&AuthorizationDetail) -> &Vec<String>,
) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for value in entries.iter().flat_map(|entry| list(entry.detail())) {
        if all.len() > MAX_SHOWN {
            break;
        }
        if !all.contains(value) {
            all.push(value.clone());
        }
    }
    all
}

/// Owner, version, digest and locations as an object without what is not given.
fn limits_of(
    owner: Option<&str>,
    version: Option<&str>,
    digest: Option<&str>,
    locations: &[String],
) -> Value {
    let texts = [("owner", owner), ("version", version), ("digest", digest)];
    let mut limits: Map<String, Value> = texts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    if !locations.is_empty() {
        limits.insert("locations".to_owned(), locations.into());
    }
    limits.into()
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
