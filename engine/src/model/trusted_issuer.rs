use std::sync::Arc;

use carnet_jose::Algorithm;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attested::NumberResources;
use crate::grant_type::GrantType;
use crate::ids::TrustedIssuerId;
use crate::profile::{Claims, Profile, Replay, Requirement, Terms, Unreadable};

/// An outside platform whose tokens are accepted as assertions, in compiled form.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    pub id: TrustedIssuerId,
    pub name: String,
    /// Increases with every change, so that what was derived from an older version is not used for
    /// a newer one.
    pub version: i64,
    /// The profile of the platform.
    pub profile: Arc<Profile>,
    /// The exact `iss`; for a SPIFFE issuer that is configured without one, `spiffe://` and its
    /// trust domain.
    pub issuer: String,
    /// The settings that complete the profile, such as the trust domain.
    pub terms: Terms,
    pub keys: KeySource,
    /// Accepted values of `aud` at the token endpoint.
    pub audiences: Vec<String>,
    /// Values that may stand in `aud` beside an accepted one.
    pub extra_audiences: Vec<String>,
    /// Accepted signature algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Accepted values of the `typ` header parameter. `JWT` also stands for no `typ`.
    pub types: Vec<String>,
    /// The longest time from `iat` to `exp`, in seconds.
    pub max_assertion_lifetime_seconds: i64,
    /// The tolerated difference between the platform's clock and ours, in seconds.
    pub leeway_seconds: i64,
    /// Whether access tokens end no later than the assertion that they were issued for.
    pub cap_at_assertion_expiry: bool,
    /// Whether and how the use of an assertion is recorded, so that it gives one token only.
    pub replay: Replay,
    /// The claim that holds the assertion's id, such as `jti`.
    pub replay_claim: String,
    /// Events, such as `pull_request_target`, whose runs match no rule.
    pub banned_events: Vec<String>,
    /// The grant types that accept its assertions.
    pub grants: Vec<GrantType>,
    /// Certificate authorities to trust for this issuer alone, as PEM.
    pub ca_pem: Option<String>,
    /// Private networks from which its keys may be fetched.
    pub allow_private: Vec<IpNet>,
    /// What its keys may speak for, if the RPKI attests it; `None` if its keys need no attestation.
    pub attestation: Option<AttestationTerms>,
    /// The folded name of the principal whose rules alone may use the issuer; `None` if all may.
    pub owner: Option<Arc<str>>,
    pub enabled: bool,
}

impl TrustedIssuer {
    /// The account at the platform that the claims name, by the widest value by which rules of its
    /// profile are found. Empty if they name none.
    pub fn account(&self, claims: &Claims) -> String {
        let mut widest = self.profile.index.last().into_iter().flatten();
        let value_of = |parts: &Vec<usize>| -> Option<String> {
            let fields = parts.iter().filter_map(|at| self.profile.fields.get(*at));
            let values: Option<Vec<_>> = fields.map(|field| field.key(claims)).collect();
            Some(values?.join("\n"))
        };
        widest.find_map(value_of).unwrap_or_default()
    }

    /// Whether the rules of this principal, given by folded name, may use the issuer.
    pub fn is_open_to(&self, principal: &str) -> bool {
        self.owner
            .as_ref()
            .is_none_or(|owner| **owner == *principal)
    }
}

/// What a trusted issuer may speak for whose keys the RPKI vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationTerms {
    /// An attestation counts as far as it lies within them.
    pub speaks_for: NumberResources,
    /// The names of the trust anchors that count; `None` if all do.
    pub trust_anchors: Option<Vec<String>>,
}

/// Where the keys of a trusted issuer come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "source", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeySource {
    /// OpenID Connect Discovery, then RFC 8414 metadata, located from the issuer identifier.
    Discovery,
    /// A JWK set that is published at an https URL.
    JwksUri {
        /// The https URL of the JWK set.
        uri: String,
        /// The absolute path of a file with the certificate authority of the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<String>,
        /// The absolute path of a file with a bearer token that the server asks for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_file: Option<String>,
    },
    /// A JWK set that is given in this document.
    Static {
        /// The JWK set (RFC 7517 section 5).
        #[schema(value_type = Object)]
        jwks: Value,
    },
    /// A JWK set in a file on the server, which is read again after 30 seconds.
    File {
        /// The absolute path of the file.
        path: String,
    },
    /// A SPIFFE trust bundle at `uri` or `path`. Only its keys for JWT-SVIDs are used.
    SpiffeBundle {
        /// The https URL at which the bundle is published.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uri: Option<String>,
        /// The absolute path of a file on the server that holds the bundle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// No keys: the `TokenReview` API of the Kubernetes cluster is asked about each token.
    TokenReview {
        /// The https URL of the cluster's API server.
        api_server: String,
        /// The absolute path of a file with the certificate authority of the API server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_file: Option<String>,
        /// The absolute path of a file with the bearer token of a service account that may create
        /// `TokenReview` objects.
        token_file: String,
    },
}

impl TrustedIssuer {
    /// Whether an `iss` is configured, which the `iss` of an assertion must not contradict.
    /// JWT-SVIDs need no `iss`, and an issuer configured without one ignores the claim (decision
    /// D-36).
    pub fn names_an_issuer(&self) -> bool {
        !self.issuer.starts_with("spiffe://")
    }

    /// The id of the workload, as the profile defines it. An account name is followed by `!` and
    /// its domain.
    pub fn workload_id(&self, claims: &Claims) -> Result<String, Unreadable> {
        let id = self.profile.workload_id.render(claims)?;
        let is_name =
            |requirement: &Requirement| matches!(requirement, Requirement::SubjectName(_));
        Ok(match &self.terms.subject_domain {
            Some(domain) if self.profile.requirements.iter().any(is_name) => {
                format!("{id}!{domain}")
            }
            _ => id,
        })
    }
}
