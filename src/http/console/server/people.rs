//! People who signed in, their roles of now and their sessions.

use askama::Template;
use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::inside::{Inside, Instead, Proof, Shell};
use super::super::page::{Frame, Moment, render, see_other};
use super::objects::ListPage;
use super::{Fact, ROWS, facts_of, further, reader};
use crate::admin::{self, Rejected, ShownPerson};

#[derive(Debug)]
struct SessionOfPerson {
    id: String,
    began: Moment,
    used: Moment,
    ends: Moment,
    roles: String,
}

#[derive(Debug, Template)]
#[template(path = "server_person.html")]
struct PersonPage {
    frame: Frame,
    shell: Shell,
    who: String,
    itself: String,
    enabled: bool,
    is_operator: bool,
    facts: Vec<Fact>,
    sessions: Vec<SessionOfPerson>,
    /// The events of the person.
    events: String,
}

fn path(inside: &Inside) -> String {
    format!("{}/people", inside.links.server())
}

/// `GET /console/server/people`
pub async fn list(inside: Inside) -> Result<Response, Instead> {
    reader(&inside).await?;
    let (links, path) = (&inside.links, path(&inside));
    let after = inside.visitor.parameter("after");
    let after = after.and_then(|after| after.parse().ok());
    let found = admin::list_people(&inside.app, None, after, ROWS.saturating_add(1)).await;
    let mut found = match found {
        Ok(found) => found,
        Err(rejected) => return Err(inside.rejected(rejected, links.server()).await),
    };
    let most = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let has_more = found.len() > most;
    found.truncate(most);
    let last = found.last().filter(|_| has_more);
    let page = ListPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            ("The server", links.server()),
        ]),
        heading: "People",
        column: "Name at the provider, and whether the person may sign in",
        more: last.map(|last| further(&path, &last.id.to_string())),
        rows: found
            .iter()
            .map(|one| {
                let named = one.username.as_ref().or(one.name.as_ref());
                let word = if one.enabled { "enabled" } else { "disabled" };
                (
                    named.unwrap_or(&one.sub).clone(),
                    format!("{path}/{}", one.id),
                    format!("{}, {word}", one.sub),
                )
            })
            .collect(),
    };
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

/// `GET /console/server/people/{id}`
pub async fn show(inside: Inside, Path(id): Path<String>) -> Result<Response, Instead> {
    reader(&inside).await?;
    let (app, links) = (&inside.app, &inside.links);
    let read = async {
        let person = admin::find_person(app, &id).await?;
        Ok((person, admin::sessions_of(app, &id).await?))
    };
    let (person, sessions) = match read.await {
        Ok(read) => read,
        Err(rejected) => return Err(inside.rejected(rejected, path(&inside)).await),
    };
    let sessions = sessions.into_iter().map(|one| SessionOfPerson {
        roles: match admin::roles_now(app, &one) {
            roles if roles.is_empty() => "none".to_owned(),
            roles => roles.join(", "),
        },
        id: one.id.to_string(),
        began: one.created_at.into(),
        used: one.last_used_at.into(),
        ends: one.expires_at.into(),
    });
    let named = person.username.as_ref().or(person.name.as_ref());
    let page = PersonPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            ("The server", links.server()),
            ("People", path(&inside)),
        ]),
        who: named.unwrap_or(&person.sub).clone(),
        itself: format!("{}/{}", path(&inside), person.id),
        enabled: person.enabled,
        is_operator: inside.session.roles.is_operator(),
        facts: facts_of(&ShownPerson::new(app, &person)),
        sessions: sessions.collect(),
        events: format!("{}/audit?person={}", links.server(), person.id),
    };
    Ok(render(app, StatusCode::OK, &page, None))
}

/// `POST /console/server/people/{id}`: lets the person sign in or no more, or ends sessions, which
/// needs no recent proof of identity.
pub async fn change(
    inside: Inside,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Instead> {
    let fields = inside.fields(body)?;
    reader(&inside).await?;
    let (app, word) = (&inside.app, fields.text("do"));
    let proof = match word {
        // Whoever finds an open browser must not shut out everybody.
        "enable" | "disable" => Proof::Recent,
        _ => Proof::Any,
    };
    let author = inside.operator(proof)?;
    let done = match word {
        "enable" | "disable" => admin::enable_person(app, &id, word == "enable", &author)
            .await
            .map(|_| ()),
        "end-all" => admin::end_sessions_of(app, &id, &author).await.map(|_| ()),
        "end" => match admin::end_session(app, fields.text("session"), &author).await {
            // One that has ended meanwhile is what was wanted.
            Ok(()) | Err(Rejected::NotFound) => Ok(()),
            Err(rejected) => Err(rejected),
        },
        _ => Err(Rejected::NotFound),
    };
    let back = format!("{}/{id}", path(&inside));
    match done {
        Ok(()) => Ok(see_other(&back, None)),
        Err(rejected) => Err(inside.rejected(rejected, back).await),
    }
}
