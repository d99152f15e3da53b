//! One value of a field: a text, or a pattern.

use serde_json::{Map, Value};

/// A value that a claim may equal, or a pattern that it may fit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    Plain(String),
    Glob(String),
}

impl Piece {
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Glob(text) => text,
        }
    }
}

/// The pieces of a value as rules have them: a text, several, or a pattern. `None` for other values.
pub fn pieces(value: &Value, is_list: bool) -> Option<Vec<Piece>> {
    let plain = |value: &Value| value.as_str().map(|text| Piece::Plain(text.to_owned()));
    let several =
        |values: &Vec<Value>| -> Option<Vec<Piece>> { values.iter().map(plain).collect() };
    match value {
        Value::String(_) => plain(value).map(|piece| vec![piece]),
        Value::Array(values) if is_list && !values.is_empty() => several(values),
        Value::Object(members) if members.len() == 1 => match members.iter().next()? {
            (name, Value::String(pattern)) if name == "glob" => {
                Some(vec![Piece::Glob(pattern.clone())])
            }
            (name, Value::Array(values)) if name == "any_of" && !values.is_empty() => {
                several(values)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The value of these pieces. `None` if there is no such value: a pattern beside other pieces.
pub fn joined(pieces: &[Piece], is_list: bool) -> Option<Value> {
    match pieces {
        [Piece::Plain(text)] => Some(Value::String(text.clone())),
        [Piece::Glob(pattern)] => Some(member("glob", Value::String(pattern.clone()))),
        pieces => {
            let plain = |piece: &Piece| match piece {
                Piece::Plain(text) => Some(Value::String(text.clone())),
                Piece::Glob(_) => None,
            };
            let texts: Vec<Value> = pieces.iter().map(plain).collect::<Option<_>>()?;
            Some(if is_list {
                Value::Array(texts)
            } else {
                member("any_of", Value::Array(texts))
            })
        }
    }
}

fn member(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}
