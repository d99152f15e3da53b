//! The audit log: a search over at most 31 days, and the page of an event.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;
use url::form_urlencoded;

use super::super::inside::{Inside, Instead, Shell};
use super::super::page::{Frame, Moment, render};
use super::super::runs::{in_words, is_run};
use super::{Fact, ROWS, facts, reader};
use crate::admin::{self, AuditQuery, AuditRefused, RunEvents};
use crate::clock::Timestamp;
use crate::ids;

/// Most days that one search covers.
const DAYS: i64 = 31;
const SECONDS: i64 = DAYS * 86_400;
const NAMES: [&str; 15] = [
    "since",
    "until",
    "outcome",
    "reason",
    "trusted_issuer",
    "resource",
    "repository",
    "principal",
    "credential",
    "client_id",
    "person",
    "address",
    "token_id",
    "assertion",
    "error_id",
];

#[derive(Debug)]
struct EventRow {
    link: String,
    at: String,
    outcome: String,
    reason: String,
    principal: String,
    who: String,
}

#[derive(Debug, Template)]
#[template(path = "server_audit.html")]
struct AuditPage {
    frame: Frame,
    shell: Shell,
    /// The fields of the form: parameter, label, value.
    fields: Vec<(&'static str, String, String)>,
    problem: Option<String>,
    events: Vec<EventRow>,
    searched_until: Option<Moment>,
    more: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "server_event.html")]
struct EventPage {
    frame: Frame,
    shell: Shell,
    id: String,
    facts: Vec<Fact>,
    /// Text and link.
    links: Vec<(&'static str, String)>,
    /// What happened in the run that the event is of, the earliest first.
    run: Vec<EventRow>,
    /// Whether the run may have further events.
    is_cut: bool,
}

fn path(inside: &Inside) -> String {
    format!("{}/audit", inside.links.server())
}

/// The time that a person typed: a time in RFC 3339, or a day.
fn time(name: &str, typed: &str, of_day: &str) -> Result<Timestamp, String> {
    let whole = if typed.len() == 10 {
        format!("{typed}T{of_day}Z")
    } else {
        typed.to_owned()
    };
    Timestamp::parse_rfc3339(&whole).ok_or_else(|| {
        format!("{name} must be a day such as 2027-01-31, or a time such as 2027-01-31T08:00:00Z")
    })
}

fn query(inside: &Inside) -> Result<AuditQuery, String> {
    let given = |name: &str| {
        let value = inside.visitor.parameter(name);
        value.filter(|value| !value.is_empty())
    };
    let until = given("until");
    let until = until.map(|typed| time("until", &typed, "23:59:59"));
    let until = until.transpose()?;
    let last = until.unwrap_or_else(|| inside.app.clock.now());
    let first = last.seconds().saturating_sub(SECONDS);
    let since = given("since").map(|typed| time("since", &typed, "00:00:00"));
    // An event that is named is found whenever it was.
    let since = match since.transpose()? {
        Some(since) if since.seconds() < first => {
            return Err(format!("since must be at most {DAYS} days before until"));
        }
        None if given("error_id").is_some() => None,
        since => Some(since.unwrap_or_else(|| Timestamp::from_seconds(first))),
    };
    Ok(AuditQuery {
        since: since.map(|at| at.to_string()),
        until: until.map(|at| at.to_string()),
        outcome: given("outcome"),
        reason: given("reason"),
        trusted_issuer: given("trusted_issuer"),
        resource: given("resource"),
        repository: given("repository"),
        principal: given("principal"),
        credential: given("credential"),
        client_id: given("client_id"),
        person: given("person"),
        address: given("address"),
        token_id: given("token_id"),
        assertion: given("assertion"),
        error_id: given("error_id"),
        limit: Some(ROWS),
        cursor: given("before"),
        of_runs: false,
    })
}

/// `GET /console/server/audit`
pub async fn search(inside: Inside) -> Result<Response, Instead> {
    let author = reader(&inside).await?;
    let (links, path) = (&inside.links, path(&inside));
    let found = match query(&inside) {
        Ok(query) => admin::search_audit(&inside.app, &author, query).await,
        Err(problem) => Err(AuditRefused::Query(problem.into())),
    };
    let (found, problem) = match found {
        Ok(found) => (Some(found), None),
        Err(AuditRefused::Query(problem)) => (None, Some(problem.into_owned())),
        Err(AuditRefused::Rejected(rejected)) => {
            return Err(inside.rejected(rejected, links.server()).await);
        }
    };
    let value = |name: &str| inside.visitor.parameter(name).unwrap_or_default();
    let next = found.as_ref().and_then(|found| found.next);
    let more = next.map(|next| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for name in NAMES {
            let value = value(name);
            if !value.is_empty() {
                query.append_pair(name, &value);
            }
        }
        query.append_pair("before", &next.to_string());
        format!("{path}?{}", query.finish())
    });
    let events = found.iter().flat_map(|found| &found.items);
    let page = AuditPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            ("The server", links.server()),
        ]),
        fields: NAMES
            .into_iter()
            .map(|name| (name, name.replace('_', " "), value(name)))
            .collect(),
        events: events
            .map(|(id, event)| row(&format!("{path}/{id}"), event))
            .collect(),
        searched_until: next.map(|next| ids::time_of(next.0).into()),
        more,
        problem,
    };
    let status = if page.problem.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    Ok(render(&inside.app, status, &page, None))
}

fn row(link: &str, event: &Value) -> EventRow {
    let text = |name: &str| {
        let value = event.get(name).filter(|value| !value.is_null());
        value.map(in_words)
    };
    let who = text("repository").or_else(|| text("subject"));
    let who = who.or_else(|| text("actor")).or_else(|| text("client_id"));
    EventRow {
        link: link.to_owned(),
        at: text("at").unwrap_or_default(),
        outcome: text("outcome").unwrap_or_default(),
        reason: text("reason").unwrap_or_default(),
        principal: text("principal").unwrap_or_default(),
        who: who.unwrap_or_default(),
    }
}

/// `GET /console/server/audit/{id}`
pub async fn show(inside: Inside, Path(id): Path<String>) -> Result<Response, Instead> {
    let author = reader(&inside).await?;
    let links = &inside.links;
    let event = match admin::read_event(&inside.app, &author, &id).await {
        Ok(event) => event,
        Err(rejected) => return Err(inside.rejected(rejected, path(&inside)).await),
    };
    let text = |name: &str| event.get(name)?.as_str();
    let is_of_run = is_run(&event);
    let run = if is_of_run {
        match admin::events_of_run(&inside.app, &author, &id).await {
            Ok(run) => run,
            Err(rejected) => return Err(inside.rejected(rejected, path(&inside)).await),
        }
    } else {
        RunEvents {
            items: Vec::new(),
            is_whole: true,
        }
    };
    let mut leading = Vec::new();
    let rules = inside.app.rules();
    let principal = text("principal").map(str::to_ascii_lowercase);
    if let Some(known) = principal.and_then(|folded| rules.principal(&folded).cloned()) {
        leading.push(("The principal", links.principal(&known.name)));
        if is_of_run {
            leading.push(("The run", links.run(&known.name, &id)));
        }
    }
    if let Some(person) = text("person") {
        leading.push(("The person", format!("{}/people/{person}", links.server())));
    }
    let page = EventPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            ("The server", links.server()),
            ("Audit log", path(&inside)),
        ]),
        facts: event.as_object().map(facts).unwrap_or_default(),
        links: leading,
        run: run
            .items
            .iter()
            .map(|(id, event)| row(&format!("{}/{id}", path(&inside)), event))
            .collect(),
        is_cut: !run.is_whole,
        id,
    };
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}
