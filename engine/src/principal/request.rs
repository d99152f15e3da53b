//! What a request asks for: resource servers (RFC 8707), a principal, a scope, details (RFC 9396).

use serde::Deserialize;

use crate::scope::ScopeSet;
use crate::trust::Door;

/// What a request asks for beside presenting an assertion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessRequest {
    /// The resource servers it names (RFC 8707 section 2).
    pub resources: Vec<String>,
    /// The resource servers it names by a logical name (RFC 8693 section 2.1): URI, alias or name.
    pub audiences: Vec<String>,
    /// The name of the principal whose rules are meant.
    pub principal: Option<String>,
    /// Where it comes in.
    pub door: Door,
    /// The scope it wants.
    pub scope: Option<ScopeSet>,
    /// The details it wants (RFC 9396).
    pub details: Option<Vec<DetailRequest>>,
}

/// One requested entry of `authorization_details`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetailRequest {
    /// The type; only [`DETAIL_TYPE`](carnet_access::DETAIL_TYPE) is known.
    #[serde(rename = "type")]
    pub kind: String,
    /// The actions.
    pub actions: Vec<String>,
    /// Package names, or patterns equal to permitted ones.
    pub packages: Vec<String>,
    /// The owner, by name.
    #[serde(default)]
    pub owner: Option<String>,
    /// The version.
    #[serde(default)]
    pub version: Option<String>,
    /// The artifact, as `sha256:…`.
    #[serde(default)]
    pub digest: Option<String>,
    /// The resource servers.
    #[serde(default)]
    pub locations: Option<Vec<String>>,
}
