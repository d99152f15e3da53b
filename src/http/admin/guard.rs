//! Authorization of the admin API: bearer tokens of this server for `<issuer>/admin` (RFC 6750)
//! with a sufficient scope.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use carnet_dpop::Proof;
use carnet_gateway::host;
use serde_json::json;

use super::super::address::{ClientAddress, whole_path};
use super::super::told::without_secrets;
use super::bound;
use super::problem::Problem;
use super::resource_flow::{FlowError, GuardedRequest, not_in_force};
use crate::admin::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, FoldKey, Outcome};
use crate::clock::Timestamp;
use crate::decision::AdminGrant;
use crate::grant::person_of;
use crate::own_tokens::OwnToken;
use crate::people::session;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::{ADMIN, ADMIN_CREDENTIALS, ADMIN_CREDENTIALS_OF, ADMIN_READ, limited_scope};
use crate::tls::ClientCertificate;

/// The kind of access that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read objects that are not federated credentials.
    Read,
    /// Change such objects.
    Write,
    /// Read federated credentials, notifications, audit events or explanations.
    ReadCredentials,
    /// Change federated credentials or notifications.
    WriteCredentials,
}

/// Facts about a request to the admin API.
#[derive(Debug)]
pub struct AdminCaller {
    pub headers: HeaderMap,
    pub address: Option<IpAddr>,
    method: Method,
    host: Option<String>,
    endpoint: String,
    is_local: bool,
    /// The client certificate of the connection.
    certificate: Option<Arc<ClientCertificate>>,
}

impl AdminCaller {
    /// The token of the request, whichever scheme it came with.
    pub fn token(&self) -> Option<&str> {
        let value = self.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.trim().split_once(' ')?;
        let is_known = ["Bearer", "DPoP"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known));
        is_known.then(|| token.trim_start())
    }

    /// Checks that a bound token came with a proof of its key. The proof still has to be
    /// [spent](bound::spend).
    pub fn check_proof(&self, app: &App, token: &OwnToken) -> Result<Option<Proof>, Box<Response>> {
        let target = bound::Target {
            method: self.method.as_str(),
            host: self.host.as_deref(),
            path: &self.endpoint,
            certificate: self.certificate.as_deref(),
        };
        bound::check(app, &self.headers, target, token)
    }
}

/// Marks a request of the local command line, which calls the router in its own process and has
/// direct access to the database.
#[derive(Clone, Copy, Debug)]
pub struct LocalCommand;

impl FromRequestParts<Arc<App>> for AdminCaller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        let ClientAddress(address) = ClientAddress::from_request_parts(parts, app).await?;
        let is_local = parts.extensions.get::<LocalCommand>().is_some();
        Ok(Self {
            headers: parts.headers.clone(),
            address,
            method: parts.method.clone(),
            host: host(parts).map(str::to_owned),
            endpoint: whole_path(parts).to_owned(),
            is_local,
            certificate: parts.extensions.get().cloned(),
        })
    }
}

/// Admits a request, or returns the answer that refuses it. Refusals count against the limit of the
/// address, as at the token endpoint, and changes against the limit of the token's subject.
pub async fn guard(app: &App, caller: &AdminCaller, access: Access) -> Result<Author, Response> {
    let limited = |refusal: Refusal| Problem::limited(&refusal).into_response();
    let admission = app.limits.admit(caller.address).await.map_err(limited)?;
    let author = admit(app, caller, access).await.map_err(|denied| {
        denied.log(caller);
        let response = denied.response;
        if !response.status().is_client_error() {
            return response;
        }
        app.limits.note_refusal(caller.address);
        let over = caller
            .address
            .filter(|_| admission.is_on_probation())
            .map(|address| app.limits.check_address(address));
        over.and_then(Result::err).map_or(response, limited)
    })?;
    if matches!(access, Access::Write | Access::WriteCredentials) && !author.is_local {
        app.limits.take_write(&author.subject).map_err(limited)?;
    }
    Ok(author)
}

/// A request that is not admitted.
struct Denied {
    response: Response,
    /// The audit event, if the token is valid and only its scope does not suffice.
    event: Option<AuditEvent>,
}

impl From<Response> for Denied {
    fn from(response: Response) -> Self {
        Self {
            response,
            event: None,
        }
    }
}

impl Denied {
    /// Writes the audit event, if there is one.
    fn recorded(self, app: &App) -> Self {
        if let Some(event) = &self.event {
            app.audit(event.clone());
        }
        self
    }

    /// Counts the refusal and writes its log line.
    fn log(&self, caller: &AdminCaller) {
        let status = self.response.status().as_u16();
        let word = match status {
            400 => "400",
            401 => "401",
            403 => "403",
            503 => "503",
            _ => "500",
        };
        metrics::counter!("carnet_admin_refusals_total", "status" => word).increment(1);
        let event = self.event.as_ref();
        let id = event.map(|event| event.id.to_string());
        let actor = event.and_then(|event| event.actor.as_deref());
        let client = event.and_then(|event| event.client_id.as_deref());
        let token_id = event.and_then(|event| event.token_id.as_deref());
        let address = caller.address.map(|address| address.to_string());
        let method = caller.method.as_str();
        let endpoint = &*without_secrets(&caller.endpoint);
        tracing::info!(
            event = id,
            status,
            method,
            endpoint,
            actor,
            client,
            token_id,
            address,
            "admin request refused"
        );
    }
}

async fn admit(app: &App, caller: &AdminCaller, access: Access) -> Result<Author, Denied> {
    let request = GuardedRequest::new(&caller.headers, &app.tokens);
    let limited_to = limited_to(request.held(), access);
    let mut accepted: Vec<&str> = match access {
        Access::Read => vec![ADMIN, ADMIN_READ],
        Access::Write => vec![ADMIN],
        Access::ReadCredentials => vec![ADMIN, ADMIN_READ, ADMIN_CREDENTIALS],
        Access::WriteCredentials => vec![ADMIN, ADMIN_CREDENTIALS],
    };
    accepted.extend(limited_to.iter().map(String::as_str));
    let (grant, token) = request
        .admit(&accepted)
        .await
        .map_err(|denied| match denied {
            Ok(denied) => {
                let event = denied
                    .insufficient()
                    .map(|token| refused(app, caller, token, (access, Reason::ScopeNotGranted)));
                let response = denied.into_response(&app.config.own);
                Denied { response, event }.recorded(app)
            }
            Err(FlowError) => internal().into(),
        })?;
    let proof = caller
        .check_proof(app, &token)
        .map_err(|response| Denied::from(*response))?;
    let token_id = token.claims().jti.clone();
    // Names in the principals' own letter case, whatever the scope has. The id is compared as well:
    // a later principal may have got the name of a deleted one.
    let rules = app.rules();
    let meant = |name: &str| {
        let principal = rules.principal(&name.to_ascii_lowercase())?;
        token
            .is_for_principal(&principal.id)
            .then(|| principal.name.clone())
    };
    let names = limited_to.iter().filter_map(|scope| limited_scope(scope));
    let names: Vec<String> = names.filter_map(|(_, name)| meant(name)).collect();
    let person = person_of(token.claims());
    let stale = check_freshness(app, &grant, access).err();
    let stale = stale.map(|response| Denied {
        response: *response,
        event: Some(refused(app, caller, &token, (access, Reason::AuthTooOld))),
    });
    if !is_in_force(app, token).await? {
        return Err(not_in_force(&app.config.own).into());
    }
    if let Some(denied) = stale {
        return Err(denied.recorded(app));
    }
    if let Some(proof) = &proof {
        bound::spend(app, proof).await?;
    }
    let held = &grant.scope;
    let unlimited = accepted
        .iter()
        .any(|scope| limited_scope(scope).is_none() && held.contains(scope));
    let sees_everything = [ADMIN, ADMIN_READ].iter().any(|scope| held.contains(scope));
    let is_admin = held.contains(ADMIN);
    Ok(Author {
        person,
        subject: grant.subject,
        token_id: Some(token_id),
        address: caller.address,
        is_local: caller.is_local,
        principals: (!unlimited).then_some(names),
        sees_everything,
        is_admin,
    })
}

/// Refuses a change on behalf of a person who proved too long ago who they are: the same rule as on the
/// pages. The answer says how recent the proof has to be (RFC 9470 section 3).
fn check_freshness(app: &App, grant: &AdminGrant, access: Access) -> Result<(), Box<Response>> {
    let wanted = match access {
        Access::Read | Access::ReadCredentials => return Ok(()),
        Access::Write => session::Write::Operator,
        // As on the pages: who changes the rules of all principals is an operator.
        Access::WriteCredentials => {
            session::Write::wanted_by(&grant.scope).unwrap_or(session::Write::Rules)
        }
    };
    let Some(person) = &grant.person else {
        return Ok(());
    };
    let proved_at = person.auth_time.map(Timestamp::from_seconds);
    let until = proved_at.map(|at| session::suffices_until(app, at, wanted));
    if until.is_some_and(|until| app.clock.now() < until) {
        return Ok(());
    }
    let detail = match proved_at {
        Some(at) => format!(
            "the person proved who they are at {at}, which is too long ago for a change: sign in again (carnet login)"
        ),
        None => {
            "the identity provider does not say when the person signed in, so the token only reads"
                .to_owned()
        }
    };
    let problem = Problem::new(StatusCode::UNAUTHORIZED, Reason::AuthTooOld.code(), detail);
    let mut response = problem.into_response();
    let seconds = session::step_up_seconds(app, wanted);
    let challenge = format!(
        "Bearer realm=\"carnet admin\", error=\"insufficient_user_authentication\", max_age=\"{seconds}\""
    );
    if let Ok(value) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    Err(Box::new(response))
}

/// The audit event of a valid token that does not suffice. Repetitions within an hour are counted in
/// one event.
fn refused(
    app: &App,
    caller: &AdminCaller,
    token: &OwnToken,
    (access, reason): (Access, Reason),
) -> AuditEvent {
    let claims = token.claims();
    let now = app.clock.now();
    let hour = now.seconds().div_euclid(3600);
    let (access, hour) = (format!("{access:?}"), hour.to_string());
    AuditEvent {
        reason: Some(reason),
        resource: Some(claims.aud.clone()),
        client_id: Some(claims.client_id.clone()),
        actor: Some(claims.sub.clone()),
        token_id: Some(claims.jti.clone()),
        address: caller.address,
        fold: Some(FoldKey::new(
            &[&claims.jti, &access, reason.code(), &hour],
            "",
        )),
        person: person_of(claims),
        detail: json!({ "access": access, "scope": claims.scope }).to_string(),
        ..AuditEvent::new(now, Outcome::Refused)
    }
}

/// Whether the token is not revoked, and its client may still have it.
async fn is_in_force(app: &App, token: OwnToken) -> Result<bool, Response> {
    let judged = app
        .own_tokens(&app.decision_context())
        .in_force(token)
        .await;
    judged
        .map(|live| live.is_ok())
        .map_err(|error| Problem::from(Rejected::from(error)).into_response())
}

/// The scopes limited to principals that permit this access: `admin:credentials:<principal>`, and for
/// reading `admin:read:<principal>`.
fn limited_to(held: Option<&(AdminGrant, OwnToken)>, access: Access) -> Vec<String> {
    let permits = |scope: &str| match (limited_scope(scope), access) {
        (None, _) | (_, Access::Read | Access::Write) => false,
        (Some(_), Access::ReadCredentials) => true,
        (Some((prefix, _)), Access::WriteCredentials) => prefix == ADMIN_CREDENTIALS_OF,
    };
    let scopes = held.into_iter().flat_map(|(grant, _)| grant.scope.tokens());
    scopes
        .filter(|scope| permits(scope))
        .map(str::to_owned)
        .collect()
}

fn internal() -> Response {
    Problem::internal("the token cannot be judged").into_response()
}
