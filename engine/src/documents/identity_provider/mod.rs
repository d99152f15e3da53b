//! The document of an identity provider: an OpenID provider at which people sign in. Its client
//! secret is sealed, and discovery fetched, where it is saved.

mod fixed;
mod read;

use std::fmt;
use std::sync::Arc;

use carnet_jose::Algorithm;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::fixed::Dependents;
use super::{Document, Kind, ReadContext, Stored, members};
use crate::model::{ClaimsFrom, Freshness, IdentityProvider, Logout, ProviderAuth, SecondFactor};
use crate::profile::Profile;
use crate::trust::{DocumentError, Warning};

/// Most identity providers (`docs/src/reference/limits.md`).
pub const MAX_IDENTITY_PROVIDERS: u64 = 16;
const DEFAULT_SCOPES: [&str; 3] = ["openid", "profile", "email"];
/// The profile of an identity provider that names none.
pub(super) const DEFAULT_PROFILE: &str = "person";

/// An OpenID provider at which people sign in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct IdentityProviderDocument {
    /// The name shown to people; by default the name of the object.
    #[serde(default)]
    pub display_name: Option<String>,
    /// The exact issuer identifier, an https URL; a slash at the end counts.
    pub issuer: String,
    /// The id under which this server is registered at the provider.
    pub client_id: String,
    /// The client secret. It is stored sealed, and no answer contains it; a document without it
    /// keeps the stored one.
    #[serde(skip)]
    pub client_secret: Option<ProviderSecret>,
    /// How this server authenticates at the token endpoint; by default `client_secret_basic`.
    #[serde(default)]
    pub auth_method: Option<ProviderAuth>,
    /// The scopes to ask for; by default `openid profile email`.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Where the claims that memberships compare come from; by default `id_token`.
    #[serde(default)]
    pub claims_from: Option<ClaimsFrom>,
    /// Accepted signature algorithms of ID tokens; by default those of the profile.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// The profile by which memberships read the claims; by default `person`. Fixed while
    /// memberships refer to the identity provider.
    #[serde(default)]
    pub profile: Option<String>,
    /// How the provider proves a second factor: `{"acr": [...]}`, `{"amr": [...]}` or
    /// `"enforced_by_provider"`.
    pub second_factor: SecondFactor,
    /// What proves that a person signed in a short time ago; by default `auth_time`.
    #[serde(default)]
    pub freshness: Option<Freshness>,
    /// What a sign-out ends; by default the session at the provider as well.
    #[serde(default)]
    pub logout: Option<Logout>,
    /// Certificate authorities to trust for this provider in addition to the system's, as PEM.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// Private networks in which the provider may be, such as `10.0.0.0/8`.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub allow_private: Option<Vec<IpNet>>,
    /// Whether people can sign in at it; their sessions end when it is disabled.
    pub enabled: bool,
}

/// The text of a client secret on its way into the database. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderSecret(String);

impl ProviderSecret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProviderSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProviderSecret(…)")
    }
}

/// What the server stores beside the document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IdentityProviderState {
    /// The client secret, encrypted under the encryption key of the signing keys.
    #[serde(default)]
    pub sealed_secret: Option<String>,
    /// What the provider's discovery document said when the object was last saved online.
    #[serde(default)]
    pub discovered: Option<Discovered>,
}

/// The part of a discovery document that warnings are made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Discovered {
    /// Whether `auth_time` is among `claims_supported`; `None` if the document does not say.
    pub auth_time: Option<bool>,
    /// `token_endpoint_auth_methods_supported`; `None` if the document does not say.
    pub auth_methods: Option<Vec<String>>,
    /// `id_token_signing_alg_values_supported`; `None` if the document does not say.
    pub algorithms: Option<Vec<String>>,
    /// Whether there is an `end_session_endpoint`.
    pub ends_sessions: bool,
}

impl IdentityProviderState {
    /// Whether the provider's discovery document leaves `auth_time` out of the claims that it names.
    fn lacks_auth_time(&self) -> bool {
        let discovered = self.discovered.as_ref();
        discovered.and_then(|it| it.auth_time) == Some(false)
    }
}

impl Document for IdentityProviderDocument {
    const KIND: Kind = Kind::IdentityProvider;
    type State = IdentityProviderState;

    fn read(
        given: &Map<String, Value>,
        context: ReadContext<'_>,
    ) -> Result<Self, Vec<DocumentError>> {
        read::read(given, context)
    }

    fn shown(&self, context: ReadContext<'_>) -> Map<String, Value> {
        let effective = Self {
            auth_method: Some(self.auth_method.unwrap_or_default()),
            scopes: Some(self.effective_scopes()),
            claims_from: Some(self.claims_from.unwrap_or_default()),
            algorithms: Some(self.effective_algorithms(context)),
            profile: Some(self.profile_name().to_owned()),
            freshness: Some(self.freshness.unwrap_or_default()),
            logout: Some(self.logout.unwrap_or_default()),
            allow_private: Some(self.allow_private.clone().unwrap_or_default()),
            ..self.clone()
        };
        let mut shown = members(&effective);
        for name in ["display_name", "ca_pem"] {
            shown.entry(name).or_insert(Value::Null);
        }
        shown
    }

    fn exported(&self) -> Map<String, Value> {
        members(self)
    }

    fn warnings(&self, _: ReadContext<'_>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |when, code, detail: &str| {
            warnings.extend(Warning::when(when, code, detail));
        };
        warn(
            self.second_factor == SecondFactor::EnforcedByProvider,
            "second_factor_unproved",
            "nothing proves that a person signed in with a second factor: whoever the provider lets in without one changes rules",
        );
        warn(
            self.freshness == Some(Freshness::NewSignIn),
            "freshness_unproved",
            "nothing proves that the provider asked the person again: whoever sits at an open browser can take prompt=login and max_age=0 out of the link to the provider, whose own session answers then, and change rules",
        );
        warnings
    }
}

impl IdentityProviderDocument {
    /// The name of the profile by which memberships read the claims.
    pub fn profile_name(&self) -> &str {
        self.profile.as_deref().unwrap_or(DEFAULT_PROFILE)
    }

    /// Whether sessions that began while the document was `before` must end when it becomes this
    /// one: nobody may sign in any more, or their claims and proofs of identity were taken from
    /// elsewhere, or judged by other rules.
    pub fn ends_sessions_of(&self, before: &Self) -> bool {
        !self.enabled
            || self.issuer != before.issuer
            || self.client_id != before.client_id
            || self.claims_from.unwrap_or_default() != before.claims_from.unwrap_or_default()
            || self.algorithms != before.algorithms
            || self.profile_name() != before.profile_name()
            || self.second_factor != before.second_factor
            || self.freshness.unwrap_or_default() != before.freshness.unwrap_or_default()
    }

    /// Whether people of this provider can change anything, as far as is known: their freshness can
    /// be proved.
    pub fn writes(&self, state: &IdentityProviderState) -> bool {
        self.freshness == Some(Freshness::NewSignIn) || !state.lacks_auth_time()
    }

    /// Warnings that what the provider said of itself justifies.
    /// `algorithms` are those that ID tokens may have, if that is known.
    pub fn warnings_of_state(
        &self,
        state: &IdentityProviderState,
        algorithms: Option<&[Algorithm]>,
    ) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |code, detail| warnings.push(Warning::new(code, detail));
        if !self.writes(state) {
            warn(
                "no_auth_time",
                "the provider does not name auth_time among its claims_supported: people whose ID tokens lack it can read and not change anything"
                    .to_owned(),
            );
        }
        let Some(discovered) = &state.discovered else {
            return warnings;
        };
        // OpenID Connect Discovery section 3: without the member it is client_secret_basic.
        let basic = || vec![ProviderAuth::ClientSecretBasic.as_str().to_owned()];
        let known = discovered.auth_methods.clone().unwrap_or_else(basic);
        let method = self.auth_method.unwrap_or_default().as_str();
        if !known.iter().any(|known| known == method) {
            let known = known.join(", ");
            let detail = format!(
                "the provider does not name {method} among its token_endpoint_auth_methods_supported, which are {known}"
            );
            warn("auth_method_not_named", detail);
        }
        if let (Some(known), Some(accepted)) = (&discovered.algorithms, algorithms)
            && !accepted
                .iter()
                .any(|one| known.iter().any(|known| known == one.name()))
        {
            let known = known.join(", ");
            let detail = format!(
                "the provider names none of the accepted algorithms among its id_token_signing_alg_values_supported, which are {known}"
            );
            warn("algorithm_not_named", detail);
        }
        if self.logout.unwrap_or_default() == Logout::Provider && !discovered.ends_sessions {
            let detail =
                "the provider has no end_session_endpoint: a sign-out ends the session here alone";
            warn("no_logout", detail.to_owned());
        }
        warnings
    }

    /// The identity provider in compiled form; `None` if this server does not have its profile, or
    /// if the profile is none for people.
    pub fn compile(stored: &Stored<Self>, context: ReadContext<'_>) -> Option<IdentityProvider> {
        let document = &stored.document;
        let profile = context.profiles.get(document.profile_name())?;
        profile.people.as_ref()?;
        let display_name = document.display_name.as_ref().unwrap_or(&stored.name);
        Some(IdentityProvider {
            id: stored.id.parse().ok()?,
            name: stored.name.clone(),
            version: stored.version,
            display_name: display_name.clone(),
            issuer: document.issuer.clone(),
            client_id: document.client_id.clone(),
            auth_method: document.auth_method.unwrap_or_default(),
            sealed_secret: stored.state.sealed_secret.clone(),
            scopes: document.effective_scopes(),
            claims_from: document.claims_from.unwrap_or_default(),
            algorithms: document.effective_algorithms(context),
            profile: profile.clone(),
            second_factor: document.second_factor.clone(),
            freshness: document.freshness.unwrap_or_default(),
            writes: document.writes(&stored.state),
            logout: document.logout.unwrap_or_default(),
            ca_pem: document.ca_pem.clone(),
            allow_private: document.allow_private.clone().unwrap_or_default(),
            enabled: document.enabled,
        })
    }

    fn effective_scopes(&self) -> Vec<String> {
        let default = || DEFAULT_SCOPES.map(str::to_owned).to_vec();
        self.scopes.clone().unwrap_or_else(default)
    }

    /// The algorithms that ID tokens may have: those given, else those of the profile.
    fn effective_algorithms(&self, context: ReadContext<'_>) -> Vec<Algorithm> {
        let of_profile = |profile: &Arc<Profile>| profile.defaults.algorithms.clone();
        self.algorithms.clone().unwrap_or_else(|| {
            let profile = context.profiles.get(self.profile_name());
            profile.map(of_profile).unwrap_or_default()
        })
    }
}
