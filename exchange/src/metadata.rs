//! The server's issuer identifier, and its metadata (RFC 8414).

use std::str::FromStr;

use carnet_jose::json::{self, Limits};
use carnet_outbound::{is_safe, is_this_machine};
use reqwest::StatusCode;
use serde_json::{Map, Value};
use url::Url;

use crate::retry::Tries;
use crate::server_error::ServerError;
use crate::web::{self, printable};

/// The server's issuer identifier as it was written, since it is compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    url: Url,
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Err(without_scheme(text));
        }
        let url = Url::parse(text).map_err(|error| format!("it must be a URL: {error}"))?;
        if !is_safe(&url) {
            return Err(
                "it must be https, without a user name (http is for this machine's loopback \
                 addresses only)"
                    .to_owned(),
            );
        }
        if text.contains(['?', '#']) {
            return Err("it must have neither query nor fragment".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            url,
        })
    }
}

impl ServerUrl {
    pub fn issuer(&self) -> &str {
        &self.text
    }

    /// A path of this server, which lies below the path of its issuer identifier.
    pub(crate) fn below(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        url
    }

    /// The URL of the metadata: the well-known path goes between host and path (RFC 8414 section
    /// 3.1).
    pub(crate) fn metadata_url(&self) -> Url {
        let mut url = self.url.clone();
        let path = self.url.path().trim_end_matches('/');
        url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        url
    }
}

/// What to write in place of a host without `https://`.
fn without_scheme(text: &str) -> String {
    let complete = |scheme: &str| Url::parse(&format!("{scheme}://{text}")).ok();
    let local = complete("http").filter(is_this_machine);
    let scheme = if local.is_some() { "http" } else { "https" };
    match complete(scheme).filter(|url| !text.is_empty() && is_safe(url)) {
        Some(_) => format!("it must be a URL with its scheme, such as {scheme}://{text}"),
        None => "it must be a URL, such as https://carnet.example".to_owned(),
    }
}

/// A server's metadata, which names the issuer that it was asked of.
#[derive(Clone, Debug)]
pub struct Metadata {
    url: Url,
    members: Map<String, Value>,
}

impl Metadata {
    /// Reads the server's metadata. A document that names another issuer is not used at all.
    pub async fn read(server: &ServerUrl, tries: Tries) -> Result<Self, ServerError> {
        let url = server.metadata_url();
        let answer = web::look_up(&url, tries).await?;
        let unusable = |why: String| ServerError::Metadata(url.clone(), why);
        if answer.status != StatusCode::OK {
            return Err(unusable(format!(
                "there is no server here: the answer was {}{}",
                answer.status, answer.tried
            )));
        }
        let members = json::object(&answer.body, Limits::DOCUMENT)
            .map_err(|error| unusable(error.to_string()))?;
        let issuer = members.get("issuer").and_then(Value::as_str);
        let issuer = issuer.unwrap_or_default();
        if issuer != server.issuer() {
            let (expected, received) = (server.issuer().to_owned(), printable(issuer));
            return Err(ServerError::AnotherIssuer { expected, received });
        }
        Ok(Self { url, members })
    }

    /// The URL of an endpoint, by the name of its member.
    ///
    /// # Errors
    ///
    /// If there is none, or no secret may be sent to it.
    pub fn endpoint(&self, name: &str) -> Result<Url, ServerError> {
        let named = self.members.get(name).and_then(Value::as_str);
        named.and_then(|text| self.usable(text)).ok_or_else(|| {
            let why = format!("its {name} is not a URL that can be used");
            ServerError::Metadata(self.url.clone(), why)
        })
    }

    /// Whether the metadata has a member.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// The URL of an endpoint for requests with a client certificate (RFC 8705 section 5).
    pub(crate) fn mtls_alias(&self, name: &str) -> Option<Url> {
        let aliases = self.members.get("mtls_endpoint_aliases")?;
        self.usable(aliases.get(name)?.as_str()?)
    }

    fn usable(&self, text: &str) -> Option<Url> {
        let endpoint = Url::parse(text).ok().filter(is_safe)?;
        // An http endpoint that is announced over https would be a downgrade to loopback.
        let leads_here = endpoint.scheme() == "http" && self.url.scheme() == "https";
        (!leads_here).then_some(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_metadata_path_goes_between_host_and_path_of_the_server() {
        let url = |text: &str| {
            text.parse::<ServerUrl>()
                .unwrap()
                .metadata_url()
                .to_string()
        };
        assert_eq!(
            url("https://as.test"),
            "https://as.test/.well-known/oauth-authorization-server"
        );
        assert_eq!(
            url("https://as.test/"),
            "https://as.test/.well-known/oauth-authorization-server"
        );
        assert_eq!(
            url("https://as.test/t/"),
            "https://as.test/.well-known/oauth-authorization-server/t"
        );
        assert_eq!(
            "https://as.test/t/"
                .parse::<ServerUrl>()
                .unwrap()
                .below("/explain")
                .as_str(),
            "https://as.test/t/explain"
        );
        for wrong in [
            "",
            "http://as.test",
            "https://as.test?x",
            "https://as.test/#",
            "https://u@as.test",
        ] {
            assert!(wrong.parse::<ServerUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_without_its_scheme_is_refused_with_the_url_to_write() {
        for (text, says) in [
            ("as.test", "https://as.test"),
            ("as.test:8443", "https://as.test:8443"),
            ("as.test/tenant", "https://as.test/tenant"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("localhost:8080", "http://localhost:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("10.0.0.1:8080", "https://10.0.0.1:8080"),
            ("u@as.test", "https://carnet.example"),
            ("", "https://carnet.example"),
        ] {
            let error = text.parse::<ServerUrl>().unwrap_err();
            assert!(
                error.ends_with(&format!("such as {says}")),
                "{text}: {error}"
            );
        }
    }
}
