//! The decision on an authorization code (RFC 6749 section 4.1.3): what the client gets on behalf of
//! the person who let it act.

use std::sync::Arc;

use super::named_principals;
use super::{AdminGrant, Authorization, Decision, Grounds, Mode, Subject, UserinfoGrant, lifetime};
use crate::clock::Timestamp;
use crate::code_grant::{CodeGrant, PersonTarget};
use crate::json::element_bytes;
use crate::model::{Client, DecisionContext, Snapshot};
use crate::own_token::LOCAL_CLIENT;
use crate::people::{PersonClaims, PersonPermit};
use crate::possession::Possession;
use crate::principal::{AccessRequest, Asked, Frame, of_person};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;

pub(super) fn decide<A>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    code: &CodeGrant,
    (access, possession): (&AccessRequest, Possession),
    mode: Mode<'_>,
) -> Result<Decision<A>, Refusal> {
    let client = subject.client.identity().client();
    let client = client.ok_or(Reason::ClientAuthenticationFailed)?;
    // The built-in client is that of many people.
    if client.client_id != LOCAL_CLIENT {
        mode.check(|limits| limits.check_client(&client.client_id))?;
    }
    if code.dpop_jkt.is_some() && code.dpop_jkt != subject.proved.dpop {
        return Err(Refusal::parameter(Reason::ProofMismatch, "dpop_jkt"));
    }
    let access = within(code, access, &context.rules)?;
    let permit = PersonPermit::new(code.person.clone(), context)
        .map_err(|_| Refusal::from(Reason::RoleMissing))?;
    let ends_at = context.now.plus_seconds(code.token_lifetime_seconds);
    let ends_at = ends_at.min(permit.person().session_ends_at);
    let ends_at = Timestamp::from_seconds(ends_at.seconds());
    if ends_at <= context.now {
        return Err(Reason::SessionOver.into());
    }
    match code.request.target {
        PersonTarget::Registry => {
            at_registry(context, client, permit, (&access, possession), ends_at)
                .map(|authorization| Decision::Registry(Box::new(authorization)))
        }
        PersonTarget::Admin => {
            let grant = at_admin(context, client, &permit, access.scope.as_ref())?;
            Ok(Decision::Admin(Box::new(AdminGrant {
                expires_at: ends_at,
                confirmation: possession.key,
                ..grant
            })))
        }
        PersonTarget::Userinfo => {
            // The client reads the token as well, and learns names by their scopes alone.
            let mut person = PersonClaims::from(permit.person());
            (person.person.name, person.person.username) = (None, None);
            let scope = code.request.openid.and(None);
            Ok(Decision::Userinfo(Box::new(UserinfoGrant {
                subject: permit.person().id.to_string(),
                client: client.client_id.clone(),
                scope: scope.ok_or(Reason::ScopeNotGranted)?,
                expires_at: ends_at,
                confirmation: possession.key,
                person,
            })))
        }
    }
}

/// What the token request asks for, which is never more than what the person saw: it may name the same
/// resource again (RFC 8707 section 2.2), and fewer scopes.
fn within(
    code: &CodeGrant,
    asked: &AccessRequest,
    rules: &Snapshot,
) -> Result<AccessRequest, Refusal> {
    let seen = &code.request.access;
    let is_same = |resource: &String| {
        let server = |uri: &String| rules.resource_server_named(uri).map(|server| server.id);
        seen.resources.iter().any(|named| {
            named == resource || (server(named).is_some() && server(named) == server(resource))
        })
    };
    if !asked.resources.iter().all(is_same) {
        return Err(Refusal::parameter(Reason::TargetNotGranted, "resource")
            .permitted(seen.resources.clone()));
    }
    let names_other = |name: &String| {
        let chosen = seen.principal.as_ref();
        !chosen.is_some_and(|chosen| chosen.eq_ignore_ascii_case(name))
    };
    if asked.principal.as_ref().is_some_and(names_other) {
        return Err(Refusal::parameter(Reason::ParameterMalformed, "principal"));
    }
    if asked.details.is_some() {
        return Err(Refusal::parameter(
            Reason::ParameterMalformed,
            "authorization_details",
        ));
    }
    let openid = code.request.openid;
    let mut wanted = seen.scope.clone();
    if let Some(scope) = &asked.scope {
        let (also, others) = crate::code_grant::OpenIdScope::split(scope);
        let is_seen = |token| openid.tokens().any(|seen| seen == token);
        let beyond = |others: &ScopeSet| {
            seen.scope
                .as_ref()
                .is_some_and(|seen| !others.is_within(seen))
        };
        if !also.tokens().all(is_seen) || others.as_ref().is_some_and(beyond) {
            return Err(Refusal::parameter(Reason::ScopeNotGranted, "scope"));
        }
        wanted = others.or(wanted);
    }
    Ok(AccessRequest {
        scope: wanted,
        ..seen.clone()
    })
}

fn at_registry<A>(
    context: &DecisionContext<'_>,
    client: &Arc<Client>,
    permit: PersonPermit,
    (access, possession): (&AccessRequest, Possession),
    ends_at: Timestamp,
) -> Result<Authorization<A>, Refusal> {
    let claims = PersonClaims::from(permit.person());
    let person = [
        element_bytes(&claims.person),
        element_bytes(&claims.acr),
        element_bytes(&claims.amr),
        claims.sid.len(),
        context.own.issuer().len(),
        // The times and the names of the members.
        60,
    ];
    let frame = Frame {
        fixed: person
            .into_iter()
            .fold(client.client_id.len(), usize::saturating_add),
        per_entry: 0,
    };
    let asked = Asked {
        access,
        frame,
        possession: &possession,
    };
    let entitlement = of_person(permit.roles(), client, &context.rules, asked)?;
    let principal = entitlement.principal.as_ref();
    let held = principal.and_then(|principal| permit.roles().at(&principal.name));
    let membership = held.and_then(|held| context.rules.membership(held.membership));
    let membership_ends = membership.and_then(|membership| membership.expires_at);
    let ends = [
        Some(lifetime::of_server(
            &entitlement.resource_server,
            context.now,
        )),
        membership_ends.map(|end| Timestamp::from_seconds(end.seconds())),
    ];
    let expires_at = ends.into_iter().flatten().fold(ends_at, Timestamp::min);
    if expires_at <= context.now {
        return Err(Reason::RoleMissing.into());
    }
    Ok(Authorization {
        grounds: Grounds::Person(Box::new(permit)),
        entitlement,
        delegation: None,
        possession,
        expires_at,
    })
}

/// What the client gets at the admin API on behalf of a person: without a wish all that both may do.
fn at_admin(
    context: &DecisionContext<'_>,
    client: &Client,
    permit: &PersonPermit,
    wanted: Option<&ScopeSet>,
) -> Result<AdminGrant, Refusal> {
    let refused = || Refusal::parameter(Reason::ScopeNotGranted, "scope");
    let ceiling = client.scopes.as_ref().ok_or_else(refused)?;
    let held = permit.roles().admin_scope(&context.rules, ceiling, wanted);
    let held = held.ok_or_else(refused)?;
    let principals = named_principals(&held.scope, &context.rules).ok_or_else(refused)?;
    Ok(AdminGrant {
        subject: permit.person().id.to_string(),
        client: Some(client.client_id.clone()),
        scope: held.scope,
        expires_at: context.now,
        confirmation: None,
        rests_on: held.memberships.into_iter().chain(principals).collect(),
        person: Some(permit.person().into()),
    })
}
