//! Trusted issuers: the document, and what assertions are judged by (contract, section 6).

mod conflicts;
mod keys;
mod read;
mod terms;
mod url;

pub(super) use keys::check_key_set;
pub(super) use url::check_https;

use std::sync::Arc;

use carnet_jose::Algorithm;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Document, Kind, ReadContext, members};
use crate::grant_type::GrantType;
use crate::ids::TrustedIssuerId;
use crate::model::{KeySource, TrustedIssuer};
use crate::profile::{Defaults, Profile, Replay, Terms, glob};
use crate::trust::{DocumentError, Warning};

/// An outside platform whose tokens are accepted. What is left out comes from the profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TrustedIssuerDocument {
    /// The kind of platform.
    pub profile: String,
    /// The exact `iss`; a slash at the end counts. SPIFFE needs none: then it is `spiffe://` and the trust domain.
    pub issuer: String,
    /// Where its keys come from; `{"source": "discovery"}` unless given.
    pub keys: Option<KeySource>,
    /// Accepted values of `aud`; our issuer identifier and token endpoint unless given.
    pub audiences: Option<Vec<String>>,
    /// Values that may stand in `aud` beside an accepted one.
    pub extra_audiences: Option<Vec<String>>,
    /// Signature algorithms.
    #[schema(value_type = Option<Vec<String>>)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Values of `typ`; a token without `typ` counts as `JWT`.
    pub types: Option<Vec<String>>,
    /// The longest time from `iat` to `exp`, in seconds.
    pub max_assertion_lifetime_seconds: Option<i64>,
    /// How far clocks may differ, in seconds: 60 at most.
    pub leeway_seconds: Option<i64>,
    /// Whether tokens end with the assertion they were made from.
    pub cap_at_assertion_expiry: Option<bool>,
    /// Single use: `required`, `jti_or_token_hash` or `off`.
    #[schema(value_type = Option<String>)]
    pub replay: Option<Replay>,
    /// The claim with the token's id.
    pub replay_claim: Option<String>,
    /// Events that never match.
    pub banned_events: Option<Vec<String>>,
    /// The SPIFFE trust domain it vouches for.
    pub trust_domain: Option<String>,
    /// Where its subjects live: `https://example.com`, or `example.com` for names of accounts.
    pub subject_domain: Option<String>,
    /// The claim by which a broker of e-mail addresses says who vouches for one: a name or a JSON Pointer.
    pub issuer_claim: Option<String>,
    /// Whether the word `true` verifies an e-mail address as the JSON value does.
    pub accept_string_booleans: Option<bool>,
    /// Whether an address counts as verified where `email_verified` is absent.
    pub skip_email_verification: Option<bool>,
    /// The grants that take its assertions; both unless given.
    pub grants: Option<Vec<AssertionGrant>>,
    /// Certificate authorities to trust for this issuer alone, as PEM.
    pub ca_pem: Option<String>,
    /// Private networks that its keys may be fetched from.
    #[schema(value_type = Option<Vec<String>>)]
    pub allow_private: Option<Vec<IpNet>>,
    /// The principal whose rules alone may use it, by name.
    pub owner: Option<String>,
    /// Whether it is switched on.
    pub enabled: bool,
}

impl Document for TrustedIssuerDocument {
    const KIND: Kind = Kind::TrustedIssuer;
    type State = ();

    fn read(given: &Map<String, Value>, context: ReadContext<'_>) -> Result<Self, Vec<DocumentError>> {
        read::read(given, context)
    }

    fn shown(&self, context: ReadContext<'_>) -> Map<String, Value> {
        let mut shown = members(self);
        let Some(profile) = context.profiles.get(&self.profile) else {
            return shown;
        };
        let compiled = self.compile(TrustedIssuerId(uuid::Uuid::nil()), "", 0, profile, context);
        let effective = json!({
            "keys": compiled.keys, "audiences": compiled.audiences, "extra_audiences": compiled.extra_audiences,
            "algorithms": compiled.algorithms, "types": compiled.types,
            "max_assertion_lifetime_seconds": compiled.max_assertion_lifetime_seconds,
            "leeway_seconds": compiled.leeway_seconds, "cap_at_assertion_expiry": compiled.cap_at_assertion_expiry,
            "replay": compiled.replay, "replay_claim": compiled.replay_claim, "banned_events": compiled.banned_events,
            "trust_domain": self.trust_domain, "subject_domain": self.subject_domain, "issuer_claim": self.issuer_claim,
            "accept_string_booleans": compiled.terms.accept_string_booleans,
            "skip_email_verification": compiled.terms.skip_email_verification,
            "grants": compiled.grants.iter().map(|grant| grant.short_name()).collect::<Vec<_>>(),
            "ca_pem": self.ca_pem, "allow_private": compiled.allow_private, "owner": self.owner,
        });
        if let Value::Object(effective) = effective {
            shown.extend(effective);
        }
        shown
    }

    fn exported(&self) -> Map<String, Value> {
        members(self)
    }

    fn warnings(&self, context: ReadContext<'_>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |when: bool, code: &str, detail: &str| {
            if when {
                warnings.push(Warning { code: code.to_owned(), detail: detail.to_owned() });
            }
        };
        warn(
            self.replay == Some(Replay::Off),
            "no_single_use",
            "whoever sees an assertion in the log of a job can use it again until it expires",
        );
        warn(
            self.extra_audiences.as_ref().is_some_and(|extra| !extra.is_empty()),
            "shared_assertions",
            "the services with these audiences can present the workload's assertions here",
        );
        let profile = context.profiles.get(&self.profile);
        let accepted = self.accepted_audiences(context);
        let is_shared = |pattern: &String| accepted.iter().any(|audience| glob::matches(pattern, audience));
        warn(
            profile.is_some_and(|profile| profile.shared_audiences.iter().any(is_shared)),
            "shared_audience",
            "every service that trusts this platform accepts the same audience, so each of them can present the workload's assertions here",
        );
        warn(
            self.skip_email_verification == Some(true),
            "unverified_addresses",
            "whoever can enter an address at the issuer is taken for its holder, unless the issuer verifies it without saying so",
        );
        warnings
    }
}

/// A grant that takes assertions of trusted issuers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AssertionGrant {
    /// RFC 7523 section 2.1.
    JwtBearer,
    /// RFC 8693 section 2.1.
    TokenExchange,
}

impl AssertionGrant {
    /// Both.
    const ALL: [Self; 2] = [Self::JwtBearer, Self::TokenExchange];

    fn grant_type(self) -> GrantType {
        match self {
            Self::JwtBearer => GrantType::JwtBearer,
            Self::TokenExchange => GrantType::TokenExchange,
        }
    }
}

impl TrustedIssuerDocument {
    /// What assertions are judged by.
    pub fn compile(
        &self,
        id: TrustedIssuerId,
        name: &str,
        version: i64,
        profile: &Arc<Profile>,
        context: ReadContext<'_>,
    ) -> TrustedIssuer {
        let Defaults {
            algorithms,
            types,
            max_assertion_lifetime_seconds,
            leeway_seconds,
            replay,
            replay_claim,
            banned_events,
            ..
        } = &profile.defaults;
        TrustedIssuer {
            id,
            name: name.to_owned(),
            version,
            profile: profile.clone(),
            issuer: self.issuer.clone(),
            terms: self.terms(),
            keys: self.keys.clone().unwrap_or(KeySource::Discovery),
            audiences: self.accepted_audiences(context),
            extra_audiences: self.extra_audiences.clone().unwrap_or_default(),
            algorithms: self.algorithms.clone().unwrap_or_else(|| algorithms.clone()),
            types: self.types.clone().unwrap_or_else(|| types.clone()),
            max_assertion_lifetime_seconds: self
                .max_assertion_lifetime_seconds
                .unwrap_or(i64::from(*max_assertion_lifetime_seconds)),
            leeway_seconds: self.leeway_seconds.unwrap_or(i64::from(*leeway_seconds)),
            cap_at_assertion_expiry: self.cap_at_assertion_expiry.unwrap_or(false),
            replay: self.replay.unwrap_or(*replay),
            replay_claim: self.replay_claim.clone().unwrap_or_else(|| replay_claim.clone()),
            banned_events: self.banned_events.clone().unwrap_or_else(|| banned_events.clone()),
            grants: self
                .grants
                .as_deref()
                .unwrap_or(&AssertionGrant::ALL)
                .iter()
                .map(|grant| grant.grant_type())
                .collect(),
            ca_pem: self.ca_pem.clone(),
            allow_private: self.allow_private.clone().unwrap_or_default(),
            owner: self.owner.as_ref().map(|owner| owner.to_ascii_lowercase().into()),
            enabled: self.enabled,
        }
    }

    /// What it adds to the profile.
    pub fn terms(&self) -> Terms {
        Terms {
            trust_domain: self.trust_domain.clone(),
            subject_domain: self.subject_domain.clone(),
            issuer_claim: self.issuer_claim.clone(),
            accept_string_booleans: self.accept_string_booleans.unwrap_or(false),
            skip_email_verification: self.skip_email_verification.unwrap_or(false),
        }
    }

    /// The audiences that are accepted: those given, else those of the profile, else our own.
    pub fn accepted_audiences(&self, context: ReadContext<'_>) -> Vec<String> {
        let fixed = || context.profiles.get(&self.profile).and_then(|profile| profile.defaults.audiences.clone());
        self.audiences.clone().or_else(fixed).unwrap_or_else(|| context.own.default_audiences())
    }
}
