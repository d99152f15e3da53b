//! Who may use the admin API: bearers of our own tokens for `<issuer>/admin` (RFC 6750), with a scope that fits.

use std::borrow::Cow;

use async_trait::async_trait;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use oxide_auth::endpoint::{OAuthError, QueryParameter, Scope, Scopes, Template, WebRequest, WebResponse};
use oxide_auth::primitives::grant::Grant;
use oxide_auth_async::endpoint::resource::ResourceFlow;
use oxide_auth_async::endpoint::{Endpoint, OwnerSolicitor};
use oxide_auth_async::primitives::{Authorizer, Issuer, Registrar};
use url::Url;

use super::problem::Problem;
use crate::admin::Author;
use crate::app::App;
use crate::token::{ScopeSet, TokenIssuer};

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read objects that are not federated credentials.
    Read,
    /// Change such objects.
    Write,
    /// Read federated credentials, or what belongs to them.
    ReadCredentials,
    /// Change federated credentials.
    WriteCredentials,
}

const ALL: &str = "admin";
const READ: &str = "admin:read";
const CREDENTIALS: &str = "admin:credentials";
/// Followed by the name of a principal.
const CREDENTIALS_OF: &str = "admin:credentials:";

/// Lets the request in, or answers with a challenge.
pub async fn guard(app: &App, headers: &HeaderMap, access: Access) -> Result<Author, Response> {
    let request = GuardedRequest::new(headers);
    let limited_to = request.limited_to(&app.tokens);
    let mut accepted: Vec<&str> = match access {
        Access::Read => vec![ALL, READ],
        Access::Write => vec![ALL],
        Access::ReadCredentials => vec![ALL, READ, CREDENTIALS],
        Access::WriteCredentials => vec![ALL, CREDENTIALS],
    };
    if matches!(access, Access::ReadCredentials | Access::WriteCredentials) {
        accepted.extend(limited_to.iter().map(String::as_str));
    }
    let scopes = accepted.iter().filter_map(|scope| scope.parse::<Scope>().ok()).collect();
    let endpoint = Guard { issuer: app.tokens.clone(), scopes };
    let mut flow = ResourceFlow::prepare(endpoint).map_err(|GuardError| internal())?;
    let grant: Grant = flow.execute(request).await.map_err(|denied| match denied {
        Ok(challenge) => challenge.into_response(),
        Err(GuardError) => internal(),
    })?;
    let held = ScopeSet::parse(&grant.scope.to_string()).map_err(|_| internal())?;
    let unlimited = accepted.iter().any(|scope| !scope.starts_with(CREDENTIALS_OF) && held.contains(scope));
    let rules = app.rules();
    // As the principal itself is written, whatever the scope's letter case.
    let written = |name: &str| {
        let principal = rules.principal(&name.to_ascii_lowercase());
        principal.map_or_else(|| name.to_owned(), |principal| principal.name.clone())
    };
    let names = limited_to.iter().filter_map(|scope| scope.strip_prefix(CREDENTIALS_OF)).map(written);
    let sees_everything = [ALL, READ].iter().any(|scope| held.contains(scope));
    Ok(Author { subject: grant.owner_id, principals: (!unlimited).then(|| names.collect()), sees_everything })
}

fn internal() -> Response {
    Problem::internal("the token cannot be judged").into_response()
}

/// oxide-auth's resource flow, given our issuer and the scopes that are good for the request.
struct Guard {
    issuer: TokenIssuer,
    scopes: Vec<Scope>,
}

/// The flow cannot go on; it says no more.
#[derive(Debug)]
struct GuardError;

struct GuardedRequest {
    authorization: Result<Option<String>, GuardError>,
}

impl GuardedRequest {
    fn new(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let authorization = match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match value.to_str() {
                // Any number of spaces may follow the scheme.
                Ok(text) => {
                    let (scheme, token) = text.trim().split_once(' ').unwrap_or((text, ""));
                    Ok(Some(format!("{scheme} {}", token.trim_start())))
                }
                Err(_) => Err(GuardError),
            },
            (Some(_), Some(_)) => Err(GuardError),
        };
        Self { authorization }
    }

    /// The scopes of the token that are limited to one principal.
    fn limited_to(&self, tokens: &TokenIssuer) -> Vec<String> {
        let header = self.authorization.as_ref().ok().and_then(Option::as_deref).unwrap_or_default();
        let token = header.split_once(' ').map(|(_, token)| token).unwrap_or_default();
        let scope = tokens.recover_admin(token).map(|grant| grant.scope);
        let limited = |scope: ScopeSet| {
            scope.tokens().into_iter().filter(|t| t.starts_with(CREDENTIALS_OF)).map(str::to_owned).collect()
        };
        scope.map(limited).unwrap_or_default()
    }
}

impl WebRequest for GuardedRequest {
    type Error = GuardError;
    type Response = Challenge;

    fn query(&mut self) -> Result<Cow<'_, dyn QueryParameter + 'static>, GuardError> {
        Err(GuardError)
    }

    fn urlbody(&mut self) -> Result<Cow<'_, dyn QueryParameter + 'static>, GuardError> {
        Err(GuardError)
    }

    fn authheader(&mut self) -> Result<Option<Cow<'_, str>>, GuardError> {
        match &self.authorization {
            Ok(header) => Ok(header.as_deref().map(Cow::Borrowed)),
            Err(GuardError) => Err(GuardError),
        }
    }
}

/// The flow's answer, of which the error code is kept: its header joins several parameters without commas, so it is written anew.
#[derive(Debug, Default)]
struct Challenge {
    error: Option<&'static str>,
    malformed: bool,
}

impl Challenge {
    fn into_response(self) -> Response {
        let (status, error, detail) = match (self.error, self.malformed) {
            (Some("insufficient_scope"), _) => {
                (StatusCode::FORBIDDEN, Some("insufficient_scope"), "the token's scope does not allow this")
            }
            (Some(_), _) => {
                (StatusCode::UNAUTHORIZED, Some("invalid_token"), "the token is not valid for the admin API")
            }
            (None, true) => {
                (StatusCode::BAD_REQUEST, Some("invalid_request"), "the Authorization header cannot be read")
            }
            (None, false) => (StatusCode::UNAUTHORIZED, None, "a bearer token for the admin API is needed"),
        };
        let realm = "Bearer realm=\"carnet admin\"";
        let challenge = error.map_or(realm.to_owned(), |error| format!("{realm}, error=\"{error}\""));
        let mut response = Problem::new(status, "not_authorized", detail).into_response();
        if let Ok(value) = HeaderValue::try_from(challenge) {
            response.headers_mut().insert(WWW_AUTHENTICATE, value);
        }
        response
    }
}

impl WebResponse for Challenge {
    type Error = GuardError;

    fn ok(&mut self) -> Result<(), GuardError> {
        Ok(())
    }

    fn redirect(&mut self, _: Url) -> Result<(), GuardError> {
        Err(GuardError)
    }

    fn client_error(&mut self) -> Result<(), GuardError> {
        self.malformed = true;
        Ok(())
    }

    fn unauthorized(&mut self, header: &str) -> Result<(), GuardError> {
        self.error = ["insufficient_scope", "invalid_token", "invalid_request"]
            .into_iter()
            .find(|code| header.contains(&format!("error=\"{code}\"")));
        Ok(())
    }

    fn body_text(&mut self, _: &str) -> Result<(), GuardError> {
        Ok(())
    }

    fn body_json(&mut self, _: &str) -> Result<(), GuardError> {
        Ok(())
    }
}

#[async_trait]
impl Scopes<GuardedRequest> for Guard {
    fn scopes(&mut self, _: &mut GuardedRequest) -> &[Scope] {
        &self.scopes
    }
}

impl Endpoint<GuardedRequest> for Guard {
    type Error = GuardError;

    fn registrar(&self) -> Option<&(dyn Registrar + Sync)> {
        None
    }

    fn authorizer_mut(&mut self) -> Option<&mut (dyn Authorizer + Send)> {
        None
    }

    fn issuer_mut(&mut self) -> Option<&mut (dyn Issuer + Send)> {
        Some(&mut self.issuer)
    }

    fn owner_solicitor(&mut self) -> Option<&mut (dyn OwnerSolicitor<GuardedRequest> + Send)> {
        None
    }

    fn scopes(&mut self) -> Option<&mut dyn Scopes<GuardedRequest>> {
        Some(self)
    }

    fn response(&mut self, _: &mut GuardedRequest, kind: Template) -> Result<Challenge, GuardError> {
        let malformed = kind.status() == oxide_auth::endpoint::ResponseStatus::BadRequest;
        Ok(Challenge { error: None, malformed })
    }

    fn error(&mut self, _: OAuthError) -> GuardError {
        GuardError
    }

    fn web_error(&mut self, error: GuardError) -> GuardError {
        error
    }
}
