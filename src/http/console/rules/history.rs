//! What became of a rule: who changed what, and when.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};

use super::super::inside::{Inside, Instead, Shell};
use super::super::page::{Frame, Moment, render};
use super::page::find;
use crate::admin::{self, AuditQuery, AuditRefused};
use crate::clock::Timestamp;
use crate::documents::differences;

/// Changes on the page, of each kind.
const CHANGES: u64 = 50;

/// One change.
#[derive(Debug)]
struct ChangeRow {
    at: Moment,
    what: &'static str,
    by: String,
    /// Each value that differs, a line each.
    lines: Vec<String>,
}

impl ChangeRow {
    fn of(event: &Value) -> Option<Self> {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let side = |pointer: &str| match event.pointer(pointer) {
            Some(Value::Object(members)) => members.iter().map(told).collect(),
            _ => Map::new(),
        };
        let (before, after) = (side("/detail/before"), side("/detail/after"));
        let what = match text("outcome")? {
            "created" => "Made",
            "updated" => "Changed",
            _ => return None,
        };
        let found = differences(&before, &after);
        Some(Self {
            at: Timestamp::parse_rfc3339(text("at")?)?.into(),
            what,
            by: text("person")
                .or(text("actor"))
                .unwrap_or("unknown")
                .to_owned(),
            lines: found.iter().map(ToString::to_string).collect(),
        })
    }
}

/// A member of a recorded document. Of one that was too long for the record, the event has the size and
/// the digest.
fn told((name, value): (&String, &Value)) -> (String, Value) {
    let size = value.get("bytes").and_then(Value::as_u64);
    let digest = value.get("sha256").and_then(Value::as_str);
    let value = match size.zip(digest) {
        Some((size, digest)) => {
            format!("{size} bytes, too long for the record; their SHA-256 is {digest}").into()
        }
        None => value.clone(),
    };
    (name.clone(), value)
}

#[derive(Debug, Template)]
#[template(path = "rule_history.html")]
struct HistoryPage {
    frame: Frame,
    shell: Shell,
    name: String,
    changes: Vec<ChangeRow>,
    is_whole: bool,
}

/// `GET /console/principals/{principal}/rules/{rule}/history`
pub async fn history(
    inside: Inside,
    Path((principal, name)): Path<(String, String)>,
) -> Result<Response, Instead> {
    let place = inside.at(&principal).await?;
    let rule = find(&inside, &place, &name).await?;
    let links = &inside.links;
    let mut changes: Vec<(String, ChangeRow)> = Vec::new();
    let mut is_whole = true;
    for outcome in ["updated", "created"] {
        let query = AuditQuery {
            principal: Some(place.name().to_owned()),
            credential: Some(rule.id.clone()),
            outcome: Some(outcome.to_owned()),
            since: Some(rule.created_at.to_string()),
            limit: Some(CHANGES),
            ..AuditQuery::default()
        };
        let found = match admin::search_audit(&inside.app, &place.reader, query).await {
            Ok(found) => found,
            Err(AuditRefused::Rejected(rejected)) => {
                let back = links.rule(place.name(), &rule.name);
                return Err(inside.rejected(rejected, back).await);
            }
            Err(AuditRefused::Query(_)) => return Err(inside.not_found().await),
        };
        is_whole &= found.next.is_none();
        let rows = found.items.iter();
        changes
            .extend(rows.filter_map(|(id, event)| Some((id.to_string(), ChangeRow::of(event)?))));
    }
    changes.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    let name = place.name();
    let page = HistoryPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            (name, links.principal(name)),
            (&rule.name, links.rule(name, &rule.name)),
        ]),
        name: rule.name.clone(),
        changes: changes.into_iter().map(|(_, row)| row).collect(),
        is_whole,
    };
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}
