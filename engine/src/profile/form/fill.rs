//! Showing a stored `match` in a form.

use serde_json::{Map, Value};

use super::piece::{Piece, pieces};
use super::{Entry, Filled, Form, Input, Spelling};

/// What an entry shows.
pub(super) struct Shown<'f> {
    pub entry: &'f Entry,
    /// The pieces of a text; empty for other values.
    pub pieces: Vec<Piece>,
    /// The text of the control.
    pub text: String,
}

impl Form {
    /// Shows a stored `match`. A field that the entries cannot show whole is left to
    /// [`Filled::rest`].
    pub fn fill(&self, matched: &Map<String, Value>) -> Filled {
        let mut filled = Filled::default();
        let shown = self.shown(matched);
        let accompanied = |name: &String| {
            let mut entries = shown.iter().flat_map(|(_, shown)| shown);
            entries.any(|shown| shown.entry.with.contains_key(name))
        };
        for (name, value) in matched {
            let is_shown = shown.iter().any(|(shown, _)| shown == name);
            if !is_shown && !accompanied(name) {
                filled.rest.insert(name.clone(), value.clone());
            }
        }
        for shown in shown.iter().flat_map(|(_, shown)| shown) {
            let entry = shown.entry;
            let on = "on".to_owned();
            filled
                .sent
                .extend(entry.tick.clone().map(|tick| (tick, on)));
            filled.sent.push((entry.key.clone(), shown.text.clone()));
        }
        filled
    }

    /// The fields that can be shown, each with the entries that show it.
    pub(super) fn shown<'f>(
        &'f self,
        matched: &Map<String, Value>,
    ) -> Vec<(String, Vec<Shown<'f>>)> {
        let mut fields: Vec<(String, Vec<Shown<'f>>)> = Vec::new();
        for (name, value) in matched {
            if let Some(shown) = self.field_shown(name, value, matched) {
                fields.push((name.clone(), shown));
            }
        }
        // A field that belongs to a shown entry is not shown again by an entry of its own.
        let with: Vec<String> = fields
            .iter()
            .flat_map(|(_, shown)| shown)
            .flat_map(|shown| shown.entry.with.keys().cloned())
            .collect();
        fields.retain(|(name, _)| !with.contains(name));
        fields
    }

    /// The entries that show a value of a field together; `None` if they cannot.
    fn field_shown<'f>(
        &'f self,
        name: &str,
        value: &Value,
        matched: &Map<String, Value>,
    ) -> Option<Vec<Shown<'f>>> {
        let usable = |entry: &&Entry| {
            let mut with = entry.with.iter();
            entry.field == name
                && with
                    .all(|(field, value)| matched.get(field).and_then(Value::as_str) == Some(value))
        };
        let entries: Vec<&Entry> = self.entries().filter(usable).collect();
        let first = entries.first()?;
        let Spelling::Texts { list, .. } = first.spelling else {
            return shown_whole(first, value);
        };
        // Such a control, and the check behind it, knows no other form.
        let takes_many = matches!(first.input, Input::Text { many: true, .. });
        if !takes_many && !value.is_string() {
            return None;
        }
        let mut shown: Vec<Shown<'f>> = Vec::new();
        for piece in pieces(value, list)? {
            let (entry, text) = entries.iter().find_map(|entry| {
                let is_full = shown.iter().any(|shown| shown.entry.key == entry.key)
                    && !matches!(entry.input, Input::Text { many: true, .. });
                let text = entry.shown(&piece).filter(|_| !is_full)?;
                Some((*entry, text))
            })?;
            match shown.iter_mut().find(|shown| shown.entry.key == entry.key) {
                Some(shown) => {
                    shown.text = format!("{}\n{text}", shown.text);
                    shown.pieces.push(piece);
                }
                None => shown.push(Shown {
                    entry,
                    pieces: vec![piece],
                    text,
                }),
            }
        }
        Some(shown)
    }
}

/// How an entry shows a value that is none of pieces. A flag that is not ticked shows nothing, and
/// that means what the value means.
fn shown_whole<'f>(entry: &'f Entry, value: &Value) -> Option<Vec<Shown<'f>>> {
    let text = match &entry.spelling {
        Spelling::Flag { gives } => match value {
            Value::Bool(truth) if truth == gives => "on".to_owned(),
            Value::Bool(_) => return Some(Vec::new()),
            _ => return None,
        },
        _ => entry.spelt(value)?,
    };
    let pieces = Vec::new();
    Some(vec![Shown {
        entry,
        pieces,
        text,
    }])
}
