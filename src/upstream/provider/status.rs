//! What this process knows of the metadata and the keys of an identity provider.

use serde::Serialize;

use super::{Held, ProviderDocuments};
use crate::model::IdentityProvider;
use crate::upstream::{KeyState, KeyStatus, UpstreamKeys};

/// What this process knows of an identity provider. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ProviderStatus {
    /// The name of the identity provider.
    pub identity_provider: String,
    pub issuer: String,
    pub enabled: bool,
    /// The state of the metadata document.
    pub metadata: KeyState,
    /// When the metadata were last fetched, with or without success.
    pub last_fetch_at: Option<String>,
    pub last_success_at: Option<String>,
    /// What went wrong in the last fetch.
    pub last_error: Option<String>,
    /// The keys that verify ID tokens; `null` until the metadata say where they are.
    pub keys: Option<ProviderKeys>,
}

/// The keys of an identity provider as this process sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ProviderKeys {
    pub state: KeyState,
    /// How many keys can be used now; `null` if none were fetched.
    pub count: Option<usize>,
    pub last_fetch_at: Option<String>,
    pub last_success_at: Option<String>,
    /// The first failure after the last success.
    pub failing_since: Option<String>,
    pub last_error: Option<String>,
    /// Until when the cached keys are used if no fetch succeeds.
    pub usable_until: Option<String>,
}

impl From<KeyStatus> for ProviderKeys {
    fn from(keys: KeyStatus) -> Self {
        Self {
            state: keys.state,
            count: keys.keys,
            last_fetch_at: keys.last_fetch_at,
            last_success_at: keys.last_success_at,
            failing_since: keys.failing_since,
            last_error: keys.last_error,
            usable_until: keys.usable_until,
        }
    }
}

impl ProviderDocuments {
    /// The state of a provider's metadata and keys. Nothing is fetched.
    pub async fn status(&self, provider: &IdentityProvider, keys: &UpstreamKeys) -> ProviderStatus {
        let held = self.cache.get(&provider.id).await;
        let held = held.filter(|held| held.version == provider.version);
        let metadata = match held.as_deref() {
            None => KeyState::NotFetched,
            Some(Held {
                failure: Some(_), ..
            }) => KeyState::Failing,
            Some(_) => KeyState::Ok,
        };
        let document = held.as_ref().and_then(|held| held.document.as_ref());
        let of_keys = match document {
            None => None,
            Some((document, _)) => Some(keys.status(&document.keys_of(provider)).await.into()),
        };
        ProviderStatus {
            identity_provider: provider.name.clone(),
            issuer: provider.issuer.clone(),
            enabled: provider.enabled,
            metadata,
            last_fetch_at: held.as_ref().map(|held| held.attempted_at.to_string()),
            last_success_at: document.map(|(_, at)| at.to_string()),
            last_error: held.as_ref().and_then(|held| held.failure.clone()),
            keys: of_keys,
        }
    }
}
