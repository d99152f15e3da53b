//! The layer around the form endpoints and the front doors: admission by rate limit, and the counting
//! of refusals. The admin API has answers of its own, in `admin/problem.rs`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::address::ClientAddress;
use super::front_doors;
use super::nonce::{is_about_proof, with_nonce};
use super::received::{MAX_BODY_BYTES, read_whole};
use super::sent::Sent;
use super::told::{Asked, Told};
use crate::app::App;
use crate::grant::TokenError;
use crate::ids::EventId;
use crate::limits::AddressAdmission;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::telemetry;

/// Characters of the scheme of an `Authorization` header that are logged and answered.
const MAX_SCHEME_CHARACTERS: usize = 20;

/// Facts about a request that the layer hands to the endpoint.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The id of the audit event, and the `error_id` of a refusal.
    pub id: EventId,
    pub address: Option<IpAddr>,
    /// What the request says of itself, empty until the form is read.
    pub sent: Sent,
}

/// Marks an answer that costs as much as a refusal, and counts as one for the rate limit.
#[derive(Clone, Copy, Debug)]
pub struct CountsAsRefusal;

/// Applies `server.request_seconds`: a request that is not answered in time is dropped, with its
/// queued work, and gets 503 (`overloaded`). So does a request that is under way when the
/// connections to the database turn out to be of no use (`database_unavailable`).
pub async fn within_deadline(app: &App, request: Request, next: Next) -> Response {
    let endpoint = request.uri().clone();
    let answering = tokio::time::timeout(app.config.server.request_deadline, next.run(request));
    let answered = tokio::select! {
        answered = answering => answered.map_err(|_| Reason::Overloaded),
        () = app.store.connections_lost() => Err(Reason::DatabaseUnavailable),
    };
    answered.unwrap_or_else(|reason| {
        let error = TokenError::from(Refusal::later(reason, 1));
        let asked = Asked {
            endpoint,
            ..Asked::default()
        };
        let (now, own) = (app.clock.now(), &app.config.own);
        let told = Told::of(EventId::new(now), error, now, &asked);
        let endpoint = asked.endpoint.path();
        match front_doors::kind_of(endpoint, own.path()) {
            Some(kind) => front_doors::answer(kind, &told, endpoint, own),
            None => told.answer(own),
        }
    })
}

/// The layer around the form endpoints (decision D-01, step 1): admits requests by the rate limit
/// of their address, counts refusals, and turns a [`TokenError`] into its answer.
pub async fn layer(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    request: Request,
    next: Next,
) -> Response {
    let answered = admitted(&app, address, request, next).await;
    answered.unwrap_or_else(|told| {
        let reason = told.refusal.reason;
        let answer = told.answer(&app.config.own);
        if is_about_proof(reason) {
            with_nonce(app.proofs.required_nonces(), app.clock.now(), answer)
        } else {
            answer
        }
    })
}

/// Admits a request by the rate limit of its address, and counts and logs its refusal, which the
/// caller puts into an answer.
pub async fn admitted(
    app: &App,
    address: Option<IpAddr>,
    mut request: Request,
    next: Next,
) -> Result<Response, Box<Told>> {
    let (id, sent) = (telemetry::event_id(app.clock.now()), Sent::default());
    let asked = Asked {
        endpoint: request.uri().clone(),
        address,
        sent: sent.clone(),
        authorization: request.headers().get(AUTHORIZATION).map(scheme),
    };
    request
        .extensions_mut()
        .insert(Caller { id, address, sent });
    let mut admission = None;
    let mut response = match admit(app, address, request, MAX_BODY_BYTES).await {
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
    match error {
        None => Ok(response),
        Some(error) => Err(Box::new(Told::of(id, error, app.clock.now(), &asked))),
    }
}

/// Admits a request by the rate limit of its address. For an address over its limit one request at
/// a time is judged; its body, of `most` bytes, is read before, so that a slow sender does not hold
/// that turn.
pub async fn admit(
    app: &App,
    address: Option<IpAddr>,
    request: Request,
    most: usize,
) -> Result<(Request, AddressAdmission), Refusal> {
    let Some(exhausted) = address.and_then(|address| app.limits.exhausted(address)) else {
        return Ok((request, AddressAdmission::default()));
    };
    let (parts, body) = request.into_parts();
    let body = read_whole(body, most).await?;
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
    let error = TokenError::from(Refusal::from(Reason::PathUnknown));
    let now = app.clock.now();
    Told::of(EventId::new(now), error, now, &asked).answer(&app.config.own)
}

impl IntoResponse for TokenError {
    /// Attaches the error to the response: only the layer knows the request that the answer is for.
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
