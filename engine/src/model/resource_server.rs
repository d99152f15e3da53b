use carnet_access::PackageNames;
use serde::{Deserialize, Serialize};

use crate::ids::ResourceServerId;

/// What the tokens of a registry are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenFormat {
    /// JWTs that it verifies by itself (RFC 9068).
    #[default]
    Jwt,
    /// Keys that say nothing, which it asks about (RFC 7662).
    Opaque,
}

/// A registry, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceServer {
    /// Its id.
    pub id: ResourceServerId,
    /// Its name.
    pub name: String,
    /// Its absolute URI: the `aud` of its tokens.
    pub resource: String,
    /// Other URIs by which it may be requested.
    pub aliases: Vec<String>,
    /// The actions that permissions may hold.
    pub actions: Vec<String>,
    /// How package names are compared.
    pub package_names: PackageNames,
    /// What its tokens are.
    pub token_format: TokenFormat,
    /// What its opaque keys begin with.
    pub token_prefix: String,
    /// How long its tokens live, in seconds.
    pub token_lifetime_seconds: i64,
    /// Whether every request has to name the principal.
    pub require_principal: bool,
    /// Whether only runs for a protected ref, or rules that bind an environment, count.
    pub require_protected_ref_or_environment: bool,
    /// Whether it is switched on.
    pub enabled: bool,
}

impl ResourceServer {
    /// Whether a request for `resource` means this one: its URI or an alias, byte for byte (decision D-23).
    pub fn is_named(&self, resource: &str) -> bool {
        self.resource == resource || self.aliases.iter().any(|alias| alias == resource)
    }
}
