//! JSON documents in which no object has a key twice: readers differ in which of the two they keep.

use std::{collections::BTreeMap, collections::HashSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{Text, Unreadable};

/// Reads a document after checking that no object in it has a key twice.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Unreadable> {
    let odd = |error: serde_json::Error| {
        Unreadable::malformed(
            what,
            "JSON of the protocol's form, without a key twice",
            error.to_string(),
        )
    };
    serde_json::from_slice::<UniqueKeys>(bytes).map_err(odd)?;
    serde_json::from_slice(bytes).map_err(odd)
}

/// Any document without a repeated key; nothing of it is kept.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = UniqueKeys;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_i64<E>(self, _: i64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_u64<E>(self, _: u64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_f64<E>(self, _: f64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_str<E>(self, _: &str) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_unit<E>(self) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<UniqueKeys, A::Error> {
        while items.next_element::<UniqueKeys>()?.is_some() {}
        Ok(UniqueKeys)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<UniqueKeys, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            members.next_value::<UniqueKeys>()?;
            if !seen.insert(key) {
                return Err(A::Error::custom("a key twice in an object"));
            }
        }
        Ok(UniqueKeys)
    }
}

/// A document of which only two members matter, such as a `package.json`. Keys further down may repeat, as they do in files that
/// people write.
pub(crate) fn two_members(
    what: &'static str,
    bytes: &[u8],
    keys: [&str; 2],
) -> Result<[String; 2], Unreadable> {
    let odd = |error: serde_json::Error| {
        Unreadable::malformed(what, "JSON with each key once", error.to_string())
    };
    let members: Members<IgnoredOrText> = serde_json::from_slice(bytes).map_err(odd)?;
    let mut found = members.0;
    let mut take = |key: &str| match found.remove(key) {
        Some(IgnoredOrText::Text(text)) => Ok(text),
        Some(IgnoredOrText::Ignored(_)) => Err(Unreadable::malformed(
            Text::from(format!("{key} of {what}")),
            "a string",
            "another value",
        )),
        None => Err(Unreadable::missing(format!("{key} of {what}"))),
    };
    let [first, second] = keys;
    Ok([take(first)?, take(second)?])
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IgnoredOrText {
    Text(String),
    Ignored(IgnoredAny),
}

/// The members of an object, each key once.
struct Members<T>(BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(MembersVisitor(PhantomData))
            .map(Self)
    }
}

struct MembersVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = BTreeMap::new();
        while let Some((key, value)) = members.next_entry::<String, T>()? {
            if found.insert(key, value).is_some() {
                return Err(A::Error::custom("a key twice in an object"));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_twice_is_refused_at_every_depth_and_in_every_spelling() {
        let read = |text: &str| read::<serde_json::Value>("it", text.as_bytes());
        assert!(read(r#"{"a":[{"b":1.5,"c":null}],"b":{"a":true,"x":-1}}"#).is_ok());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            "{",
            "",
            "\u{feff}{}",
            "{}{}",
        ] {
            assert_eq!(read(text).unwrap_err().code(), "malformed", "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read(&deep).unwrap_err().code(), "malformed");
    }

    #[test]
    fn of_a_manifest_only_the_members_that_matter_must_be_plain() {
        let read = |text: &str| two_members("package.json", text.as_bytes(), ["name", "version"]);
        let [name, version] = read(r#"{"name":"a","x":{"y":1,"y":2},"version":"1.0.0"}"#).unwrap();
        assert_eq!((name.as_str(), version.as_str()), ("a", "1.0.0"));
        assert_eq!(
            read(r#"{"name":"a","name":"b","version":"1"}"#)
                .unwrap_err()
                .code(),
            "malformed"
        );
        assert_eq!(
            read(r#"{"name":"a","version":1}"#).unwrap_err().code(),
            "malformed"
        );
        assert_eq!(read(r#"{"name":"a"}"#).unwrap_err().code(), "missing_field");
    }
}
