//! What a registry says of itself (RFC 9728).

use carnet_outbound::is_safe;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use serde::Serialize;
use url::Url;

use crate::DETAIL_TYPE;
use crate::address::well_known;

const METADATA: &str = "oauth-protected-resource";

/// The metadata of a registry (RFC 9728 section 2): whose tokens it takes, and how they are presented.
///
/// It is served by GET at [`path`](Self::path) and nowhere else, and [`Realm::described_by`](crate::Realm::described_by)
/// lets challenges point to it.
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
    #[serde(skip)]
    url: Url,
}

/// A resource URI that has no metadata, since its registry cannot be asked safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the resource URI is not an https URL without fragment (http is for loopback addresses)")]
pub struct NoMetadata;

impl ProtectedResource {
    /// Of the registry with this resource URI, which takes tokens of the server with this issuer identifier: both exactly
    /// as everywhere else.
    ///
    /// # Errors
    ///
    /// [`NoMetadata`] for a `resource` that is not an https URL, or has a fragment.
    pub fn new(resource: &str, issuer: &str) -> Result<Self, NoMetadata> {
        let parsed = Url::parse(resource).map_err(|_| NoMetadata)?;
        if !is_safe(&parsed) || parsed.fragment().is_some() {
            return Err(NoMetadata);
        }
        // The slash that is the whole path goes; any other is part of the name (RFC 9728 section 3.1).
        let path = if parsed.path() == "/" { "" } else { parsed.path() };
        Ok(Self {
            resource: resource.to_owned(),
            authorization_servers: [issuer.to_owned()],
            scopes_supported: Vec::new(),
            bearer_methods_supported: ["header"],
            authorization_details_types_supported: [DETAIL_TYPE],
            resource_name: None,
            resource_documentation: None,
            url: well_known(METADATA, &parsed, path),
        })
    }

    /// Names the actions that tokens may have (`scopes_supported`).
    #[must_use]
    pub fn actions<A: Into<String>>(self, actions: impl IntoIterator<Item = A>) -> Self {
        Self { scopes_supported: actions.into_iter().map(Into::into).collect(), ..self }
    }

    /// A name for people (`resource_name`).
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self { resource_name: Some(name.to_owned()).filter(|name| !name.is_empty()), ..self }
    }

    /// A page for developers (`resource_documentation`).
    #[must_use]
    pub fn documentation(self, page: Url) -> Self {
        Self { resource_documentation: Some(page), ..self }
    }

    /// The path at which to serve the document (RFC 9728 section 3.1). The query of a resource URI that has one follows it.
    #[must_use]
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// The URL of the document.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The answer to a GET of [`path`](Self::path) (RFC 9728 section 3.2). Anybody may read it, scripts of other sites too.
    #[must_use]
    pub fn answer<B: From<String>>(&self) -> Response<B> {
        let document = serde_json::json!(self).to_string();
        let mut answer = Response::new(B::from(document));
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        answer
    }
}
