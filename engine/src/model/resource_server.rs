use carnet_access::PackageNames;
use serde::{Deserialize, Serialize};

use super::{FrontDoor, Role};
use crate::ids::ResourceServerId;
use crate::possession::ProofDemand;

/// The form of the access tokens that are issued for a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenFormat {
    /// JWTs, which the registry verifies by itself (RFC 9068).
    #[default]
    Jwt,
    /// Opaque keys: random texts, which the registry introspects at this server (RFC 7662).
    Opaque,
}

/// What persons may do at a registry by software that acts for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PeopleActions {
    /// The actions of a person who has the role `owner` at the principal.
    #[serde(default)]
    pub owner: Vec<String>,
    /// The actions of a person who has the role `viewer` at the principal.
    #[serde(default)]
    pub viewer: Vec<String>,
}

impl PeopleActions {
    /// The actions of a role; none for the roles in the whole server, which are at no principal.
    pub fn of(&self, role: Role) -> &[String] {
        match role {
            Role::Owner => &self.owner,
            Role::Viewer => &self.viewer,
            Role::Operator | Role::Auditor => &[],
        }
    }

    /// Whether any role may do one of these actions.
    pub fn has_any_of(&self, actions: &[String]) -> bool {
        let mut all = self.owner.iter().chain(&self.viewer);
        all.any(|action| actions.contains(action))
    }
}

/// A registry (resource server) in compiled form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceServer {
    pub id: ResourceServerId,
    pub name: String,
    /// Absolute URI: the `aud` of the registry's tokens.
    pub resource: String,
    /// Other URIs by which requests may name the registry.
    pub aliases: Vec<String>,
    /// The actions that permissions at this registry may hold.
    pub actions: Vec<String>,
    /// How package names are compared.
    pub package_names: PackageNames,
    pub token_format: TokenFormat,
    /// What opaque keys begin with, so that secret scanners recognise them.
    pub token_prefix: String,
    pub token_lifetime_seconds: i64,
    /// Whether every request has to name the principal.
    pub require_principal: bool,
    /// Whether rules count only if the run is for a protected ref or the rule binds an environment.
    pub require_protected_ref_or_environment: bool,
    /// What is asked of the proofs of possession of every request.
    pub demand: ProofDemand,
    /// The endpoints at which the registry's own publishing tools get their keys.
    pub front_door: Option<FrontDoor>,
    /// What persons may do here by software that acts for them; `None` for nothing.
    pub people: Option<PeopleActions>,
    pub enabled: bool,
}

impl ResourceServer {
    /// Whether `resource` is the URI or an alias of this registry, compared byte for byte (decision
    /// D-23).
    pub fn is_named(&self, resource: &str) -> bool {
        self.resource == resource || self.aliases.iter().any(|alias| alias == resource)
    }
}
