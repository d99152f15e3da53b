//! The way to a provider and back, for a sign-in and for a new proof of identity (step-up).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::super::address::ClientAddress;
use super::super::error::not_found;
use super::account::answer_unless_live;
use super::cookies;
use super::page::{Choice, Frame, LeavePage, SignInPage, render, see_other, sign_in_link};
use super::refused::{Failure, failed, failed_uncounted, no_membership, of_sign_in};
use super::visitor::Visitor;
use crate::app::App;
use crate::limits::SignInStep;
use crate::model::IdentityProvider;
use crate::people::session::{Fresh, StartRefused, Started, Write, start};
use crate::people::{self, Begun, Purpose, ReturnTo, SignInRefusal, SignedIn};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// `GET /console/sign-in`: the providers to choose from.
pub async fn choose(State(app): State<Arc<App>>, visitor: Visitor) -> Response {
    let rules = app.rules();
    let return_to = visitor.return_to();
    let enabled = rules.identity_providers().filter(|one| one.enabled);
    let mut providers: Vec<Choice> = enabled
        .map(|provider| Choice {
            display_name: provider.display_name.clone(),
            link: link(&app, provider, &return_to),
        })
        .collect();
    providers.sort_by(|one, other| one.display_name.cmp(&other.display_name));
    let page = SignInPage {
        frame: Frame::new(&app.config.own),
        providers,
    };
    render(&app, StatusCode::OK, &page, None)
}

/// `GET /console/sign-in/{provider}`: sends the browser to the provider. Nothing is stored but a
/// cookie.
pub async fn begin(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    address: ClientAddress,
    uri: OriginalUri,
    visitor: Visitor,
) -> Response {
    let Some(provider) = enabled(&app, &name) else {
        return not_found(State(app), address, uri.0).await;
    };
    let return_to = visitor.return_to();
    let again = link(&app, &provider, &return_to);
    if let Some(answer) = answer_unless_opened(&app, &visitor, &provider, &again) {
        return answer;
    }
    match app.limits.take_sign_in(SignInStep::Begin, visitor.address) {
        Ok(()) => {}
        Err(refusal) => return limited(&app, &visitor, refusal, again),
    }
    let purpose = if visitor.asks_again() {
        Purpose::SignInAgain
    } else {
        Purpose::SignIn
    };
    let begun = people::begin(&app, &provider, return_to, purpose, &visitor.cookies).await;
    match begun {
        Ok(begun) => see_other(begun.location.as_str(), of_attempt(&app, &begun)),
        Err(refusal) => failed(&app, &visitor, &of_sign_in(refusal, &provider, again)),
    }
}

/// `GET /console/sign-in/{provider}/callback`: the provider's answer.
pub async fn callback(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    address: ClientAddress,
    uri: OriginalUri,
    visitor: Visitor,
) -> Response {
    let Some(provider) = enabled(&app, &name) else {
        return not_found(State(app), address, uri.0).await;
    };
    let again = link(&app, &provider, &ReturnTo::default());
    if let Some(answer) = answer_unless_opened(&app, &visitor, &provider, &again) {
        return answer;
    }
    let is_ours = people::has_attempt(&app, &visitor.query, &visitor.cookies);
    let step = SignInStep::Callback;
    if is_ours && let Err(refusal) = app.limits.take_sign_in(step, visitor.address) {
        return limited(&app, &visitor, refusal, again);
    }
    let finished = people::finish(&app, &provider, &visitor.query, &visitor.cookies).await;
    let (attempt, mut response) = match finished {
        Ok(signed_in) => {
            let response = signed_in_as(&app, &visitor, &provider, &signed_in).await;
            (Some(signed_in.attempt), response)
        }
        Err(mut refusal) => {
            note_refused(&app, &visitor, &provider, &refusal);
            let attempt = refusal.attempt.take().map(String::from);
            let return_to = refusal.return_to.take().unwrap_or_default();
            let again = if refusal.is_step_up {
                return_to.url(&app.config.own)
            } else {
                // With the log-in that the provider remembers it would say the same again.
                let asks_again = refusal.reason == Reason::SecondFactorMissing;
                sign_in_link(&app.config.own, &provider, &return_to, asks_again)
            };
            let failure = of_sign_in(refusal, &provider, again);
            let answer = if is_ours { failed } else { failed_uncounted };
            (attempt, answer(&app, &visitor, &failure))
        }
    };
    // An attempt is over once it is answered.
    if let Some(over) = attempt.and_then(|name| cookies::cleared(&name, &app.config.own)) {
        response.headers_mut().append(SET_COOKIE, over);
    }
    response
}

/// Begins the session of a person whom the provider confirmed.
async fn signed_in_as(
    app: &App,
    visitor: &Visitor,
    provider: &Arc<IdentityProvider>,
    signed_in: &SignedIn,
) -> Response {
    let again = || link(app, provider, &signed_in.return_to);
    let started = start(app, signed_in, &visitor.cookies, visitor.address).await;
    let failure = match started {
        Ok(Started { cookie, session }) => {
            let kind = if signed_in.step_up.is_some() {
                "step_up"
            } else {
                "sign_in"
            };
            metrics::counter!("carnet_sign_ins_total", "kind" => kind).increment(1);
            let address = visitor.address.map(|address| address.to_string());
            let (person, id) = (session.person.id, session.id);
            tracing::info!(%person, session = %id, kind, identity_provider = provider.name, address, "signed in");
            let cookie = cookies::of_session(&cookie, &app.config.own);
            return see_other(&signed_in.return_to.url(&app.config.own), cookie);
        }
        Err(StartRefused::NoMembership) => {
            return no_membership(app, visitor, provider, &signed_in.claims);
        }
        Err(StartRefused::OtherPerson) => Failure::at(Reason::OtherPerson, provider),
        Err(StartRefused::Disabled) => Failure::at(Reason::PersonDisabled, provider),
        Err(error @ (StartRefused::ProviderDisabled | StartRefused::ProviderChanged)) => Failure {
            detail: Some(error.to_string()),
            ..Failure::at(Reason::SignInExpired, provider)
        },
        Err(StartRefused::Unavailable(error)) => Failure {
            detail: Some(error.to_string()),
            ..Failure::of(Reason::DatabaseUnavailable)
        },
    };
    let again = Some(again());
    failed(app, visitor, &Failure { again, ..failure })
}

/// `POST /console/step-up`: sends the browser to the provider for a new proof of identity, by a page
/// and not by a redirect.
pub async fn step_up(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let return_to = match visitor.posted(&app, body) {
        Ok(return_to) => return_to,
        Err(refused) => return *refused,
    };
    let session = match answer_unless_live(&app, &visitor).await {
        Ok(session) => session,
        Err(answer) => return answer,
    };
    let again = Frame::new(&app.config.own).home;
    if let Fresh::Never(reason) = session.freshness(&app, Write::Rules) {
        let failure = Failure {
            again: Some(again),
            is_step_up: true,
            ..Failure::at(reason, &session.provider)
        };
        return failed(&app, &visitor, &failure);
    }
    match app.limits.take_sign_in(SignInStep::Begin, visitor.address) {
        Ok(()) => {}
        Err(refusal) => return limited(&app, &visitor, refusal, again),
    }
    let person = &session.person;
    let purpose = Purpose::StepUp {
        session: session.id,
        sub: person.sub.clone(),
        login_hint: person.username.clone().or_else(|| person.email.clone()),
    };
    let provider = &session.provider;
    let begun = people::begin(&app, provider, return_to, purpose, &visitor.cookies).await;
    match begun {
        Ok(begun) => {
            let cookies = of_attempt(&app, &begun);
            let page = LeavePage {
                frame: Frame::new(&app.config.own),
                heading: "Confirm that it is you",
                sentence: format!("{} asks you now who you are.", provider.display_name),
                location: begun.location,
                to: provider.display_name.clone(),
            };
            render(&app, StatusCode::OK, &page, cookies)
        }
        Err(refusal) => failed(&app, &visitor, &of_sign_in(refusal, provider, again)),
    }
}

/// The answer to a request that is not a person's who opens a page. It uses up no limit: any web page
/// can make the browsers of others send such requests.
fn answer_unless_opened(
    app: &App,
    visitor: &Visitor,
    provider: &IdentityProvider,
    again: &str,
) -> Option<Response> {
    if visitor.may_open_a_page() {
        return None;
    }
    let failure = Failure {
        detail: Some("the browser opens no page with this request".to_owned()),
        again: Some(again.to_owned()),
        ..Failure::at(Reason::CsrfInvalid, provider)
    };
    Some(failed_uncounted(app, visitor, &failure))
}

fn enabled(app: &App, name: &str) -> Option<Arc<IdentityProvider>> {
    let rules = app.rules();
    let found = rules.identity_provider_named(&name.to_ascii_lowercase());
    found.filter(|provider| provider.enabled).cloned()
}

/// The path that begins a sign-in.
fn link(app: &App, provider: &IdentityProvider, return_to: &ReturnTo) -> String {
    sign_in_link(&app.config.own, provider, return_to, false)
}

fn of_attempt(app: &App, begun: &Begun) -> Vec<HeaderValue> {
    let own = &app.config.own;
    let stale = begun.stale.iter();
    let stale = stale.filter_map(|name| cookies::cleared(name, own));
    cookies::of_attempt(&begun.cookie, own)
        .into_iter()
        .chain(stale)
        .collect()
}

fn limited(app: &App, visitor: &Visitor, refusal: Refusal, again: String) -> Response {
    let again = Some(again);
    let failure = Failure {
        again,
        ..refusal.into()
    };
    failed(app, visitor, &failure)
}

/// Records that a person was refused whom the provider confirmed.
fn note_refused(
    app: &App,
    visitor: &Visitor,
    provider: &IdentityProvider,
    refusal: &SignInRefusal,
) {
    if let Some(sub) = &refusal.sub {
        let event = people::session::refused(app, provider, sub, refusal.reason);
        app.audit(crate::audit::AuditEvent {
            address: visitor.address,
            ..event
        });
    }
}
