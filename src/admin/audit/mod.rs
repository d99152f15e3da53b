//! Reading the audit log, as far as the author may see it.

mod query;
mod run;
mod shown;

use std::borrow::Cow;

use serde_json::Value;

use self::query::Search;
use self::shown::own_part;
use super::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, item};
use crate::ids::EventId;
use crate::store::{AuditFilter, PrincipalView};

pub use query::AuditQuery;
pub use run::{RunEvents, events_of_run, run_number};

/// Why a question to the audit log is not answered.
#[derive(Debug, thiserror::Error)]
pub enum AuditRefused {
    /// A parameter of the question is wrong: which one, and what it must be.
    #[error("{0}")]
    Query(Cow<'static, str>),
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

impl AuditRefused {
    const fn query(problem: &'static str) -> Self {
        Self::Query(Cow::Borrowed(problem))
    }
}

/// A page of events, the latest first.
#[derive(Debug)]
pub struct AuditList {
    /// The events as the author may see them, with their ids.
    pub items: Vec<(EventId, Value)>,
    /// The id before which the next page begins; `None` once all events were searched. Events are
    /// searched up to a limit, so a page may have no event and a next page all the same.
    pub next: Option<EventId>,
}

/// Searches the audit log.
///
/// # Errors
///
/// [`AuditRefused::Query`] if the query is wrong, such as one for a principal that the author may not
/// act for.
pub async fn search_audit(
    app: &App,
    author: &Author,
    query: AuditQuery,
) -> Result<AuditList, AuditRefused> {
    let search = query.into_search(app, author).await?;
    let Search {
        filter,
        before,
        limit,
        reader,
    } = search;
    app.flush_audit().await;
    let page = app.store.audit_events(&filter, before, limit).await;
    let page = page.map_err(Rejected::from)?;
    let shown = |(event, seen): &(AuditEvent, PrincipalView)| {
        (event.id, shown_to(app, reader.as_deref(), event, seen))
    };
    Ok(AuditList {
        items: page.events.iter().map(shown).collect(),
        next: page.next,
    })
}

/// Reads the event with this id, or the one that counts the refusal with this id.
///
/// # Errors
///
/// [`Rejected::NotFound`] if there is none, or the author may not see it.
pub async fn read_event(app: &App, author: &Author, id: &str) -> Result<Value, Rejected> {
    let (reader, event, seen) = find_event(app, author, id).await?;
    Ok(shown_to(app, reader.as_deref(), &event, &seen))
}

fn shown_to(app: &App, reader: Option<&str>, event: &AuditEvent, seen: &PrincipalView) -> Value {
    let rules = app.rules();
    let whole = item(event, &rules);
    match reader {
        None => whole,
        Some(principal) => own_part(whole, principal, seen, &rules),
    }
}

/// An event as an author may see it: for one that is limited to principals, the principal that
/// sees it.
pub(super) type Found = (Option<String>, AuditEvent, PrincipalView);

/// The event with this id, or the one that counts a refusal with this `error_id`. To an author
/// limited to principals, events in which none of them has a part do not exist.
pub(super) async fn find_event(app: &App, author: &Author, id: &str) -> Result<Found, Rejected> {
    let id: EventId = id.parse().map_err(|_| Rejected::NotFound)?;
    app.flush_audit().await;
    let readers: Vec<Option<String>> = match &author.principals {
        None => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    for reader in readers {
        let principal = match &reader {
            None => None,
            Some(name) => match app.rules().principal(&name.to_ascii_lowercase()) {
                Some(principal) => Some(principal.id.clone()),
                None => continue,
            },
        };
        let filter = AuditFilter {
            error_id: Some(id),
            principal,
            of_credentials: !author.sees_everything,
            for_principal: reader.is_some(),
            ..AuditFilter::default()
        };
        let page = app.store.audit_events(&filter, None, 1).await?;
        if let Some((event, seen)) = page.events.into_iter().next() {
            return Ok((reader, event, seen));
        }
    }
    Err(Rejected::NotFound)
}
