//! Trusted issuers: the document, its checks, and its compiled form
//! (`docs/src/reference/admin-api.md`).

mod attestation;
mod conflicts;
mod keys;
mod read;
mod terms;
mod url;

pub use attestation::{AttestationDocument, SpeaksFor};

pub(super) use read::{algorithms, networks};
pub(super) use url::{check_https, check_issuer};

pub use read::MAX_ASSERTION_LIFETIME_SECONDS;

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

/// A platform whose tokens are accepted as assertions. Members that are left out come from the
/// profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TrustedIssuerDocument {
    /// The profile of the platform, such as `github-actions`; fixed while rules refer to the
    /// trusted issuer.
    pub profile: String,
    /// The exact `iss`, an https URL; a slash at the end counts. Optional for SPIFFE, where it
    /// defaults to `spiffe://` and the trust domain.
    pub issuer: String,
    /// The source of the issuer's keys; by default `{"source": "discovery"}`.
    pub keys: Option<KeySource>,
    /// Accepted values of `aud`; by default those of the profile, else this server's issuer
    /// identifier and token endpoint.
    pub audiences: Option<Vec<String>>,
    /// Values that `aud` may hold in addition to an accepted one.
    pub extra_audiences: Option<Vec<String>>,
    /// Accepted signature algorithms.
    #[schema(value_type = Option<Vec<String>>)]
    pub algorithms: Option<Vec<Algorithm>>,
    /// Accepted values of `typ`; a token without `typ` counts as `JWT`.
    pub types: Option<Vec<String>>,
    /// Longest time from `iat` to `exp`, 1 to 90000 seconds.
    pub max_assertion_lifetime_seconds: Option<i64>,
    /// Tolerated clock difference, 0 to 60 seconds.
    pub leeway_seconds: Option<i64>,
    /// Whether an access token ends no later than the assertion that it was issued for.
    pub cap_at_assertion_expiry: Option<bool>,
    /// Single use of assertions: `required` (by the claim `replay_claim`), `jti_or_token_hash` or
    /// `off`.
    #[schema(value_type = Option<String>)]
    pub replay: Option<Replay>,
    /// The claim that holds the assertion's id, usually `jti`.
    pub replay_claim: Option<String>,
    /// Events of the platform, such as `pull_request_target`, for which no rule matches.
    pub banned_events: Option<Vec<String>>,
    /// The SPIFFE trust domain that the issuer speaks for.
    pub trust_domain: Option<String>,
    /// The domain of the issuer's subjects: `https://example.com` for URIs, or `example.com` for
    /// account names.
    pub subject_domain: Option<String>,
    /// The claim in which a broker of e-mail addresses names the upstream issuer of an address: a
    /// name or a JSON Pointer.
    pub issuer_claim: Option<String>,
    /// Whether the string `"true"` in `email_verified` counts as the boolean.
    pub accept_string_booleans: Option<bool>,
    /// Whether an address counts as verified if `email_verified` is absent.
    pub skip_email_verification: Option<bool>,
    /// The grants that accept the issuer's assertions; by default both.
    pub grants: Option<Vec<AssertionGrant>>,
    /// Certificate authorities for connections to this issuer alone, in addition to the system's,
    /// as PEM.
    pub ca_pem: Option<String>,
    /// Private networks from which the issuer's keys may be fetched, such as `10.0.0.0/8`.
    #[schema(value_type = Option<Vec<String>>)]
    pub allow_private: Option<Vec<IpNet>>,
    /// By what the RPKI must vouch for the issuer's keys; only and always with the profile `rpki`.
    /// Experimental.
    pub attestation: Option<AttestationDocument>,
    /// Whether a profile for any platform is kept although a profile knows the issuer's platform.
    pub profile_forced: Option<bool>,
    /// The only principal whose rules may use this issuer, by name; null for every principal.
    pub owner: Option<String>,
    /// Whether the issuer's assertions are accepted; tokens issued for them end when it is
    /// disabled.
    pub enabled: bool,
}

impl Document for TrustedIssuerDocument {
    const KIND: Kind = Kind::TrustedIssuer;
    type State = ();

    fn read(
        given: &Map<String, Value>,
        context: ReadContext<'_>,
    ) -> Result<Self, Vec<DocumentError>> {
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
            "profile_forced": self.profile_forced.unwrap_or(false), "attestation": self.attestation,
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
        let mut warn = |when, code, detail: &str| {
            warnings.extend(Warning::when(when, code, detail));
        };
        let profile = context.profiles.get(&self.profile);
        let replay = self
            .replay
            .or_else(|| profile.map(|profile| profile.defaults.replay));
        warn(
            replay == Some(Replay::Off),
            "no_single_use",
            "whoever sees an assertion in the log of a job can use it again until it expires",
        );
        warn(
            self.extra_audiences
                .as_ref()
                .is_some_and(|extra| !extra.is_empty()),
            "shared_assertions",
            "the services with these audiences can present the workload's assertions here",
        );
        let accepted = self.accepted_audiences(context);
        let is_shared = |pattern: &String| {
            accepted
                .iter()
                .any(|audience| glob::matches(pattern, audience))
        };
        warn(
            profile.is_some_and(|profile| profile.shared_audiences.iter().any(is_shared)),
            "shared_audience",
            "every service that trusts this platform accepts the same audience, so each of them can present the workload's assertions here",
        );
        warn(
            read::platform_of(profile, &self.issuer, context).is_some(),
            "forced_profile",
            "the profile knows nothing of this platform: no events are banned, no ids are pinned, and rules of strangers' workloads are neither refused nor warned of",
        );
        warn(
            self.skip_email_verification == Some(true),
            "unverified_addresses",
            "whoever can enter an address at the issuer is taken for its holder, unless the issuer verifies it without saying so",
        );
        warnings
    }
}

/// A grant that accepts assertions of trusted issuers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AssertionGrant {
    /// The jwt-bearer grant (RFC 7523 section 2.1).
    JwtBearer,
    /// The token exchange grant (RFC 8693 section 2.1).
    TokenExchange,
}

impl AssertionGrant {
    const ALL: [Self; 2] = [Self::JwtBearer, Self::TokenExchange];

    fn grant_type(self) -> GrantType {
        match self {
            Self::JwtBearer => GrantType::JwtBearer,
            Self::TokenExchange => GrantType::TokenExchange,
        }
    }
}

impl TrustedIssuerDocument {
    /// The trusted issuer in the form that assertions are judged by, with the profile's defaults.
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
            algorithms: self
                .algorithms
                .clone()
                .unwrap_or_else(|| algorithms.clone()),
            types: self.types.clone().unwrap_or_else(|| types.clone()),
            max_assertion_lifetime_seconds: self
                .max_assertion_lifetime_seconds
                .unwrap_or(i64::from(*max_assertion_lifetime_seconds)),
            leeway_seconds: self.leeway_seconds.unwrap_or(i64::from(*leeway_seconds)),
            cap_at_assertion_expiry: self.cap_at_assertion_expiry.unwrap_or(false),
            replay: self.replay.unwrap_or(*replay),
            replay_claim: self
                .replay_claim
                .clone()
                .unwrap_or_else(|| replay_claim.clone()),
            banned_events: self
                .banned_events
                .clone()
                .unwrap_or_else(|| banned_events.clone()),
            grants: self
                .grants
                .as_deref()
                .unwrap_or(&AssertionGrant::ALL)
                .iter()
                .map(|grant| grant.grant_type())
                .collect(),
            ca_pem: self.ca_pem.clone(),
            allow_private: self.allow_private.clone().unwrap_or_default(),
            attestation: self.attestation.as_ref().map(AttestationDocument::terms),
            owner: self
                .owner
                .as_ref()
                .map(|owner| owner.to_ascii_lowercase().into()),
            enabled: self.enabled,
        }
    }

    /// The members that limit what the issuer may speak for.
    pub fn terms(&self) -> Terms {
        Terms {
            issuer: Some(self.issuer.clone()),
            banned_events: self.banned_events.clone(),
            trust_domain: self.trust_domain.clone(),
            subject_domain: self.subject_domain.clone(),
            issuer_claim: self.issuer_claim.clone(),
            accept_string_booleans: self.accept_string_booleans.unwrap_or(false),
            skip_email_verification: self.skip_email_verification.unwrap_or(false),
        }
    }

    /// The accepted audiences: those given, else those of the profile, else our own.
    pub fn accepted_audiences(&self, context: ReadContext<'_>) -> Vec<String> {
        let fixed = || {
            context
                .profiles
                .get(&self.profile)
                .and_then(|profile| profile.defaults.audiences.clone())
        };
        self.audiences
            .clone()
            .or_else(fixed)
            .unwrap_or_else(|| context.own.default_audiences())
    }
}
