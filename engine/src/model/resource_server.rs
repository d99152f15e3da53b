use carnet_access::PackageNames;
use serde::{Deserialize, Serialize};

use super::FrontDoor;
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
    pub enabled: bool,
}

impl ResourceServer {
    /// Whether `resource` is the URI or an alias of this registry, compared byte for byte (decision
    /// D-23).
    pub fn is_named(&self, resource: &str) -> bool {
        self.resource == resource || self.aliases.iter().any(|alias| alias == resource)
    }
}
