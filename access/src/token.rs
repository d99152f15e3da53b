//! The claims of an access token (RFC 9068 section 2.2, RFC 8693 section 4.1, RFC 9396).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AuthorizationDetail, details};

/// The claims of an access token (RFC 9068 section 2.2), from a JWT or an introspection response.
/// The type itself proves nothing: it can be deserialized from unverified claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The issuer identifier of the authorization server.
    pub iss: String,
    /// The resource URI of the registry that the token is for.
    pub aud: String,
    /// The id of the principal that the token speaks for; in a token that a client got for itself,
    /// its `client_id`.
    pub sub: String,
    /// The principal that the token speaks for; `None` in a token that a client got for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalClaim>,
    /// The registered client that requested the token, or `federated:` and the id of the newest
    /// rule in the token if no registered client did.
    pub client_id: String,
    /// When the token was issued, in seconds since 1970.
    pub iat: i64,
    /// When the token expires, in seconds since 1970.
    pub exp: i64,
    /// The id of the token, unique for the issuer; audit events of the server contain it as
    /// `token_id`.
    pub jti: String,
    /// The actions of all entries together, separated by spaces. It says nothing about packages:
    /// decide by `authorization_details`.
    #[serde(default)]
    pub scope: String,
    /// What the token allows. Entries with a member or kind that this version does not know are
    /// left out: they allow nothing.
    #[serde(
        default,
        deserialize_with = "details::known",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The workload that presented the assertion; `None` in a token that a client got for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadClaim>,
    /// The current actor, if the token was delegated (RFC 8693 section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
}

/// An actor of a delegated token. The actors before it are nested in it (RFC 8693 section 4.1).
///
/// Only the outermost actor is the current one. The nested actors show how the token came about and
/// must not influence a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The issuer that `sub` is a subject of.
    pub iss: String,
    /// The actor's subject at that issuer.
    pub sub: String,
    /// The previous actor, if the right to act was passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}

/// The principal that a token speaks for, as it was when the token was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalClaim {
    /// The principal's name in Carnet.
    pub name: String,
    /// `user`, `organization`, `team`, `service` or `project`.
    pub kind: String,
    /// The id that the registry itself uses for the principal, if it was given to Carnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// The workload that a token was issued to, as its platform describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadClaim {
    /// The issuer identifier of the platform.
    pub iss: String,
    /// The workload's subject at that platform.
    pub sub: String,
    /// The profile of the trusted issuer, such as `github-actions`.
    pub profile: String,
    /// The platform's claims that the profile passes on, such as `repository` and `run_id`.
    #[serde(default)]
    pub claims: Map<String, Value>,
}
