//! What a `match` admits, in words: the sentence of the preview.

use serde_json::{Map, Value};

use super::fill::Shown;
use super::piece::Piece;
use super::{CLAIMS, Entry, Form, Input, Spelling};

/// The beginning of a sentence of whose form nothing else is known.
const ANY: &str = "any workload";
/// What a called workflow is if its file may be any, or one of the caller's own repository.
const ANY_FILE: &str = "any";
const OWN_FILE: &str = "same-repo";
/// What stands for the values in a phrase.
pub const VALUE: &str = "{value}";

/// The order in which the fields are told, with the text before each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// What is admitted: `any run`.
    lead: String,
    /// The text before a field, and the field.
    parts: Vec<(String, String)>,
}

impl Default for Sentence {
    fn default() -> Self {
        Self {
            lead: ANY.to_owned(),
            parts: Vec::new(),
        }
    }
}

/// A value in a sentence.
pub fn quoted(text: &str) -> String {
    format!("“{text}”")
}

/// `a`, `a or b`, `a, b or c`; `last` is the word between the last two.
pub fn listed(texts: &[String], last: &str) -> String {
    match texts {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., end] => format!("{} {last} {end}", before.join(", ")),
    }
}

impl Sentence {
    /// Reads `any run {workflow_file} {repository}, {ref}`. The text behind the last field is dropped.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`sentence` must close every brace that it opens: {text}");
        let (lead, mut rest) = text.split_once('{').unwrap_or((text, ""));
        let mut parts = Vec::new();
        let mut before = " ".to_owned();
        while !rest.is_empty() {
            let (field, after) = rest.split_once('}').ok_or_else(wrong)?;
            parts.push((std::mem::take(&mut before), field.to_owned()));
            let (between, further) = after.split_once('{').unwrap_or((after, ""));
            between.clone_into(&mut before);
            rest = further;
        }
        Ok(Self {
            lead: lead.trim().to_owned(),
            parts,
        })
    }

    /// The fields that the sentence tells in its own order.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|(_, field)| field.as_str())
    }
}

impl Form {
    /// What a `match` in its stored form admits: `any run of “release.yml” in “octo-org/widgets”, from
    /// any branch or tag, in any environment`.
    pub fn admits(&self, matched: &Map<String, Value>) -> String {
        let shown = self.shown(matched);
        let mut sentence = self.sentence.lead.clone();
        let mut tell = |before: &str, field: &str| {
            let said = self.said(field, matched, &shown);
            if let Some(said) = said.filter(|said| !said.is_empty()) {
                sentence.push_str(before);
                sentence.push_str(&said);
            }
        };
        for (before, field) in &self.sentence.parts {
            tell(before, field);
        }
        let mut told: Vec<&str> = self.sentence.fields().collect();
        let of_form = self.entries().map(|entry| entry.field.as_str());
        for field in of_form.chain(matched.keys().map(String::as_str)) {
            if !told.contains(&field) {
                told.push(field);
                tell(", ", field);
            }
        }
        sentence
    }

    /// What is said of a field, whether the rule has it or not.
    fn said(
        &self,
        field: &str,
        matched: &Map<String, Value>,
        shown: &[(String, Vec<Shown<'_>>)],
    ) -> Option<String> {
        let Some(value) = matched.get(field) else {
            return self.unsaid(field, matched);
        };
        let Some((_, shown_by)) = shown.iter().find(|(name, _)| name == field) else {
            let mut all = shown.iter().flat_map(|(_, shown)| shown);
            // The phrase of that entry tells this field as well.
            let is_told = all.any(|shown| shown.entry.with.contains_key(field));
            return (!is_told).then(|| with(field, value));
        };
        if field == CLAIMS {
            return value.as_object().map(of_claims);
        }
        if !shown_by.iter().any(says_something) {
            return self.unsaid(field, matched);
        }
        let told: Vec<String> = shown_by
            .iter()
            .flat_map(|shown| phrases(shown, value))
            .collect();
        Some(listed(&told, "or"))
    }

    fn unsaid(&self, field: &str, matched: &Map<String, Value>) -> Option<String> {
        let mut entries = self.entries().filter(|entry| entry.field == field);
        let phrases = &entries
            .find(|entry| entry.phrases.unsaid.is_some())?
            .phrases;
        let is_given = |name: &String| {
            let value = matched.get(name);
            value.is_some_and(|value| *value != Value::Bool(false))
        };
        let is_settled = phrases.unless.iter().any(is_given);
        phrases.unsaid.clone().filter(|_| !is_settled)
    }
}

/// Whether an entry shows more than a rule without the field means.
fn says_something(shown: &Shown<'_>) -> bool {
    match &shown.entry.input {
        Input::Choice { default, .. } => default.as_ref() != Some(&shown.text),
        _ => true,
    }
}

/// What one entry says of what it shows: of its values, and of its patterns.
fn phrases(shown: &Shown<'_>, value: &Value) -> Vec<String> {
    let entry = shown.entry;
    match entry.spelling {
        Spelling::Flag { gives } => {
            let otherwise = || format!("with {} = {gives}", entry.field);
            vec![entry.phrases.says.clone().unwrap_or_else(otherwise)]
        }
        Spelling::Called if matches!(shown.text.as_str(), ANY_FILE | OWN_FILE) => {
            let whose = match shown.text.as_str() {
                ANY_FILE => "any other",
                _ => "its own",
            };
            vec![format!(
                "also where a workflow of {whose} repository defines the job"
            )]
        }
        Spelling::Called | Spelling::Upstream | Spelling::Claims => {
            let says = entry.phrases.says.as_ref();
            let text = quoted(&shown.text);
            vec![says.map_or_else(
                || with(&entry.field, value),
                |says| says.replace(VALUE, &text),
            )]
        }
        Spelling::Texts { .. } => of_pieces(entry, &shown.pieces),
    }
}

fn of_pieces(entry: &Entry, pieces: &[Piece]) -> Vec<String> {
    let text = |piece: &Piece| {
        let text = piece.text();
        let shorthand = entry.shorthand.as_deref().unwrap_or_default();
        quoted(text.strip_prefix(shorthand).unwrap_or(text))
    };
    let of_kind = |is_pattern: bool| -> Vec<String> {
        let of_kind = pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Glob(_)) == is_pattern);
        of_kind.map(text).collect()
    };
    let Entry { phrases, field, .. } = entry;
    let plain = phrases.says.clone();
    let plain = plain.unwrap_or_else(|| format!("with {field} {VALUE}"));
    let pattern = phrases.says_of_patterns.clone();
    let pattern = pattern.unwrap_or_else(|| plain.replace(VALUE, &format!("like {VALUE}")));
    [(plain, of_kind(false)), (pattern, of_kind(true))]
        .into_iter()
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(says, texts)| says.replace(VALUE, &listed(&texts, "or")))
        .collect()
}

/// What is said of a member of which only the JSON is known.
fn with(field: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("with {field} {}", quoted(text)),
        value => format!("with {field} {value}"),
    }
}

fn of_claims(claims: &Map<String, Value>) -> String {
    let each = claims.iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) => quoted(text),
            value => value.to_string(),
        };
        format!("{} is {value}", quoted(name))
    });
    let each: Vec<String> = each.collect();
    let noun = if each.len() == 1 { "claim" } else { "claims" };
    format!("if the {noun} {}", listed(&each, "and"))
}
