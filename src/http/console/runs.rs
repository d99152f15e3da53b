//! Runs: the token requests and publications that concern a principal, and why they were refused.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use super::super::told::uri_of;
use super::inside::{Inside, Instead, Place, Shell};
use super::page::{Frame, Moment, render};
use super::rules::Rule;
use crate::admin::{self, AuditQuery, AuditRefused};
use crate::clock::Timestamp;
use crate::explain::{ExplainedCandidate, ExplainedCondition};
use crate::reason::Reason;

/// Runs on one page.
const RUNS: u64 = 50;
/// Most characters of a value in a table.
const MAX_SHOWN: usize = 300;
/// How long it may take until a rule says that it was used, in seconds.
const NOTED_WITHIN_SECONDS: i64 = 300;
/// How far the time of a rule's first use and that of its event may be apart, in seconds: the rule has the
/// time of the decision, the event that of the request.
const FIRST_WITHIN_SECONDS: i64 = 60;
/// Kinds of events that are runs.
const KINDS: [&str; 2] = ["token", "publication"];

/// A condition, as tables show it.
#[derive(Clone, Debug)]
pub struct ConditionRow {
    pub field: String,
    pub expected: String,
    pub received: String,
    pub met: bool,
    pub reason: Option<String>,
    pub hint: Option<String>,
}

impl From<ExplainedCondition> for ConditionRow {
    fn from(condition: ExplainedCondition) -> Self {
        Self {
            field: condition.field,
            expected: in_words(&condition.expected),
            received: in_words(&condition.received),
            met: condition.met,
            reason: condition.reason.map(|reason| reason.code().to_owned()),
            hint: condition.hint.map(str::to_owned),
        }
    }
}

impl ConditionRow {
    /// A mismatch as audit events record it.
    fn recorded(mismatch: &Value) -> Self {
        let value = |name: &str| in_words(mismatch.get(name).unwrap_or(&Value::Null));
        let text = |name: &str| mismatch.get(name)?.as_str().map(str::to_owned);
        Self {
            field: text("field").unwrap_or_default(),
            expected: value("expected"),
            received: value("received"),
            met: false,
            reason: text("reason"),
            hint: text("hint"),
        }
    }
}

/// A value as a whole, so that two values never look alike: a text, or JSON.
pub fn whole(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value of a claim, for people, cut where it is long.
pub fn in_words(value: &Value) -> String {
    let text = match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(in_words).collect();
            values.join(", ")
        }
        other => other.to_string(),
    };
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A run in a list.
#[derive(Debug)]
pub struct RunRow {
    pub id: String,
    pub link: String,
    pub at: Moment,
    pub count: u64,
    pub verdict: &'static str,
    /// The job, by repository or subject; `None` if the person may not see it.
    pub job: Option<String>,
    /// The run by the platform's own number, such as “run 9001”.
    pub numbered: Option<String>,
    pub rule: Option<String>,
    pub reason: Option<String>,
    /// The first condition that failed.
    pub failing: Option<ConditionRow>,
}

impl RunRow {
    fn of(inside: &Inside, place: &Place, event: &Value) -> Self {
        let text = |name: &str| event.get(name)?.as_str().map(str::to_owned);
        let id = text("id").unwrap_or_default();
        let at = text("last_at").or_else(|| text("at"));
        let at = at.and_then(|at| Timestamp::parse_rfc3339(&at));
        let failing = event.pointer("/detail/mismatches/0");
        Self {
            link: inside.links.run(place.name(), &id),
            at: at.unwrap_or_else(|| inside.app.clock.now()).into(),
            count: event.get("count").and_then(Value::as_u64).unwrap_or(1),
            verdict: verdict(event),
            job: text("repository").or_else(|| text("subject")),
            numbered: event
                .get("detail")
                .and_then(|detail| admin::run_number(&inside.app.profiles, detail)),
            rule: text("credential_name"),
            reason: text("reason"),
            failing: failing.map(ConditionRow::recorded),
            id,
        }
    }
}

fn verdict(event: &Value) -> &'static str {
    match event.get("outcome").and_then(Value::as_str) {
        Some("issued") => "Got a token",
        Some("refused") => "Refused",
        Some("revoked") => "Token ended",
        Some("published") => "Published",
        Some("publication_refused") => "Publication refused",
        _ => "Unclear",
    }
}

/// Whether an event is that of a run.
pub fn is_run(event: &Value) -> bool {
    let kind = event.get("kind").and_then(Value::as_str);
    kind.is_some_and(|kind| KINDS.contains(&kind))
}

/// What is asked of the audit log for these pages.
fn query(place: &Place, limit: u64) -> AuditQuery {
    AuditQuery {
        principal: Some(place.name().to_owned()),
        limit: Some(limit),
        of_runs: true,
        ..AuditQuery::default()
    }
}

/// The runs of a search, and where the next page begins.
async fn search(
    inside: &Inside,
    place: &Place,
    query: AuditQuery,
) -> Result<(Vec<RunRow>, Option<String>), Instead> {
    let back = inside.links.principal(place.name());
    match admin::search_audit(&inside.app, &place.reader, query).await {
        Ok(found) => {
            let rows = found
                .items
                .iter()
                .map(|(_, event)| RunRow::of(inside, place, event));
            Ok((rows.collect(), found.next.map(|next| next.to_string())))
        }
        Err(AuditRefused::Rejected(rejected)) => Err(inside.rejected(rejected, back).await),
        Err(AuditRefused::Query(problem)) => Err(Instead::from(inside.not_done(
            StatusCode::BAD_REQUEST,
            "The search is not right",
            vec![problem.into_owned()],
            inside.links.runs(place.name()),
        ))),
    }
}

/// The latest runs of a principal.
pub async fn latest(inside: &Inside, place: &Place, limit: u64) -> Result<Vec<RunRow>, Instead> {
    Ok(search(inside, place, query(place, limit)).await?.0)
}

/// The refused runs since a time that named the principal, the latest first: of those, the person
/// may see the claims.
pub async fn refused_since(
    inside: &Inside,
    place: &Place,
    since: Timestamp,
    limit: u64,
) -> Result<Vec<RunRow>, Instead> {
    let query = AuditQuery {
        outcome: Some("refused".to_owned()),
        since: Some(since.to_string()),
        ..query(place, limit)
    };
    Ok(search(inside, place, query).await?.0)
}

/// The run that a rule gave its first token; `None` if there was none, or its event is kept no more.
pub async fn first_of(
    inside: &Inside,
    place: &Place,
    rule: &Rule,
) -> Result<Option<RunRow>, Instead> {
    // A use is noted some seconds after its event.
    let (at, within) = match rule.state.first_used_at {
        Some(at) => (at, FIRST_WITHIN_SECONDS),
        None => (inside.app.clock.now(), NOTED_WITHIN_SECONDS),
    };
    let since = at.plus_seconds(within.saturating_neg());
    let query = AuditQuery {
        outcome: Some("issued".to_owned()),
        credential: Some(rule.id.clone()),
        since: Some(since.to_string()),
        until: Some(at.to_string()),
        ..query(place, RUNS)
    };
    Ok(search(inside, place, query).await?.0.pop())
}

/// The run that a rule gave a token last. The rule itself says when that was, some seconds later.
pub async fn last_of(
    inside: &Inside,
    place: &Place,
    rule: &Rule,
) -> Result<Option<RunRow>, Instead> {
    let now = inside.app.clock.now();
    let noted = rule.state.last_used_at.unwrap_or(now);
    let since = noted.plus_seconds(NOTED_WITHIN_SECONDS.saturating_neg());
    // The events since then are not searched if it was long ago.
    let until = noted.plus_seconds(NOTED_WITHIN_SECONDS);
    let query = AuditQuery {
        outcome: Some("issued".to_owned()),
        credential: Some(rule.id.clone()),
        since: Some(since.to_string()),
        until: Some(until.to_string()),
        ..query(place, 1)
    };
    Ok(search(inside, place, query).await?.0.into_iter().next())
}

#[derive(Debug, Template)]
#[template(path = "runs.html")]
struct RunsPage {
    frame: Frame,
    shell: Shell,
    principal: String,
    runs: Vec<RunRow>,
    outcome: String,
    rule: String,
    more: Option<String>,
}

/// `GET /console/principals/{principal}/runs`
pub async fn list(inside: Inside, Path(name): Path<String>) -> Result<Response, Instead> {
    let place = inside.at(&name).await?;
    let given = |name: &str| {
        let value = inside.visitor.parameter(name);
        value.filter(|value| !value.is_empty())
    };
    let (outcome, rule) = (given("outcome"), given("rule"));
    let asked = AuditQuery {
        outcome: outcome.clone(),
        credential: rule.as_ref().map(|rule| format!("{}:{rule}", place.name())),
        cursor: given("before"),
        ..query(&place, RUNS)
    };
    let (runs, next) = search(&inside, &place, asked).await?;
    let links = &inside.links;
    let more = next.map(|next| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [("outcome", &outcome), ("rule", &rule)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.append_pair("before", &next);
        format!("{}?{}", links.runs(place.name()), query.finish())
    });
    let page = RunsPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            (place.name(), links.principal(place.name())),
        ]),
        principal: place.name().to_owned(),
        runs,
        outcome: outcome.unwrap_or_default(),
        rule: rule.unwrap_or_default(),
        more,
    };
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

/// A rule beside a run.
#[derive(Debug)]
pub struct JudgedRule {
    pub name: String,
    pub matches: bool,
    pub conditions: Vec<ConditionRow>,
}

impl From<ExplainedCandidate> for JudgedRule {
    fn from(candidate: ExplainedCandidate) -> Self {
        Self {
            name: candidate.name,
            matches: candidate.matches,
            conditions: candidate.conditions.into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    shell: Shell,
    run: RunRow,
    /// The run at the platform, if the event has a URL of it.
    url: Option<Url>,
    reason_link: Option<String>,
    meaning: Option<&'static str>,
    remedy: Option<&'static str>,
    /// Members of the event that identify the job: name and value.
    facts: Vec<(String, String)>,
    /// The conditions that failed then.
    failed: Vec<ConditionRow>,
    /// How the rules of today judge the same request; `None` if that cannot be said.
    today: Option<Vec<JudgedRule>>,
}

/// `GET /console/principals/{principal}/runs/{event}`
pub async fn show(
    inside: Inside,
    Path((name, id)): Path<(String, String)>,
) -> Result<Response, Instead> {
    let place = inside.at(&name).await?;
    let links = &inside.links;
    let event = match admin::read_event(&inside.app, &place.reader, &id).await {
        Ok(event) if is_run(&event) => event,
        Ok(_) => return Err(inside.not_found().await),
        Err(rejected) => {
            let back = links.runs(place.name());
            return Err(inside.rejected(rejected, back).await);
        }
    };
    let question = Map::from_iter([("event".to_owned(), json!(id))]);
    let today = admin::explain(&inside.app, &place.reader, question).await;
    let own = |candidate: &ExplainedCandidate| {
        let principal = candidate.principal.as_deref();
        principal.is_some_and(|principal| principal.eq_ignore_ascii_case(place.name()))
    };
    let today = today.ok().map(|today| {
        let candidates = today.candidates.into_iter().filter(own);
        candidates.map(JudgedRule::from).collect()
    });
    let run = RunRow::of(&inside, &place, &event);
    let mismatches = event.pointer("/detail/mismatches");
    let mismatches = mismatches.and_then(Value::as_array).into_iter().flatten();
    let url = event
        .pointer("/detail/workload_url")
        .and_then(Value::as_str);
    let reason = run.reason.as_deref();
    let reason: Option<Reason> = reason.and_then(|code| code.parse().ok());
    let page = RunPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            (place.name(), links.principal(place.name())),
            ("Runs", links.runs(place.name())),
        ]),
        url: url
            .and_then(|url| Url::parse(url).ok())
            .filter(|url| url.scheme() == "https"),
        reason_link: reason.map(|reason| uri_of(reason, &inside.app.config.own)),
        meaning: reason.map(Reason::meaning),
        remedy: reason.map(Reason::remedy),
        facts: facts(&event),
        failed: mismatches.map(ConditionRow::recorded).collect(),
        today,
        run,
    };
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

/// What an event says of the job and of the request.
fn facts(event: &Value) -> Vec<(String, String)> {
    const MEMBERS: [(&str, &str); 8] = [
        ("Trusted issuer", "/trusted_issuer"),
        ("Subject", "/subject"),
        ("Registry", "/resource"),
        ("Principal in the request", "/detail/requested/principal"),
        ("Package", "/detail/package"),
        ("Version", "/detail/version"),
        ("Token", "/token_id"),
        ("In words", "/detail/detail"),
    ];
    let known = MEMBERS.iter().filter_map(|(title, pointer)| {
        let value = event.pointer(pointer).filter(|value| !value.is_null())?;
        Some(((*title).to_owned(), in_words(value)))
    });
    let claims = event.pointer("/detail/workload/claims");
    let claims = claims.and_then(Value::as_object).into_iter().flatten();
    let claims = claims.map(|(name, value)| (name.clone(), in_words(value)));
    known.chain(claims).collect()
}
