//! `carnet audit --follow`: prints the latest events, then new ones as they are recorded.
//!
//! The id of an event holds the time at which its request began, and the event is recorded when the
//! request ends. A later look may therefore find events that lie before those of the look before, so
//! each look goes back for as long as a request and the queue of refusals may take, and what was
//! printed is remembered for that long.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{AuditArgs, Failure, MOST_EMPTY_PAGES, PAGE, Page, print};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::command::admin_client::AdminClient;
use crate::command::{CommandError, Conclusion};

/// How often new events are looked for.
const EVERY: Duration = Duration::from_secs(2);
/// How far each look goes back behind the latest event, in seconds.
const OVERLAP_SECONDS: i64 = 120;
/// How far it goes back behind this machine's time at most, in seconds. The server's clock may be so
/// far behind.
const MOST_SECONDS: i64 = 600;

/// The events that were found so far.
struct Followed {
    /// The time of each event since the horizon, by its id and that of the latest refusal that it
    /// counts: an event that counts more refusals than before is new again.
    known: BTreeMap<(String, Option<String>), Timestamp>,
    /// The time of the latest event; at first 1970.
    latest: Timestamp,
}

pub(super) async fn run(
    args: &AuditArgs,
    mut client: AdminClient,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let mut followed = Followed {
        known: BTreeMap::new(),
        latest: Timestamp::default(),
    };
    let mut query = args.query();
    let mut first = latest(&client, &query, args.limit(), followed.horizon()).await?;
    followed.take_new(&mut first);
    first.retain(|event| args.shows(event, as_json));
    let skipped = first.len().saturating_sub(args.limit());
    let mut goes_on = print(first.iter().skip(skipped), as_json)?;
    let mut troubled = false;
    query.retain(|(name, _)| *name != "since");
    while goes_on {
        tokio::time::sleep(EVERY).await;
        let mut asked = query.clone();
        asked.push(("since", followed.horizon().to_string()));
        match latest(&client, &asked, 0, Timestamp::default()).await {
            Ok(mut events) => {
                troubled = false;
                followed.take_new(&mut events);
                events.retain(|event| args.shows(event, as_json));
                goes_on = print(&events, as_json)?;
            }
            // A server that restarts is waited for. The command's own token for the database ends
            // after a while; one that was given has to be replaced by whoever gave it.
            Err(Failure::Final(error)) if args.target.server.is_some() => return Err(error),
            Err(Failure::Passing(error) | Failure::Final(error)) => {
                if !troubled {
                    eprintln!("carnet: {error}; trying again");
                }
                troubled = true;
                if args.target.server.is_none() {
                    client = AdminClient::new(&args.target).await?;
                }
            }
        }
    }
    Ok(Conclusion::Yes)
}

/// The events of a search in the order of time: all since `horizon`, and at least `least` if there
/// are so many.
async fn latest(
    client: &AdminClient,
    query: &[(&'static str, String)],
    least: usize,
    horizon: Timestamp,
) -> Result<Vec<Value>, Failure> {
    let mut events: Vec<Value> = Vec::new();
    let (mut cursor, mut empty) = (None::<String>, 0usize);
    loop {
        let page = Page::read(client, query, cursor.as_deref(), PAGE).await?;
        empty = if page.items.is_empty() {
            empty.saturating_add(1)
        } else {
            0
        };
        events.extend(page.items);
        let searched = page.searched_until.as_deref();
        let searched = searched.and_then(Timestamp::parse_rfc3339);
        cursor = page.next;
        let is_enough = (events.len() >= least || empty >= MOST_EMPTY_PAGES)
            && searched.is_none_or(|until| until < horizon);
        if cursor.is_none() || is_enough {
            events.reverse();
            return Ok(events);
        }
    }
}

impl Followed {
    /// The time since which events may still be recorded.
    fn horizon(&self) -> Timestamp {
        self.latest
            .plus_seconds(OVERLAP_SECONDS.saturating_neg())
            .max(
                SystemClock
                    .now()
                    .plus_seconds(MOST_SECONDS.saturating_neg()),
            )
    }

    /// Removes the events that are known, and remembers the others.
    fn take_new(&mut self, events: &mut Vec<Value>) {
        let text =
            |event: &Value, name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        events.retain(|event| {
            let (Some(id), Some(at)) = (text(event, "id"), text(event, "at")) else {
                return false;
            };
            let latest = text(event, "last_at").unwrap_or(at);
            let latest = Timestamp::parse_rfc3339(&latest).unwrap_or_default();
            self.latest = self.latest.max(latest);
            let key = (id, text(event, "last_error_id"));
            self.known.insert(key, latest).is_none()
        });
        let horizon = self.horizon();
        self.known.retain(|_, at| *at >= horizon);
    }
}
