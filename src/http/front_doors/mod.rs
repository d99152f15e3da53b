//! Front doors: the endpoints at which the unmodified publishing tools of a registry trade their
//! platform's token for a key (`docs/src/reference/front-doors.md`). One file a protocol: it reads
//! the request, and writes keys and refusals as its tools read them. What is granted is decided by
//! the pipeline that serves the token endpoint.
//!
//! A door is found by the `Host` of the request, or below `/registry/{resource server}`.

mod crates_io;
mod npm;
mod nuget;
mod pypi;
mod request;
mod rubygems;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ALLOW, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json, Router};
use carnet_publish_protocols::Protocol;
use serde_json::{Map, Value, json};

use self::request::DoorRequest;
use super::address::ClientAddress;
use super::error::admitted;
use super::nonce::{is_about_proof, with_nonce};
use super::told::{Told, retry_after, uri_of};
use crate::app::App;
use crate::config::OwnUrls;
use crate::grant::TokenError;
use crate::ids;
use crate::model::FrontDoorKind;
use crate::reason::{Class, Disclosure, Reason};
use crate::refusal::Refusal;

/// The protocol of the front door that a path belongs to; `own` is the path of the issuer.
pub fn kind_of(path: &str, own: &str) -> Option<FrontDoorKind> {
    let below = path
        .strip_prefix(own)
        .and_then(|below| below.strip_prefix("/registry/"))
        .and_then(|below| below.find('/').and_then(|at| below.get(at..)));
    let path = below.unwrap_or(path);
    let protocol = Protocol::ALL
        .into_iter()
        .find(|protocol| path.starts_with(protocol.front_door_path()))?;
    FrontDoorKind::from_name(protocol.as_str())
}

/// The routes of all front doors.
pub fn routes(app: &Arc<App>) -> Router<Arc<App>> {
    let of = |kind: FrontDoorKind, routes: Router<Arc<App>>| {
        routes
            .route_layer(from_fn_with_state(app.clone(), layer))
            .route_layer(Extension(kind))
    };
    Router::new()
        .merge(of(FrontDoorKind::Pypi, pypi::routes()))
        .merge(of(FrontDoorKind::Npm, npm::routes()))
        .merge(of(FrontDoorKind::CratesIo, crates_io::routes()))
        .merge(of(FrontDoorKind::Nuget, nuget::routes()))
        .merge(of(FrontDoorKind::Rubygems, rubygems::routes()))
}

/// Admits a request as at the token endpoint, tells the handler its protocol, and puts a refusal
/// into the form of that protocol.
async fn layer(
    State(app): State<Arc<App>>,
    Extension(kind): Extension<FrontDoorKind>,
    ClientAddress(address): ClientAddress,
    request: Request,
    next: Next,
) -> Response {
    let endpoint = request.uri().path().to_owned();
    let told = match admitted(&app, address, request, next).await {
        Ok(response) => return response,
        Err(told) => *told,
    };
    let own = &app.config.own;
    // Nobody's door: answered like any unknown path.
    if told.refusal.reason == Reason::PathUnknown {
        return told.answer(own);
    }
    let answer = answer(kind, &told, &endpoint, own);
    if is_about_proof(told.refusal.reason) {
        with_nonce(app.proofs.required_nonces(), app.clock.now(), answer)
    } else {
        answer
    }
}

/// The answer of a refusal, as the tools of this protocol read it.
pub fn answer(kind: FrontDoorKind, told: &Told, endpoint: &str, own: &OwnUrls) -> Response {
    let mut response = refused(kind, told, own);
    let headers = response.headers_mut();
    retry_after(&told.refusal, headers);
    if told.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static(allowed(endpoint)));
    }
    response
}

/// A wrong method at a door; where there is none, the path is unknown.
async fn wrong_method(_: DoorRequest) -> TokenError {
    Refusal::from(Reason::MethodNotAllowed).into()
}

/// The methods of a path, for `Allow`.
fn allowed(endpoint: &str) -> &'static str {
    if endpoint.ends_with("/audience") {
        "GET"
    } else if endpoint.ends_with("/trusted_publishing/tokens") {
        "POST, DELETE"
    } else {
        "POST"
    }
}

fn refused(kind: FrontDoorKind, told: &Told, own: &OwnUrls) -> Response {
    let text = sentence(told, own);
    let (status, body) = match kind {
        FrontDoorKind::Pypi => pypi::refused(told, &text),
        FrontDoorKind::Npm => npm::refused(told, &text),
        FrontDoorKind::CratesIo => crates_io::refused(told, &text),
        FrontDoorKind::Nuget => nuget::refused(told, &text),
        FrontDoorKind::Rubygems => rubygems::refused(told, &text),
    };
    // The members that every refusal of this server has; the tools ignore them.
    let mut members = Map::from_iter([
        ("reason".to_owned(), json!(told.refusal.reason)),
        ("error_id".to_owned(), json!(told.id)),
        (
            "error_uri".to_owned(),
            json!(uri_of(told.refusal.reason, own)),
        ),
    ]);
    // When and in which event the assertion was used first, for the workload that used it.
    if let Some(event) = told.refusal.facts.as_ref().and_then(|facts| facts.used_in) {
        let at = ids::time_of(event.0).to_string();
        members.insert("used_at".to_owned(), json!(at));
        members.insert("used_in".to_owned(), json!(event));
    }
    if let Value::Object(body) = body {
        members.extend(body);
    }
    let mut response = (status, Json(members)).into_response();
    if kind == FrontDoorKind::Nuget && status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The refusal in one line: all that a tool shows.
fn sentence(told: &Told, own: &OwnUrls) -> String {
    let refusal = &told.refusal;
    let reason = refusal.reason;
    let accepted = if refusal.accepted_audiences.is_empty() {
        String::new()
    } else {
        format!(
            ": accepted here is {}",
            refusal.accepted_audiences.join(" or ")
        )
    };
    let used = refusal.facts.as_ref().and_then(|facts| facts.used_in);
    let used = used
        .map(|event| format!(": used_at {}, used_in {event}", ids::time_of(event.0)))
        .unwrap_or_default();
    // What is wrong with the caller's own input: it stands in no other member here.
    let facts = refusal.facts.as_ref();
    let wrong = facts
        .and_then(|facts| facts.malformed.as_deref())
        .or(refusal.parameter)
        .filter(|_| {
            let of_input = [
                Class::Request,
                Class::Assertion,
                Class::Proof,
                Class::Certificate,
            ];
            of_input.contains(&reason.class())
        })
        .map(|wrong| format!(": {wrong}"))
        .unwrap_or_default();
    format!(
        "{}{wrong}{accepted}{used}. {} (reason {}, see {}, error_id {})",
        refusal.description(),
        refusal.remedy(),
        refusal.reason,
        uri_of(refusal.reason, own),
        told.id
    )
}

/// What kind of mistake a refusal is, as far as the protocols tell mistakes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    /// In the request itself, or in the form of the assertion.
    Request,
    /// The assertion is not accepted.
    Assertion,
    /// The assertion was used before.
    Used,
    /// No rule permits it.
    Rules,
    /// None of the caller: too many requests, or a failure on this side.
    Temporary,
}

fn mistake(told: &Told) -> Mistake {
    let reason = told.refusal.reason;
    match reason.class() {
        _ if reason == Reason::Replay => Mistake::Used,
        Class::Limit | Class::Upstream | Class::Unavailable | Class::Internal => Mistake::Temporary,
        Class::Request | Class::Method | Class::Path | Class::Size => Mistake::Request,
        Class::Target | Class::Details | Class::Scope => Mistake::Rules,
        _ if reason == Reason::AssertionMalformed || reason == Reason::AssertionWhitespace => {
            Mistake::Request
        }
        _ if matches!(reason, Reason::NoMatchingCredential | Reason::RulesTooLarge)
            || reason.disclosure() == Disclosure::Proved =>
        {
            Mistake::Rules
        }
        Class::GrantType
        | Class::Client
        | Class::ClientUse
        | Class::Assertion
        | Class::Proof
        | Class::Certificate
        | Class::Profile
        | Class::ProofNonce
        | Class::ForeignToken
        | Class::SignIn => Mistake::Assertion,
        // No front door gives these.
        Class::ResponseType
        | Class::RequestObject
        | Class::RequestUri
        | Class::LoginRequired
        | Class::ConsentRequired
        | Class::InteractionRequired => Mistake::Request,
    }
}
