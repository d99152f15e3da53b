//! The compiled form of a client.

use carnet_jose::Algorithm;

use super::{AuthMethod, ClientDocument, ClientState};
use crate::documents::ReadContext;
use crate::ids::{ClientRowId, TrustedIssuerId};
use crate::model::{
    Client, ClientPermission, KeySource, Method, RuleReference, TokenBinding, TrustedIssuer,
};
use crate::profile::{Replay, Terms};
use crate::scope::ScopeSet;

/// Longest time from `iat` to `exp` of a client's own assertion, in seconds (decision D-21).
const MAX_ASSERTION_LIFETIME: i64 = 3600;
/// Largest difference between a client's clock and ours, in seconds.
const LEEWAY: i64 = 60;
/// Longest time from `iat` to `exp` of an assertion of a client that is held to FAPI 2.0, in seconds.
const MAX_FAPI2_LIFETIME: i64 = 300;

impl ClientDocument {
    /// The client in the form that requests are decided by; `None` if a client whose method needs
    /// keys has none, or the server no `generic` profile.
    pub fn compile(
        &self,
        id: ClientRowId,
        name: &str,
        version: i64,
        state: &ClientState,
        context: ReadContext<'_>,
    ) -> Option<Client> {
        let method = match self.auth_method {
            AuthMethod::None => Method::None,
            AuthMethod::ClientSecretBasic => Method::SecretBasic(state.secrets.clone()),
            AuthMethod::ClientSecretPost => Method::SecretPost(state.secrets.clone()),
            AuthMethod::PrivateKeyJwt => {
                let assertions = (self.assertion_algorithms(), version);
                Method::PrivateKeyJwt(
                    self.issuer_of_its_own(id, name, assertions, context)?
                        .into(),
                )
            }
            AuthMethod::SelfSignedTlsClientAuth => {
                // Its keys sign connections and no assertions, so their algorithms do not matter.
                let connections = (Algorithm::ALL.as_slice(), version);
                Method::SelfSignedTls(
                    self.issuer_of_its_own(id, name, connections, context)?
                        .into(),
                )
            }
            AuthMethod::Federated => Method::Federated(self.listed(state)),
        };
        let permissions = self.permissions.iter().map(|given| ClientPermission {
            resource_server: given.resource_server.clone(),
            actions: given.actions.clone(),
            packages: given.packages.clone(),
            owner: given.owner.clone().unwrap_or_default(),
            demand: given.demand(),
        });
        Some(Client {
            id,
            client_id: name.to_owned(),
            version,
            revision: state.revision,
            not_before: state.not_before,
            method,
            grant_types: self.grant_types.clone(),
            scopes: ScopeSet::of(self.scopes.iter().map(String::as_str)),
            permissions: permissions.collect(),
            redirect_uris: self.redirect_uris.clone(),
            display_name: self.display_name.clone(),
            homepage: self.homepage.clone(),
            first_party: self.first_party,
            resource_server: self.resource_server.clone(),
            binding: self.binding(),
            fapi2: self.fapi2,
            enabled: self.enabled,
        })
    }

    fn listed(&self, state: &ClientState) -> Vec<RuleReference> {
        let rules = self.federated_credentials.iter().zip(&state.listed);
        let listed = rules.filter_map(|(name, rule)| {
            Some(RuleReference {
                name: name.clone(),
                id: rule.credential.parse().ok()?,
                revision: rule.revision,
            })
        });
        listed.collect()
    }

    /// A client with keys of its own is compiled into a trusted issuer for itself alone, so that
    /// keys are fetched and JWTs verified in one way only. The only accepted audience is our issuer
    /// identifier (draft-ietf-oauth-rfc7523bis section 4).
    fn issuer_of_its_own(
        &self,
        id: ClientRowId,
        name: &str,
        (algorithms, version): (&[Algorithm], i64),
        context: ReadContext<'_>,
    ) -> Option<TrustedIssuer> {
        let keys = match (&self.jwks, &self.jwks_uri) {
            (Some(jwks), _) => KeySource::Static { jwks: jwks.clone() },
            (None, Some(uri)) => KeySource::JwksUri {
                uri: uri.clone(),
                ca_file: None,
                token_file: None,
            },
            (None, None) => return None,
        };
        Some(TrustedIssuer {
            // The key cache is keyed by this id. A client's id collides with no trusted issuer's,
            // since ids are unique across kinds.
            id: TrustedIssuerId(id.0),
            name: name.to_owned(),
            version,
            profile: context.profiles.get("generic")?.clone(),
            issuer: name.to_owned(),
            terms: Terms::default(),
            keys,
            audiences: vec![context.own.issuer().to_owned()],
            extra_audiences: Vec::new(),
            algorithms: algorithms.to_vec(),
            types: ["JWT", "client-authentication+jwt"]
                .map(str::to_owned)
                .to_vec(),
            max_assertion_lifetime_seconds: if self.fapi2 {
                MAX_FAPI2_LIFETIME
            } else {
                MAX_ASSERTION_LIFETIME
            },
            leeway_seconds: LEEWAY,
            cap_at_assertion_expiry: false,
            replay: Replay::JtiOrTokenHash,
            replay_claim: "jti".to_owned(),
            banned_events: Vec::new(),
            grants: Vec::new(),
            ca_pem: None,
            allow_private: Vec::new(),
            attestation: None,
            owner: None,
            enabled: true,
        })
    }

    fn binding(&self) -> TokenBinding {
        if self.dpop_bound_access_tokens {
            TokenBinding::Dpop
        } else if self.tls_client_certificate_bound_access_tokens {
            TokenBinding::Certificate
        } else {
            TokenBinding::Optional
        }
    }
}
