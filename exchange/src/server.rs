//! Requests to the server: the token request, and the same request to `/explain`.

use carnet_jose::from_base64url;
use carnet_jose::json::{self, Limits};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use url::Url;

use super::ambient::Assertion;
use super::web::{self, WebAnswer, printable};
use crate::certificate::JobCertificate;
use crate::metadata::{Metadata, ServerUrl};
use crate::options::RequestArgs;
use crate::possession::DpopKey;
use crate::retry::{Patience, Repeat, send_again};
use crate::server_error::{ServerError, success};
use carnet_engine::grant_type::GrantType;

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
        let metadata = Metadata::read(server, patience.lookups).await?;
        Ok(Self {
            issuer: server.clone(),
            token_endpoint: metadata.endpoint("token_endpoint")?,
            mtls_token_endpoint: metadata.mtls_alias("token_endpoint"),
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
        let body = success(url, answer)?;
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
        let body = success(&url, answer)?;
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
pub fn is_bearer_token(token: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    !token.is_empty() && token.bytes().all(is_of_it)
}

#[cfg(test)]
mod tests {
    use super::*;

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
