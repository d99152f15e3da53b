//! What happened in one run of a job, in the order of time: its token requests, what was published with
//! the tokens, and how they ended.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{find_event, shown_to};
use crate::admin::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::ids::{self, EventId};
use crate::store::{AuditFilter, PrincipalView};

/// How long before and after an event its run is looked for, in seconds.
const AROUND_SECONDS: i64 = 86_400;
/// Most pages that one search reads, and events of a page.
const MOST_PAGES: usize = 4;
const PAGE: usize = 100;
/// Most tokens whose use is looked for.
const MOST_TOKENS: usize = 20;

/// Claims with the number that a platform gives a run, and its word for one.
const NUMBERS: [(&str, &str); 2] = [("run_id", "run"), ("pipeline_id", "pipeline")];

/// The events of a run, the earliest first.
#[derive(Debug)]
pub struct RunEvents {
    /// The events as the author may see them, with their ids.
    pub items: Vec<(EventId, Value)>,
    /// Whether all events of the run are listed that happened within a day before and after the event
    /// that was named.
    pub is_whole: bool,
}

/// What the requests of one run have in common.
#[derive(Debug, PartialEq, Eq)]
enum Mark {
    /// The trusted issuer, and the number that its platform gives the run.
    Number(Option<String>, String),
    /// The URL of the run, where the platform has no such number.
    Url(String),
    /// The digest of the assertion, where it has neither.
    Assertion(String),
}

impl Mark {
    fn of(event: &AuditEvent) -> Option<Self> {
        let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
        if let Some(number) = run_number(&detail) {
            return Some(Self::Number(event.trusted_issuer.clone(), number));
        }
        let url = detail.get("workload_url").and_then(Value::as_str);
        let digest = || Some(event.assertion.as_ref()?.digest.clone());
        url.map(|url| Self::Url(url.to_owned()))
            .or_else(|| digest().map(Self::Assertion))
    }
}

/// The number that the platform gives the run of an event with this `detail`, such as “run 9001”.
pub fn run_number(detail: &Value) -> Option<String> {
    let claims = detail.pointer("/workload/claims")?;
    NUMBERS.iter().find_map(|(claim, word)| {
        let number = match claims.get(claim)? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some(format!("{word} {number}"))
    })
}

type Events = BTreeMap<EventId, (AuditEvent, PrincipalView)>;

/// The reading of a run's events.
#[derive(Debug)]
struct Reading<'r> {
    app: &'r App,
    /// Finds the events of all runs around the one that is read.
    around: AuditFilter,
    is_whole: bool,
}

/// Finds the events of the run that an event is of. Those of one run are the requests of one workload
/// with the same number of the run at its platform (or the same URL, or else the same assertion), and
/// what was done with their tokens.
///
/// # Errors
///
/// [`Rejected::NotFound`] if there is no such event, or the author may not see it.
pub async fn events_of_run(app: &App, author: &Author, id: &str) -> Result<RunEvents, Rejected> {
    let (reader, event, seen) = find_event(app, author, id).await?;
    let at = ids::time_of(event.id.0);
    let principal = reader.as_deref().and_then(|name| {
        let rules = app.rules();
        let principal = rules.principal(&name.to_ascii_lowercase())?;
        Some(principal.id.clone())
    });
    let mut reading = Reading {
        app,
        around: AuditFilter {
            principal,
            since: Some(at.plus_seconds(AROUND_SECONDS.saturating_neg())),
            until: Some(at.plus_seconds(AROUND_SECONDS)),
            of_runs: true,
            for_principal: reader.is_some(),
            ..AuditFilter::default()
        },
        is_whole: true,
    };
    // Who may not see the claims of a job is not told which run it was of.
    let mut found = if seen.claims {
        reading.events(&event).await?
    } else {
        Events::new()
    };
    found.insert(event.id, (event, seen));
    let shown = found
        .iter()
        .map(|(id, (event, seen))| (*id, shown_to(app, reader.as_deref(), event, seen)));
    Ok(RunEvents {
        items: shown.collect(),
        is_whole: reading.is_whole,
    })
}

impl Reading<'_> {
    async fn events(&mut self, event: &AuditEvent) -> Result<Events, Rejected> {
        // Of what was done with a token, the run is that of the request for it.
        let issued = match (&event.assertion, &event.token_id) {
            (None, Some(token)) => self.app.store.issued_token(token).await?,
            _ => None,
        };
        let request = issued.as_ref().unwrap_or(event);
        let mark = Mark::of(request);
        let (candidates, mut found) = match request.workload.first().zip(mark) {
            None => (Events::new(), Events::new()),
            Some((name, mark)) => {
                // The events of a principal are found by its parts alone.
                let by_name = Some(name.clone()).filter(|_| !self.around.for_principal);
                let filter = AuditFilter {
                    repository: by_name,
                    ..self.around.clone()
                };
                let candidates = self.read(&filter).await?;
                let of_run = |(_, (one, _)): &(&EventId, &(AuditEvent, _))| {
                    Mark::of(one).as_ref() == Some(&mark)
                };
                let found = candidates.iter().filter(of_run);
                let found = found.map(|(id, one)| (*id, one.clone())).collect();
                (candidates, found)
            }
        };
        let tokens = tokens_of(&found, event);
        if self.around.for_principal {
            let with_token = candidates.into_iter().filter(|(_, (one, _))| {
                let token = one.token_id.as_ref();
                token.is_some_and(|token| tokens.contains(token))
            });
            found.extend(with_token);
            return Ok(found);
        }
        self.is_whole &= tokens.len() <= MOST_TOKENS;
        for token in tokens.into_iter().take(MOST_TOKENS) {
            let filter = AuditFilter {
                token_id: Some(token),
                ..self.around.clone()
            };
            found.extend(self.read(&filter).await?);
        }
        Ok(found)
    }

    /// The events of a search whose claims the reader may see.
    async fn read(&mut self, filter: &AuditFilter) -> Result<Events, Rejected> {
        let mut found = Events::new();
        let mut before = None;
        for _ in 0..MOST_PAGES {
            let page = self.app.store.audit_events(filter, before, PAGE).await?;
            let seen = page.events.into_iter().filter(|(_, seen)| seen.claims);
            found.extend(seen.map(|(event, seen)| (event.id, (event, seen))));
            before = page.next;
            if before.is_none() {
                return Ok(found);
            }
        }
        self.is_whole = false;
        Ok(found)
    }
}

/// The tokens of a run, and the one that the event is about.
fn tokens_of(found: &Events, event: &AuditEvent) -> BTreeSet<String> {
    let issued = found
        .values()
        .map(|(one, _)| one)
        .filter(|one| one.outcome == Outcome::Issued);
    issued
        .chain([event])
        .filter_map(|one| one.token_id.clone())
        .collect()
}
