//! What happened in one run of a job, in the order of time: its token requests, what was published with
//! the tokens, and how they ended.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{find_event, shown_to};
use crate::admin::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::clock::Timestamp;
use crate::ids::{self, EventId};
use crate::profile::Profiles;
use crate::store::{AuditFilter, PrincipalView};

/// How long before and after an event its run is looked for, in seconds.
const AROUND_SECONDS: i64 = 86_400;
/// How long after an event most of its run has happened, in seconds.
const SOON_SECONDS: i64 = 3_600;
/// Most pages that one search reads.
const MOST_PAGES: usize = 4;
/// Most events of a page.
const PAGE: usize = 100;
/// Most tokens whose use is looked for.
const MOST_TOKENS: usize = 5;
/// What is done with a token.
const USES: [Outcome; 4] = [
    Outcome::Published,
    Outcome::PublicationRefused,
    Outcome::PublicationUnclear,
    Outcome::Revoked,
];

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
    fn of(event: &AuditEvent, profiles: &Profiles) -> Option<Self> {
        let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
        if let Some(number) = run_number(profiles, &detail) {
            return Some(Self::Number(event.trusted_issuer.clone(), number));
        }
        let url = detail.get("workload_url").and_then(Value::as_str);
        let digest = || Some(event.assertion.as_ref()?.digest.clone());
        url.map(|url| Self::Url(url.to_owned()))
            .or_else(|| digest().map(Self::Assertion))
    }
}

/// The number that the platform gives the run of an event with this `detail`, such as “run 9001”.
pub fn run_number(profiles: &Profiles, detail: &Value) -> Option<String> {
    let workload = detail.get("workload")?;
    let profile = profiles.get(workload.get("profile")?.as_str()?)?;
    let run = profile.run.as_ref()?;
    let number = match workload.get("claims")?.get(&run.claim)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(format!("{} {number}", run.noun))
}

type Events = BTreeMap<EventId, (AuditEvent, PrincipalView)>;

/// The reading of a run's events.
#[derive(Debug)]
struct Reading<'r> {
    app: &'r App,
    /// When the event happened that was named.
    at: Timestamp,
    /// Finds the events of all runs that the reader sees.
    filter: AuditFilter,
    found: Events,
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
    let principal = reader.as_deref().and_then(|name| {
        let rules = app.rules();
        let principal = rules.principal(&name.to_ascii_lowercase())?;
        Some(principal.id.clone())
    });
    let mut reading = Reading {
        app,
        at: ids::time_of(event.id.0),
        filter: AuditFilter {
            principal,
            of_runs: true,
            for_principal: reader.is_some(),
            ..AuditFilter::default()
        },
        found: Events::new(),
        // Those that one event counts may be of several runs.
        is_whole: event.count == 1,
    };
    // Who may not see the claims of a job is not told which run it was of.
    if event.outcome.is_of_run() && seen.claims {
        reading.read_requests(&event).await?;
        reading.read_uses(&event).await?;
    }
    reading.found.insert(event.id, (event, seen));
    let shown = reading
        .found
        .iter()
        .map(|(id, (event, seen))| (*id, shown_to(app, reader.as_deref(), event, seen)));
    Ok(RunEvents {
        items: shown.collect(),
        is_whole: reading.is_whole,
    })
}

impl Reading<'_> {
    /// Reads the token requests of the run.
    async fn read_requests(&mut self, event: &AuditEvent) -> Result<(), Rejected> {
        // Of what was done with a token, the run is that of the request for it. An exchange of a token
        // names no workload.
        let issued = match (&event.assertion, &event.token_id) {
            (None, Some(token)) => self.app.store.issued_token(token).await?,
            _ => None,
        };
        let issued = issued.filter(|issued| !issued.workload.is_empty());
        let request = issued.as_ref().unwrap_or(event);
        let profiles = &self.app.profiles;
        let (Some(name), Some(mark)) = (request.workload.first(), Mark::of(request, profiles))
        else {
            return Ok(());
        };
        let of_workload = AuditFilter {
            repository: Some(name.clone()),
            ..self.filter.clone()
        };
        for (event, seen) in self.read(&of_workload).await? {
            self.is_whole &= event.count == 1;
            if Mark::of(&event, profiles).as_ref() == Some(&mark) {
                self.found.insert(event.id, (event, seen));
            }
        }
        Ok(())
    }

    /// Reads what was done with the tokens of the run, and with that of the event.
    async fn read_uses(&mut self, event: &AuditEvent) -> Result<(), Rejected> {
        let issued = self.found.values().map(|(one, _)| one);
        let issued = issued.filter(|one| one.outcome == Outcome::Issued);
        let mut tokens: Vec<String> = Vec::new();
        for token in [event].into_iter().chain(issued) {
            let new = token.token_id.clone();
            tokens.extend(new.filter(|new| !tokens.contains(new)));
        }
        if tokens.is_empty() {
            return Ok(());
        }
        let mut searches = Vec::new();
        if self.filter.for_principal {
            // The events of a principal are found by its parts, not by their tokens.
            searches.extend(USES.map(|outcome| AuditFilter {
                outcome: Some(outcome),
                ..self.filter.clone()
            }));
        } else {
            self.is_whole &= tokens.len() <= MOST_TOKENS;
            tokens.truncate(MOST_TOKENS);
            searches.extend(tokens.iter().map(|token| AuditFilter {
                token_id: Some(token.clone()),
                ..self.filter.clone()
            }));
        }
        for filter in searches {
            for (event, seen) in self.read(&filter).await? {
                let token = event.token_id.as_ref();
                if token.is_some_and(|token| tokens.contains(token)) {
                    self.found.insert(event.id, (event, seen));
                }
            }
        }
        Ok(())
    }

    /// The events of a search around the event whose claims the reader may see. What happened much
    /// later is searched by itself, so that it does not use up the pages.
    async fn read(
        &mut self,
        filter: &AuditFilter,
    ) -> Result<Vec<(AuditEvent, PrincipalView)>, Rejected> {
        let soon = self.at.plus_seconds(SOON_SECONDS);
        let (earliest, latest) = (
            self.at.plus_seconds(AROUND_SECONDS.saturating_neg()),
            self.at.plus_seconds(AROUND_SECONDS),
        );
        let mut found = Vec::new();
        for (since, until) in [(earliest, soon), (soon, latest)] {
            let filter = AuditFilter {
                since: Some(since),
                until: Some(until),
                ..filter.clone()
            };
            let mut before = None;
            for page in 0..=MOST_PAGES {
                if page == MOST_PAGES {
                    self.is_whole = false;
                    break;
                }
                let page = self.app.store.audit_events(&filter, before, PAGE).await?;
                found.extend(page.events.into_iter().filter(|(_, seen)| seen.claims));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }
}
