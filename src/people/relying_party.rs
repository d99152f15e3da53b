//! This server as a client of a provider (a relying party): openidconnect builds its requests and
//! reads the answers, and the same fetch carries them as all other requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use carnet_jose::base64url;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AsyncHttpClient, AuthType, AuthUrl, Client, ClientId, ClientSecret, EmptyAdditionalClaims,
    EmptyExtraTokenFields, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IdTokenFields,
    IssuerUrl, JsonWebKeySet, RedirectUrl, StandardErrorResponse, StandardTokenResponse, TokenUrl,
};
use serde_json::json;
use url::Url;

use super::SignInRefusal;
use super::provider_key::{ProviderKey, SigningAlgorithm};
use crate::app::App;
use crate::config::OwnUrls;
use crate::ids::random;
use crate::keys::provider_secret;
use crate::model::{IdentityProvider, ProviderAuth};
use crate::reason::Reason;
use crate::upstream::{Egress, Fetch, FetchError, Outgoing, ProviderDocument};

/// The largest answer of a provider, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// How long a client assertion is good for, in seconds.
const ASSERTION_SECONDS: i64 = 60;
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

type ErrorAnswer = StandardErrorResponse<CoreErrorResponseType>;

pub(super) type IdToken = openidconnect::IdToken<
    EmptyAdditionalClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    SigningAlgorithm,
>;

pub(super) type Tokens = StandardTokenResponse<
    IdTokenFields<
        EmptyAdditionalClaims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        SigningAlgorithm,
    >,
    CoreTokenType,
>;

pub(super) type RelyingParty = Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    ProviderKey,
    CoreAuthPrompt,
    ErrorAnswer,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
>;

pub(super) type ExchangeError = openidconnect::RequestTokenError<HttpError, ErrorAnswer>;

/// The URL to which a provider sends people back. Each provider has its own, so that none can answer
/// in the name of another (RFC 9700 section 4.4.2.2).
pub fn redirect_uri(own: &OwnUrls, provider: &str) -> String {
    own.at(&format!("/console/sign-in/{provider}/callback"))
}

/// The client for a provider. Its keys are not in it, since they are fetched when an ID token has
/// come.
pub(super) fn relying_party(
    app: &App,
    provider: &IdentityProvider,
    document: &ProviderDocument,
) -> Result<RelyingParty, SignInRefusal> {
    let unusable = |error: url::ParseError| internal(&error.to_string());
    let issuer = IssuerUrl::new(provider.issuer.clone()).map_err(unusable)?;
    let redirect = redirect_uri(&app.config.own, &provider.name);
    let client_id = ClientId::new(provider.client_id.clone());
    let client = Client::new(client_id, issuer, JsonWebKeySet::default())
        .set_auth_uri(AuthUrl::from_url(document.authorization_endpoint.clone()))
        .set_token_uri(TokenUrl::from_url(document.token_endpoint.clone()))
        .set_redirect_uri(RedirectUrl::new(redirect).map_err(unusable)?);
    Ok(match provider.auth_method {
        ProviderAuth::ClientSecretBasic => client
            .set_client_secret(client_secret(app, provider)?)
            .set_auth_type(AuthType::BasicAuth),
        ProviderAuth::ClientSecretPost => client
            .set_client_secret(client_secret(app, provider)?)
            .set_auth_type(AuthType::RequestBody),
        ProviderAuth::PrivateKeyJwt | ProviderAuth::None => client,
    })
}

fn client_secret(app: &App, provider: &IdentityProvider) -> Result<ClientSecret, SignInRefusal> {
    let sealed = provider.sealed_secret.as_deref();
    let sealed = sealed.ok_or_else(|| internal("the identity provider has no client secret"))?;
    let opened = app
        .keys
        .open_sealed(sealed, provider_secret(&provider.name));
    let opened = opened.map_err(|error| internal(&format!("the client secret {error}")))?;
    let secret = String::from_utf8(opened);
    let secret = secret.map_err(|_| internal("the client secret is no text"))?;
    Ok(ClientSecret::new(secret))
}

/// The parameters of `private_key_jwt` (OpenID Connect Core 1.0 section 9, RFC 7523 section 2.2). The
/// only audience is the provider's issuer identifier: with an endpoint there, which the provider
/// names itself, it could use the assertion at another provider (draft-ietf-oauth-rfc7523bis section
/// 4).
pub(super) fn client_assertion(
    app: &App,
    provider: &IdentityProvider,
) -> Result<Option<[(&'static str, String); 2]>, SignInRefusal> {
    if provider.auth_method != ProviderAuth::PrivateKeyJwt {
        return Ok(None);
    }
    let ring = app.keys.ring();
    let ring = ring.ok_or_else(|| internal("there is no signing key"))?;
    let now = app.clock.now().seconds();
    let claims = json!({
        "iss": provider.client_id, "sub": provider.client_id, "aud": provider.issuer,
        "iat": now, "exp": now.saturating_add(ASSERTION_SECONDS), "jti": base64url(random::<16>()),
    });
    let signed = ring
        .active()
        .sign_typed("JWT", claims.to_string().as_bytes());
    let assertion = signed.map_err(|error| internal(&error.to_string()))?;
    Ok(Some([
        ("client_assertion_type", ASSERTION_TYPE.to_owned()),
        ("client_assertion", assertion),
    ]))
}

pub(super) fn internal(why: &str) -> SignInRefusal {
    SignInRefusal::new(Reason::Internal, why)
}

/// Sends the requests that openidconnect makes, under the egress rules of a provider.
#[derive(Debug)]
pub(super) struct Http {
    pub fetch: Arc<dyn Fetch>,
    pub egress: Egress,
}

/// Why a request to a provider has no answer that can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The provider cannot be reached, is too slow, or failed.
    #[error("{0}")]
    Unavailable(String),
    /// It answered with something that no provider sends.
    #[error("{0}")]
    Wrong(String),
}

impl Http {
    pub fn of(app: &App, provider: &IdentityProvider) -> Self {
        Self {
            fetch: app.fetch.clone(),
            egress: app.providers.egress(provider),
        }
    }

    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = Url::parse(&parts.uri.to_string())
            .map_err(|error| HttpError::Wrong(error.to_string()))?;
        let request = Outgoing {
            method: parts.method,
            headers: parts.headers,
            body,
        };
        let sent = self
            .fetch
            .send(&url, &self.egress, &request, MAX_ANSWER_BYTES)
            .await;
        let fetched = sent.map_err(|error| match error {
            FetchError::TooLarge(..) => HttpError::Wrong(error.to_string()),
            FetchError::Refused(..) | FetchError::Failed(..) => {
                HttpError::Unavailable(error.to_string())
            }
        })?;
        match fetched.status {
            300..=399 => Err(HttpError::Wrong(format!(
                "{url} answered with a redirect, which is not followed"
            ))),
            429 | 500..=599 => Err(HttpError::Unavailable(format!(
                "{url} answered {}",
                fetched.status
            ))),
            status => {
                let mut response = HttpResponse::new(fetched.body);
                *response.status_mut() = status
                    .try_into()
                    .map_err(|_| HttpError::Wrong(format!("{url} answered {status}")))?;
                Ok(response)
            }
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl From<HttpError> for SignInRefusal {
    fn from(error: HttpError) -> Self {
        let reason = match error {
            HttpError::Unavailable(_) => Reason::ProviderUnavailable,
            HttpError::Wrong(_) => Reason::CodeExchangeFailed,
        };
        Self::new(reason, super::refusal::quoted(&error.to_string()))
    }
}
