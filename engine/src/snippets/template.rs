//! Templates of job files: text with values and blocks, written `@[…]`.
//!
//! | written | what it becomes |
//! |---|---|
//! | `@[word NAME]` | the value as one word of a POSIX shell |
//! | `@[scalar NAME]` | the value as a YAML scalar that is a string |
//! | `@[query NAME]` | the value, percent-encoded for the query of a URL |
//! | `@[inside NAME]` | the value as it is, for a place in quotes or in a comment |
//! | `@[flag --x NAME]` | ` --x` and the value as a word, or nothing without a value |
//! | `@[text NAME]`, `@[more NAME]` | a text of the data files; `more` puts a space before it |
//! | `@[NAME]`, alone on its line | a block of lines, each with the indentation of this one |
//!
//! `@[word? NAME]` drops its line without a value, `@[word NAME else DEFAULT]` has a default.
//!
//! Values are written by whoever writes rules. What is put into a file may be expanded before the
//! shell or YAML sees it (`${{ }}` of GitHub, `<< >>` of CircleCI, `$( )` of Azure), so quoting
//! alone does not contain it: a value with a character of such a syntax is not put in at all
//! ([`may_be_shown`]).

use std::collections::BTreeMap;

/// Longest value that is put into a snippet, in bytes.
const MAX_VALUE_BYTES: usize = 2_048;
/// The names of values of rules, besides `match.FIELD`.
const VALUES: [&str; 12] = [
    "asked_audience",
    "asked_grant",
    "audience",
    "door_audience",
    "door_url",
    "issuer",
    "nuget_service",
    "principal",
    "registry_place",
    "resource",
    "token_audience",
    "token_endpoint",
];
/// The name of the value that the client's file makes from the registry's URL.
const UPLOAD: &str = "upload_url";
/// The names of texts that come from the data files.
const TEXTS: [&str; 4] = ["binding", "exchange_options", "needs", "token_variable"];
/// The names of blocks.
const BLOCKS: [&str; 6] = [
    "assertion",
    "commands",
    "container",
    "mask",
    "steps",
    "token",
];

/// A template whose every placeholder is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Template(Vec<Line>);

#[derive(Clone, Debug)]
enum Line {
    Parts(Vec<Part>),
    Block { indent: String, name: String },
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Value {
        filter: Filter,
        name: String,
        is_optional: bool,
        default: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Word,
    Scalar,
    Query,
    Inside,
    Flag(String),
    Text,
    More,
}

/// What placeholders stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    /// Values of rules, registries and trusted issuers.
    pub given: BTreeMap<String, String>,
    /// Texts of the data files, which are put in as they are.
    pub texts: BTreeMap<&'static str, String>,
    pub blocks: BTreeMap<&'static str, Vec<String>>,
}

/// The lines of a filled template.
#[derive(Clone, Debug, Default)]
pub(super) struct Filled {
    pub lines: Vec<String>,
    /// The names of optional values that are left out, because a snippet cannot hold them.
    pub hidden: Vec<String>,
}

/// A value that a template cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfilled {
    /// There is none of this name.
    Missing(String),
    /// The value of this name cannot be put into a snippet.
    Hostile(String),
}

impl Template {
    /// Reads a template. The error names a placeholder that is wrong or unknown.
    pub fn read(text: &str) -> Result<Self, String> {
        text.lines()
            .map(Line::read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The names of the blocks that it takes.
    #[cfg(test)]
    pub fn blocks(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|line| match line {
            Line::Block { name, .. } => Some(name.as_str()),
            Line::Parts(_) => None,
        })
    }

    /// Fills it. What is put in is not read again, whatever it looks like.
    pub fn fill(&self, values: &Values) -> Result<Filled, Unfilled> {
        let mut filled = Filled::default();
        for line in &self.0 {
            match line {
                Line::Block { indent, name } => {
                    let lines = values.blocks.get(name.as_str()).into_iter().flatten();
                    filled.lines.extend(lines.map(|line| match line.as_str() {
                        "" => String::new(),
                        line => format!("{indent}{line}"),
                    }));
                }
                Line::Parts(parts) => {
                    let line = line_of(parts, values, &mut filled.hidden)?;
                    filled.lines.extend(line);
                }
            }
        }
        Ok(filled)
    }
}

impl Line {
    fn read(line: &str) -> Result<Self, String> {
        let inner = line.trim();
        let block = inner
            .strip_prefix("@[")
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(name) = block.filter(|name| BLOCKS.contains(name)) {
            let indent = line.len().saturating_sub(line.trim_start().len());
            return Ok(Self::Block {
                indent: " ".repeat(indent),
                name: name.to_owned(),
            });
        }
        let mut parts = Vec::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("@[") {
            let (placeholder, after) = after
                .split_once(']')
                .ok_or_else(|| format!("`{line}`: a placeholder has no end"))?;
            parts.push(Part::Literal(before.to_owned()));
            parts.push(Part::read(placeholder)?);
            rest = after;
        }
        parts.push(Part::Literal(rest.to_owned()));
        Ok(Self::Parts(parts))
    }
}

impl Part {
    fn read(placeholder: &str) -> Result<Self, String> {
        let wrong = || format!("`@[{placeholder}]` is no placeholder");
        let (used, default) = match placeholder.split_once(" else ") {
            Some((used, default)) => (used, Some(default.to_owned())),
            None => (placeholder, None),
        };
        let mut words = used.split(' ');
        let word = words.next().ok_or_else(wrong)?;
        let (word, is_optional) = match word.strip_suffix('?') {
            Some(word) => (word, true),
            None => (word, false),
        };
        let filter = match word {
            "word" => Filter::Word,
            "scalar" => Filter::Scalar,
            "query" => Filter::Query,
            "inside" => Filter::Inside,
            "flag" => Filter::Flag(words.next().ok_or_else(wrong)?.to_owned()),
            "text" => Filter::Text,
            "more" => Filter::More,
            _ => return Err(wrong()),
        };
        let name = words.next().ok_or_else(wrong)?;
        let is_known = match filter {
            Filter::Text | Filter::More => TEXTS.contains(&name),
            _ => VALUES.contains(&name) || name == UPLOAD || name.starts_with("match."),
        };
        if !is_known || words.next().is_some() {
            return Err(wrong());
        }
        Ok(Self::Value {
            filter,
            name: name.to_owned(),
            is_optional,
            default,
        })
    }
}

/// One line, or `None` if it is left out.
fn line_of(
    parts: &[Part],
    values: &Values,
    hidden: &mut Vec<String>,
) -> Result<Option<String>, Unfilled> {
    let mut line = String::new();
    for part in parts {
        let (filter, name, is_optional, default) = match part {
            Part::Literal(text) => {
                line.push_str(text);
                continue;
            }
            Part::Value {
                filter,
                name,
                is_optional,
                default,
            } => (filter, name, *is_optional, default),
        };
        if matches!(filter, Filter::Text | Filter::More) {
            let text = values
                .texts
                .get(name.as_str())
                .filter(|text| !text.is_empty());
            if *filter == Filter::More && text.is_some() {
                line.push(' ');
            }
            line.extend(text.map(String::as_str));
            continue;
        }
        let given = values.given.get(name);
        let shown = given
            .filter(|value| may_be_shown(value))
            .or(default.as_ref());
        let can_be_left_out = is_optional || matches!(filter, Filter::Flag(_));
        // A flag without its value would make another command.
        if given.is_some_and(|value| !may_be_shown(value)) {
            if !is_optional && default.is_none() {
                return Err(Unfilled::Hostile(name.clone()));
            }
            hidden.push(name.clone());
        }
        match shown {
            Some(value) => line.push_str(&filter.apply(value)),
            None if is_optional => return Ok(None),
            None if can_be_left_out => {}
            None => return Err(Unfilled::Missing(name.clone())),
        }
    }
    Ok(Some(line))
}

impl Filter {
    fn apply(&self, value: &str) -> String {
        match self {
            Self::Word => word(value),
            Self::Scalar => scalar(value),
            Self::Query => query(value),
            Self::Flag(flag) => format!(" {flag} {}", word(value)),
            Self::Inside | Self::Text | Self::More => value.to_owned(),
        }
    }
}

/// Whether a value can be put into a snippet: it ends no quotes, begins no option, and has nothing
/// that a shell, YAML or the platform expands.
pub(super) fn may_be_shown(value: &str) -> bool {
    let is_harmless = |c: char| c.is_alphanumeric() || " !#%&()*+,-./:;=?@[]^_|~".contains(c);
    (1..=MAX_VALUE_BYTES).contains(&value.len())
        && value.trim() == value
        && !value.starts_with('-')
        && value.chars().all(is_harmless)
}

/// A word of a POSIX shell, in single quotes unless it is plain.
fn word(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    if value.chars().all(is_plain) {
        value.to_owned()
    } else {
        format!("'{value}'")
    }
}

/// A YAML scalar that every reader takes for a string.
fn scalar(value: &str) -> String {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-./:_".contains(c);
    let is_string = value.starts_with(|c: char| c.is_ascii_alphabetic())
        && !value.ends_with(':')
        && value.chars().all(is_plain)
        && !WORDS.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is_string {
        value.to_owned()
    } else {
        format!("\"{value}\"")
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986 section 2.3).
fn query(value: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    value.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(value: &str) -> Values {
        let names = ["principal", "match.environment"].map(str::to_owned);
        Values {
            given: names.map(|name| (name, value.to_owned())).into(),
            ..Values::default()
        }
    }

    fn filled(template: &str, value: &str) -> Result<Vec<String>, Unfilled> {
        let template = Template::read(template).unwrap();
        template.fill(&values(value)).map(|filled| filled.lines)
    }

    #[test]
    fn values_are_quoted_for_the_place_where_they_stand() {
        for (template, value, line) in [
            ("a @[word principal]", "octo-org", "a octo-org"),
            ("a @[word principal]", "a b;c", "a 'a b;c'"),
            ("a @[word principal]", "~root", "a '~root'"),
            ("a: @[scalar principal]", "octo-org", "a: octo-org"),
            (
                "a: @[scalar principal]",
                "https://r.example:8443/",
                "a: https://r.example:8443/",
            ),
            ("a: @[scalar principal]", "a: b # c", "a: \"a: b # c\""),
            ("a: @[scalar principal]", "On", "a: \"On\""),
            ("a: @[scalar principal]", "12", "a: \"12\""),
            ("a: @[scalar principal]", "&x *y", "a: \"&x *y\""),
            ("a: @[scalar principal]", "生産", "a: \"生産\""),
            (
                "?a=@[query principal]",
                "https://a.b/?c&d",
                "?a=https%3A%2F%2Fa.b%2F%3Fc%26d",
            ),
            ("a@[flag --b principal] c", "x", "a --b x c"),
            ("a@[flag --b asked_audience] c", "x", "a c"),
            ("a@[more needs]@[text binding]", "x", "a"),
            ("@[word match.repository else it]", "x", "it"),
        ] {
            assert_eq!(
                filled(template, value),
                Ok(vec![line.to_owned()]),
                "{template} {value}"
            );
        }
        assert_eq!(filled("@[scalar? match.ref]", "x"), Ok(Vec::new()));
        let missing = Unfilled::Missing("resource".to_owned());
        assert_eq!(filled("@[word resource]", "x"), Err(missing));
    }

    #[test]
    fn hostile_values_are_not_put_in() {
        for value in [
            "a'b",
            "a\"b",
            "a`id`",
            "$(id)",
            "${{ secrets.X }}",
            "$HOME",
            "<< pipeline.x >>",
            "a\nb",
            "a\r",
            "a\tb",
            "a\\",
            "#{x}",
            "{{x}}",
            "a\u{0}",
            "a\u{202e}b",
            "a\u{2028}b",
            "a\u{200b}",
            "-x",
            " a",
            "a ",
            "",
        ] {
            assert!(!may_be_shown(value), "{value:?}");
            let hostile = Err(Unfilled::Hostile("principal".to_owned()));
            assert_eq!(filled("@[word principal]", value), hostile, "{value:?}");
            assert_eq!(
                filled("a@[flag --b principal]", value),
                hostile,
                "{value:?}"
            );
            // What can be left out is left out, and named.
            let template = Template::read(
                "e: @[scalar? match.environment]\nf: @[inside match.environment else g]",
            );
            let filled = template.unwrap().fill(&values(value)).unwrap();
            assert_eq!(filled.lines, ["f: g"]);
            assert_eq!(filled.hidden, ["match.environment", "match.environment"]);
        }
        assert!(!may_be_shown(&"a".repeat(MAX_VALUE_BYTES + 1)));
    }

    #[test]
    fn what_is_put_in_is_not_filled_again() {
        let mut values = values("@[text needs]");
        values.texts.insert("needs", "secret".to_owned());
        let block = vec![
            "@[word principal]".to_owned(),
            String::new(),
            "b".to_owned(),
        ];
        values.blocks.insert("commands", block);
        let template = Template::read("  @[commands]\n@[inside principal]").unwrap();
        let filled = template.fill(&values).unwrap();
        assert_eq!(
            filled.lines,
            ["  @[word principal]", "", "  b", "@[text needs]"]
        );
    }

    #[test]
    fn unknown_placeholders_are_refused() {
        for wrong in [
            "@[principal]",
            "@[word nobody]",
            "@[plain principal]",
            "@[word principal",
            "@[word]",
            "@[]",
            "@[text principal]",
            "@[word needs]",
            "@[word principal more]",
            "@[flag principal]",
            "a @[commands]",
            "@[word  principal]",
        ] {
            assert!(Template::read(wrong).is_err(), "{wrong}");
        }
    }
}
