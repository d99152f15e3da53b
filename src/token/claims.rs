//! The claims of our tokens, as they are written.

use carnet_resource_server::{Actor, RestsOn};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::assertion::AssertionContent;

/// RFC 9068 section 2.2, and the members of contract section 4.
#[derive(Serialize)]
pub(super) struct Claims<'a> {
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

/// What an assertion says of the workload it was given to, as tokens and audit events show it.
#[derive(Debug, Serialize)]
pub struct Workload<'a> {
    iss: &'a str,
    sub: &'a str,
    profile: &'a str,
    claims: Forwarded<'a>,
}

#[derive(Debug)]
struct Forwarded<'a>(&'a AssertionContent);

impl Serialize for Forwarded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.issuer().profile.forwarded(self.0.claims()))
    }
}

impl<'a> Workload<'a> {
    /// The workload of an assertion.
    pub fn of(assertion: &'a AssertionContent) -> Self {
        let issuer = assertion.issuer();
        Self {
            iss: &issuer.issuer,
            sub: assertion.subject(),
            profile: &issuer.profile.name,
            claims: Forwarded(assertion),
        }
    }
}
