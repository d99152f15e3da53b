//! Why a person has a role, or has none.

use carnet_engine::people::{Roles, report, roles};
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::is_zero;
use super::{ExplainedCondition, MAX_EXPLAINED, MAX_EXPLAINED_BYTES};
use crate::clock::Timestamp;
use crate::ids::MembershipId;
use crate::json::element_bytes;
use crate::model::{IdentityProvider, Role, Snapshot, TrustedIssuer};
use crate::profile::Claims;
use crate::trust::Candidate;

/// The roles that claims give at an identity provider, and the memberships that were judged.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PersonExplanation {
    /// The roles of a person with these claims. Empty if no membership matches, or if the identity
    /// provider is not enabled.
    pub roles: Vec<ExplainedRole>,
    /// The memberships that the claims lead to, or all of the principal that was asked about, each
    /// with every condition; those that match come first.
    pub candidates: Vec<ExplainedMembership>,
    /// How many more memberships there are to show.
    #[serde(skip_serializing_if = "is_zero")]
    pub candidates_left_out: usize,
}

/// A role, and the membership that gives it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ExplainedRole {
    pub role: Role,
    /// The name of the principal; `null` for a role in the whole server.
    pub principal: Option<String>,
    /// The id of the membership.
    #[schema(value_type = String)]
    pub membership: MembershipId,
}

/// A membership, and how it judges the claims.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ExplainedMembership {
    /// The id of the membership.
    #[schema(value_type = String)]
    pub membership: MembershipId,
    /// The name of the membership.
    pub name: String,
    pub role: Role,
    /// The name of the principal; `null` for a role in the whole server.
    pub principal: Option<String>,
    /// Whether all conditions hold.
    pub matches: bool,
    /// All conditions of the membership.
    pub conditions: Vec<ExplainedCondition>,
}

/// Explains which roles a person of `provider` with these claims has at `now`, by the memberships
/// that the claims lead to, or by all of the principal `about`.
pub fn explain_person(
    snapshot: &Snapshot,
    provider: &IdentityProvider,
    claims: Map<String, Value>,
    now: Timestamp,
    about: Option<&str>,
) -> PersonExplanation {
    let held = roles(snapshot, provider, &claims, now);
    let claims = Claims::new(claims);
    let mut report = report(snapshot, provider, &claims, now, about);
    report
        .candidates
        .sort_by_key(|candidate| !candidate.matches());
    let issuer = provider.as_issuer();
    let explained = report
        .candidates
        .iter()
        .filter_map(|candidate| explained(snapshot, candidate, &issuer, &claims))
        .take(MAX_EXPLAINED);
    let mut room = MAX_EXPLAINED_BYTES;
    let fits = |membership: &ExplainedMembership| {
        let left = room.checked_sub(element_bytes(membership));
        room = left.unwrap_or_default();
        left.is_some()
    };
    let candidates: Vec<_> = explained.take_while(fits).collect();
    PersonExplanation {
        roles: explained_roles(snapshot, &held),
        candidates_left_out: report.candidates.len().saturating_sub(candidates.len()),
        candidates,
    }
}

fn explained_roles(snapshot: &Snapshot, held: &Roles) -> Vec<ExplainedRole> {
    let in_server = held.operator.iter().chain(&held.auditor);
    let in_server = in_server.map(|held| (None, held));
    let at_principals = held.principals.iter();
    let at_principals = at_principals.map(|(name, held)| (Some(&**name), held));
    let explained = in_server.chain(at_principals).map(|(principal, held)| {
        let principal = principal.map(|folded| name_of(snapshot, folded));
        ExplainedRole {
            role: held.role,
            principal,
            membership: held.membership,
        }
    });
    explained.collect()
}

fn explained(
    snapshot: &Snapshot,
    candidate: &Candidate,
    issuer: &TrustedIssuer,
    claims: &Claims,
) -> Option<ExplainedMembership> {
    let membership = snapshot.membership(MembershipId(candidate.credential.id.0))?;
    let principal = membership.principal.as_deref();
    let conditions = candidate.shown(issuer, claims, None).into_iter();
    Some(ExplainedMembership {
        membership: membership.id,
        name: membership.name.clone(),
        role: membership.role,
        principal: principal.map(|folded| name_of(snapshot, folded)),
        matches: candidate.matches(),
        conditions: conditions.map(ExplainedCondition::from).collect(),
    })
}

/// The name of a principal as it is spelled.
fn name_of(snapshot: &Snapshot, folded: &str) -> String {
    let principal = snapshot.principal(folded);
    principal.map_or_else(|| folded.to_owned(), |principal| principal.name.clone())
}
