//! `Gem::Specification` as YAML.

use super::yaml::{self, Node, Value};
use crate::{GemDependency, Unreadable};

pub(super) struct Specification {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) platform: String,
    pub(super) dependencies: Vec<GemDependency>,
    pub(super) required_ruby_version: Vec<String>,
    pub(super) required_rubygems_version: Vec<String>,
}

impl Specification {
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        let root = yaml::parse(text)?;
        let members = mapping(&root, "Gem::Specification", "the specification")?;
        let platform = match member(members, "platform") {
            None => "ruby".to_owned(),
            Some(node) => text_of(node, "platform of the specification")?,
        };
        check_platform("platform of the specification", &platform)?;
        Ok(Self {
            name: text_of(required(members, "name")?, "name of the specification")?,
            version: version_of(required(members, "version")?)?,
            platform,
            dependencies: dependencies(member(members, "dependencies"))?,
            required_ruby_version: requirements(member(members, "required_ruby_version"))?,
            required_rubygems_version: requirements(member(members, "required_rubygems_version"))?,
        })
    }
}

/// The characters of `Gem::Platform`.
pub(super) fn check_platform(field: &'static str, platform: &str) -> Result<(), Unreadable> {
    let plain = (1..=100).contains(&platform.len())
        // A platform that begins with a digit would give the file the name of another version's.
        && platform.starts_with(|c: char| c.is_ascii_alphabetic())
        && platform
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if plain {
        Ok(())
    } else {
        Err(Unreadable::malformed(field, "a platform", platform))
    }
}

fn odd(field: &str, expected: &'static str, received: &str) -> Unreadable {
    Unreadable::malformed(field, expected, received)
}

fn member<'a>(members: &'a [(String, Node)], key: &str) -> Option<&'a Node> {
    members
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, node)| node)
}

fn required<'a>(members: &'a [(String, Node)], key: &str) -> Result<&'a Node, Unreadable> {
    member(members, key).ok_or_else(|| Unreadable::missing(format!("{key} of the specification")))
}

/// The members of an object of a class.
fn mapping<'a>(
    node: &'a Node,
    class: &'static str,
    field: &str,
) -> Result<&'a [(String, Node)], Unreadable> {
    match (&node.value, node.class.as_deref()) {
        (Value::Mapping(members), Some(found)) if found == class => Ok(members),
        (_, found) => Err(odd(field, class, found.unwrap_or("an untagged node"))),
    }
}

/// A scalar that YAML 1.1 takes for a text, too.
fn text_of(node: &Node, field: &str) -> Result<String, Unreadable> {
    match &node.value {
        Value::Scalar { text, plain } if node.class.is_none() && (!plain || is_text(text)) => {
            Ok(text.clone())
        }
        Value::Scalar { text, .. } => Err(odd(field, "a string", text)),
        _ => Err(odd(field, "a string", "a collection")),
    }
}

/// Whether a scalar without quotes is neither a number nor a date nor one of the words of YAML 1.1.
fn is_text(text: &str) -> bool {
    const WORDS: [&str; 10] = [
        "y", "n", "yes", "no", "true", "false", "on", "off", "null", "~",
    ];
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_start_matches(['+', '-']).replace(['_', ','], "");
    let is_number = digits.parse::<f64>().is_ok() && !digits.is_empty()
        || ["0x", "0b", "0o"].iter().any(|prefix| {
            digits.starts_with(prefix) && digits.bytes().skip(2).all(|b| b.is_ascii_hexdigit())
        })
        || matches!(digits.as_str(), ".inf" | ".nan");
    let is_date = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b"-:".contains(&b));
    let is_symbol = text.starts_with(':');
    !text.is_empty() && !WORDS.contains(&lower.as_str()) && !is_number && !is_date && !is_symbol
}

/// The text of a `Gem::Version`.
fn version_of(node: &Node) -> Result<String, Unreadable> {
    let members = mapping(node, "Gem::Version", "version of the specification")?;
    text_of(
        required(members, "version")?,
        "version of the specification",
    )
}

fn sequence(node: &Node) -> Result<&[Node], Unreadable> {
    match &node.value {
        Value::Sequence(items) if node.class.is_none() => Ok(items),
        _ => Err(odd("the specification", "a list", "another node")),
    }
}

/// A `Gem::Requirement`: pairs of an operator and a version.
fn requirements(node: Option<&Node>) -> Result<Vec<String>, Unreadable> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let members = mapping(
        node,
        "Gem::Requirement",
        "a requirement of the specification",
    )?;
    let pairs = sequence(required(members, "requirements")?)?;
    pairs
        .iter()
        .map(|pair| match sequence(pair)? {
            [operator, version] => {
                let operator = text_of(operator, "an operator of the specification")?;
                if !["=", "!=", ">", "<", ">=", "<=", "~>"].contains(&operator.as_str()) {
                    return Err(odd(
                        "an operator of the specification",
                        "one of =, !=, >, <, >=, <= and ~>",
                        &operator,
                    ));
                }
                Ok(format!("{operator} {}", version_of(version)?))
            }
            _ => Err(odd(
                "a requirement of the specification",
                "pairs of operator and version",
                "another list",
            )),
        })
        .collect()
}

fn dependencies(node: Option<&Node>) -> Result<Vec<GemDependency>, Unreadable> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let dependency = |node: &Node| {
        let members = mapping(node, "Gem::Dependency", "a dependency of the specification")?;
        // A symbol, which YAML writes as `:runtime`.
        let runtime = match member(members, "type").map(|node| &node.value) {
            Some(Value::Scalar { text, .. }) if text == ":development" => false,
            Some(Value::Scalar { text, .. }) if text == ":runtime" => true,
            None => true,
            Some(_) => {
                return Err(odd(
                    "the type of a dependency",
                    ":runtime or :development",
                    "another",
                ));
            }
        };
        let requirement =
            member(members, "requirement").or_else(|| member(members, "version_requirements"));
        let name = text_of(required(members, "name")?, "the name of a dependency")?;
        crate::names::GEM.check("the name of a dependency", &name)?;
        Ok(GemDependency {
            name,
            requirements: requirements(requirement)?,
            runtime,
        })
    };
    sequence(node)?.iter().map(dependency).collect()
}
