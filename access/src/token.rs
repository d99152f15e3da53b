use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AuthorizationDetail, details};

/// A verified access token (RFC 9068 section 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The authorization server.
    pub iss: String,
    /// The registry the token is for.
    pub aud: String,
    /// Whom the token speaks for: a principal's id, or `workload:…` where rules of several principals matched.
    pub sub: String,
    /// The one principal, where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalClaim>,
    /// The client, or `federated:<credential>` where none was registered.
    pub client_id: String,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// Its own id.
    pub jti: String,
    /// The actions of all entries together, separated by spaces.
    #[serde(default)]
    pub scope: String,
    /// What it allows. Entries of a form that is not known are left out.
    #[serde(default, deserialize_with = "details::known", skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The workload that presented the assertion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadClaim>,
    /// Who acts for the subject, where the token was delegated (RFC 8693 section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
}

/// The current actor of a delegated token; those before it nest inside (RFC 8693 section 4.1).
///
/// Only the outermost one says who acts now. The others tell how the token came about and decide nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The issuer whose subject this is.
    pub iss: String,
    /// The actor, as its issuer names it.
    pub sub: String,
    /// The actor before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}

/// The principal a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalClaim {
    /// Its name.
    pub name: String,
    /// `user`, `organization`, `team`, `service` or `project`.
    pub kind: String,
    /// The registry's own id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// The workload a token was issued to, as its platform described it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadClaim {
    /// The platform's issuer identifier.
    pub iss: String,
    /// The platform's subject.
    pub sub: String,
    /// The profile of the trusted issuer, such as `github-actions`.
    pub profile: String,
    /// The claims the profile passes on.
    #[serde(default)]
    pub claims: Map<String, Value>,
}
