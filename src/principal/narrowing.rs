//! From what the rules permit to what the request wants of it: principal, then scope, then details (RFC 9396).

use carnet_resource_server::{PackagePattern, is_well_formed_name};

use super::entry::{Entry, union};
use super::{AccessRequest, DetailRequest};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::ResourceServer;

/// The entries of the principal that is named, or of all where none has to be.
pub(super) fn of_principal<'r>(
    entries: Vec<Entry<'r>>,
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<Entry<'r>>, Refusal> {
    let Some(name) = &request.principal else {
        if server.require_principal {
            return Err(Refusal::parameter(Reason::PrincipalRequired, "principal"));
        }
        return Ok(entries);
    };
    let entries: Vec<_> = entries.into_iter().filter(|entry| entry.principal.name.eq_ignore_ascii_case(name)).collect();
    // The name of an account without a matching rule is answered like a name that nobody has.
    if entries.is_empty() { Err(Reason::NoMatchingCredential.into()) } else { Ok(entries) }
}

/// The entries cut down to the scope and the details that are asked for; more than is permitted is refused, never cut.
pub(super) fn within_scope_and_details<'r>(
    entries: Vec<Entry<'r>>,
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<Entry<'r>>, Refusal> {
    let too_wide = || Refusal::parameter(Reason::ScopeNotGranted, "scope");
    if let Some(scope) = &request.scope
        && !union(&entries).is_some_and(|permitted| scope.is_within(&permitted))
    {
        return Err(too_wide());
    }
    let narrowed = match &request.details {
        None => entries,
        Some(wanted) => {
            let mut narrowed = Vec::new();
            for wanted in wanted {
                narrowed.extend(inside(wanted, &entries, server)?);
            }
            narrowed
        }
    };
    let Some(scope) = &request.scope else {
        return Ok(narrowed);
    };
    let mut cut = Vec::new();
    for mut entry in narrowed {
        entry.detail.actions.retain(|action| scope.contains(action));
        match (entry.detail.actions.is_empty(), request.details.is_some()) {
            (false, _) => cut.push(entry),
            (true, true) => return Err(too_wide()),
            (true, false) => {}
        }
    }
    Ok(cut)
}

/// The permitted entries that hold all of a requested one, each with the narrower values.
fn inside<'r>(
    wanted: &DetailRequest,
    entries: &[Entry<'r>],
    server: &ResourceServer,
) -> Result<Vec<Entry<'r>>, Refusal> {
    let refused = |reason| Refusal::parameter(reason, "authorization_details");
    let names = server.package_names;
    let permits = |pattern: &String, package: &String| {
        PackagePattern::try_from(pattern.clone()).is_ok_and(|pattern| {
            if package.contains('*') {
                names.same(pattern.as_str(), package)
            } else {
                is_well_formed_name(package) && pattern.covers(package, names)
            }
        })
    };
    let covers = |entry: &&Entry<'r>| {
        wanted.packages.iter().all(|package| entry.detail.packages.iter().any(|pattern| permits(pattern, package)))
    };
    let covering: Vec<&Entry<'r>> = entries.iter().filter(covers).collect();
    if covering.is_empty() {
        return Err(refused(Reason::PackageOutOfScope));
    }
    let acting: Vec<&Entry<'r>> = covering
        .into_iter()
        .filter(|entry| wanted.actions.iter().all(|action| entry.detail.actions.contains(action)))
        .collect();
    if acting.is_empty() {
        return Err(refused(Reason::ActionOutOfScope));
    }
    let here = wanted.locations.as_ref().is_none_or(|places| places.iter().all(|place| *place == server.resource));
    let fitting: Vec<Entry<'r>> = acting
        .into_iter()
        .filter(|entry| {
            here && wanted.owner.as_ref().is_none_or(|owner| entry.detail.owner.eq_ignore_ascii_case(owner))
        })
        .filter(|entry| {
            entry.detail.version.is_none() || wanted.version.is_none() || entry.detail.version == wanted.version
        })
        .map(|entry| narrow(entry, wanted))
        .collect();
    if fitting.is_empty() { Err(refused(Reason::OwnerOutOfScope)) } else { Ok(fitting) }
}

fn narrow<'r>(entry: &Entry<'r>, wanted: &DetailRequest) -> Entry<'r> {
    let mut entry = entry.clone();
    entry.detail.actions.retain(|action| wanted.actions.contains(action));
    entry.detail.packages.clone_from(&wanted.packages);
    entry.detail.version = entry.detail.version.or_else(|| wanted.version.clone());
    entry.detail.digest.clone_from(&wanted.digest);
    entry
}
