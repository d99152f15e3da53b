//! The page of a rule: its state, whether it is used, what it admits, and what can be done with it.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use carnet_resource_server::ProofLevel;
use serde_json::{Map, Value};

use super::super::inside::{Inside, Instead, Place, Shell};
use super::super::page::{Frame, Moment, render};
use super::super::runs::{RunRow, first_of, last_of, refused_since, whole};
use super::snippets::of_rule;
use super::{Rule, is_to_review, state};
use crate::admin::{self, State};
use crate::documents::{FederatedCredentialDocument, PermissionDocument};
use crate::snippets::{Packages, Snippet};
use crate::trust::Warning;

/// Refused runs that the page of a rule without a token shows.
const REFUSED: u64 = 5;
/// How long the day of the next review is from now, unless the owner says otherwise.
const REVIEW_DAYS: i64 = 365;

/// A permission in words.
#[derive(Debug)]
pub struct PermissionRow {
    pub registry: String,
    pub actions: String,
    pub packages: String,
    pub owner: String,
    /// What is asked of proofs.
    pub demands: Vec<&'static str>,
}

impl PermissionRow {
    fn of(principal: &str, permission: &PermissionDocument) -> Self {
        let owner = permission.owner.as_deref().unwrap_or(principal);
        Self {
            registry: permission.resource_server.clone(),
            actions: permission.actions.join(", "),
            packages: permission.packages.join(", "),
            owner: owner.to_owned(),
            demands: [
                (permission.min_proof == ProofLevel::Key)
                    .then_some("a job that proves to hold a key"),
                permission
                    .require_sender_constraint
                    .then_some("a token that is bound to a key"),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }
}

#[derive(Debug, Template)]
#[template(path = "rule.html")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each decides about a sentence or a button of the page"
)]
struct RulePage {
    frame: Frame,
    shell: Shell,
    principal: String,
    name: String,
    id: String,
    version: i64,
    trusted_issuer: String,
    state: State,
    state_word: &'static str,
    pending_until: Option<Moment>,
    expires: Option<Moment>,
    review: Option<Moment>,
    is_to_review: bool,
    next_review: String,
    vouched: bool,
    /// Whether it counts for every job because the trusted issuer is the principal's own.
    by_nature: bool,
    used: Option<Moment>,
    /// The run that the rule gave its first token.
    first_run: Option<RunRow>,
    /// The run that the rule gave a token last.
    last_run: Option<RunRow>,
    /// The refused runs that arrived since the rule was saved.
    refused: Vec<RunRow>,
    /// What a job contains that uses the rule, while none does.
    snippet: Option<Snippet>,
    conditions: Vec<(String, String)>,
    permissions: Vec<PermissionRow>,
    pinned: Vec<(String, String)>,
    actors: Vec<String>,
    /// What the rule admits and permits, in sentences.
    preview: Vec<String>,
    warnings: Vec<Warning>,
    may_write: bool,
    is_operator: bool,
    itself: String,
    edit: String,
    history: String,
    snippets: String,
    runs: String,
    test: String,
    /// This page again, for the script that looks every few seconds.
    poll: String,
}

/// The rule of this name at a principal.
pub async fn find(inside: &Inside, place: &Place, name: &str) -> Result<Rule, Instead> {
    let reference = match name.parse::<crate::ids::CredentialId>() {
        Ok(_) => name.to_owned(),
        Err(_) => format!("{}:{name}", place.name()),
    };
    let found =
        admin::find::<FederatedCredentialDocument>(&inside.app, &reference, &place.reader).await;
    let back = inside.links.principal(place.name());
    match found {
        Ok(rule) if rule.document.principal.eq_ignore_ascii_case(place.name()) => Ok(rule),
        Ok(_) => Err(inside.not_found().await),
        Err(rejected) => Err(inside.rejected(rejected, back).await),
    }
}

/// `GET /console/principals/{principal}/rules/{rule}`
pub async fn show(
    inside: Inside,
    Path((principal, name)): Path<(String, String)>,
) -> Result<Response, Instead> {
    let place = inside.at(&principal).await?;
    let rule = find(&inside, &place, &name).await?;
    let page = page(&inside, &place, &rule).await?;
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

async fn page(inside: &Inside, place: &Place, rule: &Rule) -> Result<RulePage, Instead> {
    let app = &inside.app;
    let now = app.clock.now();
    let (links, principal) = (&inside.links, place.name());
    let members = admin::shown(app, rule);
    let last_run = last_of(inside, place, rule).await?;
    // Both look at the same time if no use was noted.
    let is_unused = last_run.is_none() && rule.state.first_used_at.is_none();
    let first_run = if is_unused {
        None
    } else {
        first_of(inside, place, rule).await?
    };
    // The rule itself says so some seconds later, and longer than events are kept.
    let noted = || rule.state.last_used_at.map(Moment::from);
    let used = last_run.as_ref().map(|run| run.at.clone()).or_else(noted);
    let (refused, snippet) = match used {
        None => {
            let refused = refused_since(inside, place, rule.updated_at, REFUSED).await?;
            let first = of_rule(inside, rule).snippets.into_iter().next();
            (refused, first)
        }
        Some(_) => (Vec::new(), None),
    };
    let state = state(rule, now);
    let document = &rule.document;
    let itself = links.rule(principal, &rule.name);
    let next_review = now.plus_seconds(REVIEW_DAYS.saturating_mul(86_400));
    Ok(RulePage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            (principal, links.principal(principal)),
        ]),
        principal: principal.to_owned(),
        name: rule.name.clone(),
        id: rule.id.clone(),
        version: rule.version,
        trusted_issuer: document.trusted_issuer.clone(),
        state,
        state_word: state.as_str(),
        pending_until: rule.state.pending_until.map(Into::into),
        expires: document.expires_at.map(Into::into),
        review: document.review_at.map(Into::into),
        is_to_review: is_to_review(rule, now),
        next_review: day(&next_review.to_string()),
        vouched: members.get("vouched") == Some(&Value::Bool(true)),
        by_nature: members.get("vouched") == Some(&Value::Bool(true))
            && !rule.state.vouching.counts(),
        used,
        first_run,
        last_run,
        refused,
        snippet,
        conditions: pairs(&document.matcher),
        permissions: document
            .permissions
            .iter()
            .map(|permission| PermissionRow::of(principal, permission))
            .collect(),
        pinned: pairs(&rule.state.pinned),
        actors: document.actors.clone(),
        preview: admin::preview(app, rule),
        warnings: admin::warnings(app, rule),
        may_write: place.may_write,
        is_operator: inside.session.roles.is_operator(),
        edit: links.edit(principal, &rule.name),
        history: format!("{itself}/history"),
        snippets: format!("{itself}/snippets"),
        runs: format!("{}?rule={}", links.runs(principal), rule.name),
        test: links.test(principal),
        poll: format!("{itself}?poll=1"),
        itself,
    })
}

/// The day of a time in RFC 3339.
pub fn day(time: &str) -> String {
    time.get(..10).unwrap_or(time).to_owned()
}

/// The members of an object as text.
fn pairs(members: &Map<String, Value>) -> Vec<(String, String)> {
    let pairs = members.iter();
    pairs
        .map(|(name, value)| (name.clone(), whole(value)))
        .collect()
}
