//! The claims of our tokens, as they are written.

use carnet_resource_server::{Actor, RestsOn};
use serde::Serialize;
use serde_json::value::RawValue;

/// RFC 9068 section 2.2, and the members of contract section 4.
#[derive(Serialize)]
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
    pub(super) act: Option<&'a Actor>,
    /// Of admin tokens alone: nobody but us reads it.
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
