//! Requests to the server: its metadata (RFC 8414), the token request, and the same request to
//! `/explain`.

use std::str::FromStr;

use carnet_jose::from_base64url;
use carnet_jose::json::{self, Limits};
use carnet_outbound::{is_safe, is_this_machine};
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use url::Url;

use super::ambient::Assertion;
use super::web::{self, WebAnswer, WebError, printable};
use crate::certificate::JobCertificate;
use crate::error::ExchangeError;
use crate::options::RequestArgs;
use crate::possession::DpopKey;
use crate::refusal;
use crate::retry::{Patience, Repeat, Tried, is_temporary, send_again};
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
    fn below(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        url
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
    #[error("{}", another_issuer(expected, received))]
    AnotherIssuer {
        /// The issuer identifier of `--server`.
        expected: String,
        /// The `issuer` of the metadata.
        received: String,
    },
    /// The answer is not one of a token endpoint (RFC 6749 section 5).
    #[error("{0}: {1}")]
    Answer(Url, String),
    /// No proof of possession can be made.
    #[error("{0}")]
    Proof(String),
    /// The server refused the request.
    #[error("{}{}", refusal::describe(body), refusal::tries(tried))]
    Refused {
        status: StatusCode,
        body: Value,
        tried: Box<Tried>,
    },
}

fn another_issuer(expected: &str, received: &str) -> String {
    let bare = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
    let advice = if received.is_empty() {
        String::new()
    } else if bare(expected) == bare(received) {
        format!(". Only the spelling differs: write --server {received}")
    } else {
        format!(". If that is the server you mean, write --server {received}")
    };
    format!(
        "the server's metadata is of the issuer `{received}`, and not of `{expected}`; --server is compared exactly{advice}"
    )
}

impl ServerError {
    /// Whether an assertion that the server calls used was most likely used by an earlier try of the
    /// same request, whose answer was lost.
    pub fn is_own_replay(&self) -> bool {
        match self {
            Self::Refused { body, tried, .. } => {
                tried.answer_lost && body.get("reason").and_then(Value::as_str) == Some("replay")
            }
            _ => false,
        }
    }
}

impl From<ServerError> for ExchangeError {
    fn from(error: ServerError) -> Self {
        let text = error.to_string();
        match error {
            ServerError::Refused { status, body, .. } if is_temporary(status) => {
                Self::no_answer(text).with_answer(body)
            }
            ServerError::Refused { body, .. } => Self::refused(text).with_answer(body),
            ServerError::AnotherIssuer { .. } => Self::usage(text),
            ServerError::Proof(_) => Self::refused(text),
            ServerError::Web(_) | ServerError::Metadata(..) | ServerError::Answer(..) => {
                Self::no_answer(text)
            }
        }
    }
}

/// The parameters of a token request, except for the assertion.
#[derive(Clone, Debug)]
pub struct TokenRequest<'a> {
    pub grant: GrantType,
    /// The resource URI of the registry. Explanations can do without.
    pub resource: Option<&'a str>,
    pub scope: Option<&'a str>,
    /// The name of the principal whose rules are meant.
    pub principal: Option<&'a str>,
    /// A JSON array of entries (RFC 9396).
    pub authorization_details: Option<&'a str>,
    /// For explanations: the resource server whose front door is asked about, by name, and the
    /// package that its tool would ask for.
    pub front_door: Option<&'a str>,
    pub package: Option<&'a str>,
    /// For explanations: the proof of possession that is taken as given.
    pub proof: Option<&'a str>,
}

impl<'a> TokenRequest<'a> {
    pub fn new(args: &'a RequestArgs, resource: Option<&'a str>) -> Self {
        Self {
            grant: args.grant(),
            resource,
            scope: args.scope(),
            principal: args.principal(),
            authorization_details: args.authorization_details(),
            front_door: None,
            package: None,
            proof: None,
        }
    }
}

/// A server whose metadata was read.
#[derive(Clone, Debug)]
pub struct Server {
    issuer: ServerUrl,
    token_endpoint: Url,
    /// Where token requests with a client certificate go (RFC 8705 section 5).
    mtls_token_endpoint: Option<Url>,
    patience: Patience,
}

/// What the access token is to be bound to, beside the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proofs<'a> {
    /// The key that signs a DPoP proof.
    pub key: Option<&'a DpopKey>,
    /// The certificate of the connection.
    pub certificate: Option<&'a JobCertificate>,
}

impl Server {
    /// Reads the server's metadata. A document that names another issuer is not used at all.
    pub async fn discover(server: &ServerUrl, patience: Patience) -> Result<Self, ServerError> {
        let url = server.metadata_url();
        let get = web::client(&url)?.get(url.clone());
        let answer = send_again(&url, get, Repeat::Harmless, patience.lookups).await?;
        let unusable = |why: String| ServerError::Metadata(url.clone(), why);
        if answer.status != StatusCode::OK {
            return Err(unusable(format!(
                "there is no server here: the answer was {}{}",
                answer.status, answer.tried
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
        // Refuse an http token endpoint that is announced over https (downgrade to loopback).
        let leads_here = |endpoint: &Url| endpoint.scheme() == "http" && url.scheme() == "https";
        let endpoint = |text: &str| {
            let endpoint = Url::parse(text).ok().filter(is_safe);
            endpoint.filter(|endpoint| !leads_here(endpoint))
        };
        let aliases = metadata.get("mtls_endpoint_aliases");
        let alias = aliases.and_then(|aliases| aliases.get("token_endpoint")?.as_str());
        let token_endpoint = endpoint(text("token_endpoint")).ok_or_else(|| {
            unusable("its token_endpoint is not a URL that can be used".to_owned())
        })?;
        Ok(Self {
            issuer: server.clone(),
            token_endpoint,
            mtls_token_endpoint: alias.and_then(endpoint),
            patience,
        })
    }

    /// The token endpoint, which the server accepts as an audience as well (RFC 7523 section 3).
    pub fn token_endpoint(&self) -> &str {
        self.token_endpoint.as_str()
    }

    /// Requests an access token, bound to what there is a proof of. Returns the whole answer, which is
    /// checked to hold a usable token of the right kind.
    pub async fn exchange(
        &self,
        request: &TokenRequest<'_>,
        assertion: &Assertion,
        proofs: Proofs<'_>,
    ) -> Result<Map<String, Value>, ServerError> {
        let url = match (proofs.certificate, &self.mtls_token_endpoint) {
            (None, _) => &self.token_endpoint,
            (Some(_), Some(alias)) if alias.scheme() == "https" => alias,
            (Some(_), _) => {
                return Err(ServerError::Metadata(
                    self.issuer.metadata_url(),
                    "the server takes no client certificates: it names no https token_endpoint in mtls_endpoint_aliases".to_owned(),
                ));
            }
        };
        let form = form(request, assertion);
        let mut answer = self.post_form(url, &form, proofs, None).await?;
        if proofs.key.is_some() && wants_another_proof(&answer) {
            let nonce = answer.dpop_nonce.take();
            answer = self.post_form(url, &form, proofs, nonce.as_deref()).await?;
        }
        let body = object(url, answer)?;
        let wanted = if proofs.key.is_some() {
            "DPoP"
        } else {
            "Bearer"
        };
        let strange = |why: String| ServerError::Answer(url.clone(), why);
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if !text("token_type").eq_ignore_ascii_case(wanted) {
            return Err(strange(format!(
                "the token is of the type `{}`, not {wanted}",
                printable(text("token_type"))
            )));
        }
        if !is_bearer_token(text("access_token")) {
            return Err(strange("the answer has no access token".to_owned()));
        }
        // TLS sends no certificate where none is asked for, and nobody would notice.
        if let (None, Some(certificate)) = (proofs.key, proofs.certificate)
            && is_unbound(text("access_token"), certificate.thumbprint())
        {
            return Err(strange(
                "the token is not bound to the certificate: the connection was made without it"
                    .to_owned(),
            ));
        }
        Ok(body)
    }

    async fn post_form(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        proofs: Proofs<'_>,
        nonce: Option<&str>,
    ) -> Result<WebAnswer, ServerError> {
        let identity = proofs.certificate.map(JobCertificate::identity);
        let client = web::client_with(url, identity)?;
        let mut post = client.post(url.clone()).form(form);
        if let Some(key) = proofs.key {
            let proof = key.prove(("POST", url.as_str()), None, nonce);
            post = post.header(
                "dpop",
                proof.map_err(|error| ServerError::Proof(error.to_string()))?,
            );
        }
        Ok(send_again(url, post, Repeat::SameAssertion, self.patience.tokens).await?)
    }

    /// Asks what would become of a token request. Nothing is issued, and the assertion stays unused.
    pub async fn explain(
        &self,
        request: &TokenRequest<'_>,
        assertion: &Assertion,
    ) -> Result<Value, ServerError> {
        let url = self.issuer.below("/explain");
        let post = web::client(&url)?
            .post(url.clone())
            .form(&form(request, assertion));
        let answer = send_again(&url, post, Repeat::Harmless, self.patience.lookups).await?;
        let body = object(&url, answer)?;
        if !body.get("verdict").is_some_and(Value::is_string) {
            let why = "the answer is not an explanation".to_owned();
            return Err(ServerError::Answer(url, why));
        }
        Ok(Value::Object(body))
    }
}

/// Whether a refusal is only about the proof, and another one mends it: the server wants its own
/// nonce in it (RFC 9449 section 8), or the proof grew old or was used up in earlier tries.
fn wants_another_proof(answer: &WebAnswer) -> bool {
    let body = answer.json();
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let wants_nonce = text("error") == "use_dpop_nonce" && answer.dpop_nonce.is_some();
    let is_old = text("error") == "invalid_dpop_proof" && answer.tried.is_repeated();
    wants_nonce || is_old
}

/// The JSON object of a successful answer. Anything else is an error: a refusal if it has an `error`
/// (RFC 6749 section 5.2), otherwise the answer of another server, such as a proxy.
fn object(url: &Url, answer: WebAnswer) -> Result<Map<String, Value>, ServerError> {
    let (status, body) = (answer.status, answer.json());
    let tried = answer.tried;
    let strange = |why: &str| ServerError::Answer(url.clone(), format!("{why}{tried}"));
    let Value::Object(body) = body else {
        return Err(strange(&format!(
            "the answer was {status} without a JSON object"
        )));
    };
    if status == StatusCode::OK {
        return Ok(body);
    }
    let is_no = status.is_client_error() || status.is_server_error();
    if !is_no || !body.get("error").is_some_and(Value::is_string) {
        return Err(strange(&format!("the answer was {status}")));
    }
    Err(ServerError::Refused {
        status,
        body: Value::Object(body),
        tried: Box::new(tried),
    })
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
    form.extend(request.resource.map(|resource| ("resource", resource)));
    form.extend(request.scope.map(|scope| ("scope", scope)));
    form.extend(request.principal.map(|principal| ("principal", principal)));
    form.extend(
        request
            .authorization_details
            .map(|details| ("authorization_details", details)),
    );
    form.extend(request.front_door.map(|name| ("front_door", name)));
    form.extend(request.package.map(|package| ("package", package)));
    form.extend(request.proof.map(|proof| ("proof", proof)));
    form
}

/// Whether a JWT says that it is not bound to the certificate of this thumbprint. Other tokens say
/// nothing.
fn is_unbound(token: &str, thumbprint: &str) -> bool {
    let Some(claims) = token.split('.').nth(1).and_then(from_base64url) else {
        return false;
    };
    let claims = json::object(&claims, Limits::DOCUMENT).unwrap_or_default();
    let bound_to = claims.get("cnf").and_then(|cnf| cnf.get("x5t#S256"));
    bound_to.and_then(Value::as_str) != Some(thumbprint)
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

    #[test]
    fn an_issuer_of_another_spelling_is_named_with_the_option_to_write() {
        let says = another_issuer("https://as.test/", "https://as.test");
        assert!(
            says.ends_with("Only the spelling differs: write --server https://as.test"),
            "{says}"
        );
        let says = another_issuer("https://as.test", "https://as.test/");
        assert!(says.ends_with("write --server https://as.test/"), "{says}");
        assert!(!another_issuer("https://as.test", "").contains("write"));
        let says = another_issuer("https://as.test", "https://other.test");
        assert!(!says.contains("Only the spelling"), "{says}");
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
