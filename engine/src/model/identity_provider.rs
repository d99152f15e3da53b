use std::sync::Arc;

use carnet_jose::Algorithm;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{KeySource, TrustedIssuer};
use crate::ids::{IdentityProviderId, TrustedIssuerId};
use crate::profile::{Profile, Replay, Terms};

/// An OpenID provider at which people sign in, in compiled form.
#[derive(Clone, Debug)]
pub struct IdentityProvider {
    pub id: IdentityProviderId,
    pub name: String,
    /// Increases with every change, so that what was derived from an older version is not used for
    /// a newer one.
    pub version: i64,
    /// The name shown to people.
    pub display_name: String,
    /// The exact issuer identifier, compared byte for byte.
    pub issuer: String,
    /// The id of this server at the provider.
    pub client_id: String,
    pub auth_method: ProviderAuth,
    /// The client secret, encrypted for this provider; only the server can open it.
    pub sealed_secret: Option<String>,
    /// The scopes of an authentication request; `openid` is among them.
    pub scopes: Vec<String>,
    pub claims_from: ClaimsFrom,
    /// Accepted signature algorithms of ID tokens.
    pub algorithms: Vec<Algorithm>,
    /// The profile by which memberships read the claims.
    pub profile: Arc<Profile>,
    pub second_factor: SecondFactor,
    pub freshness: Freshness,
    /// Whether people can prove their freshness, as far as is known.
    pub writes: bool,
    pub logout: Logout,
    /// Certificate authorities to trust for this provider alone, as PEM.
    pub ca_pem: Option<String>,
    /// Private networks in which the provider may be.
    pub allow_private: Vec<IpNet>,
    pub enabled: bool,
}

impl IdentityProvider {
    /// The provider in the form in which the matcher takes the issuer of claims, and the cache of
    /// keys the publisher of keys. It is no trusted issuer: no snapshot holds it as one, so no
    /// assertion is accepted from it.
    pub fn as_issuer(&self) -> TrustedIssuer {
        TrustedIssuer {
            id: TrustedIssuerId(self.id.0),
            name: self.name.clone(),
            version: self.version,
            profile: self.profile.clone(),
            issuer: self.issuer.clone(),
            terms: Terms::default(),
            keys: KeySource::Discovery,
            audiences: Vec::new(),
            extra_audiences: Vec::new(),
            algorithms: self.algorithms.clone(),
            types: Vec::new(),
            max_assertion_lifetime_seconds: 0,
            leeway_seconds: 0,
            cap_at_assertion_expiry: false,
            replay: Replay::JtiOrTokenHash,
            replay_claim: "jti".to_owned(),
            banned_events: Vec::new(),
            grants: Vec::new(),
            ca_pem: self.ca_pem.clone(),
            allow_private: self.allow_private.clone(),
            attestation: None,
            owner: None,
            enabled: self.enabled,
        }
    }
}

/// How this server authenticates at the provider's token endpoint (OpenID Connect Core section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderAuth {
    /// The secret in the Authorization header.
    #[default]
    ClientSecretBasic,
    /// The secret in the form.
    ClientSecretPost,
    /// A JWT signed by this server's active signing key, so that no secret is stored.
    PrivateKeyJwt,
    /// A public client: PKCE alone.
    None,
}

impl ProviderAuth {
    pub const ALL: [Self; 4] = [
        Self::ClientSecretBasic,
        Self::ClientSecretPost,
        Self::PrivateKeyJwt,
        Self::None,
    ];

    /// The registered name (OpenID Connect Core section 9).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::None => "none",
        }
    }

    /// Whether the method needs a client secret.
    pub const fn has_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }
}

/// Where the claims that memberships compare come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClaimsFrom {
    #[default]
    IdToken,
    /// The userinfo endpoint; its claims replace those of the ID token.
    Userinfo,
}

/// How the provider proves that a person signed in with a second factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecondFactor {
    /// The claim `acr` is one of these. They are asked for as `acr_values`.
    Acr(Vec<String>),
    /// The claim `amr` contains one of these (RFC 8176).
    Amr(Vec<String>),
    /// Nothing is checked: the operator says that the provider lets nobody in without it.
    EnforcedByProvider,
}

/// What proves that a person signed in a short time ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// The claim `auth_time`.
    #[default]
    AuthTime,
    /// The answer to this server's own `prompt=login`, for a provider that sends no `auth_time` and
    /// is known to ask again.
    NewSignIn,
}

/// What a person's sign-out ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Logout {
    /// The session here, then that at the provider (RP-initiated logout).
    #[default]
    Provider,
    /// The session here alone.
    Local,
}
