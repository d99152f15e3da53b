use std::sync::Arc;

use carnet_jose::Algorithm;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::grant_type::GrantType;
use crate::ids::TrustedIssuerId;
use crate::profile::{Claims, Profile, Replay, Requirement, Terms, Unreadable};

/// An outside platform whose tokens are accepted, compiled.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// Its id.
    pub id: TrustedIssuerId,
    /// Its name.
    pub name: String,
    /// Grows with every change, so that what was derived from an older form is not used for a newer one.
    pub version: i64,
    /// The kind of platform.
    pub profile: Arc<Profile>,
    /// The exact `iss`; for a SPIFFE issuer that names none, `spiffe://` and its trust domain.
    pub issuer: String,
    /// What it adds to the profile.
    pub terms: Terms,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Accepted values of `aud` at the token endpoint.
    pub audiences: Vec<String>,
    /// Values that may stand in `aud` beside an accepted one.
    pub extra_audiences: Vec<String>,
    /// Signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Values of `typ`.
    pub types: Vec<String>,
    /// The longest time from `iat` to `exp`, in seconds.
    pub max_assertion_lifetime_seconds: i64,
    /// How far clocks may differ, in seconds.
    pub leeway_seconds: i64,
    /// Whether tokens end with the assertion they were made from.
    pub cap_at_assertion_expiry: bool,
    /// Single use.
    pub replay: Replay,
    /// The claim with the token's id.
    pub replay_claim: String,
    /// Events that never match.
    pub banned_events: Vec<String>,
    /// The grants that take its assertions.
    pub grants: Vec<GrantType>,
    /// Certificate authorities to trust for this issuer alone, as PEM.
    pub ca_pem: Option<String>,
    /// Private networks that its keys may be fetched from.
    pub allow_private: Vec<IpNet>,
    /// The principal whose rules alone may use it, by folded name.
    pub owner: Option<Arc<str>>,
    /// Whether it is switched on.
    pub enabled: bool,
}

impl TrustedIssuer {
    /// Whether rules of this principal, by folded name, may use it.
    pub fn is_open_to(&self, principal: &str) -> bool {
        self.owner.as_ref().is_none_or(|owner| **owner == *principal)
    }
}

/// Where the keys of a trusted issuer come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "source", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeySource {
    /// OpenID Connect Discovery, then RFC 8414, from the issuer identifier.
    Discovery,
    /// A JWK set at this https URL.
    JwksUri {
        /// The URL.
        uri: String,
    },
    /// A JWK set given here.
    Static {
        /// The set.
        #[schema(value_type = Object)]
        jwks: Value,
    },
    /// A JWK set in a file on the server, read again when it may have changed.
    File {
        /// The absolute path.
        path: String,
    },
    /// A SPIFFE trust bundle: only its keys for JWT-SVIDs count.
    SpiffeBundle {
        /// Where it is published, as an https URL.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uri: Option<String>,
        /// Or the absolute path of a file on the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// No keys: the cluster is asked about each token.
    TokenReview {
        /// The https URL of the cluster's API server.
        api_server: String,
        /// The absolute path of a file with the certificate authority of the API server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<String>,
        /// The absolute path of a file with the token by which this server may ask.
        token_file: String,
    },
}

impl TrustedIssuer {
    /// Whether a sent `iss` may not differ: SPIFFE documents need none, and a trusted issuer without one does not look at it
    /// (decision D-36).
    pub fn names_an_issuer(&self) -> bool {
        !self.issuer.starts_with("spiffe://")
    }

    /// The id of the workload that claims are about, as the profile defines it. The name of an account goes with its domain.
    pub fn workload_id(&self, claims: &Claims) -> Result<String, Unreadable> {
        let id = self.profile.workload_id.render(claims)?;
        let is_name = |requirement: &Requirement| matches!(requirement, Requirement::SubjectName(_));
        Ok(match &self.terms.subject_domain {
            Some(domain) if self.profile.requirements.iter().any(is_name) => format!("{id}!{domain}"),
            _ => id,
        })
    }
}
