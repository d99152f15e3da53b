//! Reads the document of a trusted issuer and reports every mistake. `issuer` and the members of
//! some profiles are in `terms`, `keys` in `keys`.

use std::sync::Arc;

use carnet_jose::Algorithm;
use ipnet::IpNet;
use serde_json::{Map, Value};

use super::attestation::attestation;
use super::keys::keys;
use super::terms::{Members, members};
use super::{AssertionGrant, TrustedIssuerDocument};
use crate::documents::ReadContext;
use crate::documents::reader::Reader;
use crate::profile::{Profile, Replay};
use crate::trust::DocumentError;

/// Values of `typ` of tokens with another purpose, which must never be accepted as assertions
/// (decision D-10).
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

/// The longest lifetime that a trusted issuer may admit, in seconds: tokens of Azure's managed
/// identities live 24 hours and 5 minutes.
pub const MAX_ASSERTION_LIFETIME_SECONDS: i64 = 90_000;

pub(super) fn read(
    given: &Map<String, Value>,
    context: ReadContext<'_>,
) -> Result<TrustedIssuerDocument, Vec<DocumentError>> {
    let mut reader = Reader::new(given);
    let profile_name = reader.required_text("profile");
    let profile = context.profiles.get(&profile_name);
    if profile.is_none() && !profile_name.is_empty() {
        let known = context.profiles.for_workloads();
        let known: Vec<&str> = known.map(|profile| profile.name.as_str()).collect();
        let detail = format!("must be one of the profiles {}", known.join(", "));
        reader.problem("profile", detail);
    }
    if profile.is_some_and(|profile| profile.people.is_some()) {
        let detail = "must not be a profile for people: they sign in at an identity provider, and what they hold is no assertion";
        reader.problem("profile", detail);
    }
    let Members { issuer, terms } = members(&mut reader, profile, context);
    let algorithms = algorithms(&mut reader);
    let document = TrustedIssuerDocument {
        keys: keys(
            &mut reader,
            profile,
            &issuer,
            algorithms.as_deref(),
            context,
        ),
        audiences: audiences(&mut reader, "audiences", profile, &issuer),
        extra_audiences: audiences(&mut reader, "extra_audiences", profile, &issuer),
        algorithms,
        types: types(&mut reader),
        max_assertion_lifetime_seconds: reader.integer(
            "max_assertion_lifetime_seconds",
            1..=MAX_ASSERTION_LIFETIME_SECONDS,
        ),
        leeway_seconds: reader.integer("leeway_seconds", 0..=60),
        cap_at_assertion_expiry: reader.boolean("cap_at_assertion_expiry"),
        replay: replay(&mut reader),
        replay_claim: reader.text("replay_claim"),
        banned_events: reader.texts("banned_events"),
        accept_string_booleans: reader
            .value("accept_string_booleans")
            .and(Some(terms.accept_string_booleans)),
        skip_email_verification: reader
            .value("skip_email_verification")
            .and(Some(terms.skip_email_verification)),
        trust_domain: terms.trust_domain,
        subject_domain: terms.subject_domain,
        issuer_claim: terms.issuer_claim,
        grants: grants(&mut reader),
        ca_pem: reader.parsed("ca_pem", |pem| {
            context
                .material
                .check_certificates(pem)
                .map(|()| pem.to_owned())
        }),
        allow_private: networks(&mut reader),
        attestation: attestation(&mut reader, profile, context),
        profile_forced: reader.boolean("profile_forced"),
        owner: reader.name("owner"),
        enabled: reader.boolean("enabled").unwrap_or(true),
        profile: profile_name,
        issuer,
    };
    if document.audiences.as_ref().is_some_and(Vec::is_empty) {
        reader.problem("audiences", "must name at least one audience");
    }
    if let Some(known) = platform_of(profile, &document.issuer, context)
        && document.profile_forced != Some(true)
    {
        let detail = format!(
            "must be {}, the profile of the platform with this issuer; with profile_forced another one is kept, which knows nothing of the platform",
            known.name
        );
        reader.problem("profile", detail);
    }
    let accepted = document.accepted_audiences(context);
    if document
        .extra_audiences
        .iter()
        .flatten()
        .any(|extra| accepted.contains(extra))
    {
        reader.problem("extra_audiences", "must not repeat an accepted audience");
    }
    reader.finish(document)
}

/// The profile that knows the platform of this issuer, if the given one is for any platform or for
/// another one.
pub(super) fn platform_of<'c>(
    profile: Option<&Arc<Profile>>,
    issuer: &str,
    context: ReadContext<'c>,
) -> Option<&'c Arc<Profile>> {
    // A profile that names no issuers, such as `email`, may be for people of a known platform.
    profile.filter(|profile| {
        profile.is_for_any_platform() || !(profile.issuers.is_empty() || profile.is_issuer(issuer))
    })?;
    context
        .profiles
        .iter()
        .find(|profile| !profile.is_for_any_platform() && profile.is_issuer(issuer))
}

fn grants(reader: &mut Reader<'_>) -> Option<Vec<AssertionGrant>> {
    let names = reader.texts("grants")?;
    let grants: Option<Vec<AssertionGrant>> = names
        .iter()
        .map(|name| serde_json::from_value(Value::String(name.clone())).ok())
        .collect();
    if grants.as_ref().is_none_or(Vec::is_empty) {
        reader.problem("grants", "must name jwt-bearer, token-exchange or both");
    }
    grants
}

pub(in crate::documents) fn algorithms(reader: &mut Reader<'_>) -> Option<Vec<Algorithm>> {
    let names = reader.texts("algorithms")?;
    let algorithms: Result<Vec<Algorithm>, _> = names.iter().map(|name| name.parse()).collect();
    match &algorithms {
        Ok(list) if list.is_empty() => {
            reader.problem("algorithms", "must name at least one algorithm");
        }
        Ok(_) => {}
        Err(error) => {
            let known = Algorithm::ALL.map(Algorithm::name).join(", ");
            reader.problem("algorithms", format!("must be among {known}: {error}"));
        }
    }
    algorithms.ok()
}

fn audiences(
    reader: &mut Reader<'_>,
    name: &'static str,
    profile: Option<&Arc<Profile>>,
    issuer: &str,
) -> Option<Vec<String>> {
    let audiences = reader.texts(name)?;
    let platform = |audience: &&String| {
        profile.is_some_and(|profile| profile.is_platform_audience(audience, issuer))
    };
    if let Some(audience) = audiences.iter().find(platform) {
        let detail = format!(
            "must not hold `{audience}`: the platform's own services have this audience, or its tokens if a job asks for none, so others accept it too"
        );
        reader.problem(name, detail);
    }
    if audiences
        .iter()
        .any(|audience| audience.len() > 1024 || audience.contains(char::is_control))
    {
        reader.problem(
            name,
            "must hold audiences of at most 1024 bytes without control characters",
        );
    }
    Some(audiences)
}

fn types(reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let types = reader.texts("types")?;
    if types.is_empty() {
        reader.problem(
            "types",
            "must name at least one type; a token without typ counts as JWT",
        );
    }
    let other = |typ: &&String| {
        let typ = typ.to_ascii_lowercase();
        OTHER_TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
    };
    if let Some(typ) = types.iter().find(other) {
        reader.problem(
            "types",
            format!("must not hold `{typ}`, the type of tokens that are never assertions"),
        );
    }
    Some(types)
}

fn replay(reader: &mut Reader<'_>) -> Option<Replay> {
    let value = reader.value("replay")?;
    let replay = serde_json::from_value(value.clone()).ok();
    if replay.is_none() {
        reader.problem("replay", "must be one of required, jti_or_token_hash, off");
    }
    replay
}

pub(in crate::documents) fn networks(reader: &mut Reader<'_>) -> Option<Vec<IpNet>> {
    let texts = reader.texts("allow_private")?;
    let networks: Result<Vec<IpNet>, _> = texts.iter().map(|text| text.parse()).collect();
    if networks.is_err() {
        reader.problem(
            "allow_private",
            "must be a list of networks, for example 10.0.0.0/8",
        );
    }
    networks.ok()
}
