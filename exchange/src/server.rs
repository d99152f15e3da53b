//! Requests to the server: its metadata (RFC 8414) and the token request.

use std::str::FromStr;

use carnet_jose::json::{self, Limits};
use carnet_outbound::is_safe;
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use url::Url;

use super::ambient::Assertion;
use super::web::{self, WebAnswer, WebError, printable};
use carnet_engine::grant_type::GrantType;

/// The server's issuer identifier as it was written, since it is compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    url: Url,
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("it is not a URL: {error}"))?;
        if !is_safe(&url) {
            return Err(
                "it is not https (http is for this machine's loopback addresses only)".to_owned(),
            );
        }
        if text.contains(['?', '#']) {
            return Err("an issuer identifier has neither query nor fragment".to_owned());
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

    /// The URL of the metadata: the well-known path goes between host and path (RFC 8414 section
    /// 3.1).
    fn metadata_url(&self) -> Url {
        let mut url = self.url.clone();
        let path = self.url.path().trim_end_matches('/');
        url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        url
    }
}

/// Why the server gave no access token.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server could not be reached.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The metadata cannot be used.
    #[error("{0}: {1}")]
    Metadata(Url, String),
    /// The metadata names another issuer (RFC 8414 section 3.3).
    #[error(
        "the server's metadata is of the issuer `{received}`, and not of `{expected}`; --server is compared exactly"
    )]
    AnotherIssuer {
        /// The issuer identifier of `--server`.
        expected: String,
        /// The `issuer` of the metadata.
        received: String,
    },
    /// The answer is not one of a token endpoint (RFC 6749 section 5).
    #[error("{0}: {1}")]
    Answer(Url, String),
    /// The server refused the request.
    #[error("{}", super::refusal::describe(.0))]
    Refused(Value),
}

/// The parameters of a token request, except for the assertion.
#[derive(Clone, Debug)]
pub struct TokenRequest<'a> {
    pub grant: GrantType,
    /// The resource URI of the registry.
    pub resource: &'a str,
    pub scope: Option<&'a str>,
    /// The name of the principal whose rules are meant.
    pub principal: Option<&'a str>,
    /// A JSON array of entries (RFC 9396).
    pub authorization_details: Option<&'a str>,
}

/// A server whose metadata was read.
#[derive(Clone, Debug)]
pub struct Server {
    token_endpoint: Url,
}

impl Server {
    /// Reads the server's metadata. A document that names another issuer is not used at all.
    pub async fn discover(server: &ServerUrl) -> Result<Self, ServerError> {
        let url = server.metadata_url();
        let answer = web::send(&url, web::client(&url)?.get(url.clone())).await?;
        let unusable = |why: String| ServerError::Metadata(url.clone(), why);
        if answer.status != StatusCode::OK {
            return Err(unusable(format!(
                "there is no server here: the answer was {}",
                answer.status
            )));
        }
        let metadata = json::object(&answer.body, Limits::DOCUMENT)
            .map_err(|error| unusable(error.to_string()))?;
        let text = |name: &str| {
            metadata
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        if text("issuer") != server.issuer() {
            let (expected, received) = (server.issuer().to_owned(), printable(text("issuer")));
            return Err(ServerError::AnotherIssuer { expected, received });
        }
        let token_endpoint = Url::parse(text("token_endpoint")).ok().filter(is_safe);
        // Refuse an http token endpoint that is announced over https (downgrade to loopback).
        let leads_here = |endpoint: &Url| endpoint.scheme() == "http" && url.scheme() == "https";
        let token_endpoint = token_endpoint.filter(|endpoint| !leads_here(endpoint));
        let token_endpoint = token_endpoint.ok_or_else(|| {
            unusable("its token_endpoint is not a URL that can be used".to_owned())
        })?;
        Ok(Self { token_endpoint })
    }

    /// The token endpoint, which the server accepts as an audience as well (RFC 7523 section 3).
    pub fn token_endpoint(&self) -> &str {
        self.token_endpoint.as_str()
    }

    /// Requests an access token. Returns the whole answer, which is checked to hold a usable bearer
    /// token.
    pub async fn exchange(
        &self,
        request: &TokenRequest<'_>,
        assertion: &Assertion,
    ) -> Result<Map<String, Value>, ServerError> {
        let form = form(request, assertion);
        let post = web::client(&self.token_endpoint)?
            .post(self.token_endpoint.clone())
            .form(&form);
        let answer = web::send(&self.token_endpoint, post).await?;
        let strange = |why: String| ServerError::Answer(self.token_endpoint.clone(), why);
        let Value::Object(body) = answer.json() else {
            return Err(strange(format!(
                "the answer was {} without a JSON object",
                answer.status
            )));
        };
        if answer.status != StatusCode::OK {
            return Err(refused(body, &answer)
                .unwrap_or_else(|| strange(format!("the answer was {}", answer.status))));
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if !text("token_type").eq_ignore_ascii_case("bearer") {
            return Err(strange(format!(
                "the token is of the type `{}`, not Bearer",
                printable(text("token_type"))
            )));
        }
        if !is_bearer_token(text("access_token")) {
            return Err(strange("the answer has no access token".to_owned()));
        }
        Ok(body)
    }
}

fn form<'a>(request: &TokenRequest<'a>, assertion: &'a Assertion) -> Vec<(&'static str, &'a str)> {
    let mut form = vec![("grant_type", request.grant.name())];
    let assertion = assertion.text().expose_secret();
    if request.grant == GrantType::TokenExchange {
        form.push(("subject_token", assertion));
        form.push(("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"));
    } else {
        form.push(("assertion", assertion));
    }
    form.push(("resource", request.resource));
    form.extend(request.scope.map(|scope| ("scope", scope)));
    form.extend(request.principal.map(|principal| ("principal", principal)));
    form.extend(
        request
            .authorization_details
            .map(|details| ("authorization_details", details)),
    );
    form
}

/// A refusal is an error answer with an `error` (RFC 6749 section 5.2). An answer without it comes
/// from another server, such as a proxy.
fn refused(body: Map<String, Value>, answer: &WebAnswer) -> Option<ServerError> {
    let is_no = answer.status.is_client_error() || answer.status.is_server_error();
    (is_no && body.get("error").is_some_and(Value::is_string))
        .then(|| ServerError::Refused(Value::Object(body)))
}

/// Whether a text has only the characters of RFC 6750 section 2.1. Any others could break a line of
/// the log, or be a command to the runner.
fn is_bearer_token(token: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    !token.is_empty() && token.bytes().all(is_of_it)
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
        for wrong in [
            "as.test",
            "http://as.test",
            "https://as.test?x",
            "https://as.test/#",
            "https://u@as.test",
        ] {
            assert!(wrong.parse::<ServerUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn texts_with_spaces_line_breaks_or_percent_signs_are_not_taken_for_tokens() {
        for token in ["eyJh.eyJi.c-_", "cnt_0aZ", "a+/=~"] {
            assert!(is_bearer_token(token), "{token}");
        }
        for token in ["", "a b", "a\n::set-env::", "a%0A", "ä"] {
            assert!(!is_bearer_token(token), "{token}");
        }
    }
}
