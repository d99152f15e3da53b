//! From what the rules permit to what the request wants of it: principal, then scope, then details (RFC 9396).

use carnet_resource_server::{AuthorizationDetail, PackagePattern, is_well_formed_name};

use super::entry::{Entry, union};
use super::{AccessRequest, DetailRequest};
use crate::model::ResourceServer;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// Something with an entry of `authorization_details` in it.
pub(super) trait Narrow: Clone {
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

/// The entries cut down to the scope and the details that are asked for; more than is permitted is refused, never cut.
pub(super) fn within_scope_and_details<E: Narrow>(
    entries: Vec<E>,
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<E>, Refusal> {
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
        entry.detail_mut().actions.retain(|action| scope.contains(action));
        match (entry.detail().actions.is_empty(), request.details.is_some()) {
            (false, _) => cut.push(entry),
            (true, true) => return Err(too_wide()),
            (true, false) => {}
        }
    }
    Ok(cut)
}

/// The permitted entries that hold all of a requested one, each with the narrower values.
fn inside<E: Narrow>(wanted: &DetailRequest, entries: &[E], server: &ResourceServer) -> Result<Vec<E>, Refusal> {
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
    let covers = |entry: &&E| {
        wanted.packages.iter().all(|package| entry.detail().packages.iter().any(|pattern| permits(pattern, package)))
    };
    let covering: Vec<&E> = entries.iter().filter(covers).collect();
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
