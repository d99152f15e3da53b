//! The sign-in: authorization code with PKCE, `state`, `nonce` and `iss`, by the crate openidconnect.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use carnet_outbound::{causes, client, is_safe, is_this_machine};
use carnet_resource_server::Verifier;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, IssuerUrl, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse as _,
};
use secrecy::SecretString;
use url::{Url, form_urlencoded};

use super::CALLBACK;

/// For one request to Carnet.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What the registry asks for, beside `openid`: the person's name, and the one action that its page
/// offers. What it gets is up to Carnet and to the person.
const SCOPES: [&str; 2] = ["profile", "publish"];

type RelyingParty = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why people cannot sign in with an issuer.
#[derive(Debug, thiserror::Error)]
pub enum NoSignIn {
    /// Codes and secrets must not be sent over plain http, except on this machine.
    #[error("people sign in at an https URL only (http is for this machine)")]
    Unsafe,
    /// The issuer or the registry's own URL is no URL.
    #[error("people cannot sign in: {0}")]
    Url(#[from] url::ParseError),
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Carnet's error code: the person declined, or may not act for anybody.
    #[error("Carnet answered {0}")]
    Declined(String),
    /// The answer does not belong to this sign-in, or proves nothing.
    #[error("{0}")]
    Wrong(String),
    /// Carnet cannot be asked.
    #[error("Carnet cannot be asked: {0}")]
    Unavailable(String),
}

/// The registry as a client.
#[derive(Debug)]
pub(super) struct Client {
    issuer: IssuerUrl,
    resource: String,
    id: ClientId,
    /// Read at each sign-in, so that a new secret needs no restart.
    secret: Option<PathBuf>,
    redirect_uri: RedirectUrl,
    http: reqwest::Client,
}

/// A sign-in that a browser has begun.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The metadata and keys of the issuer, fetched for this sign-in: they may change.
    issuer: CoreProviderMetadata,
    state: CsrfToken,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
}

/// The parameters of the answer (RFC 6749 section 4.1.2, RFC 9207 section 2).
#[derive(Debug, Default)]
pub(super) struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

impl Answer {
    pub fn read(query: &str) -> Self {
        let mut answer = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let member = match name.as_ref() {
                "code" => &mut answer.code,
                "state" => &mut answer.state,
                "iss" => &mut answer.iss,
                "error" => &mut answer.error,
                _ => continue,
            };
            *member = Some(value.into_owned());
        }
        answer
    }
}

impl Client {
    /// A client of the issuer whose tokens the registry accepts. `url` is the registry's own.
    pub fn new(
        verifier: &Verifier,
        url: &str,
        (id, secret): (&str, Option<PathBuf>),
    ) -> Result<Self, NoSignIn> {
        let issuer = Url::parse(verifier.issuer())?;
        if !is_safe(&issuer) {
            return Err(NoSignIn::Unsafe);
        }
        let http = client(TIMEOUT, !is_this_machine(&issuer));
        let http = if is_this_machine(&issuer) {
            http.no_proxy()
        } else {
            http
        };
        Ok(Self {
            issuer: IssuerUrl::new(verifier.issuer().to_owned())?,
            resource: verifier.resource().to_owned(),
            id: ClientId::new(id.to_owned()),
            secret,
            redirect_uri: RedirectUrl::new(format!("{url}{CALLBACK}"))?,
            http: http.build()?,
        })
    }

    /// Begins a sign-in: where the browser has to go, and what its answer is compared with.
    pub async fn begin(&self) -> Result<(Url, Attempt), Failure> {
        let issuer = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await;
        let issuer = issuer.map_err(|error| Failure::Unavailable(causes(&error)))?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.at(&issuer).await?;
        let request = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            CsrfToken::new_random,
            Nonce::new_random,
        );
        let scopes = SCOPES.map(|scope| Scope::new(scope.to_owned()));
        let request = request
            .add_scopes(scopes)
            .add_extra_param("resource", &self.resource)
            .set_pkce_challenge(challenge);
        let (to, state, nonce) = request.url();
        let attempt = Attempt {
            issuer,
            state,
            nonce,
            verifier,
        };
        Ok((to, attempt))
    }

    /// Ends a sign-in: the access token, and the person's id in Carnet.
    pub async fn finish(
        &self,
        attempt: Attempt,
        answer: Answer,
    ) -> Result<(SecretString, String), Failure> {
        let wrong = |why: &str| Failure::Wrong(why.to_owned());
        // An answer of another server than the one that was asked (RFC 9700 section 4.4).
        if answer.iss.as_deref() != Some(self.issuer.as_str()) {
            return Err(wrong("the answer does not say that it is Carnet's"));
        }
        if answer.state.as_ref() != Some(attempt.state.secret()) {
            return Err(wrong("the answer is that of another sign-in"));
        }
        if let Some(error) = answer.error {
            return Err(Failure::Declined(error));
        }
        let code = answer.code.ok_or_else(|| wrong("the answer has no code"))?;
        let client = self.at(&attempt.issuer).await?;
        let request = client.exchange_code(AuthorizationCode::new(code));
        let request = request.map_err(|error| Failure::Unavailable(causes(&error)))?;
        let request = request.set_pkce_verifier(attempt.verifier);
        let tokens = request.request_async(&self.http).await;
        let tokens = tokens.map_err(|error| match error {
            RequestTokenError::ServerResponse(answer) => {
                Failure::Wrong(format!("Carnet refused the code: {answer}"))
            }
            error => Failure::Unavailable(causes(&error)),
        })?;

        let id_token = tokens.id_token();
        let id_token = id_token.ok_or_else(|| wrong("the answer has no ID token"))?;
        let unproved = |error: &dyn std::error::Error| Failure::Wrong(causes(error));
        let verifier = client.id_token_verifier();
        let claims = id_token.claims(&verifier, &attempt.nonce);
        let claims = claims.map_err(|error| unproved(&error))?;
        let algorithm = id_token.signing_alg().map_err(|error| unproved(&error))?;
        let key = id_token.signing_key(&verifier);
        let key = key.map_err(|error| unproved(&error))?;
        let hash = AccessTokenHash::from_token(tokens.access_token(), algorithm, key);
        let hash = hash.map_err(|error| unproved(&error))?;
        if claims.access_token_hash() != Some(&hash) {
            return Err(wrong("the access token is not that of the ID token"));
        }
        let token = tokens.access_token().secret().clone().into();
        Ok((token, claims.subject().to_string()))
    }

    async fn at(&self, issuer: &CoreProviderMetadata) -> Result<RelyingParty, Failure> {
        let secret = self.secret().await;
        let secret = secret.map_err(|error| {
            Failure::Unavailable(format!("the client secret cannot be read: {error}"))
        })?;
        let client = CoreClient::from_provider_metadata(issuer.clone(), self.id.clone(), secret);
        Ok(client.set_redirect_uri(self.redirect_uri.clone()))
    }

    async fn secret(&self) -> io::Result<Option<ClientSecret>> {
        let Some(file) = &self.secret else {
            return Ok(None);
        };
        let text = tokio::fs::read_to_string(file).await?;
        Ok(Some(ClientSecret::new(text.trim_end().to_owned())))
    }
}
