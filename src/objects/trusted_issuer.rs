use std::sync::Arc;

use carnet_jose::{Algorithm, KeySet};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::{Host, Url};

use super::reader::Reader;
use super::{Document, Kind, ReadContext, members};
use crate::ids::TrustedIssuerId;
use crate::profile::{Defaults, Profile, Replay};
use crate::trust::{KeySource, Problem, TrustedIssuer, Warning, glob_matches};

/// Types of tokens that are for something else and are never assertions (decision D-10).
const OTHER_TYPES: [&str; 8] = [
    "at+jwt",
    "dpop+jwt",
    "oauth-id-jag+jwt",
    "txntoken+jwt",
    "secevent+jwt",
    "logout+jwt",
    "token-introspection+jwt",
    "client-authentication+jwt",
];

/// Members of the outside contract that later versions bring, with the values that mean nothing new.
const LATER: [(&str, &[&str]); 6] = [
    ("grants", &["[\"jwt-bearer\"]", "[\"jwt-bearer\",\"token-exchange\"]"]),
    ("trust_domain", &[]),
    ("subject_domain", &[]),
    ("issuer_claim", &[]),
    ("accept_string_booleans", &["false"]),
    ("skip_email_verification", &["false"]),
];

/// An outside platform whose tokens are accepted. What is left out comes from the profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TrustedIssuerDocument {
    /// The kind of platform.
    pub profile: String,
    /// The exact `iss`; a slash at the end counts.
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

    fn read(given: &Map<String, Value>, context: ReadContext<'_>) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(given);
        for (name, neutral) in LATER {
            reader.later(name, neutral);
        }
        let profile_name = reader.required_text("profile");
        let profile = context.profiles.get(&profile_name);
        if profile.is_none() && !profile_name.is_empty() {
            let known = context.profiles.names().collect::<Vec<_>>().join(", ");
            reader.problem("profile", format!("there is no profile of this name; there are {known}"));
        }
        let issuer = reader.required_text("issuer");
        if !issuer.is_empty()
            && let Err(detail) = check_issuer(&issuer, context)
        {
            reader.problem("issuer", detail);
        }
        let algorithms = reader.texts("algorithms");
        let algorithms =
            algorithms.map(|names| names.iter().map(|name| name.parse::<Algorithm>()).collect::<Result<Vec<_>, _>>());
        match &algorithms {
            Some(Err(error)) => reader.problem("algorithms", error.to_string()),
            Some(Ok(list)) if list.is_empty() => reader.problem("algorithms", "names at least one"),
            _ => {}
        }
        let algorithms = algorithms.and_then(Result::ok);
        let document = Self {
            keys: keys(&mut reader, algorithms.as_deref(), context),
            audiences: audiences(&mut reader, "audiences", profile),
            extra_audiences: audiences(&mut reader, "extra_audiences", profile),
            algorithms,
            types: types(&mut reader),
            max_assertion_lifetime_seconds: reader.integer("max_assertion_lifetime_seconds", 1..=86_400),
            leeway_seconds: reader.integer("leeway_seconds", 0..=60),
            cap_at_assertion_expiry: reader.boolean("cap_at_assertion_expiry"),
            replay: replay(&mut reader),
            replay_claim: reader.text("replay_claim"),
            banned_events: reader.texts("banned_events"),
            ca_pem: reader.parsed("ca_pem", |pem| match reqwest::Certificate::from_pem_bundle(pem.as_bytes()) {
                Ok(found) if !found.is_empty() => Ok(pem.to_owned()),
                _ => Err("is one or more certificates in PEM"),
            }),
            allow_private: networks(&mut reader),
            owner: reader.name("owner"),
            enabled: reader.boolean("enabled").unwrap_or(true),
            profile: profile_name,
            issuer,
        };
        if document.audiences.as_ref().is_some_and(Vec::is_empty) {
            reader.problem("audiences", "names at least one");
        }
        let accepted = document.accepted_audiences(context);
        if document.extra_audiences.iter().flatten().any(|extra| accepted.contains(extra)) {
            reader.problem("extra_audiences", "repeats an accepted audience");
        }
        reader.finish(document)
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

    fn warnings(&self, _: ReadContext<'_>) -> Vec<Warning> {
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
        warnings
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
            ca_pem: self.ca_pem.clone(),
            allow_private: self.allow_private.clone().unwrap_or_default(),
            owner: self.owner.as_ref().map(|owner| owner.to_ascii_lowercase().into()),
            enabled: self.enabled,
        }
    }

    /// The audiences that are accepted: those given, else our own.
    pub fn accepted_audiences(&self, context: ReadContext<'_>) -> Vec<String> {
        self.audiences.clone().unwrap_or_else(|| context.own.default_audiences())
    }
}

/// Checks an issuer identifier: an https URL that can only be read one way. It is kept and compared as it was written.
fn check_issuer(issuer: &str, context: ReadContext<'_>) -> Result<(), String> {
    if issuer.contains('*') {
        return Err("names one issuer exactly; there are no wildcard issuers".to_owned());
    }
    if !issuer.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        return Err("holds a character that no URL has".to_owned());
    }
    let url = Url::parse(issuer).map_err(|error| format!("is an https URL: {error}"))?;
    check_https(&url, context)?;
    if url.query().is_some() || url.fragment().is_some() || issuer.ends_with(['?', '#']) {
        return Err("has no query and no fragment".to_owned());
    }
    if issuer == context.own.issuer() {
        return Err("is this server itself; its own tokens are never assertions".to_owned());
    }
    Ok(())
}

/// Only https, without user names; http on the loopback interface where that is allowed for trying things out.
fn check_https(url: &Url, context: ReadContext<'_>) -> Result<(), String> {
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(_)) => false,
        None => return Err("has a host".to_owned()),
    };
    let allowed = url.scheme() == "https" || (url.scheme() == "http" && loopback && context.allow_http_loopback);
    if !allowed {
        return Err(
            "is an https URL; insecure.allow_http_loopback allows http://127.0.0.1 for trying things out".to_owned()
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds no user name".to_owned());
    }
    Ok(())
}

fn keys(reader: &mut Reader<'_>, algorithms: Option<&[Algorithm]>, context: ReadContext<'_>) -> Option<KeySource> {
    let value = reader.value("keys")?;
    let source = match serde_json::from_value::<KeySource>(value.clone()) {
        Ok(source) => source,
        Err(error) => {
            reader.problem(
                "keys",
                format!("is {{\"source\": \"discovery\"}}, jwks_uri with uri, or static with jwks: {error}"),
            );
            return None;
        }
    };
    match &source {
        KeySource::Discovery => {}
        KeySource::JwksUri { uri } => {
            let checked = Url::parse(uri).map_err(|error| error.to_string()).and_then(|url| check_https(&url, context));
            if let Err(detail) = checked {
                reader.problem("keys/uri", detail);
            }
        }
        KeySource::Static { jwks } => {
            let allowed = algorithms.unwrap_or(&Algorithm::ALL);
            match KeySet::parse(jwks.to_string().as_bytes(), allowed) {
                Ok(set) if set.has_private_members() => reader.problem("keys/jwks", "holds a private key"),
                Ok(set) if set.is_empty() => {
                    let why = set.unusable().join("; ");
                    reader.problem("keys/jwks", format!("holds no key that can be used: {why}"));
                }
                Ok(_) => {}
                Err(error) => reader.problem("keys/jwks", error.to_string()),
            }
        }
    }
    Some(source)
}

fn audiences(reader: &mut Reader<'_>, name: &'static str, profile: Option<&Arc<Profile>>) -> Option<Vec<String>> {
    let audiences = reader.texts(name)?;
    let platform = |audience: &&String| {
        profile.is_some_and(|profile| profile.platform_audiences.iter().any(|pattern| glob_matches(pattern, audience)))
    };
    if let Some(audience) = audiences.iter().find(platform) {
        let detail = format!("`{audience}` is an audience of the platform's own services, which others accept too");
        reader.problem(name, detail);
    }
    if audiences.iter().any(|audience| audience.len() > 1024 || audience.contains(char::is_control)) {
        reader.problem(name, "holds an audience that is too long or has control characters");
    }
    Some(audiences)
}

fn types(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let types = reader.texts("types")?;
    if types.is_empty() {
        reader.problem("types", "names at least one; a token without typ counts as JWT");
    }
    let other = |typ: &&String| {
        let typ = typ.to_ascii_lowercase();
        OTHER_TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
    };
    if let Some(typ) = types.iter().find(other) {
        reader.problem("types", format!("`{typ}` is the type of tokens that are no assertions"));
    }
    Some(types)
}

fn replay(reader: &mut Reader<'_>) -> Option<Replay> {
    let value = reader.value("replay")?;
    let replay = serde_json::from_value(value.clone()).ok();
    if replay.is_none() {
        reader.problem("replay", "is one of required, jti_or_token_hash, off");
    }
    replay
}

fn networks(reader: &mut Reader<'_>) -> Option<Vec<IpNet>> {
    let texts = reader.texts("allow_private")?;
    let networks: Result<Vec<IpNet>, _> = texts.iter().map(|text| text.parse()).collect();
    if networks.is_err() {
        reader.problem("allow_private", "is a list of networks, for example 10.0.0.0/8");
    }
    networks.ok()
}
