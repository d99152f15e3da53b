//! How many tokens were issued and refused, and how many publications there were, on each of the last
//! days.

use serde::Serialize;

use super::{Author, Rejected};
use crate::app::App;
use crate::clock::Timestamp;
use crate::store::EventCounts;

/// Days that are counted, today among them.
pub const COUNTED_DAYS: i64 = 7;
const SECONDS_OF_A_DAY: i64 = 86_400;

/// The counts of the last days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Counts {
    /// The last seven days in UTC, today last.
    pub days: Vec<DayCounts>,
    /// The time down to which the events of these days were counted (RFC 3339): only the latest
    /// ones are. Null if all were.
    pub counted_until: Option<String>,
}

/// The counts of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DayCounts {
    /// The day, such as `2027-01-31`.
    pub day: String,
    /// Tokens that were issued.
    pub issued: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Publications through the gateway.
    pub published: u64,
    /// Publications that the gateway or a registry refused.
    pub publication_refused: u64,
}

/// Counts the events in which a principal has a part, or all events.
///
/// # Errors
///
/// [`Rejected::Forbidden`] for an author limited to other principals, [`Rejected::NotFound`] if there
/// is no such principal.
pub async fn counts(
    app: &App,
    author: &Author,
    principal: Option<&str>,
) -> Result<Counts, Rejected> {
    let id = match principal {
        Some(name) if !author.may_act_for(name) => return Err(Rejected::Forbidden),
        Some(name) => {
            let rules = app.rules();
            let found = rules.principal(&name.to_ascii_lowercase());
            Some(found.ok_or(Rejected::NotFound)?.id.clone())
        }
        None if !author.sees_everything => return Err(Rejected::Forbidden),
        None => None,
    };
    let today = app.clock.now().seconds().div_euclid(SECONDS_OF_A_DAY);
    let first = today.saturating_sub(COUNTED_DAYS).saturating_add(1);
    app.flush_audit().await;
    let found = app.store.count_events(id.as_deref(), first..=today).await?;
    Ok(Counts {
        days: (first..=today).map(|day| of_day(&found, day)).collect(),
        counted_until: found.counted_until.map(|until| until.to_string()),
    })
}

fn of_day(found: &EventCounts, day: i64) -> DayCounts {
    let of = |outcome: &'static str| found.counts.get(&(day, outcome)).copied();
    let count = |outcome| of(outcome).unwrap_or_default();
    let begins = Timestamp::from_seconds(day.saturating_mul(SECONDS_OF_A_DAY)).to_string();
    DayCounts {
        day: begins.get(..10).unwrap_or(&begins).to_owned(),
        issued: count("issued"),
        refused: count("refused"),
        published: count("published"),
        publication_refused: count("publication_refused"),
    }
}
