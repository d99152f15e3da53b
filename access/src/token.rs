//! The claims of an access token (RFC 9068 section 2.2, RFC 8693 section 4.1, RFC 9396).

use serde::{Deserialize, Deserializer, Serialize};
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
    /// The person on whose behalf a client got the token; `None` if no person signed in for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonClaim>,
    /// The id of the person's session: the token ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// When the person proved who they are, in seconds since 1970 (RFC 9068 section 2.2.1); `None`
    /// if the identity provider does not say, and without a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// How the person signed in, as a value of the identity provider (RFC 9068 section 2.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The methods by which the person signed in (RFC 9068 section 2.2.1, RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// The current actor, if the token was delegated (RFC 8693 section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// The key that the token is bound to; `None` for a bearer token.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub cnf: Option<Confirmation>,
}

/// Reads a `cnf` that is there: `null` is none that is understood.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Confirmation>, D::Error> {
    Confirmation::deserialize(deserializer).map(Some)
}

/// The key that a token is bound to: the claim `cnf` (RFC 7800 section 3.1). Whoever presents the
/// token has to prove that he has the private key. A claim with other members, or with none, cannot
/// be read, so that no token is taken whose binding is not understood (decision D-49).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "Members")]
pub enum Confirmation {
    /// `jkt`: the JWK thumbprint of the key of DPoP proofs (RFC 9449 section 6.1).
    Key(String),
    /// `x5t#S256`: the SHA-256 thumbprint of a client certificate (RFC 8705 section 3.1).
    Certificate(String),
}

/// The members of `cnf`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jkt: Option<String>,
    #[serde(rename = "x5t#S256", default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}

impl TryFrom<Members> for Confirmation {
    type Error = &'static str;

    fn try_from(members: Members) -> Result<Self, Self::Error> {
        match (members.jkt, members.certificate) {
            (Some(thumbprint), None) => Ok(Self::Key(thumbprint)),
            (None, Some(thumbprint)) => Ok(Self::Certificate(thumbprint)),
            _ => Err("cnf must have one of jkt and x5t#S256"),
        }
    }
}

impl From<Confirmation> for Members {
    fn from(confirmation: Confirmation) -> Self {
        match confirmation {
            Confirmation::Key(thumbprint) => Self {
                jkt: Some(thumbprint),
                ..Self::default()
            },
            Confirmation::Certificate(thumbprint) => Self {
                certificate: Some(thumbprint),
                ..Self::default()
            },
        }
    }
}

/// How strongly the workload proved that the platform's token is its own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ProofLevel {
    /// It only held the token.
    #[default]
    Bearer,
    /// It proved that it has the key to which the platform had bound the token.
    Key,
}

impl ProofLevel {
    /// Both levels, the weaker first.
    pub const ALL: [Self; 2] = [Self::Bearer, Self::Key];

    /// The name used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Key => "key",
        }
    }
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

/// A person, as the identity provider described them at the sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonClaim {
    /// The person's id in Carnet. It never changes.
    pub id: String,
    /// The user name at the identity provider, which may change and be given to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The full name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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
    /// How strongly the workload proved that the platform's token is its own. It survives every
    /// exchange, whatever the token itself is bound to.
    #[serde(default)]
    pub proof: ProofLevel,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn a_confirmation_has_one_member_that_is_understood() {
        for (value, expected) in [
            (json!({ "jkt": "a" }), Confirmation::Key("a".to_owned())),
            (
                json!({ "x5t#S256": "a" }),
                Confirmation::Certificate("a".to_owned()),
            ),
        ] {
            assert_eq!(from_value::<Confirmation>(value.clone()).unwrap(), expected);
            assert_eq!(to_value(expected).unwrap(), value);
        }
        for wrong in [
            json!({}),
            json!({ "jkt": "a", "x5t#S256": "b" }),
            json!({ "jkt": "a", "kid": "b" }),
            json!({ "jwk": {} }),
            json!({ "jkt": 1 }),
            json!("a"),
            json!(null),
        ] {
            assert!(
                from_value::<Confirmation>(wrong.clone()).is_err(),
                "{wrong}"
            );
        }
        assert!(ProofLevel::Bearer < ProofLevel::Key);
    }
}
