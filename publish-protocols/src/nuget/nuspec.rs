//! The nuspec, an XML document, and the relationships of the Open Packaging Conventions that name it.

use roxmltree::{Document, Node, ParsingOptions};

use crate::{NugetDependencyGroup, Text, Unreadable};

/// The greatest number of nodes of a document.
const MOST_NODES: u32 = 50_000;

#[derive(Debug)]
pub(super) struct Nuspec {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) authors: String,
    pub(super) dependencies: Vec<NugetDependencyGroup>,
}

/// The text of an XML file in UTF-8, with a byte order mark or without, that declares no other encoding.
pub(super) fn text(what: &'static str, bytes: Vec<u8>) -> Result<String, Unreadable> {
    let odd = |received: Text| Unreadable::malformed(what, "XML in UTF-8", received);
    let text = String::from_utf8(bytes).map_err(|error| odd(Text::of_bytes(error.as_bytes())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let declaration = text
        .strip_prefix("<?xml")
        .and_then(|rest| rest.split_once("?>"))
        .map(|(declaration, _)| declaration);
    if let Some((_, encoding)) =
        declaration.and_then(|declaration| declaration.split_once("encoding"))
    {
        let encoding =
            encoding.trim_matches(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | '\''));
        let name = encoding.split(['"', '\'']).next().unwrap_or_default();
        if !name.eq_ignore_ascii_case("utf-8") {
            return Err(odd(name.into()));
        }
    }
    Ok(text.to_owned())
}

fn document<'a>(what: &'static str, text: &'a str) -> Result<Document<'a>, Unreadable> {
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: MOST_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options)
        .map_err(|error| Unreadable::malformed(what, "XML without a DTD", error.to_string()))
}

impl Nuspec {
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        let document = document("the nuspec", text)?;
        let root = document.root_element();
        if root.tag_name().name() != "package" {
            return Err(Unreadable::malformed(
                "the nuspec",
                "an element package",
                root.tag_name().name(),
            ));
        }
        let metadata = only_child(root, "metadata")?
            .ok_or_else(|| Unreadable::missing("metadata of the nuspec"))?;
        let required = |name: &'static str| {
            let node = only_child(metadata, name)?
                .ok_or_else(|| Unreadable::missing(format!("{name} of the nuspec")))?;
            plain_text(node)
        };
        let optional = |name: &'static str| -> Result<String, Unreadable> {
            Ok(only_child(metadata, name)?
                .and_then(|node| node.text())
                .unwrap_or_default()
                .to_owned())
        };
        Ok(Self {
            id: required("id")?,
            version: required("version")?,
            description: optional("description")?,
            authors: optional("authors")?,
            dependencies: match only_child(metadata, "dependencies")? {
                Some(node) => groups(node)?,
                None => Vec::new(),
            },
        })
    }
}

/// The one child element of a name, whatever its namespace; readers differ in case and in which of several they take.
fn only_child<'a>(
    parent: Node<'a, 'a>,
    name: &'static str,
) -> Result<Option<Node<'a, 'a>>, Unreadable> {
    let mut children = parent
        .children()
        .filter(|node| node.is_element() && node.tag_name().name().eq_ignore_ascii_case(name));
    match (children.next(), children.next()) {
        (None, _) => Ok(None),
        (Some(node), None) if node.tag_name().name() == name => Ok(Some(node)),
        (Some(node), None) => Err(Unreadable::malformed(
            "the nuspec",
            format!("of an element {name}"),
            node.tag_name().name(),
        )),
        (Some(_), Some(_)) => Err(Unreadable::duplicate(format!("{name} of the nuspec"))),
    }
}

/// The text of an element that has nothing but text: readers differ in what they do with comments within.
fn plain_text(node: Node<'_, '_>) -> Result<String, Unreadable> {
    let mut children = node.children();
    match (children.next(), children.next()) {
        (Some(text), None) if text.is_text() => Ok(text.text().unwrap_or_default().to_owned()),
        (None, _) => Err(Unreadable::missing(format!(
            "{} of the nuspec",
            node.tag_name().name()
        ))),
        _ => Err(Unreadable::malformed(
            format!("{} of the nuspec", node.tag_name().name()),
            "text alone",
            "other nodes",
        )),
    }
}

/// Groups of dependencies, or dependencies without a group.
fn groups(node: Node<'_, '_>) -> Result<Vec<NugetDependencyGroup>, Unreadable> {
    let mut groups = Vec::new();
    let ungrouped = dependencies(node)?;
    if !ungrouped.is_empty() {
        groups.push(NugetDependencyGroup {
            target_framework: None,
            dependencies: ungrouped,
        });
    }
    for group in node
        .children()
        .filter(|node| node.is_element() && node.tag_name().name() == "group")
    {
        groups.push(NugetDependencyGroup {
            target_framework: group.attribute("targetFramework").map(str::to_owned),
            dependencies: dependencies(group)?,
        });
    }
    Ok(groups)
}

fn dependencies(node: Node<'_, '_>) -> Result<Vec<(String, Option<String>)>, Unreadable> {
    node.children()
        .filter(|node| node.is_element() && node.tag_name().name() == "dependency")
        .map(|dependency| {
            let id = dependency
                .attribute("id")
                .ok_or_else(|| Unreadable::missing("id of a dependency"))?;
            crate::names::NUGET.check("id of a dependency", id)?;
            Ok((
                id.to_owned(),
                dependency.attribute("version").map(str::to_owned),
            ))
        })
        .collect()
}

/// Old clients find the nuspec by the package's relationships: they must name the one at the root.
pub(super) fn compare_relationships(text: &str, nuspec: &str) -> Result<(), Unreadable> {
    let document = document("_rels/.rels", text)?;
    for node in document.root_element().descendants() {
        let kind = node.attribute("Type").unwrap_or_default();
        if !kind.to_ascii_lowercase().ends_with("/manifest") {
            continue;
        }
        let target = node.attribute("Target").unwrap_or_default();
        if target.strip_prefix('/').unwrap_or(target) != nuspec {
            return Err(Unreadable::NameMismatch {
                field: "the manifest in _rels/.rels".into(),
                reference: "the archive".into(),
                expected: nuspec.into(),
                received: target.into(),
            });
        }
    }
    Ok(())
}
