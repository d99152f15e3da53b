use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// A registry identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its id: the `sub` of its tokens.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PrincipalKind,
    /// The registry's own id of it.
    pub external_id: Option<String>,
    /// The principals for whose packages its self-service rules may be good, by folded name.
    pub acts_for: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it is switched on.
    pub enabled: bool,
}

impl Principal {
    /// Whether a rule of this principal that nobody vouches for may name this owner (contract, section 4).
    pub fn may_name_owner(&self, owner: &str) -> bool {
        acts_for(&self.name, &self.acts_for, owner)
    }
}

/// Whether a principal of this name, that an administrator lets act for these, acts for `owner`.
pub fn acts_for(principal: &str, others: &[String], owner: &str) -> bool {
    std::iter::once(principal).chain(others.iter().map(String::as_str)).any(|name| name.eq_ignore_ascii_case(owner))
}

/// What a principal is.
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
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::User, Self::Organization, Self::Team, Self::Service, Self::Project];

    /// The word for it.
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
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}
