//! The claims of our access tokens, as they are serialized.

use carnet_resource_server::{Actor, Confirmation, PersonClaim, RestsOn};
use serde::Serialize;
use serde_json::value::RawValue;

/// The claims of RFC 9068 section 2.2, and those that `docs/src/reference/access-token.md` adds.
#[derive(Default, Serialize)]
pub(super) struct AccessTokenClaims<'a> {
    pub(super) iss: &'a str,
    pub(super) aud: &'a str,
    pub(super) sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) principal: Option<PrincipalClaim<'a>>,
    pub(super) client_id: &'a str,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: &'a str,
    pub(super) scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authorization_details: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) person: Option<&'a PersonClaim>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) amr: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) act: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cnf: Option<&'a Confirmation>,
    /// In admin tokens only, which no other server reads.
    #[serde(skip_serializing_if = "<[RestsOn]>::is_empty")]
    pub(super) rests_on: &'a [RestsOn],
}

#[derive(Serialize)]
pub(super) struct PrincipalClaim<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) external_id: Option<&'a str>,
}
