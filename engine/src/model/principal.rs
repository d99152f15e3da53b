use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// An identity at the registry: a user, an organization, a team, a service account or a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The `sub` of the principal's tokens.
    pub id: String,
    pub name: String,
    pub kind: PrincipalKind,
    /// The registry's own id of the principal, passed on in tokens.
    pub external_id: Option<String>,
    /// Folded names of the principals that self-service rules of this one may name as owner.
    pub acts_for: Vec<String>,
    pub created_at: Timestamp,
    pub enabled: bool,
}

impl Principal {
    /// Whether a self-service rule of this principal may name `owner` as the owner of packages
    /// (`docs/src/explanation/consent.md`).
    pub fn may_name_owner(&self, owner: &str) -> bool {
        acts_for(&self.name, &self.acts_for, owner)
    }
}

/// Whether `owner` is `principal` itself or one of `others`, the names in its `acts_for`. ASCII
/// case is ignored.
pub fn acts_for(principal: &str, others: &[String], owner: &str) -> bool {
    std::iter::once(principal)
        .chain(others.iter().map(String::as_str))
        .any(|name| name.eq_ignore_ascii_case(owner))
}

/// The kind of account that a principal stands for. It is passed on in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person's account.
    User,
    /// An organization.
    Organization,
    /// A team.
    Team,
    /// A service account.
    Service,
    /// A project.
    Project,
}

impl PrincipalKind {
    pub const ALL: [Self; 5] = [
        Self::User,
        Self::Organization,
        Self::Team,
        Self::Service,
        Self::Project,
    ];

    /// The name used in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Organization => "organization",
            Self::Team => "team",
            Self::Service => "service",
            Self::Project => "project",
        }
    }
}

impl FromStr for PrincipalKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(())
    }
}
