//! What a request asks for: resource servers (RFC 8707), a principal, a scope, details (RFC 9396).

use serde::Deserialize;

use crate::scope::ScopeSet;
use crate::trust::Door;

/// The parts of a token request that choose and narrow the token, beside the assertion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessRequest {
    /// Values of `resource` (RFC 8707 section 2).
    pub resources: Vec<String>,
    /// Values of `audience` (RFC 8693 section 2.1): URI, alias or name of a resource server.
    pub audiences: Vec<String>,
    /// The name of the principal whose rules are meant.
    pub principal: Option<String>,
    /// Whether requests at this endpoint can name a principal.
    pub door: Door,
    /// `None` asks for all actions that are permitted.
    pub scope: Option<ScopeSet>,
    /// Requested `authorization_details` (RFC 9396); `None` asks for all permissions that fit.
    pub details: Option<Vec<DetailRequest>>,
}

/// One requested entry of `authorization_details`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetailRequest {
    /// Only [`DETAIL_TYPE`](carnet_access::DETAIL_TYPE) is known.
    #[serde(rename = "type")]
    pub kind: String,
    pub actions: Vec<String>,
    /// Package names, or patterns equal to permitted ones.
    pub packages: Vec<String>,
    /// The owner of the packages, by name.
    #[serde(default)]
    pub owner: Option<String>,
    /// Limits the entry to one version of the packages.
    #[serde(default)]
    pub version: Option<String>,
    /// Limits the entry to one artifact, as `sha256:…`.
    #[serde(default)]
    pub digest: Option<String>,
    /// URIs of resource servers. Only that of the token's own resource server is accepted.
    #[serde(default)]
    pub locations: Option<Vec<String>>,
}
