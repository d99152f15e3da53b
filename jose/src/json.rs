//! Strict JSON: no member twice at any depth, and limits on depth, width, string length and the
//! number of values.
//!
//! `serde_json` by itself keeps the last of two members with the same name, while other parsers
//! keep the first, so two parties can read one token differently (RFC 7519 section 4, decision
//! D-29).

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Limits on the size and shape of a JSON document (decision D-33).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How deep objects and arrays may be nested; the outermost object counts as one level.
    pub depth: usize,
    /// How many members one object, or elements one array, may have.
    pub members: usize,
    /// How long a string or member name may be, in bytes after unescaping.
    pub string_bytes: usize,
    /// How many values the whole document may have: each value costs memory, however short its
    /// text.
    pub values: usize,
}

impl Limits {
    /// For the header of a token, and for other short texts of strangers.
    pub const TOKEN: Self = Self {
        depth: 16,
        members: 256,
        string_bytes: 4096,
        values: 1024,
    };
    /// For the claims of a token: no limit that a payload of [`MAX_TOKEN_BYTES`] can reach, except
    /// the depth, because a claim that nobody reads must not stop a token. Who reads a claim limits
    /// it.
    ///
    /// [`MAX_TOKEN_BYTES`]: crate::MAX_TOKEN_BYTES
    pub const CLAIMS: Self = Self {
        depth: 100,
        members: 16 * 1024,
        string_bytes: 16 * 1024,
        values: 16 * 1024,
    };
    /// For the documents that issuers publish: metadata, and key sets, which contain certificates
    /// and long lists.
    pub const DOCUMENT: Self = Self {
        depth: 16,
        members: 1024,
        string_bytes: 64 * 1024,
        values: 20_000,
    };
}

/// Why a text is not an acceptable JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The bytes are not UTF-8 or not JSON, are followed by other text, or are not an object where
    /// [`object`] wants one.
    #[error("not JSON, or not of the kind that is expected here")]
    Syntax,
    /// An object has two members of the same name.
    #[error("a member occurs twice")]
    Duplicate,
    /// One of the [`Limits`] is exceeded.
    #[error("nested too deep, too many members, or a string too long")]
    Limit,
}

/// Reads `bytes` as one JSON object, surrounded by white space at most.
///
/// # Errors
///
/// [`JsonError`] says whether the syntax, a repeated member or a limit is at fault.
pub fn object(bytes: &[u8], limits: Limits) -> Result<Map<String, Value>, JsonError> {
    match value(bytes, limits)? {
        Value::Object(map) => Ok(map),
        _ => Err(JsonError::Syntax),
    }
}

/// Reads `bytes` as one JSON value of any kind, surrounded by white space at most.
///
/// # Errors
///
/// As for [`object`], except that any kind of value is accepted.
pub fn value(bytes: &[u8], limits: Limits) -> Result<Value, JsonError> {
    // Checked once as a whole, the text need not be checked again string by string.
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::Syntax)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let values = Cell::new(0);
    let value = Strict {
        limits,
        depth: 0,
        values: &values,
    }
    .deserialize(&mut deserializer)
    .map_err(|error| classify(&error))?;
    deserializer.end().map_err(|_| JsonError::Syntax)?;
    Ok(value)
}

const DUPLICATE: &str = "carnet: duplicate member";
const LIMIT: &str = "carnet: limit exceeded";

/// serde's error type carries only text, so the two errors raised below are recognised by their
/// text.
fn classify(error: &serde_json::Error) -> JsonError {
    let text = error.to_string();
    if text.starts_with(DUPLICATE) {
        JsonError::Duplicate
    } else if text.starts_with(LIMIT) || text.starts_with("recursion limit") {
        JsonError::Limit
    } else {
        JsonError::Syntax
    }
}

#[derive(Clone, Copy)]
struct Strict<'c> {
    limits: Limits,
    depth: usize,
    values: &'c Cell<usize>,
}

impl Strict<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.saturating_add(1);
        if depth > self.limits.depth {
            return Err(E::custom(LIMIT));
        }
        Ok(Self { depth, ..self })
    }

    fn text<E: de::Error>(self, text: String) -> Result<String, E> {
        if text.len() > self.limits.string_bytes {
            return Err(E::custom(LIMIT));
        }
        Ok(text)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let values = self.values.get().saturating_add(1);
        if values > self.limits.values {
            return Err(de::Error::custom(LIMIT));
        }
        self.values.set(values);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        self.text(text).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(inner)? {
            if elements.len() == self.limits.members {
                return Err(de::Error::custom(LIMIT));
            }
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        // The outermost object of a token has about 32 members; nested objects allocate only when
        // needed.
        let mut map = if inner.depth == 1 {
            Map::with_capacity(32)
        } else {
            Map::new()
        };
        while let Some(name) = access.next_key::<String>()? {
            let name = self.text(name)?;
            let value = access.next_value_seed(inner)?;
            if map.len() == self.limits.members {
                return Err(de::Error::custom(LIMIT));
            }
            if map.insert(name, value).is_some() {
                return Err(de::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Map<String, Value>, JsonError> {
        object(text.as_bytes(), Limits::TOKEN)
    }

    #[test]
    fn a_json_object_is_read_with_all_of_its_members() {
        let map = read(r#"{"a":1,"b":[true,null,"x"],"c":{"d":-1,"e":1.5}}"#).unwrap();
        assert_eq!(map["a"], 1);
        assert_eq!(map["b"][2], "x");
        assert_eq!(map["c"]["e"], 1.5);
        assert_eq!(map["c"]["d"], -1);
    }

    #[test]
    fn json_values_are_counted_over_the_whole_text() {
        let many = |count: usize| format!("{{\"x\":[{}]}}", vec!["[{}]"; count].join(","));
        assert!(read(&many(250)).is_ok());
        let nested = format!("{{\"x\":[{}]}}", vec![many(200); 5].join(","));
        assert_eq!(read(&nested), Err(JsonError::Limit));
    }

    #[test]
    fn members_that_occur_twice_are_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"aud":1,"a\u0075d":2}"#,
            r#"{"k":{"n":1,"n":2}}"#,
            r#"{"k":[{"n":1,"n":2}]}"#,
        ] {
            assert_eq!(read(text), Err(JsonError::Duplicate), "{text}");
        }
    }

    #[test]
    fn anything_but_one_json_object_is_refused() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            r#""x""#,
            "{}x",
            "{} {}",
            "{\"a\":NaN}",
            "{\"a\":1,}",
            "{/**/}",
            "\u{feff}{}",
            r#"{"a":"\ud800"}"#,
            "{\"a\":1e400}",
            "{\"a\":01}",
            "{'a':1}",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert_eq!(read(text), Err(JsonError::Syntax), "{text:?}");
        }
        assert_eq!(
            object(b"{\"a\":\"\xff\"}", Limits::TOKEN),
            Err(JsonError::Syntax)
        );
    }

    #[test]
    fn pub_k3__lists_texts_and_nesting_of_claims_are_limited_by_the_tokens_size_alone() {
        let read = |text: &str| object(text.as_bytes(), Limits::CLAIMS).map(|_| ());
        let nested =
            |depth: usize| format!("{}{}", "{\"a\":".repeat(depth - 1) + "{", "}".repeat(depth));
        let list = |length: usize| format!("{{\"a\":[{}]}}", vec!["0"; length].join(","));
        let members: Vec<String> = (0..1500).map(|at| format!("\"m{at}\":0")).collect();
        for text in [
            list(6000),
            format!("{{\"a\":\"{}\"}}", "x".repeat(12_000)),
            format!("{{{}}}", members.join(",")),
            nested(100),
        ] {
            assert_eq!(read(&text), Ok(()), "{text:.40}");
        }
        assert_eq!(read(&nested(101)), Err(JsonError::Limit));
        assert_eq!(
            read("{\"a\":[{\"b\":1,\"b\":1}]}"),
            Err(JsonError::Duplicate)
        );
        assert_eq!(
            read(&format!("{{\"a\":{}", "[".repeat(100_000))),
            Err(JsonError::Limit)
        );
    }

    #[test]
    fn the_json_limits_on_depth_members_and_lengths_are_exact() {
        let nested =
            |depth: usize| format!("{}{}", "{\"a\":".repeat(depth - 1) + "{", "}".repeat(depth));
        assert!(read(&nested(16)).is_ok());
        assert_eq!(read(&nested(17)), Err(JsonError::Limit));
        let bomb = format!("{{\"a\":{}", "[".repeat(100_000));
        assert_eq!(read(&bomb), Err(JsonError::Limit));

        let wide = |n: usize| {
            let members: Vec<String> = (0..n).map(|i| format!("\"m{i}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(read(&wide(256)).is_ok());
        assert_eq!(read(&wide(257)), Err(JsonError::Limit));
        let list = |n: usize| format!("{{\"a\":[{}]}}", vec!["0"; n].join(","));
        assert!(read(&list(256)).is_ok());
        assert_eq!(read(&list(257)), Err(JsonError::Limit));

        let long = |n: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(n));
        assert!(read(&long(4096)).is_ok());
        assert_eq!(read(&long(4097)), Err(JsonError::Limit));
        let name = |n: usize| format!("{{\"{}\":1}}", "x".repeat(n));
        assert!(read(&name(4096)).is_ok());
        assert_eq!(read(&name(4097)), Err(JsonError::Limit));
    }
}
