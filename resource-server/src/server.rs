//! The requests to the authorization server: metadata, key set and introspection, with their
//! limits.

use std::time::Duration;

use carnet_jose::{Algorithm, KeySet};
use carnet_outbound::{ReadError, is_safe, is_this_machine};
use reqwest::header::ACCEPT;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::Outage;
use crate::address::well_known;

/// For one request, from resolving the name to the last byte of the body.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
const METADATA: &str = "oauth-authorization-server";

/// The algorithms with which the server may sign access tokens.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];

/// The one authorization server that a verifier trusts.
pub(crate) struct Server {
    pub(crate) issuer: String,
    metadata: Url,
    http: reqwest::Client,
}

/// Why a [`Verifier`](crate::Verifier) cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The issuer identifier is not an https URL without query and fragment (RFC 8414 section 2).
    /// http is accepted for loopback addresses and `localhost`.
    #[error(
        "the issuer identifier is not an https URL without query and fragment (http is for loopback addresses)"
    )]
    Issuer,
    /// The HTTP client or its TLS library cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
    /// A URL under which clients reach the registry, which is the origin of its resource URI unless
    /// others were given, is not an http or https URL without user, query and fragment. Without it
    /// nobody knows for what proofs of possession have to be.
    #[error(
        "a public URL of the registry is not an https or http URL without user, query and fragment"
    )]
    PublicUrl,
    /// The secret for nonces is shorter than 32 bytes.
    #[error("the secret for nonces has fewer than 32 bytes")]
    Secret,
    /// The cryptographic library gives no random bytes or computes no authentication code.
    #[error("the cryptographic library failed")]
    Cryptography,
}

/// The members of the server's metadata that are used here (RFC 8414 section 2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Url,
    introspection_endpoint: Option<Url>,
}

impl Server {
    pub(crate) fn new(issuer: &str) -> Result<Self, SetUpError> {
        let url = Url::parse(issuer).map_err(|_| SetUpError::Issuer)?;
        if !is_safe(&url) || url.query().is_some() || url.fragment().is_some() {
            return Err(SetUpError::Issuer);
        }
        // The environment of the registry's process must not redirect these requests, so no
        // proxies.
        let http = carnet_outbound::client(TIMEOUT, !is_this_machine(&url))
            .no_proxy()
            .build()?;
        Ok(Self {
            issuer: issuer.to_owned(),
            metadata: metadata_url(&url),
            http,
        })
    }

    /// Fetches the keys with which the server signs, by way of its metadata.
    pub(crate) async fn keys(&self) -> Result<KeySet, Outage> {
        let jwks_uri = self.as_safe(self.metadata().await?.jwks_uri)?;
        let document = body(self.http.get(jwks_uri), Outage::Unreachable).await?;
        KeySet::parse(&document, &ALGORITHMS).map_err(|_| Outage::Answer)
    }

    /// Fetches the URL of the introspection endpoint from the metadata (RFC 7662 section 2).
    pub(crate) async fn introspection_endpoint(&self) -> Result<Url, Outage> {
        self.as_safe(
            self.metadata()
                .await?
                .introspection_endpoint
                .ok_or(Outage::Metadata)?,
        )
    }

    /// Posts a token to the introspection endpoint, authenticating with the registry's client
    /// secret (RFC 7662 section 2.1). Returns the body of the response.
    pub(crate) async fn introspect(
        &self,
        endpoint: Url,
        (id, secret): (&str, &str),
        token: &str,
    ) -> Result<Vec<u8>, Outage> {
        // Id and secret are form-encoded before they are joined with a colon (RFC 6749 section
        // 2.3.1).
        let encoded =
            |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let question = self
            .http
            .post(endpoint)
            .basic_auth(encoded(id), Some(encoded(secret)));
        body(question.form(&[("token", token)]), Outage::Credentials).await
    }

    async fn metadata(&self) -> Result<Metadata, Outage> {
        let document = body(self.http.get(self.metadata.clone()), Outage::Unreachable).await?;
        let metadata: Metadata = serde_json::from_slice(&document).map_err(|_| Outage::Metadata)?;
        if metadata.issuer == self.issuer {
            Ok(metadata)
        } else {
            Err(Outage::Metadata)
        }
    }

    /// Refuses an endpoint that is less protected than the metadata: its scheme has to be the same,
    /// and a plain http URL has to stay on this machine. Otherwise keys or answers could be forged
    /// on the way.
    fn as_safe(&self, url: Url) -> Result<Url, Outage> {
        let is_safe = url.scheme() == self.metadata.scheme() && is_safe(&url);
        if is_safe {
            Ok(url)
        } else {
            Err(Outage::Metadata)
        }
    }
}

/// Sends a request and reads the body of a 200 response, up to [`MAX_DOCUMENT_BYTES`]. `refusal` is
/// what a status of 401 or 403 means for this request.
async fn body(request: RequestBuilder, refusal: Outage) -> Result<Vec<u8>, Outage> {
    let request = request.header(ACCEPT, "application/json");
    let mut response = request.send().await.map_err(|_| Outage::Unreachable)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(refusal),
        _ => return Err(Outage::Unreachable),
    }
    carnet_outbound::read(&mut response, MAX_DOCUMENT_BYTES)
        .await
        .map_err(|error| match error {
            ReadError::Failed(_) => Outage::Unreachable,
            ReadError::TooLarge(_) => Outage::Answer,
        })
}

/// The URL of the server's metadata: the well-known path goes between host and path, and a slash at
/// the end of the path is dropped (RFC 8414 section 3.1).
fn metadata_url(issuer: &Url) -> Url {
    well_known(METADATA, issuer, issuer.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8414_3_1__the_well_known_metadata_path_goes_between_host_and_path() {
        let url = |issuer: &str| {
            Server::new(issuer)
                .map(|server| server.metadata.to_string())
                .unwrap()
        };
        assert_eq!(
            url("https://as.test"),
            "https://as.test/.well-known/oauth-authorization-server"
        );
        assert_eq!(
            url("https://as.test/t/"),
            "https://as.test/.well-known/oauth-authorization-server/t"
        );
        assert_eq!(
            url("https://as.test/a/b"),
            "https://as.test/.well-known/oauth-authorization-server/a/b"
        );
    }

    #[test]
    fn rfc8414_2_1__an_issuer_is_an_https_url_without_query_and_fragment() {
        for issuer in [
            "https://as.test",
            "https://as.test/t",
            "http://127.0.0.1:8080",
            "http://localhost",
            "http://[::1]:1",
        ] {
            assert!(Server::new(issuer).is_ok(), "{issuer}");
        }
        for issuer in [
            "ftp://as.test",
            "as.test",
            "http://as.test",
            "http://127.0.0.1.as.test",
            "https://as.test?x",
            "https://as.test#x",
        ] {
            assert!(
                matches!(Server::new(issuer), Err(SetUpError::Issuer)),
                "{issuer}"
            );
        }
    }
}
