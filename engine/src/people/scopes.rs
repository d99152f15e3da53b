//! What roles give at our own admin API, as its scopes.

use carnet_access::{GroundKind, RestsOn};

use super::{Held, Roles};
use crate::ids::MembershipId;
use crate::model::{Membership, Role, Snapshot};
use crate::scope::{
    ADMIN, ADMIN_CREDENTIALS_OF, ADMIN_READ, ADMIN_READ_OF, ScopeSet, covers, is_admin_scope,
};

/// A scope of the admin API on behalf of a person, and the memberships that give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldScope {
    pub scope: ScopeSet,
    pub memberships: Vec<RestsOn>,
}

impl Roles {
    /// What the person may do at the admin API by a client that may have `ceiling`: the `wanted` part
    /// of it, or else all of it. `None` if the person or the client may not have some of what is
    /// wanted, or if nothing is left.
    pub fn admin_scope(
        &self,
        rules: &Snapshot,
        ceiling: &ScopeSet,
        wanted: Option<&ScopeSet>,
    ) -> Option<HeldScope> {
        let given = self.given(rules);
        let is_held = |token: &str| given.iter().any(|(scope, _)| includes(scope, token));
        let scope = if let Some(wanted) = wanted {
            let may_have = covers(ceiling, wanted) && wanted.tokens().all(is_held);
            may_have.then(|| wanted.clone())?
        } else {
            let of_person = given.iter().flat_map(|(scope, _)| scope.tokens());
            let of_person = of_person.filter(|token| includes(ceiling, token));
            let of_client = ceiling.tokens().filter(|token| is_held(token));
            ScopeSet::of(of_person.chain(of_client))?
        };
        let is_needed =
            |(given, _): &&(ScopeSet, Held)| scope.tokens().any(|token| includes(given, token));
        let memberships = given.iter().filter(is_needed).map(|(_, held)| RestsOn {
            kind: GroundKind::Membership,
            id: held.membership.to_string(),
            revision: held.revision,
        });
        Some(HeldScope {
            memberships: memberships.collect(),
            scope,
        })
    }

    /// The scope that each role gives.
    fn given(&self, rules: &Snapshot) -> Vec<(ScopeSet, Held)> {
        let of_server = self.operator.into_iter().chain(self.auditor);
        let of_server = of_server.map(|held| (held, None));
        let of_principals = self.principals.iter().filter_map(|(principal, held)| {
            Some((*held, Some(rules.principal(principal)?.name.as_str())))
        });
        let all = of_server.chain(of_principals);
        all.filter_map(|(held, principal)| Some((given_by(held.role, principal)?, held)))
            .collect()
    }
}

/// Whether memberships that a token rests on still give its scope.
pub(crate) fn still_give<'m>(
    memberships: impl Iterator<Item = &'m Membership>,
    rules: &Snapshot,
    scope: &ScopeSet,
) -> bool {
    let given = memberships.filter_map(|membership| {
        let principal = match &membership.principal {
            None => None,
            Some(folded) => Some(rules.principal(folded)?.name.as_str()),
        };
        given_by(membership.role, principal)
    });
    let given: Vec<ScopeSet> = given.collect();
    scope
        .tokens()
        .all(|token| given.iter().any(|given| includes(given, token)))
}

/// The membership of this id, if its text is one.
pub(crate) fn membership_of(ground: &RestsOn) -> Option<MembershipId> {
    (ground.kind == GroundKind::Membership)
        .then(|| ground.id.parse().ok())
        .flatten()
}

fn given_by(role: Role, principal: Option<&str>) -> Option<ScopeSet> {
    let scope = match (role, principal) {
        (Role::Operator, None) => ADMIN.to_owned(),
        (Role::Auditor, None) => ADMIN_READ.to_owned(),
        (Role::Owner, Some(name)) => format!("{ADMIN_CREDENTIALS_OF}{name}"),
        (Role::Viewer, Some(name)) => format!("{ADMIN_READ_OF}{name}"),
        _ => return None,
    };
    ScopeSet::parse(&scope).ok()
}

fn includes(held: &ScopeSet, token: &str) -> bool {
    is_admin_scope(token) && ScopeSet::parse(token).is_ok_and(|wanted| covers(held, &wanted))
}
