//! The layer around the form endpoints, and the mapping of a refusal to an answer
//! (RFC 6749 section 5.2).
//!
//! For these endpoints, admission by rate limit and the counting, logging and answering of refusals
//! happen here only. The admin API has answers of its own, in `admin/problem.rs`.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::address::ClientAddress;
use super::received::read_whole;
use crate::app::App;
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::grant::TokenError;
use crate::grant_type::GrantType;
use crate::ids::{self, EventId};
use crate::limits::AddressAdmission;
use crate::reason::{Class, Reason};
use crate::refusal::{Mismatch, Refusal};

/// Characters of a `client_id` that are logged: the caller chooses its length.
const MAX_CLIENT_CHARACTERS: usize = 128;
/// Characters of the scheme of an `Authorization` header that are logged and answered.
const MAX_SCHEME_CHARACTERS: usize = 20;

/// Facts about a request that the layer hands to the endpoint.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The id of the audit event, and the `error_id` of a refusal.
    pub id: EventId,
    pub address: Option<IpAddr>,
    /// The `client_id` in the request, empty until the form is read.
    pub client: SentClient,
}

/// The unverified `client_id` of a request, for the log. The code that reads the form sets it.
#[derive(Clone, Debug, Default)]
pub struct SentClient(Arc<OnceLock<String>>);

impl SentClient {
    /// Stores the first `MAX_CLIENT_CHARACTERS` characters. Later calls change nothing.
    pub fn note(&self, client_id: &str) {
        let shown: String = client_id.chars().take(MAX_CLIENT_CHARACTERS).collect();
        self.0.set(shown).ok();
    }
}

/// Facts about a refused request for its log line.
#[derive(Debug, Default)]
struct Asked {
    endpoint: Uri,
    address: Option<IpAddr>,
    client: SentClient,
    /// The scheme of the `Authorization` header, if the request has one.
    authorization: Option<String>,
}

/// Marks an answer that costs as much as a refusal, and counts as one for the rate limit.
#[derive(Clone, Copy, Debug)]
pub struct CountsAsRefusal;

/// Applies `server.request_seconds`: a request that is not answered in time is dropped, with its
/// queued work, and gets 503 (`overloaded`).
pub async fn within_deadline(app: &App, request: Request, next: Next) -> Response {
    let endpoint = request.uri().clone();
    let answered =
        tokio::time::timeout(app.config.server.request_deadline, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let error = TokenError::from(Refusal::later(Reason::Overloaded, 1));
        let asked = Asked {
            endpoint,
            ..Asked::default()
        };
        error.answer(
            &app.config.own,
            EventId::new(app.clock.now()),
            app.clock.now(),
            &asked,
        )
    })
}

/// The layer around the form endpoints (decision D-01, step 1): admits requests by the rate limit
/// of their address, counts refusals, and turns a [`TokenError`] into its answer.
pub async fn layer(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    mut request: Request,
    next: Next,
) -> Response {
    let (id, client) = (EventId::new(app.clock.now()), SentClient::default());
    let asked = Asked {
        endpoint: request.uri().clone(),
        address,
        client: client.clone(),
        authorization: request.headers().get(AUTHORIZATION).map(scheme),
    };
    request.extensions_mut().insert(Caller {
        id,
        address,
        client,
    });
    let mut admission = None;
    let mut response = match admit(&app, address, request).await {
        Ok((request, admitted)) => {
            admission = Some(admitted);
            next.run(request).await
        }
        Err(refusal) => TokenError::from(refusal).into_response(),
    };
    let mut error = response.extensions_mut().remove::<TokenError>();
    let at_fault = error
        .as_ref()
        .is_some_and(|error| error.refusal.reason.class().row().callers_fault);
    if at_fault
        || response
            .extensions_mut()
            .remove::<CountsAsRefusal>()
            .is_some()
    {
        app.limits.note_refusal(address);
        // Over the limit, answers must not confirm a guess: refusals all become `rate_limited`.
        if let Some(address) =
            address.filter(|_| admission.is_some_and(|admission| admission.is_on_probation()))
        {
            error = app
                .limits
                .check_address(address)
                .err()
                .map(TokenError::from)
                .or(error);
        }
    }
    error.map_or(response, |error| {
        error.answer(&app.config.own, id, app.clock.now(), &asked)
    })
}

/// Admits a request by the rate limit of its address. For an address over its limit one request at
/// a time is judged; its body is read before, so that a slow sender does not hold that turn.
async fn admit(
    app: &App,
    address: Option<IpAddr>,
    request: Request,
) -> Result<(Request, AddressAdmission), Refusal> {
    let Some(exhausted) = address.and_then(|address| app.limits.exhausted(address)) else {
        return Ok((request, AddressAdmission::default()));
    };
    let (parts, body) = request.into_parts();
    let body = read_whole(body).await?;
    let admission = app.limits.wait_for_turn(exhausted).await?;
    Ok((Request::from_parts(parts, body.into()), admission))
}

/// The scheme of an `Authorization` header, for diagnosis. The rest of the value is a secret.
fn scheme(value: &HeaderValue) -> String {
    let text = value.to_str().unwrap_or_default();
    let scheme = text.split(' ').next().unwrap_or_default();
    scheme
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(MAX_SCHEME_CHARACTERS)
        .collect()
}

/// Answers 404 for unknown paths.
pub async fn not_found(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    uri: Uri,
) -> Response {
    let asked = Asked {
        endpoint: uri,
        address,
        ..Asked::default()
    };
    let now = app.clock.now();
    TokenError::from(Refusal::from(Reason::PathUnknown)).answer(
        &app.config.own,
        EventId::new(now),
        now,
        &asked,
    )
}

impl IntoResponse for TokenError {
    /// Attaches the error to the response: only the layer knows the request that the answer is for.
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The body of an error answer (RFC 6749 section 5.2). `docs/src/reference/token.md` lists the
/// additional members.
#[derive(Clone, Debug, Serialize)]
struct ErrorBody {
    error: &'static str,
    error_description: &'static str,
    reason: Reason,
    error_id: EventId,
    error_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accepted_audiences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<i64>,
    /// For a used assertion: the time (RFC 3339) and the audit event of its first use, if the same
    /// caller made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_in: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packages_that_fit: Option<usize>,
    /// The registry's URI that was probably meant, where only the spelling differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
    /// The scheme of the request's `Authorization` header, with status 401 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mismatches: Vec<Mismatch>,
}

impl TokenError {
    /// Status and OAuth error code. Token exchange has codes of its own (RFC 8693 section 2.2.2),
    /// and a faulty client assertion is `invalid_client` (RFC 7523 section 3.2).
    fn code(&self) -> (StatusCode, &'static str) {
        let class = self.refusal.reason.class();
        let row = if class == Class::Assertion && self.refusal.of_client {
            Class::Client.row()
        } else {
            class.row()
        };
        let exchange = self.grant_type == Some(GrantType::TokenExchange);
        let error = if exchange {
            row.error_of_exchange
        } else {
            row.error
        };
        (
            StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            error,
        )
    }

    fn answer(self, own: &OwnUrls, id: EventId, now: Timestamp, asked: &Asked) -> Response {
        let ((status, error), refusal) = (self.code(), *self.refusal);
        let reason = refusal.reason;
        metrics::counter!("carnet_refusals_total", "reason" => reason.code()).increment(1);
        let detail = refusal.detail.as_deref();
        // One line per refusal: what an operator needs to help the caller or to block its address.
        let Asked {
            endpoint,
            address,
            client,
            authorization,
        } = asked;
        let (address, client) = (address.map(|address| address.to_string()), client.0.get());
        let endpoint = endpoint.path();
        let grant = self.grant_type.map(GrantType::short_name);
        if status.is_server_error() {
            tracing::error!(error_id = %id, %reason, detail, address, endpoint, grant, client, authorization, "request failed");
        } else {
            tracing::info!(error_id = %id, %reason, detail, address, endpoint, grant, client, authorization, "request refused");
        }
        let facts = refusal.facts.map(|facts| *facts).unwrap_or_default();
        let about_time = matches!(
            reason,
            Reason::Expired | Reason::NotYetValid | Reason::IatFuture
        );
        let body = ErrorBody {
            error,
            error_description: reason.sentence(),
            reason,
            error_id: id,
            error_uri: own.at(&format!("/reasons/{reason}")),
            parameter: refusal.parameter,
            claim: refusal.claim.map(String::from),
            authorization: authorization
                .clone()
                .filter(|_| status == StatusCode::UNAUTHORIZED),
            used_at: facts.used_in.map(|event| ids::time_of(event.0).to_string()),
            used_in: facts.used_in,
            nearest: facts.nearest,
            accepted_audiences: refusal.accepted_audiences,
            packages_that_fit: facts.packages_that_fit,
            server_time: about_time.then(|| now.seconds()),
            mismatches: refusal.mismatches,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = refusal.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if error == "invalid_client" {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"carnet\""),
            );
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}
