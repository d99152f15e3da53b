//! What a client may do on behalf of a person: the actions that the person's role gives at a
//! registry, within the ceiling of the client.

use std::sync::Arc;

use carnet_access::{AuthorizationDetail, DETAIL_TYPE};

use super::entitlement::{Asked, Entitlement, WithDemand, narrow_and_fit, proved, room};
use super::fit::Fitted;
use super::{AccessRequest, entry, narrowing, target};
use crate::model::{Client, ClientPermission, Principal, ResourceServer, Snapshot};
use crate::own_token::LOCAL_CLIENT;
use crate::people::{Held, Roles};
use crate::possession::ProofDemand;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A principal for which a token could be made, and what it would permit, as far as it fits.
#[derive(Clone, Debug)]
pub struct Choice {
    pub principal: Arc<Principal>,
    pub details: Vec<AuthorizationDetail>,
}

/// What the client may do for one principal of the person.
#[derive(Clone, Debug)]
struct AtPrincipal {
    principal: Arc<Principal>,
    entries: Vec<WithDemand>,
}

/// What a token of the client permits on behalf of a person with these roles. It is for one
/// principal: the one that the request names, or else the only one at which the person has a role that
/// gives something.
pub fn of_person(
    held: &Roles,
    client: &Client,
    rules: &Snapshot,
    asked: Asked<'_>,
) -> Result<Entitlement, Refusal> {
    let (request, frame) = (asked.access, asked.frame);
    let (server, mut principals) = at_principals(held, client, rules, request)?;
    asked.check_proof(&server)?;
    if let Some(name) = &request.principal {
        principals.retain(|at| at.principal.name.eq_ignore_ascii_case(name));
    }
    let mut found = principals.into_iter();
    let AtPrincipal { principal, entries } = match (found.next(), found.next()) {
        (Some(only), None) => only,
        (None, _) => return Err(Reason::NoMembership.into()),
        (Some(_), Some(_)) => {
            return Err(Refusal::parameter(Reason::PrincipalRequired, "principal"));
        }
    };
    let (entries, unproved) = proved(entries, asked.possession, |entry| entry.demand)?;
    let format = server.token_format;
    let external = principal.external_id.as_ref().map_or(0, String::len);
    let of_principal = [principal.id.len(), principal.name.len(), external];
    let of_principal = of_principal.into_iter().sum();
    let room = room(&entries, (&server, format), frame, of_principal);
    let Fitted {
        entries, left_out, ..
    } = narrow_and_fit(entries, |_| (), &server, request, room)?;
    let scope = entry::union(&entries).ok_or(Reason::ScopeNotGranted)?;
    Ok(Entitlement {
        resource_server: server,
        format,
        subject: principal.id.clone(),
        principal: Some(principal),
        scope,
        details: entries.into_iter().map(|entry| entry.detail).collect(),
        credentials: Vec::new(),
        left_out,
        unproved,
    })
}

/// The registry that the request is for, and the principals for which a token could be made: those at
/// which the person's role gives all that is asked for.
pub fn choices(
    held: &Roles,
    client: &Client,
    rules: &Snapshot,
    request: &AccessRequest,
) -> Result<(Arc<ResourceServer>, Vec<Choice>), Refusal> {
    let (server, principals) = at_principals(held, client, rules, request)?;
    let mut refused = None;
    let mut possible = Vec::new();
    for AtPrincipal { principal, entries } in principals {
        let narrowed = match &request.details {
            None => narrowing::within_scope(entries, request),
            Some(wanted) => narrowing::within_details(&entries, wanted, &server, request),
        };
        match narrowed {
            Ok(entries) => possible.push(Choice {
                principal,
                details: entries.into_iter().map(|entry| entry.detail).collect(),
            }),
            Err(refusal) => refused = Some(refusal),
        }
    }
    match refused {
        Some(refusal) if possible.is_empty() => Err(refusal),
        _ => Ok((server, possible)),
    }
}

fn at_principals(
    held: &Roles,
    client: &Client,
    rules: &Snapshot,
    request: &AccessRequest,
) -> Result<(Arc<ResourceServer>, Vec<AtPrincipal>), Refusal> {
    let everything = everything(client, rules);
    let ceiling = || client.permissions.iter().chain(&everything);
    let takes_people = |permission: &&ClientPermission| {
        rules
            .resource_server(&permission.resource_server)
            .is_some_and(|server| server.people.is_some())
    };
    let covered = ceiling().filter(takes_people);
    let covered = covered.map(|permission| permission.resource_server.as_str());
    let server = target::target_among(covered, rules, request)?;
    let here = ceiling().filter(|permission| permission.resource_server == server.name);
    let here: Vec<&ClientPermission> = here.collect();
    let at = held.principals.iter().filter_map(|(folded, at)| {
        let principal = rules.principal(folded).filter(|known| known.enabled)?;
        let entries: Vec<WithDemand> = here
            .iter()
            .filter_map(|permission| by_role(permission, principal, *at, &server))
            .collect();
        (!entries.is_empty()).then(|| AtPrincipal {
            principal: principal.clone(),
            entries,
        })
    });
    Ok((server.clone(), at.collect()))
}

/// What one permission of the client lets the person do.
fn by_role(
    permission: &ClientPermission,
    principal: &Principal,
    held: Held,
    server: &ResourceServer,
) -> Option<WithDemand> {
    let of_role = server.people.as_ref()?.of(held.role);
    let actions = permission.actions.iter();
    let actions: Vec<String> = actions
        .filter(|action| of_role.contains(action))
        .cloned()
        .collect();
    (!actions.is_empty()).then(|| WithDemand {
        detail: AuthorizationDetail {
            kind: DETAIL_TYPE.to_owned(),
            actions,
            packages: permission.packages.clone(),
            owner: principal.name.clone(),
            principal: principal.name.clone(),
            credential: held.membership.to_string(),
            revision: held.revision,
            rests_on: Vec::new(),
            locations: vec![server.resource.clone()],
            version: None,
            digest: None,
        },
        demand: permission.demand,
    })
}

/// The ceiling of the built-in client, which does whatever the person may do.
fn everything(client: &Client, rules: &Snapshot) -> Vec<ClientPermission> {
    if client.client_id != LOCAL_CLIENT {
        return Vec::new();
    }
    let servers = rules.resource_servers().filter(|server| server.enabled);
    let all = servers.map(|server| ClientPermission {
        resource_server: server.name.clone(),
        actions: server.actions.clone(),
        packages: vec!["*".to_owned()],
        owner: String::new(),
        demand: ProofDemand::default(),
    });
    all.collect()
}
