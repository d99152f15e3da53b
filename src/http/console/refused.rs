//! Requests of people that are refused: counted, logged, and answered with a page that says why.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use super::super::address::ClientAddress;
use super::super::error::not_found;
use super::super::told::uri_of;
use super::page::{FailedPage, Frame, NoMembershipPage, render, sign_in_link};
use super::visitor::Visitor;
use crate::app::App;
use crate::authorization::{Answer, RedirectTo};
use crate::ids::EventId;
use crate::model::IdentityProvider;
use crate::people::session::Session;
use crate::people::{ReturnTo, SignInRefusal};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::telemetry::note_refusal;

/// What is refused, and why.
#[derive(Clone, Debug)]
pub struct Failure {
    pub reason: Reason,
    /// For the log.
    pub detail: Option<String>,
    /// The name of the identity provider, for the log.
    pub provider: Option<String>,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
    /// Where to try again; the first page without.
    pub again: Option<String>,
    /// Whether a session asked for a new proof of presence.
    pub is_step_up: bool,
    /// Whether a client asked for something, which the person cannot mend.
    pub of_client: bool,
}

impl Failure {
    pub fn of(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            provider: None,
            retry_after: None,
            again: None,
            is_step_up: false,
            of_client: false,
        }
    }

    /// A failure of a sign-in at this provider.
    pub fn at(reason: Reason, provider: &IdentityProvider) -> Self {
        Self {
            provider: Some(provider.name.clone()),
            ..Self::of(reason)
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self {
            retry_after: refusal.retry_after,
            ..Self::of(refusal.reason)
        }
    }
}

/// Logs a refusal, counts it, and answers with its page.
pub fn failed(app: &App, visitor: &Visitor, failure: &Failure) -> Response {
    if failure.reason.class().row().callers_fault {
        app.limits.note_refusal(visitor.address);
    }
    failed_uncounted(app, visitor, failure)
}

/// The same for a request that any web page can make the browsers of other people send: it must not
/// use up the limit of their address.
pub fn failed_uncounted(app: &App, visitor: &Visitor, failure: &Failure) -> Response {
    let id = note(app, visitor, failure);
    let reason = failure.reason;
    let frame = Frame::new(&app.config);
    let link = failure.again.clone();
    let link_text = match &link {
        None => "Go to the first page",
        Some(_) if failure.is_step_up => "Back to your account",
        Some(_) => "Try again",
    };
    let page = FailedPage {
        heading: heading(failure),
        sentence: as_sentence(reason.sentence()),
        meaning: reason.meaning(),
        remedy: reason.remedy(),
        reason,
        reason_link: uri_of(reason, &app.config.own),
        id: id.to_string(),
        link: link.unwrap_or_else(|| frame.home.clone()),
        link_text,
        frame,
    };
    let mut response = render(app, status(reason), &page, None);
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Logs a refusal that a client is told, counts it, and returns where the browser goes with it.
pub fn answer_client(
    app: &App,
    visitor: &Visitor,
    answer: &Answer,
    refusal: &Refusal,
) -> RedirectTo {
    let class = refusal.reason.class().row();
    // Nobody is at fault who declines, or whose client may not show a page.
    if class.callers_fault && refusal.reason != Reason::PersonDeclined {
        app.limits.note_refusal(visitor.address);
    }
    let detail = refusal.detail.as_deref().or(refusal.parameter);
    let failure = Failure {
        detail: detail.map(str::to_owned),
        ..Failure::of(refusal.reason)
    };
    note(app, visitor, &failure);
    answer.with_error(&app.config.own, refusal)
}

/// The page of a person whom no membership lets in, with the claims to show to the operator.
pub fn no_membership(
    app: &App,
    visitor: &Visitor,
    provider: &Arc<IdentityProvider>,
    claims: &serde_json::Map<String, serde_json::Value>,
) -> Response {
    app.limits.note_refusal(visitor.address);
    let id = note(app, visitor, &Failure::at(Reason::NoMembership, provider));
    page_without_membership(app, provider, (None, id), claims)
}

/// The same while a session lasts whose memberships were withdrawn.
pub fn membership_withdrawn(app: &App, visitor: &Visitor, session: &Session) -> Response {
    let provider = &session.provider;
    let id = note(app, visitor, &Failure::at(Reason::NoMembership, provider));
    let csrf = session.csrf.as_str().to_owned();
    page_without_membership(app, provider, (Some(csrf), id), &session.claims)
}

/// The page of a database that fails.
pub fn unavailable(app: &App, visitor: &Visitor, error: &dyn std::error::Error) -> Response {
    let failure = Failure {
        detail: Some(error.to_string()),
        retry_after: Some(1),
        ..Failure::of(Reason::DatabaseUnavailable)
    };
    failed(app, visitor, &failure)
}

/// The answer where there is no page: a page for people, and the answer of all unknown paths for
/// programs.
pub async fn no_page(app: Arc<App>, visitor: &Visitor, uri: Uri) -> Response {
    if visitor.wants_a_page() {
        failed_uncounted(&app, visitor, &Failure::of(Reason::PathUnknown))
    } else {
        not_found(State(app), ClientAddress(visitor.address), uri).await
    }
}

fn page_without_membership(
    app: &App,
    provider: &IdentityProvider,
    (csrf, id): (Option<String>, EventId),
    claims: &serde_json::Map<String, serde_json::Value>,
) -> Response {
    let reason = Reason::NoMembership;
    let page = NoMembershipPage {
        frame: Frame::new(&app.config),
        csrf,
        provider: provider.display_name.clone(),
        claims: serde_json::to_string_pretty(claims).unwrap_or_default(),
        reason,
        reason_link: uri_of(reason, &app.config.own),
        id: id.to_string(),
        // The provider may remember one account and let nobody choose another.
        link: sign_in_link(&app.config.own, provider, &ReturnTo::default(), true),
    };
    render(app, status(reason), &page, None)
}

/// The answer where no page can be made.
pub fn unrendered(app: &App, error: &askama::Error) -> Response {
    let id = EventId::new(app.clock.now());
    tracing::error!(error_id = %id, %error, "a page cannot be rendered");
    let text = format!("{} ({id})", Reason::Internal.sentence());
    (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
}

/// What a refused sign-in is answered with.
pub fn of_sign_in(refusal: SignInRefusal, provider: &IdentityProvider, again: String) -> Failure {
    Failure {
        detail: Some(refusal.detail.into()),
        retry_after: refusal.retry_after,
        again: Some(again),
        is_step_up: refusal.is_step_up,
        ..Failure::at(refusal.reason, provider)
    }
}

/// Counts a refusal among all refusals, and writes its log line.
fn note(app: &App, visitor: &Visitor, failure: &Failure) -> EventId {
    let id = EventId::new(app.clock.now());
    let reason = failure.reason;
    note_refusal(reason);
    metrics::counter!("carnet_refusals_total", "reason" => reason.code()).increment(1);
    let address = visitor.address.map(|address| address.to_string());
    let provider = failure.provider.as_deref();
    let detail = failure.detail.as_deref();
    if status(reason).is_server_error() {
        tracing::error!(error_id = %id, %reason, detail, address, identity_provider = provider, "page failed");
    } else {
        tracing::info!(error_id = %id, %reason, detail, address, identity_provider = provider, "page refused");
    }
    id
}

fn status(reason: Reason) -> StatusCode {
    let status = reason.class().row().status;
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn as_sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    let all = first.into_iter().chain(characters).chain(['.']);
    all.collect()
}

fn heading(failure: &Failure) -> &'static str {
    match failure.reason {
        Reason::ProviderUnavailable => "Your identity provider cannot be reached",
        Reason::CsrfInvalid => "This request did not come from a page of yours",
        Reason::RateLimited => "Too many attempts",
        Reason::DatabaseUnavailable => "The server cannot be used at the moment",
        Reason::BodyTooLarge => "The form is too large",
        Reason::PathUnknown => "There is no such page",
        Reason::PersonDisabled => "Your account is disabled",
        _ if failure.is_step_up => "You did not confirm that it is you",
        _ if failure.of_client => "The program that sent you here asked wrongly",
        _ => "You were not signed in",
    }
}
