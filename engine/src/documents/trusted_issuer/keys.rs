//! Reads `keys`, the source of a trusted issuer's keys, and checks key sets that are part of a
//! document. Nothing is fetched here.

use std::path::Path;
use std::sync::Arc;

use carnet_jose::{Algorithm, KeyUse};
use url::Url;

use super::url::check_https;
use crate::documents::ReadContext;
use crate::documents::reader::Reader;
use crate::model::KeySource;
use crate::profile::Profile;

pub(super) fn keys(
    reader: &mut Reader<'_>,
    profile: Option<&Arc<Profile>>,
    issuer: &str,
    algorithms: Option<&[Algorithm]>,
    context: ReadContext<'_>,
) -> Option<KeySource> {
    let Some(value) = reader.value("keys") else {
        if issuer.starts_with("spiffe://") {
            reader.problem(
                "keys",
                "must be given: without an issuer there is no other way to find the bundle of a trust domain",
            );
        }
        return None;
    };
    let source = match serde_json::from_value::<KeySource>(value.clone()) {
        Ok(source) => source,
        Err(error) => {
            let forms = "must be {\"source\": \"discovery\"}, jwks_uri with uri and optionally token_file and ca_file, static with jwks, file with path, spiffe_bundle with uri or path, or token_review with api_server, ca_file and token_file";
            reader.problem("keys", format!("{forms}: {error}"));
            return None;
        }
    };
    if let Some((pointer, detail)) = mistake(&source, profile, (issuer, algorithms), context) {
        reader.problem(pointer, detail);
    }
    Some(source)
}

/// The member of a key source that is wrong, and why.
fn mistake(
    source: &KeySource,
    profile: Option<&Arc<Profile>>,
    (issuer, algorithms): (&str, Option<&[Algorithm]>),
    context: ReadContext<'_>,
) -> Option<(&'static str, String)> {
    let is_spiffe = profile.is_some_and(|profile| profile.is_spiffe());
    let is_attested = profile.is_some_and(|profile| profile.is_attested());
    if is_attested && !matches!(source, KeySource::Discovery | KeySource::JwksUri { .. }) {
        let detail = "must be discovery or jwks_uri: an attestation is published with the keys";
        return Some(("keys", detail.to_owned()));
    }
    let url = |uri: &str| {
        let parsed = Url::parse(uri).map_err(|error| format!("must be an https URL: {error}"));
        parsed.and_then(|url| check_https(&url, context))
    };
    match source {
        KeySource::Discovery if issuer.starts_with("spiffe://") => Some((
            "keys",
            "must not be discovery, which needs an issuer that is an https URL".to_owned(),
        )),
        KeySource::Discovery => None,
        KeySource::JwksUri {
            uri,
            ca_file,
            token_file,
        } => {
            let url = url(uri).err().map(|detail| ("keys/uri", detail));
            url.or_else(|| wrong_file(ca_file.as_deref(), "keys/ca_file"))
                .or_else(|| wrong_file(token_file.as_deref(), "keys/token_file"))
        }
        KeySource::Static { jwks } => {
            let wanted = if is_spiffe {
                KeyUse::SignatureOrJwtSvid
            } else {
                KeyUse::Signature
            };
            let checked =
                context
                    .material
                    .check_key_set(jwks, algorithms.unwrap_or(&Algorithm::ALL), wanted);
            checked.err().map(|detail| ("keys/jwks", detail))
        }
        KeySource::File { path } => file(path).err().map(|detail| ("keys/path", detail)),
        KeySource::TokenReview { .. } if !profile.is_none_or(|profile| profile.token_review) => {
            Some((
                "keys",
                "must not be token_review, which is for Kubernetes clusters".to_owned(),
            ))
        }
        KeySource::TokenReview {
            api_server,
            ca_file,
            token_file,
        } => {
            let url = url(api_server)
                .err()
                .map(|detail| ("keys/api_server", detail));
            url.or_else(|| wrong_file(ca_file.as_deref(), "keys/ca_file"))
                .or_else(|| wrong_file(Some(token_file), "keys/token_file"))
        }
        KeySource::SpiffeBundle { .. } if !is_spiffe => Some((
            "keys",
            "must not be spiffe_bundle: this profile has no trust domain".to_owned(),
        )),
        KeySource::SpiffeBundle {
            uri: Some(uri),
            path: None,
        } => url(uri).err().map(|detail| ("keys/uri", detail)),
        KeySource::SpiffeBundle {
            uri: None,
            path: Some(path),
        } => file(path).err().map(|detail| ("keys/path", detail)),
        KeySource::SpiffeBundle { .. } => Some(("keys", "must have either uri or path".to_owned())),
    }
}

/// The mistake in the path of a file that is named at `pointer`.
fn wrong_file(path: Option<&str>, pointer: &'static str) -> Option<(&'static str, String)> {
    let detail = file(path?).err()?;
    Some((pointer, detail))
}

fn file(path: &str) -> Result<(), String> {
    let is_absolute = Path::new(path).is_absolute();
    if is_absolute {
        Ok(())
    } else {
        Err("must be the absolute path of a file on the server".to_owned())
    }
}
