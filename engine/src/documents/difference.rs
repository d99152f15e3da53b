//! The difference between two documents, member by member.

use serde::Serialize;
use serde_json::{Map, Value};

/// One value that differs. `old` is `None` for what is added, `new` for what is taken away.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// A JSON Pointer (RFC 6901): into the new document, or into the old one for a value that is
    /// taken away.
    pub pointer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// One line: `+` for an addition, `-` for a removal, `~` for another value. Values are JSON, which may
/// hold characters that a terminal hides.
impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pointer = &self.pointer;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "~ {pointer}: {old} -> {new}"),
            (None, Some(new)) => write!(f, "+ {pointer}: {new}"),
            (Some(old), None) => write!(f, "- {pointer}: {old}"),
            (None, None) => write!(f, "~ {pointer}"),
        }
    }
}

/// Every value of `new` that differs from `old`. A member that is `null` counts as absent.
pub fn differences(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    objects("", old, new, &mut found);
    found
}

/// The members of a document as additions, or as removals.
pub fn whole(members: &Map<String, Value>, is_new: bool) -> Vec<Difference> {
    let nothing = Map::new();
    if is_new {
        differences(&nothing, members)
    } else {
        differences(members, &nothing)
    }
}

fn objects(
    at: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    let given = |members: &Map<String, Value>, name: &str| {
        members.get(name).filter(|value| !value.is_null()).cloned()
    };
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    for name in new.keys().chain(gone) {
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        values(pointer, given(old, name), given(new, name), found);
    }
}

fn values(pointer: String, old: Option<Value>, new: Option<Value>, found: &mut Vec<Difference>) {
    match (&old, &new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            objects(&pointer, old, new, found);
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => lists(&pointer, old, new, found),
        _ if old == new => {}
        _ => found.push(Difference { pointer, old, new }),
    }
}

/// Elements that both lists have are left out. The others are compared in their order if they are
/// objects, and are removals and additions if not.
fn lists(pointer: &str, old: &[Value], new: &[Value], found: &mut Vec<Difference>) {
    let mut removed: Vec<(usize, &Value)> = old.iter().enumerate().collect();
    let mut added: Vec<(usize, &Value)> = Vec::new();
    for (at, value) in new.iter().enumerate() {
        match removed.iter().position(|(_, other)| *other == value) {
            Some(same) => {
                removed.remove(same);
            }
            None => added.push((at, value)),
        }
    }
    if removed.is_empty() && added.is_empty() && old != new {
        found.push(Difference {
            pointer: pointer.to_owned(),
            old: Some(old.to_vec().into()),
            new: Some(new.to_vec().into()),
        });
        return;
    }
    let pairs = removed.len().min(added.len());
    for ((_, before), (at, after)) in removed.iter().zip(&added) {
        if let (Value::Object(before), Value::Object(after)) = (before, after) {
            objects(&format!("{pointer}/{at}"), before, after, found);
        }
    }
    // The pairs of objects are compared above.
    let is_told = |position: usize| {
        let both = removed.get(position).zip(added.get(position));
        position < pairs
            && both.is_some_and(|((_, old), (_, new))| old.is_object() && new.is_object())
    };
    let rest = |of: &[(usize, &Value)]| -> Vec<(usize, Value)> {
        let rest = of
            .iter()
            .enumerate()
            .filter(|(position, _)| !is_told(*position));
        rest.map(|(_, (at, value))| (*at, (*value).clone()))
            .collect()
    };
    for (at, value) in rest(&removed) {
        found.push(Difference {
            pointer: format!("{pointer}/{at}"),
            old: Some(value),
            new: None,
        });
    }
    for (at, value) in rest(&added) {
        found.push(Difference {
            pointer: format!("{pointer}/{at}"),
            old: None,
            new: Some(value),
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(old: Value, new: Value) -> Vec<String> {
        let (Value::Object(old), Value::Object(new)) = (old, new) else {
            panic!("documents are objects");
        };
        differences(&old, &new)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_difference_names_the_place_and_both_values() {
        for (old, new, expected) in [
            (json!({"a": 1}), json!({"a": 1}), &[][..]),
            (
                json!({"a": "x"}),
                json!({"a": "y"}),
                &[r#"~ /a: "x" -> "y""#],
            ),
            (json!({}), json!({"a": true}), &["+ /a: true"]),
            (json!({"a": [1]}), json!({}), &["- /a: [1]"]),
            (json!({"a": null}), json!({}), &[]),
            (json!({"a": null}), json!({"a": 1}), &["+ /a: 1"]),
            (
                json!({"a": {"b/c": {"d~": 1}}}),
                json!({"a": {"b/c": {"d~": 2}}}),
                &["~ /a/b~1c/d~0: 1 -> 2"],
            ),
            (
                json!({"a": "x"}),
                json!({"a": {"b": 1}}),
                &[r#"~ /a: "x" -> {"b":1}"#],
            ),
        ] {
            assert_eq!(lines(old, new), expected);
        }
    }

    #[test]
    fn elements_of_lists_are_added_removed_and_compared() {
        for (old, new, expected) in [
            (
                json!({"p": ["a", "b"]}),
                json!({"p": ["b", "evil-*", "a"]}),
                &[r#"+ /p/1: "evil-*""#][..],
            ),
            (
                json!({"p": ["a", "b", "a"]}),
                json!({"p": ["a", "b"]}),
                &[r#"- /p/2: "a""#],
            ),
            (
                json!({"p": ["a"]}),
                json!({"p": ["c"]}),
                &[r#"- /p/0: "a""#, r#"+ /p/0: "c""#],
            ),
            (
                json!({"p": ["a", "b"]}),
                json!({"p": ["b", "a"]}),
                &[r#"~ /p: ["a","b"] -> ["b","a"]"#],
            ),
            (
                json!({"p": [{"n": 1, "l": ["x"]}, {"n": 2}]}),
                json!({"p": [{"n": 2}, {"n": 1, "l": ["x", "y"]}]}),
                &[r#"+ /p/1/l/1: "y""#],
            ),
            (
                json!({"p": [{"n": 1}]}),
                json!({"p": [{"n": 1}, {"n": 2}]}),
                &[r#"+ /p/1: {"n":2}"#],
            ),
            (
                json!({"p": [{"n": 1}, "x"]}),
                json!({"p": ["y"]}),
                &[r#"- /p/0: {"n":1}"#, r#"- /p/1: "x""#, r#"+ /p/0: "y""#],
            ),
        ] {
            assert_eq!(lines(old, new), expected);
        }
    }
}
