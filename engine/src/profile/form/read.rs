//! Making a `match` of what a form sent.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use super::piece::{Piece, joined};
use super::{Entry, Form, FormProblem, Input, ReadForm, Sent, Spelling};

/// What the entries of one field gave.
#[derive(Default)]
struct Gathered<'f> {
    pieces: Vec<Piece>,
    is_list: bool,
    whole: Option<Value>,
    /// The entry that gave something last.
    key: &'f str,
}

impl Form {
    /// The `match` that was filled in. Empty texts, and values beside a checkbox that is not ticked,
    /// count as not given.
    pub fn read(&self, sent: &Sent) -> ReadForm {
        let mut fields: Vec<(&str, Gathered<'_>)> = Vec::new();
        let mut problems = Vec::new();
        for entry in self.entries() {
            let Some(text) = entry.given(sent) else {
                continue;
            };
            if let Err(text) = gather(entry, text, &mut fields) {
                problems.push(FormProblem {
                    key: entry.key.clone(),
                    text,
                });
            }
        }
        let mut matched = Map::new();
        for (name, gathered) in fields {
            let pieces = distinct(gathered.pieces);
            let value = gathered.whole.or_else(|| joined(&pieces, gathered.is_list));
            match value {
                Some(value) => {
                    matched.insert(name.to_owned(), value);
                }
                None => problems.push(FormProblem {
                    key: gathered.key.to_owned(),
                    text: "must not hold a pattern beside other values: write several rules"
                        .to_owned(),
                }),
            }
        }
        problems.extend(self.accompany(sent, &mut matched));
        ReadForm { matched, problems }
    }

    /// Adds the values that entries give to other fields.
    fn accompany(&self, sent: &Sent, matched: &mut Map<String, Value>) -> Vec<FormProblem> {
        let mut problems = Vec::new();
        let mut told: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in self.entries().filter(|entry| entry.given(sent).is_some()) {
            for (field, value) in &entry.with {
                let present = matched.get(field).and_then(Value::as_str);
                if matched.contains_key(field) && present != Some(value) {
                    let because = match told.get(field.as_str()) {
                        Some(label) => format!("must not be given beside {label}"),
                        None => format!("must not be given with another {field} than {value}"),
                    };
                    problems.push(FormProblem {
                        key: entry.key.clone(),
                        text: format!(
                            "{because}: a rule admits only one of the two, so write two rules"
                        ),
                    });
                    continue;
                }
                matched.insert(field.clone(), value.clone().into());
                told.insert(field, &entry.label);
            }
        }
        problems
    }
}

fn gather<'f>(
    entry: &'f Entry,
    text: &str,
    fields: &mut Vec<(&'f str, Gathered<'f>)>,
) -> Result<(), String> {
    if text.is_empty() && entry.input != Input::Flag {
        return Err("must be filled in, or its checkbox be left empty".to_owned());
    }
    let mut gathered = Gathered::default();
    match &entry.spelling {
        Spelling::Texts { list, .. } => {
            gathered.is_list = *list;
            gathered.pieces = entry.pieces_of(text)?;
        }
        _ => gathered.whole = Some(entry.whole(text)?),
    }
    gathered.key = &entry.key;
    let Some((_, present)) = fields.iter_mut().find(|(name, _)| *name == entry.field) else {
        fields.push((&entry.field, gathered));
        return Ok(());
    };
    present.key = gathered.key;
    present.whole = gathered.whole;
    present.pieces.extend(gathered.pieces);
    Ok(())
}

/// Each piece once, where it was first.
fn distinct(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let mut seen = HashSet::new();
    pieces.retain(|piece| seen.insert(piece.clone()));
    pieces
}
