use serde::{Deserialize, Serialize};

/// The `type` of every entry Carnet issues (RFC 9396 section 2).
pub const DETAIL_TYPE: &str = "package";

/// One entry of `authorization_details`: what one federated credential permits at one registry.
///
/// Entries stand side by side. A registry allows an operation when one entry allows all of it; parts of two entries are
/// never put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationDetail {
    /// Always [`DETAIL_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// What may be done, in the registry's own words, such as `publish`.
    pub actions: Vec<String>,
    /// Package names, or patterns with `*`.
    pub packages: Vec<String>,
    /// For whom: the principal that owns the packages, by name.
    pub owner: String,
    /// Whose credential this is: the principal's name.
    pub principal: String,
    /// The federated credential's id.
    pub credential: String,
    /// The revision of the credential that was matched.
    pub revision: u32,
    /// The registry, by its resource URI.
    pub locations: Vec<String>,
    /// The only version it is good for, where that was narrowed down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The only artifact it is good for, as `sha256:…`, where that was narrowed down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}
