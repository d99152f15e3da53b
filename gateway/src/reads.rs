//! Which paths of a registry may be read.
//!
//! A path is compared as it was sent, percent-encoded. It is allowed if a [`PathPattern`] of the
//! protocol or of the operator matches it. A path in an unusual spelling matches none, because the
//! registry could understand it as another one: empty segments, segments of dots alone, `;`, `\`,
//! and characters that are percent-encoded although servers differ in what they make of them.

mod table;

use std::fmt;
use std::str::FromStr;

use carnet_publish_protocols::{Protocol, path_segments};

/// A pattern of paths, such as `/simple/{}/`.
///
/// It begins with `/`. In it, `{}` stands for a segment, or for the part of a segment between the
/// text before and behind it (`/api/v1/versions/{}.json`), `{2}` for a segment of two characters,
/// and `**` as the last segment for one segment or more, the last of which may be empty. Everything
/// else is compared byte for byte with the path as it was sent. `{}` does not stand for an empty
/// segment, nor for `-` alone, below which npm registries have paths that are no packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    segments: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Any { before: String, behind: String },
    Two,
    Rest,
}

/// Why a text is not a [`PathPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPathPattern {
    /// It does not begin with a slash.
    #[error("a path pattern must begin with `/`")]
    Relative,
    /// A segment has braces in another place or number.
    #[error(
        "a segment of a path pattern must have `{{}}` once at most, and no other braces but `{{2}}` alone"
    )]
    Braces,
    /// `**` is not the last segment, or only a part of one.
    #[error("`*` in a path pattern must be `**` as its last segment")]
    Star,
    /// What is written out is not a path that could be sent.
    #[error(
        "a path pattern must have no empty or dot segments, no query, and no characters but those of a URL's path"
    )]
    Spelling,
}

impl FromStr for PathPattern {
    type Err = InvalidPathPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPathPattern> {
        let rest = text.strip_prefix('/').ok_or(InvalidPathPattern::Relative)?;
        let mut segments = Vec::new();
        let mut pieces = rest.split('/').peekable();
        while let Some(segment) = pieces.next() {
            let piece = piece(segment)?;
            if piece == Piece::Rest && pieces.peek().is_some() {
                return Err(InvalidPathPattern::Star);
            }
            segments.push(piece);
        }
        let plain = text.replace("{}", "x").replace("{2}", "xx");
        if usual_segments(&plain.replace("**", "x")).is_none() {
            return Err(InvalidPathPattern::Spelling);
        }
        Ok(Self {
            text: text.to_owned(),
            segments,
        })
    }
}

fn piece(segment: &str) -> Result<Piece, InvalidPathPattern> {
    let braces = |text: &str| text.contains(['{', '}']);
    match segment {
        "**" => return Ok(Piece::Rest),
        "{2}" => return Ok(Piece::Two),
        _ if segment.contains('*') => return Err(InvalidPathPattern::Star),
        _ => {}
    }
    match segment.split_once("{}") {
        Some((before, behind)) if !braces(before) && !braces(behind) => Ok(Piece::Any {
            before: before.to_owned(),
            behind: behind.to_owned(),
        }),
        None if !braces(segment) => Ok(Piece::Literal(segment.to_owned())),
        _ => Err(InvalidPathPattern::Braces),
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PathPattern {
    fn matches(&self, path: &[&str]) -> bool {
        let mut path = path.iter();
        for piece in &self.segments {
            let Some(segment) = path.next() else {
                return false;
            };
            let is_same = match piece {
                Piece::Rest => return true,
                Piece::Literal(text) => text == segment,
                Piece::Two => segment.len() == 2,
                Piece::Any { before, behind } => {
                    let middle = segment
                        .strip_prefix(before.as_str())
                        .and_then(|rest| rest.strip_suffix(behind.as_str()));
                    *segment != "-" && middle.is_some_and(|middle| !middle.is_empty())
                }
            };
            if !is_same {
                return false;
            }
        }
        path.next().is_none()
    }
}

/// The paths of one registry that may be read.
#[derive(Clone, Debug)]
pub struct Reads {
    protocol: Protocol,
    patterns: Vec<PathPattern>,
}

impl Reads {
    /// The paths of the protocol, and those of the operator.
    pub fn new(protocol: Protocol, more: impl IntoIterator<Item = PathPattern>) -> Self {
        // A test reads every row of the tables.
        let own = table::of(protocol)
            .iter()
            .filter_map(|row| row.parse().ok());
        Self {
            protocol,
            patterns: own.chain(more).collect(),
        }
    }

    /// Whether a path, as it was sent and without its query, may be read.
    pub fn allow(&self, path: &str) -> bool {
        let Some(segments) = usual_segments(path) else {
            return false;
        };
        // A slash inside a segment is npm's way to write the name of a package in a scope.
        let has_slash = |segment: &&str| has_code(segment, "2f");
        let is_usual = match self.protocol {
            Protocol::Npm => segments
                .iter()
                .all(|segment| !has_slash(segment) || is_scoped(segment)),
            _ => !segments.iter().any(has_slash),
        };
        is_usual
            && self
                .patterns
                .iter()
                .any(|pattern| pattern.matches(&segments))
    }
}

/// The segments of a path, if it is spelled in the usual way. An encoded slash is not judged here.
fn usual_segments(path: &str) -> Option<Vec<&str>> {
    let segments = path_segments(path)?;
    let is_usual = |segment: &&str| {
        let only_dots = !segment.is_empty() && segment.bytes().all(|byte| byte == b'.');
        !only_dots && codes_are_usual(segment)
    };
    segments.iter().all(is_usual).then_some(segments)
}

/// Whether all that is percent-encoded in a segment is printable ASCII without the characters that
/// structure a path or a URL: `%`, `.`, `;`, `?`, `#` and `\`.
fn codes_are_usual(segment: &str) -> bool {
    let mut pieces = segment.split('%');
    pieces.next();
    pieces.all(|piece| {
        let code = piece.get(..2).filter(|code| !code.starts_with('+'));
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        byte.is_some_and(|byte| matches!(byte, b' '..=b'~') && !b"%.;?#\\".contains(&byte))
    })
}

fn has_code(segment: &str, code: &str) -> bool {
    let mut pieces = segment.split('%');
    pieces.next();
    pieces.any(|piece| {
        piece
            .get(..2)
            .is_some_and(|start| start.eq_ignore_ascii_case(code))
    })
}

/// Whether a segment is `@scope%2fname`, with nothing else encoded but the `@`.
fn is_scoped(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    let rest = lower
        .strip_prefix('@')
        .or_else(|| lower.strip_prefix("%40"));
    let part = |part: &str| {
        !part.is_empty() && !part.contains('%') && !part.bytes().all(|byte| byte == b'.')
    };
    rest.and_then(|rest| rest.split_once("%2f"))
        .is_some_and(|(scope, name)| part(scope) && part(name))
}

#[cfg(test)]
mod tests;
