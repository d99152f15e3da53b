//! The pages of rules (federated credentials): the form in which an owner writes one, and the page
//! that shows whether it is used.

mod change;
mod controls;
mod draft;
mod form;
mod form_page;
mod history;
mod page;
mod snippets;
mod written;

pub use change::{change, delete};
pub use form::{begin, create, edit, replace};
pub use history::history;
pub use page::show;
pub use snippets::snippets;

use super::inside::Inside;
use super::page::Moment;
use crate::admin::State;
use crate::clock::Timestamp;
use crate::documents::{FederatedCredentialDocument, Stored};

/// A rule as it is stored.
pub type Rule = Stored<FederatedCredentialDocument>;

/// A rule in a list.
#[derive(Debug)]
pub struct RuleRow {
    pub name: String,
    pub link: String,
    pub state: &'static str,
    pub trusted_issuer: String,
    pub used: Option<Moment>,
    /// Whether the day on which the rule should be reviewed is past.
    pub is_to_review: bool,
}

/// The state of a rule in a word.
fn state(rule: &Rule, now: Timestamp) -> State {
    let document = &rule.document;
    State::of(
        document.enabled,
        document.expires_at,
        rule.state.pending_until,
        now,
    )
}

fn is_to_review(rule: &Rule, now: Timestamp) -> bool {
    rule.document.review_at.is_some_and(|at| at <= now)
}

/// The rows of these rules of a principal.
pub fn rows(inside: &Inside, principal: &str, rules: &[Rule]) -> Vec<RuleRow> {
    let now = inside.app.clock.now();
    let row = |rule: &Rule| RuleRow {
        link: inside.links.rule(principal, &rule.name),
        name: rule.name.clone(),
        state: state(rule, now).as_str(),
        trusted_issuer: rule.document.trusted_issuer.clone(),
        used: rule.state.last_used_at.map(Into::into),
        is_to_review: is_to_review(rule, now),
    };
    rules.iter().map(row).collect()
}
