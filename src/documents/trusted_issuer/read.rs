//! Reads the document of a trusted issuer, member by member, with every mistake reported.

use std::sync::Arc;

use carnet_jose::Algorithm;
use ipnet::IpNet;
use serde_json::{Map, Value};

use super::keys::keys;
use super::terms::{Members, members};
use super::{AssertionGrant, TrustedIssuerDocument};
use crate::documents::ReadContext;
use crate::documents::reader::Reader;
use crate::profile::{Profile, Replay};
use crate::trust::DocumentError;

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

/// Reads a document.
pub(super) fn read(
    given: &Map<String, Value>,
    context: ReadContext<'_>,
) -> Result<TrustedIssuerDocument, Vec<DocumentError>> {
    let mut reader = Reader::new(given);
    let profile_name = reader.required_text("profile");
    let profile = context.profiles.get(&profile_name);
    if profile.is_none() && !profile_name.is_empty() {
        let known = context.profiles.names().collect::<Vec<_>>().join(", ");
        reader.problem("profile", format!("there is no profile of this name; there are {known}"));
    }
    let Members { issuer, terms } = members(&mut reader, profile, context);
    let algorithms = algorithms(&mut reader);
    let document = TrustedIssuerDocument {
        keys: keys(&mut reader, profile, &issuer, algorithms.as_deref(), context),
        audiences: audiences(&mut reader, "audiences", profile, &issuer),
        extra_audiences: audiences(&mut reader, "extra_audiences", profile, &issuer),
        algorithms,
        types: types(&mut reader),
        max_assertion_lifetime_seconds: reader.integer("max_assertion_lifetime_seconds", 1..=86_400),
        leeway_seconds: reader.integer("leeway_seconds", 0..=60),
        cap_at_assertion_expiry: reader.boolean("cap_at_assertion_expiry"),
        replay: replay(&mut reader),
        replay_claim: reader.text("replay_claim"),
        banned_events: reader.texts("banned_events"),
        accept_string_booleans: reader.value("accept_string_booleans").and(Some(terms.accept_string_booleans)),
        skip_email_verification: reader.value("skip_email_verification").and(Some(terms.skip_email_verification)),
        trust_domain: terms.trust_domain,
        subject_domain: terms.subject_domain,
        issuer_claim: terms.issuer_claim,
        grants: grants(&mut reader),
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

fn grants(reader: &mut Reader<'_>) -> Option<Vec<AssertionGrant>> {
    let names = reader.texts("grants")?;
    let grants: Option<Vec<AssertionGrant>> =
        names.iter().map(|name| serde_json::from_value(Value::String(name.clone())).ok()).collect();
    if grants.as_ref().is_none_or(Vec::is_empty) {
        reader.problem("grants", "names jwt-bearer, token-exchange or both");
    }
    grants
}

fn algorithms(reader: &mut Reader<'_>) -> Option<Vec<Algorithm>> {
    let names = reader.texts("algorithms")?;
    let algorithms: Result<Vec<Algorithm>, _> = names.iter().map(|name| name.parse()).collect();
    match &algorithms {
        Ok(list) if list.is_empty() => reader.problem("algorithms", "names at least one"),
        Ok(_) => {}
        Err(error) => reader.problem("algorithms", error.to_string()),
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
    let platform = |audience: &&String| profile.is_some_and(|profile| profile.is_platform_audience(audience, issuer));
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
