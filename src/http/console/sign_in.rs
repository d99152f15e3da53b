//! The way to a provider and back, for a sign-in and for a new proof of identity (step-up).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::account::answer_unless_live;
use super::cookies;
use super::page::{Choice, Frame, LeavePage, SignInPage, render, see_other, sign_in_link};
use super::posted::posted_at_any_time;
use super::refused::{Failure, failed, failed_uncounted, no_membership, no_page, of_sign_in};
use super::visitor::Visitor;
use crate::app::App;
use crate::config::OwnUrls;
use crate::limits::SignInStep;
use crate::model::IdentityProvider;
use crate::people::session::{self, Fresh, StartRefused, Started, Write, start};
use crate::people::{self, Begun, Purpose, ReturnTo, SignedIn};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// `GET /console/sign-in`: the providers to choose from.
pub async fn choose(State(app): State<Arc<App>>, visitor: Visitor) -> Response {
    let rules = app.rules();
    let (return_to, asks_again) = (visitor.return_to(), visitor.asks_again());
    let enabled = rules.identity_providers().filter(|one| one.enabled);
    let mut providers: Vec<Choice> = enabled
        .map(|provider| Choice {
            display_name: provider.display_name.clone(),
            link: sign_in_link(&app.config.own, provider, &return_to, asks_again),
        })
        .collect();
    providers.sort_by(|one, other| one.display_name.cmp(&other.display_name));
    let page = SignInPage {
        frame: Frame::new(&app.config),
        providers,
    };
    render(&app, StatusCode::OK, &page, None)
}

/// `GET /console/sign-in/{provider}`: sends the browser to the provider. Nothing is stored but a
/// cookie.
pub async fn begin(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    OriginalUri(uri): OriginalUri,
    visitor: Visitor,
) -> Response {
    let Some(provider) = enabled(&app, &name) else {
        return no_page(app, &visitor, uri).await;
    };
    let (return_to, asks_again) = (visitor.return_to(), visitor.asks_again());
    let again = sign_in_link(&app.config.own, &provider, &return_to, asks_again);
    if let Some(answer) = answer_unless_opened(&app, &visitor, &provider, &again) {
        return answer;
    }
    match app.limits.take_sign_in(SignInStep::Begin, visitor.address) {
        Ok(()) => {}
        Err(refusal) => return limited(&app, &visitor, refusal, again),
    }
    let purpose = if asks_again {
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
    OriginalUri(uri): OriginalUri,
    visitor: Visitor,
) -> Response {
    let Some(provider) = enabled(&app, &name) else {
        return no_page(app, &visitor, uri).await;
    };
    let own = &app.config.own;
    let again = sign_in_link(own, &provider, &ReturnTo::default(), false);
    if let Some(answer) = answer_unless_opened(&app, &visitor, &provider, &again) {
        return answer;
    }
    let (query, address) = (&visitor.query, visitor.address);
    let finished = people::finish(&app, &provider, query, &visitor.cookies, address).await;
    let (attempt, mut response) = match finished {
        Ok(signed_in) => {
            let response = signed_in_as(&app, &visitor, &provider, &signed_in).await;
            (Some(signed_in.attempt), response)
        }
        Err(mut refusal) => {
            if let Some(sub) = &refusal.sub {
                session::refused(&app, &provider, sub, refusal.reason, address).await;
            }
            let attempt = refusal.attempt.take().map(String::from);
            let return_to = refusal.return_to.take().unwrap_or_default();
            let (reason, is_step_up) = (refusal.reason, refusal.is_step_up);
            let again = again_after(own, &provider, &return_to, reason, is_step_up);
            let failure = of_sign_in(refusal, &provider, again);
            let answer = if attempt.is_some() {
                failed
            } else {
                failed_uncounted
            };
            (attempt, answer(&app, &visitor, &failure))
        }
    };
    // An attempt is over once it is answered.
    if let Some(over) = attempt.and_then(|name| cookies::cleared(&name, own)) {
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
    let is_step_up = signed_in.step_up.is_some();
    let started = start(app, signed_in, &visitor.cookies, visitor.address).await;
    let refused = match started {
        Ok(Started {
            cookie,
            session,
            person,
        }) => {
            let kind = if is_step_up { "step_up" } else { "sign_in" };
            metrics::counter!("carnet_sign_ins_total", "kind" => kind).increment(1);
            let address = visitor.address.map(|address| address.to_string());
            tracing::info!(%person, %session, kind, identity_provider = provider.name, address, "signed in");
            let cookie = cookies::of_session(&cookie, &app.config.own);
            return see_other(&signed_in.return_to.url(&app.config.own), cookie);
        }
        Err(StartRefused::NoMembership) => {
            return no_membership(app, visitor, provider, &signed_in.claims);
        }
        Err(refused) => refused,
    };
    let (own, return_to, reason) = (&app.config.own, &signed_in.return_to, refused.reason());
    let failure = Failure {
        detail: Some(refused.to_string()),
        retry_after: matches!(refused, StartRefused::Unavailable(_)).then_some(1),
        again: Some(again_after(own, provider, return_to, reason, is_step_up)),
        is_step_up,
        ..Failure::at(reason, provider)
    };
    failed(app, visitor, &failure)
}

/// Where a person tries again. After a step-up that is the page that asked for it: another sign-in
/// would end the session of whoever is signed in.
fn again_after(
    own: &OwnUrls,
    provider: &IdentityProvider,
    return_to: &ReturnTo,
    reason: Reason,
    is_step_up: bool,
) -> String {
    if is_step_up {
        return return_to.url(own);
    }
    // With the log-in that the provider remembers it would say the same again.
    let asks_again = matches!(reason, Reason::SecondFactorMissing | Reason::PersonDisabled);
    sign_in_link(own, provider, return_to, asks_again)
}

/// `POST /console/step-up`: sends the browser to the provider for a new proof of identity, by a page
/// and not by a redirect.
pub async fn step_up(
    State(app): State<Arc<App>>,
    mut visitor: Visitor,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let return_to = match posted_at_any_time(&app, &visitor, body) {
        Ok(fields) => ReturnTo::read(fields.text("return_to")),
        Err(refused) => return refused.into_response(),
    };
    let session = match answer_unless_live(&app, &visitor).await {
        Ok(session) => session,
        Err(answer) => return answer,
    };
    let again = Frame::new(&app.config).home;
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
    visitor.give_up_turn();
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
                frame: Frame::new(&app.config),
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
