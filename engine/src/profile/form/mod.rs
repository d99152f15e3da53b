//! Forms: how people write the `match` of a rule (`[form]` of a profile file). A form has an entry for
//! each thing that a rule may name; several entries may write one field, as branch and tag write `ref`.
//!
//! [`Form::read`] makes a `match` of what an HTML form sent, [`Form::fill`] shows a stored one, and
//! [`Form::edited`] joins both, so that what was not changed in the form is not changed in the rule.
//! Values are only spelt here; saving validates and normalises them ([`crate::trust::normalise`]).

mod edit;
pub(super) mod file;
mod fill;
mod piece;
#[cfg(test)]
mod properties;
mod read;
mod sentence;
mod spelling;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

pub use sentence::quoted;
pub(super) use sentence::{Sentence, VALUE};
pub(super) use spelling::Spelling;

/// The field of `match` that holds conditions on any other claims.
pub const CLAIMS: &str = "claims";

/// The form of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RuleForm)]
pub struct Form {
    /// Whose workloads are meant: shown first, each with its value.
    pub main: Vec<Entry>,
    /// Which of their runs are meant: each has a checkbox, and counts only if that is ticked.
    pub filters: Vec<Entry>,
    /// Everything else that a rule may say, for those who look for it.
    pub more: Vec<Entry>,
    /// Why a rule needs at least one of the filters; null if it needs none.
    pub filters_needed: Option<String>,
    #[serde(skip)]
    pub(super) sentence: Sentence,
}

/// One control of a form, or a checkbox with a control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = RuleFormEntry)]
pub struct Entry {
    /// The name under which the HTML form sends the value, unique in the form: `match.ref.branch`.
    pub key: String,
    /// The name under which the checkbox of a filter is sent; the value counts only with it. Null
    /// for entries without one, and for flags, which are checkboxes themselves.
    pub tick: Option<String>,
    /// The field of `match`, or `claims`.
    pub field: String,
    pub label: String,
    pub help: Option<String>,
    pub example: Option<String>,
    pub input: Input,
    /// The beginning of the field's values that people leave out: `refs/heads/` of a branch.
    pub shorthand: Option<String>,
    /// Fields that get these values when the entry is filled in, such as `ref_type`.
    pub with: BTreeMap<String, String>,
    #[serde(skip)]
    pub(super) spelling: Spelling,
    #[serde(skip)]
    pub(super) phrases: Phrases,
}

/// The kind of control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = RuleFormInput)]
pub enum Input {
    /// A text.
    Text {
        /// Whether there may be several values, one a line.
        many: bool,
        /// Whether `*` in the text makes it a pattern.
        globs: bool,
    },
    /// One of the values.
    Choice {
        values: Vec<String>,
        /// The value of a rule that does not say; null if such a rule admits all of them.
        default: Option<String>,
    },
    /// A checkbox. Ticked, it adds the condition that the label tells.
    Flag,
    /// Conditions on claims, one a line: `name = value`. The value is JSON, or a text without
    /// quotation marks.
    Claims,
}

/// What the preview says of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Phrases {
    /// Said of values; `{value}` stands for them.
    pub says: Option<String>,
    /// Said of patterns, if not the same.
    pub says_of_patterns: Option<String>,
    /// Said if the rule does not have the field.
    pub unsaid: Option<String>,
    /// Fields with any of which `unsaid` is not said.
    pub unless: Vec<String>,
}

/// What an HTML form sent: names and values, in their order.
pub type Sent = [(String, String)];

/// A `match` made of what a form sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadForm {
    pub matched: Map<String, Value>,
    /// What cannot be read; the `match` is without these values.
    pub problems: Vec<FormProblem>,
}

/// A mistake, at the entry that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormProblem {
    /// [`Entry::key`].
    pub key: String,
    pub text: String,
}

/// A stored `match` in a form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filled {
    /// What the form sends if nobody changes it: values by [`Entry::key`], and `on` by
    /// [`Entry::tick`].
    pub sent: Vec<(String, String)>,
    /// The members that no entry can show. They stay in the rule when the form is saved.
    pub rest: Map<String, Value>,
}

impl Form {
    /// All entries, in the order of the form.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.main.iter().chain(&self.filters).chain(&self.more)
    }

    /// The key of the entry at which a problem of a document is shown, by the JSON Pointer of the
    /// problem, such as `/match/ref`: the first entry of the field that was filled in, or else the
    /// first. `None` for problems that belong to no entry.
    pub fn key_of(&self, pointer: &str, sent: &Sent) -> Option<&str> {
        let name = pointer.strip_prefix("/match/")?.split('/').next()?;
        let name = name.replace("~1", "/").replace("~0", "~");
        let of_field = || self.entries().filter(|entry| entry.field == name);
        let given = of_field().find(|entry| entry.given(sent).is_some());
        let with = || {
            self.entries()
                .find(|entry| entry.with.contains_key(&name) && entry.given(sent).is_some())
        };
        let entry = given.or_else(with).or_else(|| of_field().next())?;
        Some(&entry.key)
    }
}

impl Entry {
    /// The text that was sent for this entry, whether it counts or not; empty if there is none.
    pub fn text<'s>(&self, sent: &'s Sent) -> &'s str {
        value_of(sent, &self.key).unwrap_or_default()
    }

    /// Whether the checkbox of this entry was ticked: that of a filter, or the flag itself.
    pub fn is_ticked(&self, sent: &Sent) -> bool {
        let name = match (&self.tick, &self.input) {
            (Some(tick), _) => tick,
            (None, Input::Flag) => &self.key,
            (None, _) => return false,
        };
        value_of(sent, name).is_some()
    }

    /// The text that counts: `None` if nothing was given, empty if the checkbox alone was ticked.
    fn given<'s>(&self, sent: &'s Sent) -> Option<&'s str> {
        let text = self.text(sent).trim();
        match (&self.tick, &self.input) {
            (_, Input::Choice { default, .. }) if default.as_deref() == Some(text) => None,
            (_, Input::Flag) | (Some(_), _) => self.is_ticked(sent).then_some(text),
            (None, _) => Some(text).filter(|text| !text.is_empty()),
        }
    }
}

fn value_of<'s>(sent: &'s Sent, name: &str) -> Option<&'s str> {
    sent.iter()
        .find(|(sent, _)| sent == name)
        .map(|(_, value)| value.as_str())
}
