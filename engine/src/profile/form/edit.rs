//! A stored `match` that was changed in a form.

use serde_json::{Map, Value};

use super::{Entry, Filled, Form, FormProblem, ReadForm, Sent};

impl Form {
    /// The stored `match` with what was changed in the form that showed it ([`Self::fill`]). Fields
    /// whose entries were not touched, and those that the form cannot show, stay as they are stored,
    /// in their own spelling: saving an unchanged form changes nothing.
    pub fn edited(&self, stored: &Map<String, Value>, sent: &Sent) -> ReadForm {
        let Filled {
            sent: before, rest, ..
        } = self.fill(stored);
        let ReadForm {
            mut matched,
            mut problems,
        } = self.read(sent);
        let mut edited = Map::new();
        for (name, value) in stored {
            let read = matched.shift_remove(name);
            if rest.contains_key(name) {
                if read.is_some() {
                    problems.extend(self.in_the_way(name, value, sent));
                }
                edited.insert(name.clone(), value.clone());
            } else if self.is_untouched(name, &before, sent) {
                edited.insert(name.clone(), value.clone());
            } else if let Some(read) = read {
                edited.insert(name.clone(), read);
            }
        }
        edited.extend(matched);
        ReadForm {
            matched: edited,
            problems,
        }
    }

    fn is_untouched(&self, field: &str, before: &Sent, sent: &Sent) -> bool {
        let touches = |entry: &&Entry| entry.field == field || entry.with.contains_key(field);
        let lines = |entry: &Entry, sent| {
            let text: Option<&str> = entry.given(sent);
            text.map(|text| {
                let lines = text.lines().map(str::trim);
                lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
            })
        };
        let mut entries = self.entries().filter(touches);
        entries.all(|entry| lines(entry, before) == lines(entry, sent))
    }

    /// The problem of an entry that was filled in although the rule has a value that it cannot show.
    fn in_the_way(&self, field: &str, value: &Value, sent: &Sent) -> Option<FormProblem> {
        let entry = self.entries().find(|entry| {
            (entry.field == field || entry.with.contains_key(field)) && entry.given(sent).is_some()
        })?;
        Some(FormProblem {
            key: entry.key.clone(),
            text: format!(
                "must be left empty: the rule has {field} = {value}, which this form cannot show; change it by the API or carnet apply"
            ),
        })
    }
}
