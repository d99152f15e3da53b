//! Requests to the authorization server, and the limits on them.

use std::time::Duration;

use carnet_jose::{Algorithm, KeySet};
use carnet_outbound::{ReadError, is_safe, is_this_machine};
use reqwest::header::ACCEPT;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::Outage;
use crate::address::well_known;

/// For one request, from the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
const METADATA: &str = "oauth-authorization-server";

/// What the server may sign with.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];

/// The one authorization server a verifier trusts.
pub(crate) struct Server {
    pub(crate) issuer: String,
    metadata: Url,
    http: reqwest::Client,
}

/// Why a [`Verifier`](crate::Verifier) cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The issuer identifier is not such a URL (RFC 8414 section 2).
    #[error("the issuer identifier is not an https URL without query and fragment (http is for loopback addresses)")]
    Issuer,
    /// The TLS library cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

/// The part of the server's metadata that is used here (RFC 8414 section 2).
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
        // The environment of a registry's process decides nothing about whom it trusts: no proxies from there.
        let http = carnet_outbound::client(TIMEOUT, !is_this_machine(&url)).no_proxy().build()?;
        Ok(Self { issuer: issuer.to_owned(), metadata: metadata_url(&url), http })
    }

    /// The keys it signs with.
    pub(crate) async fn keys(&self) -> Result<KeySet, Outage> {
        let jwks_uri = self.as_safe(self.metadata().await?.jwks_uri)?;
        let document = body(self.http.get(jwks_uri), Outage::Unreachable).await?;
        KeySet::parse(&document, &ALGORITHMS).map_err(|_| Outage::Answer)
    }

    /// Where it answers questions about tokens (RFC 7662 section 2).
    pub(crate) async fn introspection_endpoint(&self) -> Result<Url, Outage> {
        self.as_safe(self.metadata().await?.introspection_endpoint.ok_or(Outage::Metadata)?)
    }

    /// Asks it about a token, with the registry's own credentials (RFC 7662 section 2.1).
    pub(crate) async fn introspect(
        &self,
        endpoint: Url,
        (id, secret): (&str, &str),
        token: &str,
    ) -> Result<Vec<u8>, Outage> {
        // Encoded like a form's values before they are joined, so that neither holds the colon (RFC 6749 section 2.3.1).
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let question = self.http.post(endpoint).basic_auth(encoded(id), Some(encoded(secret)));
        body(question.form(&[("token", token)]), Outage::Credentials).await
    }

    async fn metadata(&self) -> Result<Metadata, Outage> {
        let document = body(self.http.get(self.metadata.clone()), Outage::Unreachable).await?;
        let metadata: Metadata = serde_json::from_slice(&document).map_err(|_| Outage::Metadata)?;
        if metadata.issuer == self.issuer { Ok(metadata) } else { Err(Outage::Metadata) }
    }

    /// Keys that anybody on the way can exchange are no keys, and an answer no answer: as safe as the metadata, or none.
    fn as_safe(&self, url: Url) -> Result<Url, Outage> {
        let is_safe = url.scheme() == self.metadata.scheme() && is_safe(&url);
        if is_safe { Ok(url) } else { Err(Outage::Metadata) }
    }
}

/// Sends a request and reads the answer, if it is a success and not too long. `refusal` is what a 401 or 403 means.
async fn body(request: RequestBuilder, refusal: Outage) -> Result<Vec<u8>, Outage> {
    let request = request.header(ACCEPT, "application/json");
    let mut response = request.send().await.map_err(|_| Outage::Unreachable)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(refusal),
        _ => return Err(Outage::Unreachable),
    }
    carnet_outbound::read(&mut response, MAX_DOCUMENT_BYTES).await.map_err(|error| match error {
        ReadError::Failed(_) => Outage::Unreachable,
        ReadError::TooLarge(_) => Outage::Answer,
    })
}

/// Where the server's metadata is: the well-known path goes between host and path, and the slash at the end of a path goes
/// (RFC 8414 section 3.1).
fn metadata_url(issuer: &Url) -> Url {
    well_known(METADATA, issuer, issuer.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8414_3_1__the_metadata_is_between_host_and_path() {
        let url = |issuer: &str| Server::new(issuer).map(|server| server.metadata.to_string()).unwrap();
        assert_eq!(url("https://as.test"), "https://as.test/.well-known/oauth-authorization-server");
        assert_eq!(url("https://as.test/t/"), "https://as.test/.well-known/oauth-authorization-server/t");
        assert_eq!(url("https://as.test/a/b"), "https://as.test/.well-known/oauth-authorization-server/a/b");
    }

    #[test]
    fn rfc8414_2_1__an_issuer_is_an_https_url_without_query_and_fragment() {
        for issuer in
            ["https://as.test", "https://as.test/t", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"]
        {
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
            assert!(matches!(Server::new(issuer), Err(SetUpError::Issuer)), "{issuer}");
        }
    }
}
