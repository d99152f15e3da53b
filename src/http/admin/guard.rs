//! Who may use the admin API: bearers of our own tokens for `<issuer>/admin` (RFC 6750), with a scope that fits.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use carnet_jose::sha256;
use oxide_auth::endpoint::{OAuthError, QueryParameter, Scope, Scopes, Template, WebRequest, WebResponse};
use oxide_auth::primitives::grant::Grant;
use oxide_auth_async::endpoint::resource::ResourceFlow;
use oxide_auth_async::endpoint::{Endpoint, OwnerSolicitor};
use oxide_auth_async::primitives::{Authorizer, Issuer, Registrar};
use serde_json::json;
use url::Url;

use super::super::address::ClientAddress;
use super::problem::Problem;
use crate::admin::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::config::OwnUrls;
use crate::decision::AdminGrant;
use crate::own_tokens::OwnToken;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::{ADMIN, ADMIN_CREDENTIALS, ADMIN_CREDENTIALS_OF, ADMIN_READ, ScopeSet};
use crate::token::TokenIssuer;

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

/// Who sends a request of the admin API.
#[derive(Debug)]
pub struct AdminCaller {
    /// Its header fields.
    pub headers: HeaderMap,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    is_local: bool,
}

/// Marks a request of this machine's command line, which has the database before it and needs no network.
#[derive(Clone, Copy, Debug)]
pub struct LocalCommand;

impl FromRequestParts<Arc<App>> for AdminCaller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let ClientAddress(address) = ClientAddress::from_request_parts(parts, app).await?;
        let is_local = parts.extensions.get::<LocalCommand>().is_some();
        Ok(Self { headers: parts.headers.clone(), address, is_local })
    }
}

/// Lets the request in, or answers with a challenge. Whoever is not let in is counted as refused, as at the token endpoint.
pub async fn guard(app: &App, caller: &AdminCaller, access: Access) -> Result<Author, Response> {
    let limited = |refusal: Refusal| Problem::limited(&refusal).into_response();
    let admission = app.limits.admit(caller.address).await.map_err(limited)?;
    let author = admit(app, caller, access).await.map_err(|response| {
        if !response.status().is_client_error() {
            return response;
        }
        app.limits.note_refusal(caller.address);
        let over =
            caller.address.filter(|_| admission.is_on_probation()).map(|address| app.limits.check_address(address));
        over.and_then(Result::err).map_or(response, limited)
    })?;
    if matches!(access, Access::Write | Access::WriteCredentials) && !author.is_local {
        app.limits.take_write(&author.subject).map_err(limited)?;
    }
    Ok(author)
}

async fn admit(app: &App, caller: &AdminCaller, access: Access) -> Result<Author, Response> {
    let request = GuardedRequest::new(&caller.headers);
    let held = request.held(&app.tokens);
    let limited_to = limited_to(held.as_ref());
    let mut accepted: Vec<&str> = match access {
        Access::Read => vec![ADMIN, ADMIN_READ],
        Access::Write => vec![ADMIN],
        Access::ReadCredentials => vec![ADMIN, ADMIN_READ, ADMIN_CREDENTIALS],
        Access::WriteCredentials => vec![ADMIN, ADMIN_CREDENTIALS],
    };
    if matches!(access, Access::ReadCredentials | Access::WriteCredentials) {
        accepted.extend(limited_to.iter().map(String::as_str));
    }
    let scopes = accepted.iter().filter_map(|scope| scope.parse::<Scope>().ok()).collect();
    let endpoint = Guard { issuer: app.tokens.clone(), scopes };
    let mut flow = ResourceFlow::prepare(endpoint).map_err(|GuardError| internal())?;
    let grant: Grant = flow.execute(request).await.map_err(|denied| match denied {
        Ok(challenge) => {
            if let Some((_, token)) = held.as_ref().filter(|_| challenge.error == Some("insufficient_scope")) {
                app.audit(refused(app, caller, token, access));
            }
            challenge.into_response(&app.config.own)
        }
        Err(GuardError) => internal(),
    })?;
    let token = held.map(|(_, token)| token).ok_or_else(internal)?;
    let token_id = token.claims().jti.clone();
    // As the principal itself is written, whatever the scope's letter case; not one that has the name since then.
    let rules = app.rules();
    let meant = |name: &str| {
        let principal = rules.principal(&name.to_ascii_lowercase())?;
        token.is_for_principal(&principal.id).then(|| principal.name.clone())
    };
    let names = limited_to.iter().filter_map(|scope| scope.strip_prefix(ADMIN_CREDENTIALS_OF));
    let names: Vec<String> = names.filter_map(meant).collect();
    if !is_in_force(app, token).await? {
        return Err(Challenge { error: Some("invalid_token"), malformed: false }.into_response(&app.config.own));
    }
    let held = ScopeSet::parse(&grant.scope.to_string()).map_err(|_| internal())?;
    let unlimited = accepted.iter().any(|scope| !scope.starts_with(ADMIN_CREDENTIALS_OF) && held.contains(scope));
    let sees_everything = [ADMIN, ADMIN_READ].iter().any(|scope| held.contains(scope));
    let is_admin = held.contains(ADMIN);
    Ok(Author {
        subject: grant.owner_id,
        token_id: Some(token_id),
        address: caller.address,
        is_local: caller.is_local,
        principals: (!unlimited).then_some(names),
        sees_everything,
        is_admin,
    })
}

/// The event of a token that is not good for what it was used for: an hour's are counted in one.
fn refused(app: &App, caller: &AdminCaller, token: &OwnToken, access: Access) -> AuditEvent {
    let claims = token.claims();
    let now = app.clock.now();
    let hour = now.seconds().div_euclid(3600);
    let key = format!("{}\0{access:?}\0{hour}", claims.jti);
    AuditEvent {
        reason: Some(Reason::ScopeNotGranted),
        resource: Some(claims.aud.clone()),
        client_id: Some(claims.client_id.clone()),
        actor: Some(claims.sub.clone()),
        token_id: Some(claims.jti.clone()),
        address: caller.address,
        fold: Some(sha256(key.as_bytes())),
        detail: json!({ "access": format!("{access:?}"), "scope": claims.scope }).to_string(),
        ..AuditEvent::new(now, Outcome::Refused)
    }
}

/// Whether the token was neither revoked nor outlived by the client it was issued to.
async fn is_in_force(app: &App, token: OwnToken) -> Result<bool, Response> {
    let judged = app.own_tokens(&app.rules(), app.clock.now()).in_force(token).await;
    judged.map(|live| live.is_ok()).map_err(|error| Problem::from(Rejected::from(error)).into_response())
}

/// The scopes that are limited to one principal.
fn limited_to(held: Option<&(AdminGrant, OwnToken)>) -> Vec<String> {
    let scopes = held.map(|(grant, _)| grant.scope.tokens()).unwrap_or_default();
    scopes.into_iter().filter(|scope| scope.starts_with(ADMIN_CREDENTIALS_OF)).map(str::to_owned).collect()
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

    /// The token and what it grants, if it is one for the admin API.
    fn held(&self, tokens: &TokenIssuer) -> Option<(AdminGrant, OwnToken)> {
        let header = self.authorization.as_ref().ok().and_then(Option::as_deref).unwrap_or_default();
        tokens.recover_admin(header.split_once(' ')?.1)
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
    fn into_response(self, own: &OwnUrls) -> Response {
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
        // Where a client learns who issues tokens for this API (RFC 9728 section 5.1).
        let realm = format!("Bearer realm=\"carnet admin\", resource_metadata=\"{}\"", own.admin_metadata());
        let challenge = error.map_or(realm.clone(), |error| format!("{realm}, error=\"{error}\""));
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
