//! What a person who signed in may do: the memberships of an identity provider, judged by the
//! matcher that judges rules ([`crate::trust`]).

mod permit;
mod scopes;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use permit::{PersonClaims, PersonPermit, SignedInPerson};
pub use scopes::HeldScope;
pub(crate) use scopes::{membership_of, still_give};

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::ids::MembershipId;
use crate::model::{IdentityProvider, Membership, Role, Snapshot};
use crate::profile::{ClaimKind, Claims, Profile};
use crate::trust::{MatchReport, match_memberships};

/// Largest claims of a person, in bytes of JSON (`docs/src/reference/limits.md`).
pub const MAX_CLAIMS_BYTES: usize = 16 * 1024;
/// Most elements of a list that memberships compare, such as `groups`.
pub const MAX_GROUPS: usize = 200;

/// Claims of one token or one answer, which no membership compares.
pub const OF_THE_TOKEN: [&str; 11] = [
    "iss", "aud", "exp", "nbf", "iat", "jti", "nonce", "at_hash", "c_hash", "azp", "sid",
];

/// The roles of a person at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// The oldest membership that makes the person an operator.
    pub operator: Option<Held>,
    /// The oldest membership that makes the person an auditor.
    pub auditor: Option<Held>,
    /// The role at each principal, by folded name: the strongest one that a membership gives.
    pub principals: BTreeMap<Arc<str>, Held>,
}

/// A role, and the membership that gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub role: Role,
    pub membership: MembershipId,
    /// The revision of the membership.
    pub revision: u32,
}

/// Why the claims of a person cannot be judged. Nothing is shortened: who loses a group by it could
/// otherwise gain by a condition on another claim, and nobody would see why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    #[error("the claims are larger than {MAX_CLAIMS_BYTES} bytes")]
    Bytes,
    #[error("the claim `{0}` has more than {MAX_GROUPS} elements")]
    Elements(String),
    /// The provider left the claim out because it would be too long (OpenID Connect Core section
    /// 5.6.2, as Microsoft Entra ID does).
    #[error("the provider left out the claim `{0}`")]
    LeftOut(String),
}

impl Roles {
    /// Whether the person has no role, and so gets no session.
    pub fn is_empty(&self) -> bool {
        self.operator.is_none() && self.auditor.is_none() && self.principals.is_empty()
    }

    /// Whether the person manages the server, as the scope `admin` does.
    pub fn is_operator(&self) -> bool {
        self.operator.is_some()
    }

    /// The role at a principal, compared without ASCII case.
    pub fn at(&self, principal: &str) -> Option<Held> {
        let folded = principal.to_ascii_lowercase();
        self.principals.get(folded.as_str()).copied()
    }

    /// Whether the person reads everything, as the scope `admin:read` does.
    pub fn may_read_all(&self) -> bool {
        self.operator.is_some() || self.auditor.is_some()
    }

    /// Whether the person writes the rules of a principal: as its owner or as an operator.
    pub fn may_write_rules_of(&self, principal: &str) -> bool {
        let owns = self
            .at(principal)
            .is_some_and(|held| held.role == Role::Owner);
        self.is_operator() || owns
    }

    /// Whether the person reads the rules of a principal.
    pub fn may_read_rules_of(&self, principal: &str) -> bool {
        self.may_read_all() || self.at(principal).is_some()
    }

    /// Whether the person may change anything at all.
    pub fn may_write(&self) -> bool {
        let mut held = self.principals.values();
        self.is_operator() || held.any(|held| held.role == Role::Owner)
    }

    fn add(&mut self, membership: &Membership) {
        let held = Held {
            role: membership.role,
            membership: membership.id,
            revision: membership.revision,
        };
        match (membership.role, &membership.principal) {
            (Role::Operator, None) => drop(self.operator.get_or_insert(held)),
            (Role::Auditor, None) => drop(self.auditor.get_or_insert(held)),
            (Role::Owner | Role::Viewer, Some(principal)) => {
                let present = self.principals.entry(principal.clone()).or_insert(held);
                if held.role < present.role {
                    *present = held;
                }
            }
            // Saving refuses such a membership; one that is stored all the same gives nothing.
            (Role::Operator | Role::Auditor, Some(_)) | (Role::Owner | Role::Viewer, None) => {}
        }
    }
}

/// The roles that the memberships of `provider` give a person with these claims at `now`. The
/// provider counts as it is in the snapshot: a disabled one gives none.
pub fn roles(
    snapshot: &Snapshot,
    provider: &IdentityProvider,
    claims: &Map<String, Value>,
    now: Timestamp,
) -> Roles {
    let mut roles = Roles::default();
    let provider = snapshot.identity_provider(provider.id);
    let Some(provider) = provider.filter(|provider| provider.enabled) else {
        return roles;
    };
    let report = report(snapshot, provider, &Claims::new(claims.clone()), now, None);
    for candidate in report.matching() {
        let id = MembershipId(candidate.credential.id.0);
        if let Some(membership) = snapshot.membership(id) {
            roles.add(membership);
        }
    }
    roles
}

/// The verdicts on the memberships that the claims lead to, or on every membership of the principal
/// `about`: why a person has a role, or has none there. The id of a candidate's credential is the one
/// of the membership.
pub fn report(
    snapshot: &Snapshot,
    provider: &IdentityProvider,
    claims: &Claims,
    now: Timestamp,
    about: Option<&str>,
) -> MatchReport {
    let about = about.map(str::to_ascii_lowercase);
    match_memberships(snapshot, provider, claims, now, about.as_deref())
}

/// The claims of a person that memberships can compare, to be kept with the session: everything but
/// what belongs to the one token.
///
/// # Errors
///
/// If they are too large, or if the provider left out a list that the profile compares.
pub fn readable(
    profile: &Profile,
    claims: &Map<String, Value>,
) -> Result<Map<String, Value>, TooMuch> {
    let lists = profile
        .claims
        .iter()
        .filter(|spec| spec.kind == ClaimKind::List);
    let all = Claims::new(claims.clone());
    for list in lists {
        if is_left_out(claims, &list.path) {
            return Err(TooMuch::LeftOut(list.path.clone()));
        }
        let elements = all.get(&list.path).and_then(Value::as_array);
        if elements.is_some_and(|elements| elements.len() > MAX_GROUPS) {
            return Err(TooMuch::Elements(list.path.clone()));
        }
    }
    let mut kept = claims.clone();
    kept.retain(|name, _| !OF_THE_TOKEN.contains(&name.as_str()));
    if crate::json::json_bytes(&kept) > MAX_CLAIMS_BYTES {
        return Err(TooMuch::Bytes);
    }
    Ok(kept)
}

/// Whether the provider says that a claim is elsewhere: by `_claim_names` (OpenID Connect Core
/// section 5.6.2), or for groups by `hasgroups`, as Microsoft Entra ID does.
fn is_left_out(claims: &Map<String, Value>, path: &str) -> bool {
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.split('/').next().unwrap_or(name);
    let elsewhere = claims.get("_claim_names");
    let is_named = elsewhere.is_some_and(|names| names.get(name).is_some());
    let has_groups = claims.get("hasgroups");
    let says_so = has_groups.is_some_and(|value| match value {
        Value::Bool(truth) => *truth,
        Value::String(word) => word == "true",
        _ => false,
    });
    is_named || (name == "groups" && says_so)
}

#[cfg(test)]
mod tests;
