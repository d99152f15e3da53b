//! The YAML that RubyGems writes, as a tree.
//!
//! RubyGems reads with libyaml (YAML 1.1), this with a parser for YAML 1.2. What the two could read differently is refused, as are
//! anchors and aliases (RubyGems writes none), repeated keys, merge keys and tags of classes that a specification does not have.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::{Text, Unreadable};

/// A node of the document.
#[derive(Debug)]
pub(super) struct Node {
    /// The Ruby class in the node's tag, such as `Gem::Version`.
    pub(super) class: Option<String>,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// A scalar, and whether it is written without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(String, Node)>),
}

const DEEPEST: usize = 32;
const MOST_NODES: usize = 100_000;

/// Classes that RubyGems itself permits in a specification.
const CLASSES: [&str; 8] = [
    "Gem::Dependency",
    "Gem::Platform",
    "Gem::Requirement",
    "Gem::Specification",
    "Gem::Version",
    "Gem::Version::Requirement",
    "Date",
    "Time",
];

fn odd(expected: &'static str, received: impl Into<Text>) -> Unreadable {
    Unreadable::malformed("the specification", expected, received)
}

/// Parses one document.
pub(super) fn parse(text: &str) -> Result<Node, Unreadable> {
    if !text.starts_with("--- !ruby/object:Gem::Specification\n") {
        let start: String = text.chars().take(60).collect();
        return Err(odd(
            "YAML that begins with --- !ruby/object:Gem::Specification",
            start,
        ));
    }
    // Ends of lines in YAML 1.1 only, and one that Unicode and editors disagree about.
    if let Some(found) = text.chars().find(|c| {
        matches!(
            c,
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\0'
        )
    }) {
        return Err(odd(
            "YAML with line feeds alone",
            format!("U+{:04X}", u32::from(found)),
        ));
    }
    let mut builder = Builder {
        open: Vec::new(),
        root: None,
        nodes: 0,
        documents: 0,
    };
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| odd("YAML", error.to_string()))?;
        builder.event(event)?;
    }
    builder.root.ok_or_else(|| odd("one YAML document", "none"))
}

/// A collection that has not ended.
struct Open {
    class: Option<String>,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping {
        members: Vec<(String, Node)>,
        keys: std::collections::HashSet<String>,
        key: Option<String>,
    },
}

struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl Builder {
    fn event(&mut self, event: Event<'_>) -> Result<(), Unreadable> {
        match event {
            Event::Alias(_) => Err(odd("YAML without aliases", "an alias")),
            Event::DocumentStart(_) => {
                self.documents = self.documents.saturating_add(1);
                if self.documents > 1 {
                    Err(odd("one YAML document", "several"))
                } else {
                    Ok(())
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                no_anchor(anchor)?;
                let class = class(tag.as_deref())?;
                self.add(Node {
                    class,
                    value: Value::Scalar {
                        text: text.into_owned(),
                        plain: style == ScalarStyle::Plain,
                    },
                })
            }
            Event::SequenceStart(anchor, tag) => {
                no_anchor(anchor)?;
                self.push(class(tag.as_deref())?, Content::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                no_anchor(anchor)?;
                self.push(
                    class(tag.as_deref())?,
                    Content::Mapping {
                        members: Vec::new(),
                        keys: std::collections::HashSet::new(),
                        key: None,
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => Ok(()),
        }
    }

    fn push(&mut self, class: Option<String>, content: Content) -> Result<(), Unreadable> {
        if self.open.len() >= DEEPEST {
            return Err(Unreadable::too_large(
                "the nesting of the specification",
                32,
                "levels",
            ));
        }
        self.open.push(Open { class, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Unreadable> {
        let Some(Open { class, content }) = self.open.pop() else {
            return Ok(());
        };
        let value = match content {
            Content::Sequence(items) => Value::Sequence(items),
            Content::Mapping { members, .. } => {
                // RubyGems makes a member of the object out of any key, also out of a symbol.
                if let Some((key, _)) = members
                    .iter()
                    .find(|(key, _)| class.is_some() && !is_word(key))
                {
                    return Err(odd("YAML with plain keys", key));
                }
                Value::Mapping(members)
            }
        };
        self.add(Node { class, value })
    }

    fn add(&mut self, node: Node) -> Result<(), Unreadable> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MOST_NODES {
            return Err(Unreadable::too_large("the specification", 100_000, "nodes"));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping { members, keys, key }) => match key.take() {
                Some(name) => members.push((name, node)),
                None => *key = Some(new_key(node, keys)?),
            },
        }
        Ok(())
    }
}

fn is_word(key: &str) -> bool {
    key.bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// A key: a scalar without a tag, for the first time in its mapping.
fn new_key(node: Node, keys: &mut std::collections::HashSet<String>) -> Result<String, Unreadable> {
    let Node {
        class: None,
        value: Value::Scalar { text, .. },
    } = node
    else {
        return Err(odd("YAML with plain keys", "another key"));
    };
    if text == "<<" {
        return Err(odd("YAML without merge keys", "<<"));
    }
    if !keys.insert(text.clone()) {
        return Err(Unreadable::duplicate(format!(
            "{text} of the specification"
        )));
    }
    Ok(text)
}

fn no_anchor(anchor: usize) -> Result<(), Unreadable> {
    if anchor == 0 {
        Ok(())
    } else {
        Err(odd("YAML without anchors", "an anchor"))
    }
}

/// The Ruby class of a tag. Tags of other kinds change what a scalar is.
fn class(tag: Option<&Tag>) -> Result<Option<String>, Unreadable> {
    let Some(tag) = tag else { return Ok(None) };
    let whole = format!("{}{}", tag.handle, tag.suffix);
    let class = whole
        .strip_prefix("!ruby/object:")
        .filter(|class| CLASSES.contains(class));
    class
        .map(|class| Some(class.to_owned()))
        .ok_or_else(|| odd("YAML with the tags of a specification", whole.as_str()))
}
