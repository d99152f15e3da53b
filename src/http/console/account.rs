//! The page of the person who is signed in, the own sessions, and the sign-out.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::cookies;
use super::page::{
    AccountPage, Frame, Freshness, HeldRole, LeavePage, SessionEndedPage, SessionRow,
    SignedOutPage, render, see_other, sign_in_page, span,
};
use super::posted::posted_at_any_time;
use super::refused::{membership_withdrawn, no_page, unavailable};
use super::visitor::Visitor;
use crate::app::App;
use crate::ids::SessionId;
use crate::people::session::{self, Fresh, OwnSession, Session, SignOut, Standing, Write};

/// `GET /console`: who is signed in, what they may do, and their sessions.
pub async fn home(State(app): State<Arc<App>>, visitor: Visitor) -> Response {
    let session = match answer_unless_live(&app, &visitor).await {
        Ok(session) => session,
        Err(answer) => return answer,
    };
    match session::own_sessions(&app, &session).await {
        Ok(sessions) => render(
            &app,
            StatusCode::OK,
            &account(&app, &session, sessions),
            None,
        ),
        Err(error) => unavailable(&app, &visitor, &error),
    }
}

/// The session of the visitor, or the answer where there is none that lasts.
pub async fn answer_unless_live(app: &App, visitor: &Visitor) -> Result<Box<Session>, Response> {
    let standing = session::current(app, &visitor.cookies).await;
    match standing {
        Ok(Standing::Live(session)) => {
            // Whoever leaves a page open that looks by itself does not use the session.
            if visitor.parameter("poll").is_none() {
                session.note_use(app).await;
            }
            Ok(session)
        }
        Ok(Standing::NoMembership(session)) => Err(membership_withdrawn(app, visitor, &session)),
        Ok(Standing::SignedOut) => Err(see_other(&sign_in_page(app, &visitor.here, false), None)),
        Ok(standing @ (Standing::Unknown | Standing::Ended)) => {
            if matches!(standing, Standing::Unknown) {
                // Whoever invents cookies reads the database with each of them.
                app.limits.note_refusal(visitor.address);
            }
            let page = SessionEndedPage {
                link: sign_in_page(app, &visitor.here, false),
                frame: Frame::new(&app.config),
            };
            let cleared = cookies::without_session(&app.config.own);
            Err(render(app, StatusCode::FORBIDDEN, &page, cleared))
        }
        Err(error) => Err(unavailable(app, visitor, &error)),
    }
}

/// `POST /console/sign-out`: ends the session here, then the one at the provider, by a page and not
/// by a redirect.
pub async fn sign_out(
    State(app): State<Arc<App>>,
    mut visitor: Visitor,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Err(refused) = posted_at_any_time(&app, &visitor, body) {
        return refused.into_response();
    }
    let at_provider = match session::sign_out(&app, &visitor.cookies, visitor.address).await {
        Ok(SignOut::Ended(at_provider)) => at_provider,
        Ok(SignOut::NoCookie) => None,
        Ok(SignOut::Unknown) => {
            // As in `answer_unless_live`: the token of a form can be made from an invented cookie.
            app.limits.note_refusal(visitor.address);
            None
        }
        Err(error) => return unavailable(&app, &visitor, &error),
    };
    visitor.give_up_turn();
    let location = match at_provider {
        Some(at_provider) => at_provider.end_url(&app).await,
        None => None,
    };
    let frame = Frame::new(&app.config);
    let cleared = cookies::without_session(&app.config.own);
    match location {
        None => see_other(&format!("{}/signed-out", frame.home), cleared),
        Some(location) => {
            let to = location.host_str().unwrap_or_default().to_owned();
            let page = LeavePage {
                frame,
                heading: "You are signed out here",
                sentence:
                    "Your session here has ended. Your identity provider is asked to end its own."
                        .to_owned(),
                location,
                to,
            };
            render(&app, StatusCode::OK, &page, cleared)
        }
    }
}

/// `GET /console/signed-out`: says so to whoever is signed out.
pub async fn signed_out(State(app): State<Arc<App>>, visitor: Visitor) -> Response {
    let frame = Frame::new(&app.config);
    let cleared = match session::current(&app, &visitor.cookies).await {
        Ok(Standing::Live(_) | Standing::NoMembership(_)) => return see_other(&frame.home, None),
        Ok(Standing::SignedOut) => None,
        Ok(standing @ (Standing::Unknown | Standing::Ended)) => {
            if matches!(standing, Standing::Unknown) {
                app.limits.note_refusal(visitor.address);
            }
            cookies::without_session(&app.config.own)
        }
        Err(error) => return unavailable(&app, &visitor, &error),
    };
    render(&app, StatusCode::OK, &SignedOutPage { frame }, cleared)
}

/// `POST /console/sessions/{id}/end`: ends another session of the same person.
pub async fn end_session(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    visitor: Visitor,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Err(refused) = posted_at_any_time(&app, &visitor, body) {
        return refused.into_response();
    }
    let session = match answer_unless_live(&app, &visitor).await {
        Ok(session) => session,
        Err(answer) => return answer,
    };
    let Ok(id) = id.parse::<SessionId>() else {
        return no_page(app, &visitor, uri).await;
    };
    // One that has ended meanwhile is what was wanted.
    match session::end_own(&app, &session, id, visitor.address).await {
        Ok(_) => see_other(&Frame::new(&app.config).home, None),
        Err(error) => unavailable(&app, &visitor, &error),
    }
}

fn freshness(app: &App, session: &Session, wanted: Write) -> Freshness {
    match session.freshness(app, wanted) {
        Fresh::Until(until) => Freshness::Until(until.into()),
        Fresh::StepUp => Freshness::StepUp,
        Fresh::Never(reason) => Freshness::Never(reason.sentence()),
    }
}

fn account(app: &App, session: &Session, sessions: Vec<OwnSession>) -> AccountPage {
    let (person, people) = (&session.person, &app.config.people);
    let rules = app.rules();
    let held = session.roles.principals.iter();
    let principals = held.map(|(principal, held)| HeldRole {
        principal: rules
            .principal(principal)
            .map_or_else(|| principal.to_string(), |known| known.name.clone()),
        role: held.role.as_str(),
        membership: rules
            .membership(held.membership)
            .map_or_else(|| held.membership.to_string(), |known| known.name.clone()),
    });
    let rows = sessions.into_iter().map(|one| SessionRow {
        is_this: one.id == session.id,
        id: one.id.to_string(),
        began: one.created_at.into(),
        used: one.last_used_at.into(),
        ends: one.ends_at.into(),
    });
    let of_rules = freshness(app, session, Write::Rules);
    // Where nothing can be changed at all, nothing of the server can.
    let asks_more = session.roles.is_operator() && matches!(of_rules, Freshness::Until(_));
    AccountPage {
        frame: Frame::new(&app.config),
        csrf: session.csrf.as_str().to_owned(),
        shown_name: session.shown_name().to_owned(),
        provider: session.provider.display_name.clone(),
        username: person.username.clone(),
        email: person.email.clone(),
        sub: person.sub.clone(),
        person: person.id.to_string(),
        operator: session.roles.operator.is_some(),
        auditor: session.roles.auditor.is_some(),
        principals: principals.collect(),
        may_change: session.roles.may_write(),
        proved_at: session.auth_time.map(Into::into),
        provider_says_when: session.provider_says_when(),
        freshness: of_rules,
        for_server: asks_more.then(|| freshness(app, session, Write::Operator)),
        idle: span(people.session_idle_seconds),
        absolute: span(people.session_seconds),
        sessions: rows.collect(),
    }
}
