//! `GET /authorize` and `POST /authorize/consent`: a client asks a person to let it act (RFC 6749
//! section 4.1.1, OpenID Connect Core 1.0 section 3.1.2).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::consent::{ConsentPage, ReturnPage};
use super::page::{Frame, render, see_other, sign_in_link, sign_in_page};
use super::posted::{Posted, posted};
use super::refused::{
    Failure, answer_client, failed, failed_uncounted, membership_withdrawn, unavailable,
};
use super::visitor::Visitor;
use crate::app::App;
use crate::authorization::{
    self, Agreement, Answer, AuthorizationRequest, Question, RedirectTo, Rejected, ShownPage,
    query_after_sign_in,
};
use crate::people::ReturnTo;
use crate::people::session::{self, Fresh, Session, Standing};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The longest query that is kept over a sign-in, in bytes: with its path it is part of a cookie.
const MAX_KEPT_QUERY_BYTES: usize = 950;

/// `GET /authorize`
pub async fn authorize(State(app): State<Arc<App>>, visitor: Visitor) -> Response {
    if !visitor.may_open_a_page() {
        let failure = Failure {
            detail: Some("the browser opens no page with this request".to_owned()),
            ..Failure::of(Reason::CsrfInvalid)
        };
        return failed_uncounted(&app, &visitor, &failure);
    }
    let request = AuthorizationRequest::read(&visitor.query, &app.rules(), &app.config.own);
    let request = match request {
        Ok(request) => request,
        Err(rejected) => return reject(&app, &visitor, &rejected),
    };
    let asked = async {
        let session = signed_in(&app, &visitor, &request).await?;
        let question = authorization::judge(&app, &session, &request).map_err(Else::from)?;
        answer(&app, &visitor, &session, (&request, &question)).await
    };
    match asked.await {
        Ok(answer) => answer,
        Err(Else::Client(refusal)) => to_client(&app, &visitor, &request.answer, &refusal),
        Err(Else::Page(page)) => *page,
    }
}

/// What happens in place of a question to the person.
enum Else {
    /// The client is told.
    Client(Refusal),
    /// Another page comes first.
    Page(Box<Response>),
}

impl From<Refusal> for Else {
    fn from(refusal: Refusal) -> Self {
        Self::Client(refusal)
    }
}

impl From<Response> for Else {
    fn from(page: Response) -> Self {
        Self::Page(Box::new(page))
    }
}

/// The session of the person, as recent as the client wants it.
async fn signed_in(
    app: &App,
    visitor: &Visitor,
    request: &AuthorizationRequest,
) -> Result<Box<Session>, Else> {
    let prompt = request.prompt;
    match session::current(app, &visitor.cookies).await {
        Ok(Standing::Live(session)) => match request.standing(&session, app.clock.now()) {
            authorization::Standing::Suffices => {
                // A client that asks without a page is no person who uses the session.
                if !prompt.none {
                    session.note_use(app).await;
                }
                Ok(session)
            }
            authorization::Standing::SignInAgain if !prompt.none => {
                let again = |return_to: &ReturnTo| {
                    sign_in_link(&app.config.own, &session.provider, return_to, true)
                };
                Err(sign_in(app, visitor, again)?.into())
            }
            authorization::Standing::SignInAgain | authorization::Standing::Unknowable => {
                Err(Refusal::from(Reason::LoginRequired).into())
            }
        },
        Ok(Standing::NoMembership(session)) => {
            Err(membership_withdrawn(app, visitor, &session).into())
        }
        Ok(Standing::Unknown) => {
            // As in `answer_unless_live`: invented cookies cost a read each.
            app.limits.note_refusal(visitor.address);
            Err(nobody(app, visitor, request)?.into())
        }
        Ok(Standing::SignedOut | Standing::Ended) => Err(nobody(app, visitor, request)?.into()),
        Err(error) => Err(unavailable(app, visitor, &error).into()),
    }
}

/// Nobody is signed in.
fn nobody(
    app: &App,
    visitor: &Visitor,
    request: &AuthorizationRequest,
) -> Result<Response, Refusal> {
    if request.prompt.none {
        return Err(Reason::LoginRequired.into());
    }
    // The provider may have a session of its own, which is not what the client asks for.
    let asks_again = request.prompt.login || request.max_age.is_some();
    let chooser = |return_to: &ReturnTo| sign_in_page(app, return_to, asks_again);
    sign_in(app, visitor, chooser)
}

/// Sends the person to sign in, and back here.
fn sign_in(
    app: &App,
    visitor: &Visitor,
    by: impl Fn(&ReturnTo) -> String,
) -> Result<Response, Refusal> {
    let query = query_after_sign_in(&visitor.query, app.clock.now());
    Ok(see_other(&by(&return_to(&query)?), None))
}

/// Where a person comes back to.
fn return_to(query: &str) -> Result<ReturnTo, Refusal> {
    if query.len() > MAX_KEPT_QUERY_BYTES {
        return Err(Reason::RequestTooLong.into());
    }
    let path = format!("/authorize?{query}");
    let return_to = ReturnTo::read(&path);
    if return_to.as_str() == path {
        Ok(return_to)
    } else {
        Err(Reason::RequestTooLong.into())
    }
}

/// Gives the client a code at once, or asks the person.
async fn answer(
    app: &App,
    visitor: &Visitor,
    session: &Session,
    (request, question): (&AuthorizationRequest, &Question),
) -> Result<Response, Else> {
    let agreement = question.agreement(app, session, request).await?;
    let fresh = question.freshness(app, session);
    if let Some(Fresh::Never(reason)) = fresh {
        return Err(Refusal::from(reason).into());
    }
    let has_to_prove = fresh == Some(Fresh::StepUp);
    match agreement {
        Agreement::Given(principal) => {
            let chosen = (principal.as_deref(), false);
            let to =
                authorization::issue(app, session, (request, question), chosen, visitor.address);
            Ok(with_code(see_other(to.await?.as_str(), None)))
        }
        Agreement::Wanted if request.prompt.none && !has_to_prove => {
            Err(Refusal::from(Reason::ConsentRequired).into())
        }
        Agreement::Wanted | Agreement::Choice if request.prompt.none => {
            Err(Refusal::from(Reason::InteractionRequired).into())
        }
        Agreement::Wanted | Agreement::Choice => {
            Ok(ask(app, visitor, session, (request, question), None)?)
        }
    }
}

/// Shows the person what the client asks for. A proof of identity that is too old is renewed after
/// that, so that the person knows what for.
fn ask(
    app: &App,
    visitor: &Visitor,
    session: &Session,
    (request, question): (&AuthorizationRequest, &Question),
    error: Option<&'static str>,
) -> Result<Response, Else> {
    let has_to_prove = question.freshness(app, session) == Some(Fresh::StepUp);
    let step_up = if has_to_prove {
        let query = query_after_sign_in(&visitor.query, app.clock.now());
        Some(return_to(&query)?.as_str().to_owned())
    } else {
        None
    };
    let shown = question.shown(request);
    let shown = shown.map(|what| ShownPage::new(app, &visitor.query, what));
    let sealed = shown.and_then(|shown| shown.seal(app, session));
    let sealed = sealed.ok_or_else(|| Refusal::from(Reason::Internal))?;
    let page = ConsentPage::new(app, session, (request, question), (sealed, step_up, error));
    Ok(render(app, StatusCode::OK, &page, None))
}

/// `POST /authorize/consent`
pub async fn consent(
    State(app): State<Arc<App>>,
    mut visitor: Visitor,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let session = match super::account::answer_unless_live(&app, &visitor).await {
        Ok(session) => session,
        Err(answer) => return answer,
    };
    // A page of before a sign-in or a step-up is asked again by the client, and not executed.
    let stale = || {
        let failure = Failure {
            detail: Some("the page was shown to another session, or too long ago".to_owned()),
            ..Failure::of(Reason::CsrfInvalid)
        };
        failed(&app, &visitor, &failure)
    };
    let fields = match posted(&app, &visitor, &session, body) {
        Ok(Posted::Now(fields)) => fields,
        Ok(Posted::Before(_)) => return stale(),
        Err(refused) => return refused.into_response(),
    };
    let sealed = fields.only("request").unwrap_or_default();
    let Some(ShownPage { query, what, .. }) = ShownPage::open(&app, &session, sealed) else {
        return stale();
    };
    visitor.query = query;
    let request = AuthorizationRequest::read(&visitor.query, &app.rules(), &app.config.own);
    let request = match request {
        Ok(request) => request,
        Err(rejected) => return reject(&app, &visitor, &rejected),
    };
    let chosen = (fields.text("principal"), &*what);
    let decided = match fields.only("decision") {
        Some("allow") => allowed(&app, &visitor, &session, &request, chosen).await,
        // Whatever else was pressed is no consent.
        _ => Err(Refusal::from(Reason::PersonDeclined).into()),
    };
    match decided {
        Ok(answer) => answer,
        Err(Else::Client(refusal)) => {
            let to = answer_client(&app, &visitor, &request.answer, &refusal);
            leave(&app, &request.answer, to)
        }
        Err(Else::Page(page)) => *page,
    }
}

/// Judges anew what was agreed to, and gives the client a code.
async fn allowed(
    app: &App,
    visitor: &Visitor,
    session: &Session,
    request: &AuthorizationRequest,
    (chosen, shown): (&str, &str),
) -> Result<Response, Else> {
    let question = authorization::judge(app, session, request)?;
    if question.shown(request).as_deref() != Some(shown) {
        let error = Some("What you would agree to has changed. Look at it again.");
        return ask(app, visitor, session, (request, &question), error);
    }
    match question.freshness(app, session) {
        Some(Fresh::Never(reason)) => return Err(Refusal::from(reason).into()),
        Some(Fresh::StepUp) => return ask(app, visitor, session, (request, &question), None),
        Some(Fresh::Until(_)) | None => {}
    }
    let Some(principal) = question.choice(chosen) else {
        let error = Some("Choose one of them.");
        return ask(app, visitor, session, (request, &question), error);
    };
    let to = authorization::issue(
        app,
        session,
        (request, &question),
        (principal, true),
        visitor.address,
    );
    Ok(leave(app, &request.answer, to.await?))
}

/// The answer to a form, which leads off our origin: a page, since browsers hold `form-action` against
/// the whole chain of redirects.
fn leave(app: &App, answer: &Answer, location: RedirectTo) -> Response {
    let page = ReturnPage {
        frame: Frame::new(&app.config),
        to: answer.shown_host(),
        location,
    };
    with_code(render(app, StatusCode::OK, &page, None))
}

/// Marks an answer that may hold a code, whose URL nobody may be told of.
fn with_code(mut response: Response) -> Response {
    response.extensions_mut().insert(super::HoldsCode);
    response
}

fn reject(app: &App, visitor: &Visitor, rejected: &Rejected) -> Response {
    match rejected {
        Rejected::Page(refusal) => {
            let failure = Failure {
                detail: refusal.parameter.map(str::to_owned),
                of_client: true,
                ..Failure::of(refusal.reason)
            };
            failed(app, visitor, &failure)
        }
        Rejected::Client(told) => to_client(app, visitor, &told.0, &told.1),
    }
}

/// Sends the browser back with an error.
fn to_client(app: &App, visitor: &Visitor, answer: &Answer, refusal: &Refusal) -> Response {
    let to = answer_client(app, visitor, answer, refusal);
    let cleared = None::<axum::http::HeaderValue>;
    with_code(see_other(to.as_str(), cleared))
}
