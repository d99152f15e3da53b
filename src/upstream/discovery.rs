//! Finds and reads the key set of a trusted issuer: by discovery from the issuer identifier (OpenID
//! Connect Discovery 1.0 section 4; RFC 8414 section 3), or at the place that the trusted issuer
//! names.

use carnet_jose::json::{self, Limits};
use carnet_jose::{Algorithm, KeySet, KeyUse};
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use super::attested::AttestedKeys;
use super::egress::Egress;
use super::fetch::{Fetch, FetchError, Fetched};
use super::files::KeyFiles;
use crate::attestation::AttestationFailure;
use crate::model::{KeySource, TrustedIssuer};
use crate::profile::Profile;

const MAX_METADATA_BYTES: usize = 256 * 1024;
const MAX_KEY_SET_BYTES: usize = 1024 * 1024;
/// How many of the reasons why keys cannot be used an error names.
const MOST_REASONS: usize = 3;
/// How many characters of a document an error quotes.
const MOST_QUOTED: usize = 256;

/// Why the key set of an issuer cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// A document could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A document was fetched, and cannot be used.
    #[error("{url}: {why}")]
    Unusable {
        /// The URL or file, or the name of the trusted issuer.
        url: String,
        why: String,
    },
    /// The key set needs an attestation, and has none that counts.
    #[error(transparent)]
    Unattested(#[from] AttestationFailure),
}

/// A key set, and what its publisher says about its age.
pub(super) struct FetchedKeys {
    pub keys: KeySet,
    /// How long the publisher wants it to be kept, in seconds.
    pub max_age: Option<i64>,
    /// The `spiffe_sequence` of a SPIFFE bundle.
    pub sequence: Option<u64>,
    /// The JWK Set as it was published.
    pub document: Vec<u8>,
    /// What stands behind it, if it needs an attestation.
    pub attested: Option<AttestedKeys>,
}

/// A JWK Set as it was published.
pub(super) struct Document {
    /// The URL or file that it comes from.
    pub name: String,
    pub body: Vec<u8>,
    /// How long the publisher wants it to be kept, in seconds.
    pub max_age: Option<i64>,
}

/// Fetches the key set of an issuer from the place that the trusted issuer names.
pub(super) async fn fetch_document(
    fetch: &dyn Fetch,
    files: &KeyFiles,
    issuer: &TrustedIssuer,
    egress: &Egress,
) -> Result<Document, KeySetError> {
    let (name, body, max_age) = match &issuer.keys {
        KeySource::Static { jwks } => (
            "the static key set".to_owned(),
            jwks.to_string().into_bytes(),
            None,
        ),
        KeySource::File { path }
        | KeySource::SpiffeBundle {
            uri: None,
            path: Some(path),
        } => (path.clone(), files.read(path).await?, None),
        KeySource::JwksUri {
            uri,
            ca_file,
            token_file,
        } => {
            let mut egress = egress.clone();
            if let Some(path) = ca_file {
                egress.ca_pem = Some(files.text(path).await?);
            }
            // Read each time: the kubelet replaces the file long before the token in it ends.
            let credential = match token_file {
                Some(path) => Some(files.secret(path).await?),
                None => None,
            };
            key_document(fetch, parse(uri)?, &egress, credential.as_ref()).await?
        }
        KeySource::SpiffeBundle { uri: Some(uri), .. } => {
            key_document(fetch, parse(uri)?, egress, None).await?
        }
        KeySource::TokenReview { .. } => {
            return Err(unusable(
                &issuer.name,
                "the cluster reviews its tokens itself, so there are no keys".to_owned(),
            ));
        }
        KeySource::SpiffeBundle { .. } => {
            return Err(unusable(
                &issuer.name,
                "no place of the bundle is set".to_owned(),
            ));
        }
        KeySource::Discovery => {
            let uri = discover(fetch, &issuer.issuer, egress, &issuer.profile).await?;
            key_document(fetch, uri, egress, None).await?
        }
    };
    Ok(Document {
        name,
        body,
        max_age,
    })
}

/// Reads the key set of an issuer from a document.
pub(super) fn read_document(
    document: Document,
    issuer: &TrustedIssuer,
) -> Result<FetchedKeys, KeySetError> {
    let Document {
        name,
        body,
        max_age,
    } = document;
    let wanted = match &issuer.keys {
        KeySource::SpiffeBundle { .. } => KeyUse::JwtSvid,
        _ if issuer.profile.is_spiffe() => KeyUse::SignatureOrJwtSvid,
        _ => KeyUse::Signature,
    };
    let keys = read_keys(&name, &body, &issuer.algorithms, wanted)?;
    // An empty bundle withdraws the keys that it held before (SPIFFE Trust Domain and Bundle
    // section 4.1.3). Any other set without a usable key is a mistake of its publisher.
    if keys.is_empty() && wanted != KeyUse::JwtSvid {
        return Err(unusable(&name, no_key(&keys)));
    }
    // A bundle states how often it should be fetched (SPIFFE Trust Domain and Bundle section 4.1).
    let bundle = matches!(issuer.keys, KeySource::SpiffeBundle { .. })
        .then(|| json::object(without_mark(&body), Limits::DOCUMENT).ok())
        .flatten();
    let member = |name: &str| bundle.as_ref().and_then(|bundle| bundle.get(name));
    let hint = member("spiffe_refresh_hint").and_then(Value::as_i64);
    Ok(FetchedKeys {
        keys,
        max_age: hint.or(max_age),
        sequence: member("spiffe_sequence").and_then(Value::as_u64),
        document: body,
        attested: None,
    })
}

async fn key_document(
    fetch: &dyn Fetch,
    uri: Url,
    egress: &Egress,
    credential: Option<&SecretString>,
) -> Result<(String, Vec<u8>, Option<i64>), KeySetError> {
    let fetched = fetch.fetch(&uri, egress, credential, MAX_KEY_SET_BYTES);
    let Fetched {
        status,
        body,
        max_age,
    } = fetched.await?;
    if status != 200 {
        return Err(unusable(
            uri.as_str(),
            format!("the server answered {status}"),
        ));
    }
    Ok((uri.into(), body, max_age))
}

fn read_keys(
    url: &str,
    body: &[u8],
    algorithms: &[Algorithm],
    wanted: KeyUse,
) -> Result<KeySet, KeySetError> {
    let keys = KeySet::parse_for(without_mark(body), algorithms, wanted)
        .map_err(|error| unusable(url, error.to_string()))?;
    if keys.has_private_members() {
        tracing::error!(
            url,
            "the issuer publishes private key material; only public members are used"
        );
    }
    for why in keys.unusable() {
        tracing::warn!(url, why, "a key of the issuer is not used");
    }
    Ok(keys)
}

/// Finds the URL of the key set in the issuer's metadata. A document that names another issuer is
/// not used at all.
async fn discover(
    fetch: &dyn Fetch,
    issuer: &str,
    egress: &Egress,
    profile: &Profile,
) -> Result<Url, KeySetError> {
    let mut last = None;
    for url in metadata_urls(issuer)? {
        let fetched = fetch.fetch(&url, egress, None, MAX_METADATA_BYTES).await?;
        if fetched.status == 404 {
            last = Some(url);
            continue;
        }
        let document = read_metadata(&url, &fetched)?;
        check_issuer(&url, &document, issuer)?;
        return keys_url(&url, &document, egress, profile);
    }
    let url = last.map(|url| url.to_string()).unwrap_or_default();
    Err(unusable(
        &url,
        "there is no metadata here, nor at the other places".to_owned(),
    ))
}

/// Fetches the metadata of an OpenID provider, with the URL at which they are. There is one place for
/// them (OpenID Connect Discovery 1.0 section 4.1).
pub(super) async fn openid_metadata(
    fetch: &dyn Fetch,
    issuer: &str,
    egress: &Egress,
) -> Result<(Url, Map<String, Value>), KeySetError> {
    let url = openid_url(&parse(issuer)?);
    let fetched = fetch.fetch(&url, egress, None, MAX_METADATA_BYTES).await?;
    let document = read_metadata(&url, &fetched)?;
    check_issuer(&url, &document, issuer)?;
    Ok((url, document))
}

/// The URL of the metadata of an OpenID provider: the path is appended to that of the issuer, not
/// inserted before it.
fn openid_url(issuer: &Url) -> Url {
    let path = issuer.path().trim_end_matches('/');
    let path = format!("{path}/.well-known/openid-configuration");
    let mut url = issuer.clone();
    url.set_path(&path);
    url
}

/// The URLs at which metadata may be, in the order in which they are tried (decision D-25).
fn metadata_urls(issuer: &str) -> Result<Vec<Url>, KeySetError> {
    let url = parse(issuer)?;
    let path = url.path().trim_end_matches('/').to_owned();
    let at = |path: String| {
        let mut url = url.clone();
        url.set_path(&path);
        url
    };
    let mut urls = vec![
        openid_url(&url),
        at(format!("/.well-known/oauth-authorization-server{path}")),
    ];
    if !path.is_empty() {
        urls.push(at(format!("/.well-known/openid-configuration{path}")));
    }
    Ok(urls)
}

fn read_metadata(url: &Url, fetched: &Fetched) -> Result<Map<String, Value>, KeySetError> {
    if fetched.status != 200 {
        return Err(unusable(
            url.as_str(),
            format!("the server answered {}", fetched.status),
        ));
    }
    json::object(without_mark(&fetched.body), Limits::DOCUMENT)
        .map_err(|error| unusable(url.as_str(), error.to_string()))
}

/// The error for a key set without a usable key: the first reasons, and how many keys there are
/// beside.
pub(super) fn no_key(keys: &KeySet) -> String {
    let reasons: Vec<&str> = keys.unusable().iter().map(String::as_str).collect();
    let first = reasons.get(..MOST_REASONS).unwrap_or(&reasons);
    let others = reasons.len().saturating_sub(first.len());
    match (first, others) {
        ([], _) => "it holds no key".to_owned(),
        (first, 0) => format!("it holds no key that can be used: {}", first.join("; ")),
        (first, others) => format!(
            "it holds no key that can be used: {}; and {others} more",
            first.join("; ")
        ),
    }
}

/// A document without the byte order mark that some servers put in front of UTF-8 (RFC 8259 section
/// 8.1 lets parsers ignore it).
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Refuses metadata of another issuer.
fn check_issuer(url: &Url, document: &Map<String, Value>, issuer: &str) -> Result<(), KeySetError> {
    let named = document.get("issuer").and_then(Value::as_str);
    if named == Some(issuer) {
        return Ok(());
    }
    let why = match named {
        None => "it names no issuer".to_owned(),
        Some(named) => {
            let named: String = named.chars().take(MOST_QUOTED).collect();
            format!(
                "it names the issuer {}, not {issuer}; the two must be equal, also in a slash at the end",
                named.escape_debug()
            )
        }
    };
    Err(unusable(url.as_str(), why))
}

fn keys_url(
    url: &Url,
    document: &Map<String, Value>,
    egress: &Egress,
    profile: &Profile,
) -> Result<Url, KeySetError> {
    let uri = document.get("jwks_uri").and_then(Value::as_str);
    let uri = uri.ok_or_else(|| unusable(url.as_str(), "it has no jwks_uri".to_owned()))?;
    let keys = Url::parse(uri)
        .map_err(|_| unusable(url.as_str(), "its jwks_uri is no absolute URL".to_owned()))?;
    egress.check(&keys)?;
    let known_host = keys
        .host_str()
        .is_some_and(|host| profile.key_hosts.iter().any(|known| known == host));
    let same_host = keys.host_str() == url.host_str();
    let port = keys.port_or_known_default();
    if !((same_host || known_host) && (port == Some(443) || port == url.port_or_known_default())) {
        let why = "its jwks_uri is at another host; if that is right, set keys to jwks_uri";
        return Err(unusable(url.as_str(), why.to_owned()));
    }
    Ok(keys)
}

fn parse(url: &str) -> Result<Url, KeySetError> {
    Url::parse(url).map_err(|error| unusable(url, error.to_string()))
}

fn unusable(url: &str, why: String) -> KeySetError {
    KeySetError::Unusable {
        url: url.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(issuer: &str) -> Vec<String> {
        metadata_urls(issuer)
            .unwrap()
            .iter()
            .map(Url::to_string)
            .collect()
    }

    #[test]
    fn oidcd_4_1__the_openid_path_is_appended_and_the_oauth_path_inserted() {
        assert_eq!(
            urls("https://ci.test/org/x"),
            [
                "https://ci.test/org/x/.well-known/openid-configuration",
                "https://ci.test/.well-known/oauth-authorization-server/org/x",
                "https://ci.test/.well-known/openid-configuration/org/x",
            ]
        );
        assert_eq!(
            urls("https://ci.test/"),
            [
                "https://ci.test/.well-known/openid-configuration",
                "https://ci.test/.well-known/oauth-authorization-server",
            ]
        );
        assert_eq!(
            urls("https://ci.test/t/")[0],
            "https://ci.test/t/.well-known/openid-configuration"
        );
    }
}
