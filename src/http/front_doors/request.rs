//! A request at a front door: the door that it is for, and what all protocols read alike.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts as _, RawPathParams, Request};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use carnet_dpop::{RequestUri, SentProof};
use carnet_jose::json::{self, Limits};
use serde_json::{Map, Value};

use super::super::address::whole_path;
use super::super::error::Caller;
use super::super::received::{MAX_BODY_BYTES, read_whole};
use super::super::revoke::{is_of_holder, revoke_by_holder};
use crate::app::App;
use crate::config::OwnUrls;
use crate::grant::{GrantRequest, RequestProof, TokenError, issue};
use crate::ids::EventId;
use crate::model::{FrontDoorKind, ResourceServer};
use crate::principal::AtFrontDoor;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::Recorded;
use crate::tls::ClientCertificate;
use crate::token::Minted;

/// Limits of a body. The protocols send flat objects with an assertion in them.
const BODY: Limits = Limits {
    depth: 2,
    members: 20,
    string_bytes: 32 * 1024,
    values: 50,
};

/// A request at a front door. Its body was read, and not parsed.
#[derive(Debug)]
pub struct DoorRequest {
    app: Arc<App>,
    pub server: Arc<ResourceServer>,
    caller: Caller,
    pub headers: HeaderMap,
    body: Bytes,
    /// The package that the path names.
    package: Option<String>,
    /// The URI that was reached, for a proof of possession.
    uris: Vec<RequestUri>,
    certificate: Option<Arc<ClientCertificate>>,
}

impl FromRequest<Arc<App>> for DoorRequest {
    type Rejection = TokenError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, TokenError> {
        let (mut parts, body) = request.into_parts();
        let (name, package) = of_path(&mut parts, app).await?;
        let kind = parts.extensions.get::<FrontDoorKind>().copied();
        let at_host = host(&parts).filter(|_| name.is_none());
        let server = match (kind, name) {
            (Some(kind), Some(name)) => app.rules().front_door_of(kind, &name).cloned(),
            (Some(kind), None) => {
                at_host.and_then(|host| app.rules().front_door_at(kind, host).cloned())
            }
            (None, _) => None,
        };
        let server = server.ok_or(Refusal::from(Reason::PathUnknown))?;
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.unwrap_or_else(|| Caller {
            id: EventId::new(app.clock.now()),
            address: None,
            sent: super::super::sent::Sent::default(),
        });
        let uris = match SentProof::of(&parts.headers) {
            SentProof::None => Vec::new(),
            _ => reached(&parts, at_host, &app.config.own),
        };
        let body = read_whole(body, MAX_BODY_BYTES).await?;
        Ok(Self {
            app: app.clone(),
            server,
            caller,
            certificate: parts.extensions.remove(),
            headers: parts.headers,
            body,
            package,
            uris,
        })
    }
}

/// The resource server that the path names, and the package.
async fn of_path(
    parts: &mut Parts,
    app: &Arc<App>,
) -> Result<(Option<String>, Option<String>), TokenError> {
    let params = RawPathParams::from_request_parts(parts, app).await;
    // A name that is not UTF-8 is nobody's.
    let params = params.map_err(|_| Refusal::from(Reason::PathUnknown))?;
    let value = |name: &str| {
        let mut params = params.iter();
        params
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.to_owned())
    };
    let package = match (value("scope"), value("package")) {
        (Some(scope), Some(package)) => Some(format!("{scope}/{package}")),
        (_, package) => package,
    };
    Ok((value("resource_server"), package))
}

/// The host that a request is for. Two `Host` headers count as none.
fn host(parts: &Parts) -> Option<&str> {
    if let Some(authority) = parts.uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    }
}

/// The URI that was reached: at the host of the door by which it was found, or below the issuer. A
/// door without TLS is on this machine, as the issuer is then.
fn reached(parts: &Parts, at_host: Option<&str>, own: &OwnUrls) -> Vec<RequestUri> {
    let path = whole_path(parts);
    let uris = match at_host {
        None => own.on_origins(path).collect(),
        Some(host) if own.issuer().starts_with("http:") => vec![
            format!("https://{host}{path}"),
            format!("http://{host}{path}"),
        ],
        Some(host) => vec![format!("https://{host}{path}")],
    };
    uris.iter()
        .filter_map(|uri| RequestUri::parse(uri))
        .collect()
}

impl DoorRequest {
    /// Issues the key for an assertion. `principal` is the one that the request names.
    pub async fn issue(
        &self,
        assertion: &str,
        principal: Option<String>,
    ) -> Result<Recorded<Minted>, TokenError> {
        let at = AtFrontDoor::of(&self.server, self.package.as_deref())?;
        let caller = (self.caller.id, self.caller.address);
        let proof = RequestProof::Sent {
            header: SentProof::of(&self.headers),
            uris: self.uris.clone(),
        };
        let request = GrantRequest::at_front_door(at, assertion, principal, proof, caller)
            .over_tls_of(self.certificate.as_deref());
        let issued = issue(&self.app, &request).await;
        let token = issued.inspect_err(|_| {
            let sent = &self.caller.sent;
            sent.note_presented(Some(assertion), Some(&self.server.resource));
        })?;
        metrics::counter!("carnet_tokens_issued_total").increment(1);
        tracing::debug!(token_id = token.get().token_id, "key issued");
        Ok(token)
    }

    /// Ends a key of this registry. `false` if it is not one that is in force, or if it is the token
    /// of a registered client, which only that client may revoke.
    pub async fn revoke(&self, key: &str) -> Result<bool, TokenError> {
        let context = self.app.decision_context();
        let tokens = self.app.own_tokens(&context);
        let own = tokens.recognise(key).await.map_err(Refusal::from)?;
        let own = own.filter(|token| {
            token.expires_at() > context.now
                && token.claims().aud == self.server.resource
                && is_of_holder(token)
        });
        let Some(token) = own else {
            return Ok(false);
        };
        revoke_by_holder(&self.app, &context, &token, (&self.caller, None)).await?;
        Ok(true)
    }

    /// The token of the `Authorization` header with the scheme `Bearer`.
    pub fn bearer(&self) -> Result<&str, Refusal> {
        let value = self.authorization()?;
        let (scheme, token) = value.split_once(' ').unwrap_or_default();
        if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() {
            Ok(token.trim())
        } else {
            Err(missing("authorization"))
        }
    }

    /// The token of the `Authorization` header, with the scheme `Bearer` or without a scheme.
    pub fn bare_or_bearer(&self) -> Result<&str, Refusal> {
        self.bearer().or_else(|_| {
            let value = self.authorization()?;
            if value.contains(' ') || value.is_empty() {
                Err(missing("authorization"))
            } else {
                Ok(value)
            }
        })
    }

    fn authorization(&self) -> Result<&str, Refusal> {
        let mut values = self.headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().map_err(|_| missing("authorization")),
            _ => Err(missing("authorization")),
        }
    }

    /// Whether the body is declared as this media type, whatever its parameters.
    pub fn is_typed(&self, media_type: &str) -> bool {
        let value = self.headers.get(CONTENT_TYPE);
        let text = value.and_then(|value| value.to_str().ok());
        let essence = text.and_then(|text| text.split(';').next());
        essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
    }

    /// The body as a JSON object.
    pub fn object(&self) -> Result<Map<String, Value>, Refusal> {
        match json::value(&self.body, BODY) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err(malformed("it must be an object")),
            Err(error) => Err(malformed(&error.to_string())),
        }
    }

    /// The body, for protocols that take a form as well.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }
}

/// A text of a body, which must be there and not be empty.
pub fn text<'m>(members: &'m Map<String, Value>, name: &'static str) -> Result<&'m str, Refusal> {
    match members.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        None | Some(Value::Null | Value::String(_)) => Err(missing(name)),
        Some(_) => Err(Refusal::parameter(Reason::JsonMalformed, name)
            .malformed(format!("{name} must be a string"))),
    }
}

pub fn missing(name: &'static str) -> Refusal {
    Refusal::parameter(Reason::ParameterMissing, name)
}

pub fn malformed(what: &str) -> Refusal {
    Refusal::from(Reason::JsonMalformed).malformed(what)
}
