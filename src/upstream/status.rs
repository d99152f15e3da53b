//! What this process knows of the keys of a trusted issuer. The state lives beside the cached keys:
//! it begins anew with the process, but for the keys that were kept, and each replica has its own.

use serde::Serialize;

use super::refresh::CachedKeys;
use super::{COOLDOWN, MOST_STALE, UpstreamKeys};
use crate::clock::Timestamp;
use crate::model::{KeySource, TrustedIssuer};

/// The keys of a trusted issuer as this server process sees them. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct KeyStatus {
    /// The name of the trusted issuer.
    pub trusted_issuer: String,
    pub issuer: String,
    /// The source of the keys, such as `discovery`.
    pub source: &'static str,
    pub enabled: bool,
    pub state: KeyState,
    /// How many keys can be used now; `null` if none were fetched.
    pub keys: Option<usize>,
    /// The `kid`s of the keys that were fetched last and can be used.
    pub key_ids: Vec<String>,
    /// Keys that were fetched last and cannot be used, each with the reason.
    pub unusable: Vec<String>,
    /// When the keys were last fetched, with or without success.
    pub last_fetch_at: Option<String>,
    pub last_success_at: Option<String>,
    /// The first failure after the last success.
    pub failing_since: Option<String>,
    /// What went wrong in the last fetch.
    pub last_error: Option<String>,
    /// The earliest next fetch. It takes place when an assertion needs the keys.
    pub next_fetch_at: Option<String>,
    /// Until when the cached keys are used if no fetch succeeds.
    pub usable_until: Option<String>,
    /// What the RPKI attests to the keys; `null` for an issuer whose keys need no attestation, or
    /// that were not fetched yet.
    pub attested: Option<AttestationStatus>,
}

/// What the RPKI attests to the keys of a trusted issuer, or at which step that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AttestationStatus {
    /// The AS numbers that the keys stand for, as far as the issuer speaks for them.
    pub asns: Vec<String>,
    /// The same of prefixes.
    pub prefixes: Vec<String>,
    /// The trust anchor at the end of the path.
    pub trust_anchor: Option<String>,
    /// Until when the attestation counts without being looked at again.
    pub use_until: Option<String>,
    /// The step at which the last verification failed, such as `revoked`.
    pub step: Option<String>,
    /// What was found there.
    pub detail: Option<String>,
}

impl AttestationStatus {
    fn of(held: &CachedKeys, now: Timestamp) -> Option<Self> {
        let failure = held.unattested(now);
        let attested = held.attested.as_ref();
        let attested = attested.and_then(|keys| keys.at(now).ok());
        if failure.is_none() && attested.is_none() {
            return None;
        }
        let texts = |name: &str| {
            let shown = attested.map(|attested| attested.resources.shown());
            let list = shown.and_then(|shown| shown.get(name)?.as_array().cloned());
            let list = list.unwrap_or_default().into_iter();
            list.filter_map(|text| text.as_str().map(str::to_owned))
                .collect()
        };
        Some(Self {
            asns: texts("asns"),
            prefixes: texts("prefixes"),
            trust_anchor: attested.map(|attested| attested.trust_anchor.clone()),
            use_until: attested.map(|attested| attested.use_until.to_string()),
            step: failure.as_ref().map(|failure| failure.step.to_owned()),
            detail: failure.map(|failure| failure.detail),
        })
    }
}

/// The state of the keys of a trusted issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// The last fetch succeeded.
    Ok,
    /// The last fetch failed. Cached keys are used as long as they are not too old.
    Failing,
    /// This process has not needed the keys yet, or the trusted issuer was changed since.
    NotFetched,
    /// There are no keys: the cluster reviews each token itself.
    NoKeys,
}

impl KeyState {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failing => "failing",
            Self::NotFetched => "not_fetched",
            Self::NoKeys => "no_keys",
        }
    }
}

impl UpstreamKeys {
    /// The state of an issuer's keys. Nothing is fetched.
    pub async fn status(&self, issuer: &TrustedIssuer) -> KeyStatus {
        let held = self.cache.get(&issuer.id).await;
        let held = held.filter(|held| held.version == issuer.version);
        let held = held.as_deref();
        let now = self.clock.now();
        let reviewed = matches!(issuer.keys, KeySource::TokenReview { .. });
        let state = match held {
            _ if reviewed => KeyState::NoKeys,
            None => KeyState::NotFetched,
            Some(CachedKeys {
                failure: Some(_), ..
            }) => KeyState::Failing,
            Some(held) if held.unattested(now).is_some() => KeyState::Failing,
            Some(_) => KeyState::Ok,
        };
        let held = held.filter(|_| !reviewed);
        let text = |at: Timestamp| at.to_string();
        let is_static = matches!(issuer.keys, KeySource::Static { .. });
        let usable_until = |held: &CachedKeys| {
            let until = held.fetched_at.plus_seconds(MOST_STALE);
            match held.attested.as_ref().map(|keys| &keys.verdict) {
                None => until,
                Some(Ok(attested)) => until.min(attested.use_until),
                Some(Err(_)) => held.fetched_at,
            }
        };
        let fetched = held.and_then(|held| held.keys.as_ref());
        let key_ids = fetched.map(|keys| keys.ids().into_iter().map(str::to_owned).collect());
        KeyStatus {
            key_ids: key_ids.unwrap_or_default(),
            unusable: fetched
                .map(|keys| keys.unusable().to_vec())
                .unwrap_or_default(),
            trusted_issuer: issuer.name.clone(),
            issuer: issuer.issuer.clone(),
            source: source(&issuer.keys),
            enabled: issuer.enabled,
            state,
            keys: held.and_then(|held| {
                let keys = held.keys.as_ref()?;
                Some(if usable_until(held) > now || is_static {
                    keys.ids().len()
                } else {
                    0
                })
            }),
            last_fetch_at: held.map(|held| text(held.attempted_at)),
            last_success_at: held.and_then(|held| held.succeeded_at).map(text),
            failing_since: held.and_then(|held| held.failing_since).map(text),
            last_error: held.and_then(|held| held.failure.clone()),
            next_fetch_at: held
                .filter(|_| !is_static)
                .map(|held| match held.failure {
                    Some(_) => held.attempted_at.plus_seconds(COOLDOWN),
                    None => held.fresh_until,
                })
                .map(text),
            usable_until: held
                .filter(|held| held.keys.is_some() && !is_static)
                .map(|held| text(usable_until(held))),
            attested: held.and_then(|held| AttestationStatus::of(held, now)),
        }
    }
}

/// The source as documents of the admin API name it.
fn source(keys: &KeySource) -> &'static str {
    match keys {
        KeySource::Discovery => "discovery",
        KeySource::JwksUri { .. } => "jwks_uri",
        KeySource::Static { .. } => "static",
        KeySource::File { .. } => "file",
        KeySource::SpiffeBundle { .. } => "spiffe_bundle",
        KeySource::TokenReview { .. } => "token_review",
    }
}
