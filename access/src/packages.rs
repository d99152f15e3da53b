//! Package names and patterns, compared as the registry's ecosystem does.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest package name or pattern, in bytes (`docs/src/reference/limits.md`).
const MAX_BYTES: usize = 256;

/// How a registry's ecosystem decides whether two package names are the same. The server's setting
/// for the registry (`package_names`) has to be the same.
///
/// Two names are the same if their folded forms ([`normalise`](Self::normalise)) are equal byte for
/// byte. Patterns are folded too, each by itself and before it is compared; a `*` stays a `*`.
/// `docs/src/reference/registry-decision.md` is the description for other languages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageNames {
    /// Names are the same if they are equal byte for byte.
    #[default]
    Exact,
    /// ASCII letters are compared without case; other letters byte for byte.
    AsciiCaseInsensitive,
    /// As in PEP 503: ASCII letters are compared without case, and each run of `-`, `_` and `.`
    /// counts as one `-`.
    Pep503,
    /// As at crates.io: ASCII letters are compared without case, and each `-` counts as `_`. Two in
    /// a row stay two, and a `.` stays a `.`.
    Cargo,
}

/// A package name, or a pattern in which each `*` stands for any run of characters, empty or not.
///
/// There is no escape and no other special character: no supported ecosystem has names with a `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackagePattern(String);

/// The error of making a [`PackagePattern`] from a text that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a package name or pattern must have 1 to 256 bytes without white space and control characters, and neither begin nor end with `.`"
)]
pub struct InvalidPattern;

impl PackageNames {
    /// The form of `name` in which names are compared: two names are the same if their forms are
    /// equal.
    #[must_use]
    pub fn normalise(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::Exact => Cow::Borrowed(name),
            Self::AsciiCaseInsensitive => Cow::Owned(name.to_ascii_lowercase()),
            Self::Pep503 => Cow::Owned(pep503(name)),
            Self::Cargo => Cow::Owned(name.to_ascii_lowercase().replace('-', "_")),
        }
    }

    /// Whether two names mean the same package.
    #[must_use]
    pub fn same(self, left: &str, right: &str) -> bool {
        self.normalise(left) == self.normalise(right)
    }
}

fn pep503(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' => {
                if !normal.ends_with('-') {
                    normal.push('-');
                }
            }
            other => normal.push(other.to_ascii_lowercase()),
        }
    }
    normal
}

impl PackagePattern {
    /// Checks that a text is a package name or pattern: 1 to 256 bytes, no white space or control
    /// characters, no `.` at either end.
    ///
    /// # Errors
    ///
    /// [`InvalidPattern`] if it is not.
    pub fn check(text: &str) -> Result<(), InvalidPattern> {
        let is_good = !(text.is_empty()
            || text.len() > MAX_BYTES
            || text.contains(unprintable)
            || has_outer_dot(text));
        if is_good { Ok(()) } else { Err(InvalidPattern) }
    }

    /// The text as it was written, not normalised.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text contains a `*`.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.0.contains('*')
    }

    /// Whether `name` is covered, comparing as `names` says. A name that is not well formed
    /// ([`is_well_formed_name`]) is never covered.
    #[must_use]
    pub fn covers(&self, name: &str, names: PackageNames) -> bool {
        is_well_formed_name(name) && matches(&names.normalise(&self.0), &names.normalise(name))
    }
}

/// A set of names and patterns, normalised once for many lookups.
#[derive(Clone, Debug)]
pub struct PackageSet {
    names: PackageNames,
    /// All names and patterns, normalised: found by hash.
    texts: HashSet<String>,
    /// The patterns with a `*`, normalised: tried one by one.
    patterns: Vec<String>,
}

impl PackageSet {
    /// Makes a set. Texts that are not a [`PackagePattern`] are ignored.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>, names: PackageNames) -> Self {
        let good = patterns
            .into_iter()
            .filter(|text| PackagePattern::check(text).is_ok());
        let texts: HashSet<String> = good
            .map(|text| names.normalise(text).into_owned())
            .collect();
        let patterns = texts
            .iter()
            .filter(|text| text.contains('*'))
            .cloned()
            .collect();
        Self {
            names,
            texts,
            patterns,
        }
    }

    /// Whether the set covers everything that `name` stands for: for a package name, whether a
    /// member covers it; for a pattern, whether the set contains the same pattern.
    #[must_use]
    pub fn permits(&self, name: &str) -> bool {
        let normal = self.names.normalise(name);
        if name.contains('*') {
            return self.texts.contains(&*normal);
        }
        is_well_formed_name(name)
            && (self.texts.contains(&*normal)
                || self
                    .patterns
                    .iter()
                    .any(|pattern| matches(pattern, &normal)))
    }

    /// The number of patterns that one lookup may have to be compared with, for callers that limit
    /// their work.
    #[must_use]
    pub fn patterns(&self) -> usize {
        self.patterns.len()
    }
}

impl fmt::Display for PackagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PackagePattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::check(&text).map(|()| Self(text))
    }
}

impl From<PackagePattern> for String {
    fn from(pattern: PackagePattern) -> Self {
        pattern.0
    }
}

/// Whether a text can be the name of one package: 1 to 256 bytes, no `*`, no white space or control
/// characters, no `.` at either end. A registry has to check its own further rules.
#[must_use]
pub fn is_well_formed_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_BYTES
        && !name.contains(|character: char| character == '*' || unprintable(character))
        && !has_outer_dot(name)
}

fn unprintable(character: char) -> bool {
    character.is_whitespace() || character.is_control()
}

fn has_outer_dot(text: &str) -> bool {
    text.starts_with('.') || text.ends_with('.')
}

/// Matches piece by piece: the first piece at the start, the last at the end, each of the others at
/// its first occurrence after the one before. No piece is searched twice, so the work grows with
/// the length of the name and not with the number of `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut name) = name.strip_suffix(last) else {
        return false;
    };
    for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
        match name.split_once(piece) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, name: &str, names: PackageNames) -> bool {
        PackagePattern::try_from(pattern.to_owned())
            .unwrap()
            .covers(name, names)
    }

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, name) in [
            ("*", "a"),
            ("a*", "a"),
            ("a*", "abc"),
            ("*c", "abc"),
            ("a*c", "abc"),
            ("a*c", "ac"),
            ("a*b*c", "a-b-b-c"),
            ("@acme/*", "@acme/ui"),
            ("**", "x"),
            ("a**c", "abc"),
            ("a*a", "aa"),
            ("*b*", "abc"),
        ] {
            assert!(
                covers(pattern, name, PackageNames::Exact),
                "{pattern} {name}"
            );
        }
        for (pattern, name) in [
            ("a", "b"),
            ("a*", "ba"),
            ("*c", "cb"),
            ("a*c", "ab"),
            ("a*a", "a"),
            ("a*b*c", "a-c-b"),
            ("ab*ba", "aba"),
            ("a?c", "abc"),
            ("[a]", "a"),
            ("widgets-*", "widgetsx"),
            ("*b*", "ac"),
            ("a*b*b", "ab"),
        ] {
            assert!(
                !covers(pattern, name, PackageNames::Exact),
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn atk_137__a_name_is_compared_in_the_registrys_own_normal_form() {
        for name in [
            "knapcodeX",
            "Knapcode",
            "Knapcode.",
            "Knapcode.Core.",
            "Knapcode.Core ",
            "\u{41a}napcode.Core",
            "Knapcode.\u{0}",
        ] {
            for names in [PackageNames::Exact, PackageNames::AsciiCaseInsensitive] {
                assert!(!covers("Knapcode.*", name, names), "{name:?}");
            }
        }
        assert!(covers("Knapcode.*", "Knapcode.Core", PackageNames::Exact));
        assert!(!covers("Knapcode.*", "knapcode.core", PackageNames::Exact));
        assert!(covers(
            "Knapcode.*",
            "knapcode.core",
            PackageNames::AsciiCaseInsensitive
        ));
        assert!(covers("Knapcode.*", "knapcode_core", PackageNames::Pep503));
        assert!(!covers("Knapcode.*", "knapcodecore", PackageNames::Pep503));
        assert!(PackageNames::Pep503.same("Acme.-_Core", "acme-core"));
        assert!(!PackageNames::AsciiCaseInsensitive.same("\u{212a}", "k"));
    }

    #[test]
    fn crates_are_the_same_but_for_letter_case_and_hyphens() {
        let names = PackageNames::Cargo;
        assert!(names.same("Serde-JSON", "serde_json"));
        assert!(!names.same("serde--json", "serde-json"));
        assert!(!names.same("serde.json", "serde-json"));
        assert!(!names.same("\u{212a}", "k"));
        assert!(covers("Serde-*", "serde_json", names));
        assert!(!covers("serde-*", "serdejson", names));
        let read: PackageNames = serde_json::from_str("\"cargo\"").unwrap();
        assert_eq!(read, names);
    }

    #[test]
    fn malformed_package_patterns_and_names_are_refused() {
        for text in [
            "",
            " ",
            "a b",
            "a\t",
            "a\n",
            ".a",
            "a.",
            ".",
            "a\u{a0}b",
            &"a".repeat(257),
        ] {
            assert_eq!(
                PackagePattern::try_from(text.to_owned()),
                Err(InvalidPattern),
                "{text:?}"
            );
        }
        assert!(PackagePattern::try_from("a".repeat(256)).is_ok());
        assert!(is_well_formed_name(&"a".repeat(256)));
        assert!(!is_well_formed_name(&"a".repeat(257)));
        assert!(!is_well_formed_name("a*"));
        assert!(!is_well_formed_name(""));
    }

    #[test]
    fn a_pattern_of_127_stars_that_does_not_match_is_decided() {
        let pattern = "a*".repeat(127) + "b";
        assert!(!covers(&pattern, &"a".repeat(256), PackageNames::Exact));
    }
}
