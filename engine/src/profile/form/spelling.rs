//! How the values of a rule are spelt in the controls of a form.

use carnet_jose::json::{self, Limits};
use serde_json::{Map, Value};

use super::piece::Piece;
use super::{Entry, Input};

/// How an entry's text is made a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// One or several texts.
    Texts {
        /// Whether several values are a list in the rule, and not `any_of`.
        list: bool,
        /// The shorthands of the field's other entries, with their labels.
        others: Vec<(String, String)>,
    },
    /// A checkbox; ticked, it gives this truth value.
    Flag { gives: bool },
    /// `same-repo`, `any`, or the path of a file, `@` and a ref or a commit.
    Called,
    /// `claim = value`, or the value alone under a broker.
    Upstream,
    /// `claim = value`, one a line.
    Claims,
}

impl Entry {
    /// The pieces of a text: one, or one a line.
    pub(super) fn pieces_of(&self, text: &str) -> Result<Vec<Piece>, String> {
        if let Input::Choice { values, .. } = &self.input
            && !values.iter().any(|value| value == text)
        {
            return Err(format!("must be one of {}", values.join(", ")));
        }
        if !matches!(self.input, Input::Text { many: true, .. }) {
            return self.piece(text).map(|piece| vec![piece]);
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| self.piece(line)).collect()
    }

    /// The value of one text, with what people leave out.
    fn piece(&self, text: &str) -> Result<Piece, String> {
        let globs = matches!(self.input, Input::Text { globs: true, .. });
        let whole = match &self.shorthand {
            Some(shorthand) if !text.starts_with(shorthand.as_str()) => {
                self.is_of_another(text)?;
                format!("{shorthand}{text}")
            }
            _ => text.to_owned(),
        };
        Ok(if globs && whole.contains('*') {
            Piece::Glob(whole)
        } else {
            Piece::Plain(whole)
        })
    }

    fn is_of_another(&self, text: &str) -> Result<(), String> {
        let Spelling::Texts { others, .. } = &self.spelling else {
            return Ok(());
        };
        let other = others
            .iter()
            .find(|(shorthand, _)| text.starts_with(shorthand.as_str()));
        match other {
            Some((_, label)) => Err(format!(
                "must not be {text}, which has a field of its own: {label}"
            )),
            None => Ok(()),
        }
    }

    /// The text of a piece in this entry; `None` if the entry cannot show it, since that text would be
    /// read as something else.
    pub(super) fn shown(&self, piece: &Piece) -> Option<String> {
        let text = match &self.shorthand {
            Some(shorthand) => piece.text().strip_prefix(shorthand.as_str())?,
            None => piece.text(),
        };
        let read = self.pieces_of(text.trim()).ok()?;
        let is_same = matches!(read.as_slice(), [read] if read == piece);
        (is_same && !text.is_empty()).then(|| text.to_owned())
    }

    /// The value of a text that is none of pieces.
    pub(super) fn whole(&self, text: &str) -> Result<Value, String> {
        match self.spelling {
            Spelling::Called => called(text),
            Spelling::Upstream => upstream(text),
            Spelling::Claims => claims(text),
            Spelling::Flag { gives } => Ok(gives.into()),
            Spelling::Texts { .. } => Ok(text.into()),
        }
    }

    /// The text whose [`Self::whole`] is this value, if there is one.
    pub(super) fn spelt(&self, value: &Value) -> Option<String> {
        let text = match self.spelling {
            Spelling::Called => spelt_called(value)?,
            Spelling::Upstream => match value.get("claim") {
                Some(claim) => line(claim.as_str()?, value.get("equals")?),
                None => value.get("equals")?.as_str()?.to_owned(),
            },
            Spelling::Claims => {
                let lines = value
                    .as_object()?
                    .iter()
                    .map(|(name, value)| line(name, value));
                lines.collect::<Vec<_>>().join("\n")
            }
            Spelling::Flag { .. } | Spelling::Texts { .. } => return None,
        };
        (self.whole(&text).as_ref() == Ok(value)).then_some(text)
    }
}

fn called(text: &str) -> Result<Value, String> {
    const FORM: &str = "must be any, same-repo, or owner/repository/.github/workflows/file, @ and a ref that begins with refs/, or a full commit id";
    let member = |path: &str, name: &str, value: Value| {
        let members = [("path".to_owned(), path.into()), (name.to_owned(), value)];
        Ok(Value::Object(Map::from_iter(members)))
    };
    if matches!(text, "any" | "same-repo") {
        return Ok(text.into());
    }
    if let Some((path, rest)) = text.split_once("@refs/") {
        let reference = format!("refs/{rest}");
        let value = if reference.contains('*') {
            Value::Object(Map::from_iter([("glob".to_owned(), reference.into())]))
        } else {
            reference.into()
        };
        return member(path, "ref", value);
    }
    match text.rsplit_once('@') {
        Some((path, commit)) if commit.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            member(path, "sha", commit.into())
        }
        _ => Err(FORM.to_owned()),
    }
}

fn spelt_called(value: &Value) -> Option<String> {
    if let Value::String(word) = value {
        return Some(word.clone());
    }
    let path = value.get("path")?.as_str()?;
    let at = match (value.get("ref"), value.get("sha")) {
        (Some(Value::String(at)), None) | (None, Some(Value::String(at))) => at,
        (Some(pattern), None) => pattern.get("glob")?.as_str()?,
        _ => return None,
    };
    Some(format!("{path}@{at}"))
}

fn upstream(text: &str) -> Result<Value, String> {
    let mut members = Map::new();
    if text.contains('=') {
        let (claim, value) = read_line(text)?;
        members.insert("claim".to_owned(), claim.into());
        members.insert("equals".to_owned(), value);
    } else {
        members.insert("equals".to_owned(), text.into());
    }
    Ok(Value::Object(members))
}

fn claims(text: &str) -> Result<Value, String> {
    let mut members = Map::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines {
        let (name, value) = read_line(line)?;
        if members.insert(name.clone(), value).is_some() {
            return Err(format!("must name {name} once only"));
        }
    }
    Ok(Value::Object(members))
}

/// The name of a claim and its value: JSON, or a text without quotation marks.
fn read_line(text: &str) -> Result<(String, Value), String> {
    let split = text.split_once(" = ").or_else(|| text.split_once('='));
    let (name, value) = split.map_or(("", ""), |(name, value)| (name.trim(), value.trim()));
    if name.is_empty() || value.is_empty() {
        return Err(format!(
            "must be the name of a claim, = and a value; this is {text}"
        ));
    }
    let value = match serde_json::from_str(value) {
        Ok(read) => only_once(value).map(|()| read)?,
        Err(_) => value.into(),
    };
    Ok((name.to_owned(), value))
}

/// Refuses JSON that the admin API would refuse, such as an object with a member twice.
fn only_once(value: &str) -> Result<(), String> {
    let read = json::value(value.as_bytes(), Limits::DOCUMENT);
    read.map(|_| ())
        .map_err(|error| format!("must be JSON that can be read in one way: {error}"))
}

fn line(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) if is_bare(text) => format!("{name} = {text}"),
        value => format!("{name} = {value}"),
    }
}

/// Whether a text can stand in a line without quotation marks.
fn is_bare(text: &str) -> bool {
    let is_json = serde_json::from_str::<Value>(text).is_ok();
    !is_json && !text.is_empty() && text.trim() == text && !text.contains(char::is_control)
}
