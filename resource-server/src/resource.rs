//! The registry's own metadata document (RFC 9728).

use carnet_outbound::is_safe;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde::Serialize;
use url::Url;

use crate::DETAIL_TYPE;
use crate::address::well_known;
use crate::possession::proof_algorithms;

const METADATA: &str = "oauth-protected-resource";

/// The metadata of a registry as a protected resource (RFC 9728 section 2): which authorization
/// server's tokens it accepts, and how they are presented.
///
/// Serve [`answer`](Self::answer) to GET requests of [`path`](Self::path), and nowhere else.
/// [`Realm::described_by`](crate::Realm::described_by) makes challenges point to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProtectedResource {
    resource: String,
    authorization_servers: [String; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    authorization_details_types_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<Url>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dpop_signing_alg_values_supported: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls_client_certificate_bound_access_tokens: bool,
    #[serde(skip)]
    url: Url,
}

/// The error of [`ProtectedResource::new`]: the resource URI is not a URL that metadata can be
/// fetched from safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the resource URI is not an https URL without fragment (http is for loopback addresses)")]
pub struct NoMetadata;

impl ProtectedResource {
    /// The metadata of the registry with the resource URI `resource`, which accepts tokens of the
    /// authorization server with the issuer identifier `issuer`. Both are copied into the document
    /// byte for byte, so write them exactly as in the server's configuration.
    ///
    /// # Errors
    ///
    /// [`NoMetadata`] if `resource` is not an https URL (http for a loopback address) or has a
    /// fragment.
    pub fn new(resource: &str, issuer: &str) -> Result<Self, NoMetadata> {
        let parsed = Url::parse(resource).map_err(|_| NoMetadata)?;
        if !is_safe(&parsed) || parsed.fragment().is_some() {
            return Err(NoMetadata);
        }
        // A path that is only a slash is dropped; any other path is kept as it is (RFC 9728 section
        // 3.1).
        let path = if parsed.path() == "/" {
            ""
        } else {
            parsed.path()
        };
        Ok(Self {
            resource: resource.to_owned(),
            authorization_servers: [issuer.to_owned()],
            scopes_supported: Vec::new(),
            bearer_methods_supported: ["header"],
            authorization_details_types_supported: [DETAIL_TYPE],
            resource_name: None,
            resource_documentation: None,
            dpop_signing_alg_values_supported: Vec::new(),
            tls_client_certificate_bound_access_tokens: false,
            url: well_known(METADATA, &parsed, path),
        })
    }

    /// Sets `scopes_supported`: the actions that tokens for this registry can have.
    #[must_use]
    pub fn actions<A: Into<String>>(self, actions: impl IntoIterator<Item = A>) -> Self {
        Self {
            scopes_supported: actions.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Sets `resource_name`, a name for people. An empty name is left out.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self {
            resource_name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            ..self
        }
    }

    /// Sets `resource_documentation`, a page for developers.
    #[must_use]
    pub fn documentation(self, page: Url) -> Self {
        Self {
            resource_documentation: Some(page),
            ..self
        }
    }

    /// Sets `dpop_signing_alg_values_supported`, the algorithms of the proofs of possession that the
    /// registry takes: for a registry whose verifier takes proofs
    /// ([`Verifier::taking_proofs`](crate::Verifier::taking_proofs)), and for no other.
    #[must_use]
    pub fn taking_proofs(self) -> Self {
        Self {
            dpop_signing_alg_values_supported: proof_algorithms().collect(),
            ..self
        }
    }

    /// Sets `tls_client_certificate_bound_access_tokens`: for a registry that learns the client
    /// certificates of its connections ([`ClientCertificate`](crate::ClientCertificate)), and for no
    /// other.
    #[must_use]
    pub fn taking_certificates(self) -> Self {
        Self {
            tls_client_certificate_bound_access_tokens: true,
            ..self
        }
    }

    /// The path at which to serve the document (RFC 9728 section 3.1). If the resource URI has a
    /// query, the document's URL has it too, and this path does not.
    #[must_use]
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// The URL of the document, with the query of the resource URI if it has one.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The response to a GET of [`path`](Self::path): the document as JSON (RFC 9728 section 3.2),
    /// with `Access-Control-Allow-Origin: *`, since it is public, and cacheable for 5 minutes.
    #[must_use]
    pub fn answer<B: From<String>>(&self) -> Response<B> {
        let document = serde_json::json!(self).to_string();
        let mut answer = Response::new(B::from(document));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=300"),
        );
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        answer
    }
}
