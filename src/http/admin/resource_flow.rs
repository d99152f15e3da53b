//! oxide-auth's resource flow (RFC 6749 section 7, RFC 6750) for the admin API. The token is
//! verified once, before the flow, which is given the recovered grant.

use std::borrow::Cow;

use async_trait::async_trait;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use oxide_auth::endpoint::{
    OAuthError, QueryParameter, Scope, Scopes, Template, WebRequest, WebResponse,
};
use oxide_auth::primitives::grant::{Extensions, Grant};
use oxide_auth::primitives::issuer::{IssuedToken, RefreshedToken};
use oxide_auth_async::endpoint::resource::ResourceFlow;
use oxide_auth_async::endpoint::{Endpoint, OwnerSolicitor};
use oxide_auth_async::primitives::{Authorizer, Issuer, Registrar};
use url::Url;

use super::bound;
use super::problem::Problem;
use crate::config::OwnUrls;
use crate::decision::AdminGrant;
use crate::own_tokens::OwnToken;
use crate::token::TokenIssuer;

/// oxide-auth's `Grant` requires a redirect URI. Nothing reads this one.
const NO_REDIRECT: &str = "https://redirect.invalid/";

/// A request and its bearer token, if that is a valid token for the admin API.
pub(super) struct GuardedRequest {
    authorization: Result<Option<String>, FlowError>,
    held: Option<(AdminGrant, OwnToken)>,
    /// Why the token is not valid for the admin API, if there is one and it is not.
    why_not: Option<&'static str>,
}

/// The `Authorization` header cannot be read, or the flow failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowError;

impl GuardedRequest {
    /// Reads the header and verifies the token.
    pub(super) fn new(headers: &HeaderMap, tokens: &TokenIssuer) -> Self {
        let authorization = authorization(headers);
        let header = authorization
            .as_ref()
            .ok()
            .and_then(Option::as_deref)
            .unwrap_or_default();
        let token = header.split_once(' ').map(|(_, token)| token);
        let held = token.and_then(|token| tokens.recover_admin(token));
        let why_not = token
            .filter(|_| held.is_none())
            .map(|token| tokens.why_not_admin(token));
        Self {
            authorization,
            held,
            why_not,
        }
    }

    /// The grant and the token; `None` without a valid token for the admin API.
    pub(super) fn held(&self) -> Option<&(AdminGrant, OwnToken)> {
        self.held.as_ref()
    }

    /// Returns the token if it has one of these scopes, and otherwise the flow's denial.
    pub(super) async fn admit(
        self,
        scopes: &[&str],
    ) -> Result<(AdminGrant, OwnToken), Result<FlowDenial, FlowError>> {
        let needed = scopes.join(", ");
        let scopes = scopes
            .iter()
            .filter_map(|scope| scope.parse::<Scope>().ok())
            .collect();
        let recovered = self.held.as_ref().map(|(grant, _)| grant);
        let endpoint = Guard {
            recovered: Recovered(grant(recovered).ok_or(Err(FlowError))?),
            scopes,
        };
        let mut flow = ResourceFlow::prepare(endpoint).map_err(Err)?;
        let header = HeaderOnly(self.authorization);
        match flow.execute(header).await {
            Ok(_) => self.held.ok_or(Err(FlowError)),
            Err(Ok(challenge)) => Err(Ok(FlowDenial {
                challenge: challenge.about(self.why_not, self.held.as_ref(), &needed),
                held: self.held.map(|(_, token)| token),
            })),
            Err(Err(error)) => Err(Err(error)),
        }
    }
}

/// A denial by the flow, with the token if a valid one was sent.
pub(super) struct FlowDenial {
    challenge: Challenge,
    held: Option<OwnToken>,
}

impl FlowDenial {
    /// The token, if it is valid and only its scope does not suffice.
    pub(super) fn insufficient(&self) -> Option<&OwnToken> {
        self.held
            .as_ref()
            .filter(|_| self.challenge.error == Some("insufficient_scope"))
    }

    pub(super) fn into_response(self, own: &OwnUrls) -> Response {
        self.challenge.into_response(own)
    }
}

/// The answer for a token that was revoked, or whose client may not have it any more.
pub(super) fn not_in_force(own: &OwnUrls) -> Response {
    invalid_token(
        own,
        "the token was revoked, or its client may not have it any more",
    )
}

/// The answer for a token that cannot be used.
pub(in crate::http) fn invalid_token(own: &OwnUrls, why: &str) -> Response {
    Challenge {
        error: Some("invalid_token"),
        malformed: false,
        detail: Some(why.to_owned()),
    }
    .into_response(own)
}

fn authorization(headers: &HeaderMap) -> Result<Option<String>, FlowError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            // Any number of spaces may follow the scheme (RFC 9110 section 11.4).
            let text = value.to_str().map_err(|_| FlowError)?;
            let (scheme, token) = text.trim().split_once(' ').unwrap_or((text, ""));
            // The flow knows one scheme. Whether a token may come with the other is judged after it.
            let scheme = if bound::token(headers).is_some() {
                "Bearer"
            } else {
                scheme
            };
            Ok(Some(format!("{scheme} {}", token.trim_start())))
        }
        (Some(_), Some(_)) => Err(FlowError),
    }
}

/// The recovered grant in oxide-auth's form. Without one, an expired grant: the flow answers it
/// with `invalid_token`, which RFC 6750 section 3.1 requires for an unknown token, but a missing
/// grant with `invalid_request`.
fn grant(recovered: Option<&AdminGrant>) -> Option<Grant> {
    Some(Grant {
        owner_id: recovered
            .map(|grant| grant.subject.clone())
            .unwrap_or_default(),
        client_id: recovered
            .map(|grant| grant.subject.clone())
            .unwrap_or_default(),
        scope: recovered
            .map_or_else(|| "none".to_owned(), |grant| grant.scope.to_string())
            .parse()
            .ok()?,
        redirect_uri: NO_REDIRECT.parse().ok()?,
        // oxide-auth compares this with the system clock. Tokens that have expired by this server's
        // clock are not recovered at all.
        until: if recovered.is_some() {
            DateTime::<Utc>::MAX_UTC
        } else {
            DateTime::<Utc>::MIN_UTC
        },
        extensions: Extensions::new(),
    })
}

/// The flow's endpoint: the recovered grant, and the scopes that suffice for the request.
struct Guard {
    recovered: Recovered,
    scopes: Vec<Scope>,
}

/// The issuer that the flow asks for the grant: it knows only the token of this request.
struct Recovered(Grant);

#[async_trait]
impl Issuer for Recovered {
    async fn issue(&mut self, _: Grant) -> Result<IssuedToken, ()> {
        // Tokens are minted from a decision and recorded; this flow only reads them.
        Err(())
    }

    async fn refresh(&mut self, _: &str, _: Grant) -> Result<RefreshedToken, ()> {
        // There are no refresh tokens (decision D-18).
        Err(())
    }

    async fn recover_token(&mut self, _: &str) -> Result<Option<Grant>, ()> {
        Ok(Some(self.0.clone()))
    }

    async fn recover_refresh(&mut self, _: &str) -> Result<Option<Grant>, ()> {
        Ok(None)
    }
}

struct HeaderOnly(Result<Option<String>, FlowError>);

impl WebRequest for HeaderOnly {
    type Error = FlowError;
    type Response = Challenge;

    fn query(&mut self) -> Result<Cow<'_, dyn QueryParameter + 'static>, FlowError> {
        Err(FlowError)
    }

    fn urlbody(&mut self) -> Result<Cow<'_, dyn QueryParameter + 'static>, FlowError> {
        Err(FlowError)
    }

    fn authheader(&mut self) -> Result<Option<Cow<'_, str>>, FlowError> {
        self.0
            .as_ref()
            .map(|header| header.as_deref().map(Cow::Borrowed))
            .map_err(|error| *error)
    }
}

/// The error code of the flow's answer. The flow's own header is not sent: it joins several
/// parameters without commas.
#[derive(Debug, Default)]
struct Challenge {
    error: Option<&'static str>,
    malformed: bool,
    /// What is wrong with the token, where that is known.
    detail: Option<String>,
}

impl Challenge {
    /// Adds what is wrong with the token: why it is not valid, or which scope it lacks.
    fn about(
        self,
        why_not: Option<&'static str>,
        held: Option<&(AdminGrant, OwnToken)>,
        needed: &str,
    ) -> Self {
        let detail = match held {
            Some((grant, _)) => Some(format!(
                "the token's scope does not allow this: it is {}, and one of {needed} is needed",
                grant.scope
            )),
            None => why_not.map(str::to_owned),
        };
        Self { detail, ..self }
    }

    fn into_response(self, own: &OwnUrls) -> Response {
        let (status, error, detail) = match (self.error, self.malformed) {
            (Some("insufficient_scope"), _) => (
                StatusCode::FORBIDDEN,
                Some("insufficient_scope"),
                "the token's scope does not allow this",
            ),
            (Some(_), _) => (
                StatusCode::UNAUTHORIZED,
                Some("invalid_token"),
                "the token is not valid for the admin API",
            ),
            (None, true) => (
                StatusCode::BAD_REQUEST,
                Some("invalid_request"),
                "the request must have one Authorization header of the form `Bearer` and a token",
            ),
            (None, false) => (
                StatusCode::UNAUTHORIZED,
                None,
                "a bearer token for the admin API must be given",
            ),
        };
        // Tells the caller where tokens for this API are issued (RFC 9728 section 5.1).
        let realm = format!(
            "Bearer realm=\"carnet admin\", resource_metadata=\"{}\"",
            own.admin_metadata()
        );
        let challenge = error.map_or(realm.clone(), |error| format!("{realm}, error=\"{error}\""));
        let detail = match (error, self.detail) {
            (Some(_), Some(detail)) => detail,
            _ => detail.to_owned(),
        };
        let mut response = Problem::new(status, "not_authorized", detail).into_response();
        if let Ok(value) = HeaderValue::try_from(challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }
}

impl WebResponse for Challenge {
    type Error = FlowError;

    fn ok(&mut self) -> Result<(), FlowError> {
        Ok(())
    }

    fn redirect(&mut self, _: Url) -> Result<(), FlowError> {
        Err(FlowError)
    }

    fn client_error(&mut self) -> Result<(), FlowError> {
        self.malformed = true;
        Ok(())
    }

    fn unauthorized(&mut self, header: &str) -> Result<(), FlowError> {
        self.error = ["insufficient_scope", "invalid_token", "invalid_request"]
            .into_iter()
            .find(|code| header.contains(&format!("error=\"{code}\"")));
        Ok(())
    }

    fn body_text(&mut self, _: &str) -> Result<(), FlowError> {
        Ok(())
    }

    fn body_json(&mut self, _: &str) -> Result<(), FlowError> {
        Ok(())
    }
}

#[async_trait]
impl Scopes<HeaderOnly> for Guard {
    fn scopes(&mut self, _: &mut HeaderOnly) -> &[Scope] {
        &self.scopes
    }
}

impl Endpoint<HeaderOnly> for Guard {
    type Error = FlowError;

    fn registrar(&self) -> Option<&(dyn Registrar + Sync)> {
        None
    }

    fn authorizer_mut(&mut self) -> Option<&mut (dyn Authorizer + Send)> {
        None
    }

    fn issuer_mut(&mut self) -> Option<&mut (dyn Issuer + Send)> {
        Some(&mut self.recovered)
    }

    fn owner_solicitor(&mut self) -> Option<&mut (dyn OwnerSolicitor<HeaderOnly> + Send)> {
        None
    }

    fn scopes(&mut self) -> Option<&mut dyn Scopes<HeaderOnly>> {
        Some(self)
    }

    fn response(&mut self, _: &mut HeaderOnly, kind: Template) -> Result<Challenge, FlowError> {
        let malformed = kind.status() == oxide_auth::endpoint::ResponseStatus::BadRequest;
        Ok(Challenge {
            error: None,
            malformed,
            detail: None,
        })
    }

    fn error(&mut self, _: OAuthError) -> FlowError {
        FlowError
    }

    fn web_error(&mut self, error: FlowError) -> FlowError {
        error
    }
}
