//! What an OpenID provider publishes of itself: its metadata document (OpenID Connect Discovery 1.0
//! section 3), fetched on demand and cached, and where its keys are.

use std::sync::Arc;
use std::time::Duration;

use carnet_jose::json::{self, Limits};
use moka::future::Cache;
use moka::ops::compute::Op;
use serde::Serialize;
use serde_json::{Map, Value};
use url::Url;

use super::egress::Egress;
use super::fetch::Fetch;
use super::{KeyState, KeyStatus, UpstreamKeys};
use crate::clock::{Clock, Timestamp};
use crate::ids::{IdentityProviderId, TrustedIssuerId};
use crate::model::{IdentityProvider, KeySource, TrustedIssuer};
use crate::profile::{Replay, Terms};

const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// How many documents are cached. An installation has at most 16 identity providers.
const MOST_PROVIDERS: u64 = 64;
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a document counts as fresh, in seconds.
const FRESH: i64 = 10 * 60;
/// Age at which a document is no longer used, even if no newer one can be fetched, in seconds.
const MOST_STALE: i64 = 24 * 3600;
/// Shortest time between two fetches for one provider, failed ones included, in seconds.
const COOLDOWN: i64 = 30;
/// Tolerated difference between the provider's clock and ours, in seconds.
const LEEWAY: i64 = 60;

/// The metadata of a provider, as far as it is used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderDocument {
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    pub jwks_uri: Url,
    pub userinfo_endpoint: Option<Url>,
    pub end_session_endpoint: Option<Url>,
    /// Whether every answer of the authorization endpoint names its issuer (RFC 9207 section 3).
    pub names_issuer: bool,
    /// `claims_supported`; `None` if the document does not say.
    pub claims: Option<Vec<String>>,
    /// `id_token_signing_alg_values_supported`; `None` if the document does not say.
    pub algorithms: Option<Vec<String>>,
    /// `token_endpoint_auth_methods_supported`; `None` if the document does not say.
    pub auth_methods: Option<Vec<String>>,
}

/// Why the metadata of a provider cannot be used at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ProviderUnavailable {
    /// For the operator.
    pub why: String,
    /// Seconds after which another attempt is made.
    pub retry_after: u32,
}

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

/// The documents of identity providers, and the last attempt to fetch each.
#[derive(Clone, Debug)]
pub struct ProviderDocuments {
    cache: Cache<IdentityProviderId, Arc<Held>>,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    allow_http_loopback: bool,
}

#[derive(Clone, Debug)]
struct Held {
    /// The version of the identity provider for which the document was fetched.
    version: i64,
    document: Option<(Arc<ProviderDocument>, Timestamp)>,
    attempted_at: Timestamp,
    failure: Option<String>,
}

impl Held {
    fn fresh(&self, now: Timestamp) -> Option<&Arc<ProviderDocument>> {
        self.younger_than(FRESH, now)
    }

    fn younger_than(&self, seconds: i64, now: Timestamp) -> Option<&Arc<ProviderDocument>> {
        let (document, fetched_at) = self.document.as_ref()?;
        (now.seconds_since(*fetched_at) < seconds).then_some(document)
    }
}

impl ProviderDocuments {
    pub fn new(fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>, allow_http_loopback: bool) -> Self {
        Self {
            cache: Cache::new(MOST_PROVIDERS),
            fetch,
            clock,
            allow_http_loopback,
        }
    }

    /// The egress rules for requests to a provider.
    pub fn egress(&self, provider: &IdentityProvider) -> Egress {
        Egress {
            ca_pem: provider.ca_pem.clone(),
            allow_private: provider.allow_private.clone(),
            allow_http_loopback: self.allow_http_loopback,
        }
    }

    /// The document of a provider: the cached one while it is fresh, and also an older one while no
    /// newer one can be fetched.
    pub async fn of(
        &self,
        provider: &Arc<IdentityProvider>,
    ) -> Result<Arc<ProviderDocument>, ProviderUnavailable> {
        let now = self.clock.now();
        let held = self.cache.get(&provider.id).await;
        let held = held.filter(|held| held.version == provider.version);
        if let Some(document) = held.as_ref().and_then(|held| held.fresh(now)) {
            return Ok(document.clone());
        }
        // A caller that disconnects must not cancel the fetch before the attempt is recorded, since
        // the cooldown depends on that record.
        let (documents, of_provider) = (self.clone(), provider.clone());
        let fetched = tokio::spawn(async move { documents.refresh_once(&of_provider).await });
        let held = fetched.await.map_err(|_| ProviderUnavailable {
            why: "the fetch was given up".to_owned(),
            retry_after: 1,
        })?;
        held.younger_than(MOST_STALE, now).cloned().ok_or_else(|| {
            let wait = COOLDOWN.saturating_sub(now.seconds_since(held.attempted_at));
            ProviderUnavailable {
                why: held
                    .failure
                    .clone()
                    .unwrap_or_else(|| "it is too old".to_owned()),
                retry_after: u32::try_from(wait.clamp(1, COOLDOWN)).unwrap_or(1),
            }
        })
    }

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

    /// Lets one caller at a time fetch for a provider. The others find the new document.
    async fn refresh_once(&self, provider: &IdentityProvider) -> Arc<Held> {
        let now = self.clock.now();
        let entry = self.cache.entry(provider.id);
        let done = entry.and_compute_with(|present| async {
            let present = present
                .map(moka::Entry::into_value)
                .filter(|held| held.version == provider.version);
            let cooling = |held: &Arc<Held>| now.seconds_since(held.attempted_at) < COOLDOWN;
            if present.as_ref().is_some_and(cooling) {
                return Op::Nop;
            }
            let egress = self.egress(provider);
            let fetched = self.try_fetch(&provider.issuer, &egress).await;
            let before = present.and_then(|held| held.document.clone());
            let (document, failure) = match fetched {
                Ok(document) => (Some((Arc::new(document), now)), None),
                Err(why) => {
                    tracing::warn!(identity_provider = provider.name, %why, "the metadata cannot be fetched");
                    (before, Some(why))
                }
            };
            Op::Put(Arc::new(Held {
                version: provider.version,
                document,
                attempted_at: now,
                failure,
            }))
        });
        super::refresh::cached(done.await).unwrap_or_else(|| {
            Arc::new(Held {
                version: provider.version,
                document: None,
                attempted_at: now,
                failure: None,
            })
        })
    }

    /// Fetches the document of a provider that need not be saved yet; nothing is cached. The error
    /// is a message for the operator.
    pub async fn try_fetch(
        &self,
        issuer: &str,
        egress: &Egress,
    ) -> Result<ProviderDocument, String> {
        // The path is appended, not inserted (OpenID Connect Discovery 1.0 section 4.1).
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let url = Url::parse(&url).map_err(|error| format!("{url}: {error}"))?;
        let fetch = self.fetch.fetch(&url, egress, None, MAX_DOCUMENT_BYTES);
        let fetched = tokio::time::timeout(TIMEOUT, fetch)
            .await
            .map_err(|_| format!("{url}: it took longer than 5 seconds"))?
            .map_err(|error| error.to_string())?;
        if fetched.status != 200 {
            return Err(format!("{url}: the server answered {}", fetched.status));
        }
        json::object(&fetched.body, Limits::DOCUMENT)
            .map_err(|error| error.to_string())
            .and_then(|document| read(&document, issuer, egress))
            .map_err(|why| format!("{url}: {why}"))
    }
}

impl ProviderDocument {
    /// The provider as the cache of keys knows it: for nothing but its keys, under its own id. It
    /// collides with no trusted issuer's, since ids are unique across kinds.
    pub fn keys_of(&self, provider: &IdentityProvider) -> TrustedIssuer {
        TrustedIssuer {
            id: TrustedIssuerId(provider.id.0),
            name: provider.name.clone(),
            version: provider.version,
            profile: provider.profile.clone(),
            issuer: provider.issuer.clone(),
            terms: Terms::default(),
            keys: KeySource::JwksUri {
                uri: self.jwks_uri.to_string(),
                ca_file: None,
                token_file: None,
            },
            audiences: Vec::new(),
            extra_audiences: Vec::new(),
            algorithms: provider.algorithms.clone(),
            types: Vec::new(),
            max_assertion_lifetime_seconds: 0,
            leeway_seconds: LEEWAY,
            cap_at_assertion_expiry: false,
            replay: Replay::JtiOrTokenHash,
            replay_claim: "jti".to_owned(),
            banned_events: Vec::new(),
            grants: Vec::new(),
            ca_pem: provider.ca_pem.clone(),
            allow_private: provider.allow_private.clone(),
            owner: None,
            enabled: true,
        }
    }
}

/// Reads the document of `issuer`. Its own requests go to the endpoints of the token, the keys and
/// userinfo; browsers are sent to the other two.
fn read(
    document: &Map<String, Value>,
    issuer: &str,
    egress: &Egress,
) -> Result<ProviderDocument, String> {
    let named = document.get("issuer").and_then(Value::as_str);
    if named != Some(issuer) {
        return Err(super::discovery::another_issuer(document, issuer));
    }
    if listed(document, "code_challenge_methods_supported")?
        .is_some_and(|methods| methods.iter().all(|method| method != "S256"))
    {
        return Err("code_challenge_methods_supported lacks S256 (RFC 7636)".to_owned());
    }
    if listed(document, "response_types_supported")?
        .is_some_and(|types| types.iter().all(|kind| kind != "code"))
    {
        return Err("response_types_supported lacks code".to_owned());
    }
    let required = |name: &str, url: Option<Url>| url.ok_or_else(|| format!("it has no {name}"));
    let asked = |name| endpoint(document, name, egress, true);
    let shown = |name| endpoint(document, name, egress, false);
    let names_issuer = document.get("authorization_response_iss_parameter_supported");
    Ok(ProviderDocument {
        authorization_endpoint: required(
            "authorization_endpoint",
            shown("authorization_endpoint")?,
        )?,
        token_endpoint: required("token_endpoint", asked("token_endpoint")?)?,
        jwks_uri: required("jwks_uri", asked("jwks_uri")?)?,
        userinfo_endpoint: asked("userinfo_endpoint")?,
        end_session_endpoint: shown("end_session_endpoint")?,
        names_issuer: names_issuer.and_then(Value::as_bool).unwrap_or(false),
        claims: listed(document, "claims_supported")?,
        algorithms: listed(document, "id_token_signing_alg_values_supported")?,
        auth_methods: listed(document, "token_endpoint_auth_methods_supported")?,
    })
}

fn listed(document: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, String> {
    let Some(value) = document.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let texts = value.as_array().and_then(|values| {
        let texts = values.iter().map(|text| text.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>()
    });
    texts
        .map(Some)
        .ok_or_else(|| format!("its {name} is no list of texts"))
}

/// A URL of the document. One that this server itself sends requests to has to be allowed by the
/// egress rules; browsers are sent to private addresses too.
fn endpoint(
    document: &Map<String, Value>,
    name: &str,
    egress: &Egress,
    is_asked: bool,
) -> Result<Option<Url>, String> {
    let Some(value) = document.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let url = value.as_str().and_then(|text| Url::parse(text).ok());
    let url = url.ok_or_else(|| format!("its {name} is no absolute URL"))?;
    let is_secure = url.scheme() == "https"
        || (egress.allow_http_loopback
            && url.scheme() == "http"
            && carnet_outbound::is_this_machine(&url));
    if !is_secure || carnet_outbound::has_credentials(&url) || url.fragment().is_some() {
        return Err(format!(
            "its {name} is no https URL without user name and fragment"
        ));
    }
    if is_asked {
        egress
            .check(&url)
            .map_err(|error| format!("its {name}: {error}"))?;
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "issuer": "https://login.test/realm",
            "authorization_endpoint": "https://login.test/authorize",
            "token_endpoint": "https://token.test/token",
            "jwks_uri": "https://keys.test/jwks",
            "userinfo_endpoint": "https://login.test/userinfo",
            "end_session_endpoint": "https://login.test/logout",
            "response_types_supported": ["code", "id_token"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
            "claims_supported": ["sub", "auth_time"],
        })
    }

    fn read_changed(name: &str, value: Value) -> Result<ProviderDocument, String> {
        let mut document = document();
        document[name] = value;
        read(
            document.as_object().unwrap(),
            "https://login.test/realm",
            &Egress::default(),
        )
    }

    #[test]
    fn endpoints_of_a_provider_may_be_at_other_hosts() {
        let read = read_changed("unknown_member", json!(1)).unwrap();
        assert_eq!(read.token_endpoint.as_str(), "https://token.test/token");
        assert!(read.names_issuer);
        assert_eq!(read.claims.unwrap(), ["sub", "auth_time"]);
        assert_eq!(read.auth_methods, None);
    }

    #[test]
    fn oidcd_4_3__a_document_that_sends_people_or_secrets_elsewhere_is_refused() {
        for (name, value, why) in [
            ("issuer", json!("https://login.test/realm/"), "the issuer"),
            ("issuer", Value::Null, "no issuer"),
            (
                "authorization_endpoint",
                json!("http://login.test/"),
                "https",
            ),
            (
                "authorization_endpoint",
                json!("javascript:alert(1)"),
                "https",
            ),
            (
                "authorization_endpoint",
                json!("https://u@login.test/"),
                "https",
            ),
            (
                "authorization_endpoint",
                json!("https://login.test/#x"),
                "https",
            ),
            ("authorization_endpoint", Value::Null, "no authorization"),
            ("token_endpoint", json!("http://127.0.0.1/"), "https"),
            ("token_endpoint", json!("https://10.0.0.1/token"), "private"),
            ("token_endpoint", Value::Null, "no token_endpoint"),
            ("jwks_uri", json!("https://169.254.169.254/"), "private"),
            ("jwks_uri", json!("/jwks"), "absolute"),
            ("userinfo_endpoint", json!("https://[::1]/"), "private"),
            ("end_session_endpoint", json!("data:text/html,x"), "https"),
            ("code_challenge_methods_supported", json!(["plain"]), "S256"),
            ("code_challenge_methods_supported", json!("S256"), "list"),
            ("response_types_supported", json!(["id_token"]), "code"),
        ] {
            let error = read_changed(name, value.clone()).unwrap_err();
            assert!(error.contains(why), "{name} {value}: {error}");
        }
    }
}
