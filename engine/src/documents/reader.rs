//! Reads the members of a JSON object and reports every mistake with its JSON Pointer (RFC 6901).

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::ids::{NAME_FORM, check_name};
use crate::trust::DocumentError;

/// Members that answers add. They are ignored in a body, so that a client may send back what it
/// read.
const READ_ONLY: [&str; 19] = [
    "id",
    "name",
    "state",
    "pinned",
    "pending_until",
    "revision",
    "warnings",
    "created_at",
    "updated_at",
    "first_used_at",
    "last_used_at",
    "client_id",
    "client_secret",
    "secret",
    "secrets",
    "last_delivered_at",
    "last_error",
    "failing_since",
    "version",
];

/// Reads the members of a document one by one and collects every mistake. A member that is `null`
/// counts as absent.
#[derive(Debug)]
pub struct Reader<'a> {
    members: &'a Map<String, Value>,
    known: Vec<&'static str>,
    /// Members that answers add to documents of this kind alone.
    read_only: &'static [&'static str],
    problems: Vec<DocumentError>,
}

impl<'a> Reader<'a> {
    pub fn new(members: &'a Map<String, Value>) -> Self {
        Self {
            members,
            known: Vec::new(),
            read_only: &[],
            problems: Vec::new(),
        }
    }

    /// Ignores these members as well, which answers add to documents of this kind alone.
    #[must_use]
    pub fn ignoring(self, read_only: &'static [&'static str]) -> Self {
        Self { read_only, ..self }
    }

    /// Adds a mistake at a member, or at the whole document for the name `""`.
    pub fn problem(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = if name.is_empty() {
            String::new()
        } else {
            format!("/{name}")
        };
        self.problems.push(DocumentError::new(pointer, detail));
    }

    /// Adds mistakes whose pointers are relative to a member.
    pub fn problems_in(&mut self, name: &str, problems: Vec<DocumentError>) {
        let inside = |problem: DocumentError| {
            DocumentError::new(format!("/{name}{}", problem.pointer), problem.detail)
        };
        self.problems.extend(problems.into_iter().map(inside));
    }

    /// The value of a member, unless it is absent or `null`.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A string of 1 to 65536 bytes without NUL, which PostgreSQL cannot store.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.value(name)?;
        match value.as_str() {
            Some(text) if !text.is_empty() && text.len() <= 64 * 1024 && !text.contains('\0') => {
                Some(text.to_owned())
            }
            _ => {
                self.problem(
                    name,
                    "must be a string of 1 to 65536 bytes without NUL characters",
                );
                None
            }
        }
    }

    /// A string that must be present; empty after a mistake.
    pub fn required_text(&mut self, name: &'static str) -> String {
        let absent = self.value(name).is_none();
        if absent {
            self.problem(name, "must be given");
        }
        self.text(name).unwrap_or_default()
    }

    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let value = self.value(name)?;
        if value.as_bool().is_none() {
            self.problem(name, "must be true or false");
        }
        value.as_bool()
    }

    /// An integer within `range`.
    pub fn integer(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        let value = self.value(name)?;
        let number = value.as_i64().filter(|number| range.contains(number));
        if number.is_none() {
            self.problem(
                name,
                format!(
                    "must be a whole number from {} to {}",
                    range.start(),
                    range.end()
                ),
            );
        }
        number
    }

    /// A list of non-empty strings without duplicates.
    pub fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        let value = self.value(name)?;
        let texts: Option<Vec<String>> = value.as_array().and_then(|elements| {
            let text = |element: &Value| {
                element
                    .as_str()
                    .filter(|text| !text.is_empty())
                    .map(str::to_owned)
            };
            elements.iter().map(text).collect()
        });
        match texts {
            None => self.problem(name, "must be a list of non-empty strings"),
            Some(ref texts)
                if texts
                    .iter()
                    .enumerate()
                    .any(|(at, text)| texts.iter().take(at).any(|t| t == text)) =>
            {
                self.problem(name, "must not name anything twice");
            }
            Some(_) => {}
        }
        texts
    }

    /// A time in RFC 3339 format.
    pub fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        let value = self.value(name)?;
        let time = value.as_str().and_then(Timestamp::parse_rfc3339);
        if time.is_none() {
            self.problem(
                name,
                "must be a time in RFC 3339, for example 2027-01-31T00:00:00Z",
            );
        }
        time
    }

    /// A string that `parse` accepts; its error becomes the message of the mistake.
    pub fn parsed<T, E: std::fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(&text)
            .map_err(|error| self.problem(name, error.to_string()))
            .ok()
    }

    /// The name of another object. Whether that exists is checked when the document is saved.
    pub fn name(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        if check_name(&text).is_err() {
            self.problem(name, NAME_FORM);
        }
        Some(text)
    }

    /// Returns the document, or every mistake. Members that were never read are mistakes too,
    /// except those that answers add.
    pub fn finish<T>(mut self, document: T) -> Result<T, Vec<DocumentError>> {
        let known = self.known.join(", ");
        for name in self.members.keys() {
            let given = name.as_str();
            let is_ignored = READ_ONLY.contains(&given) || self.read_only.contains(&given);
            if !self.known.contains(&given) && !is_ignored {
                let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
                self.problems.push(DocumentError::new(
                    pointer,
                    format!("must be left out; the members are {known}"),
                ));
            }
        }
        if self.problems.is_empty() {
            Ok(document)
        } else {
            Err(self.problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_mistake_in_a_document_is_reported_with_its_pointer() {
        let document = json!({
            "text": "", "number": 7, "flag": "true", "list": ["a", "a"], "list2": ["a", 1], "time": "tomorrow",
            "name": "-x", "unknown/~": 1, "id": "ignored", "created_at": "ignored", "absent": null
        });
        let mut reader = Reader::new(document.as_object().unwrap());
        assert_eq!(reader.text("text"), None);
        assert_eq!(reader.required_text("absent"), "");
        assert_eq!(reader.integer("number", 0..=6), None);
        assert_eq!(reader.boolean("flag"), None);
        reader.texts("list");
        reader.texts("list2");
        assert_eq!(reader.time("time"), None);
        reader.name("name");
        reader.problems_in("match", vec![DocumentError::new("/ref", "x")]);
        let problems = reader.finish(()).unwrap_err();
        let pointers: Vec<_> = problems
            .iter()
            .map(|problem| problem.pointer.as_str())
            .collect();
        let expected = [
            "/text",
            "/absent",
            "/number",
            "/flag",
            "/list",
            "/list2",
            "/time",
            "/name",
            "/match/ref",
            "/unknown~1~0",
        ];
        assert_eq!(pointers, expected);
    }

    #[test]
    fn object_names_with_other_characters_or_over_128_are_refused() {
        for name in ["a", "A.b_c-d", "0", &"x".repeat(128)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "-a",
            ".a",
            "_a",
            "a b",
            "a/b",
            "a:b",
            "é",
            "a\0",
            &"x".repeat(129),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
