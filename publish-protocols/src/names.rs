//! The alphabets of package names. A name outside them is one that no client of the protocol can mean, so that nothing is lost by
//! refusing it, and what is let through needs no escaping anywhere.

use crate::{Text, Unreadable};

/// A check of one protocol's names.
#[derive(Clone, Copy)]
pub(crate) struct Alphabet {
    protocol: &'static str,
    accepts: fn(&str) -> bool,
}

/// PEP 508: letters, digits, `.`, `_` and `-`, beginning and ending with a letter or digit.
pub(crate) const PYPI: Alphabet = Alphabet {
    protocol: "PyPI",
    accepts: |name| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = name.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && name.len() <= 200
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
    },
};

/// npm's rules for new packages: at most 214 characters, lower case, no leading dot or underscore, optionally in a scope.
pub(crate) const NPM: Alphabet = Alphabet {
    protocol: "npm",
    accepts: |name| {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '_'])
                && part != "-"
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
        };
        let whole = match name.strip_prefix('@') {
            Some(scoped) => scoped
                .split_once('/')
                .is_some_and(|(scope, name)| part(scope) && part(name)),
            None => part(name) && !matches!(name, "node_modules" | "favicon.ico"),
        };
        whole && name.len() <= 214
    },
};

/// crates.io: an ASCII letter, then letters, digits, `-` and `_`, at most 64 characters.
pub(crate) const CARGO: Alphabet = Alphabet {
    protocol: "crates.io",
    accepts: |name| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    },
};

/// RubyGems: letters, digits, `.`, `-` and `_`, beginning with a letter or digit, with at least one letter.
pub(crate) const GEM: Alphabet = Alphabet {
    protocol: "RubyGems",
    accepts: |name| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= 200
            && name.bytes().any(|b| b.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
    },
};

/// NuGet: words of letters, digits and `_`, joined by single dots or hyphens, at most 100 characters. The client's `\w` admits
/// letters beyond ASCII too; they are refused, since letters that look alike would name different packages.
pub(crate) const NUGET: Alphabet = Alphabet {
    protocol: "NuGet",
    accepts: |name| {
        name.len() <= 100
            && name.split(['.', '-']).all(|word| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            })
    },
};

impl Alphabet {
    /// Refuses a name that is not of this alphabet.
    pub(crate) fn check(self, field: impl Into<Text>, name: &str) -> Result<(), Unreadable> {
        if (self.accepts)(name) {
            Ok(())
        } else {
            Err(Unreadable::InvalidName {
                field: field.into(),
                protocol: self.protocol,
                received: name.into(),
            })
        }
    }
}

/// Refuses a second name that is not the first.
pub(crate) fn same(
    field: impl Into<Text>,
    name: &str,
    reference: &'static str,
    expected: &str,
) -> Result<(), Unreadable> {
    if name == expected {
        return Ok(());
    }
    Err(Unreadable::NameMismatch {
        field: field.into(),
        reference: reference.into(),
        expected: expected.into(),
        received: name.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn compare(alphabet: Alphabet, good: &[&str], bad: &[&str]) {
        for name in good {
            assert!(alphabet.check("name", name).is_ok(), "{name}");
        }
        for name in bad.iter().chain(&[
            "",
            " ",
            "a b",
            "a\u{0}",
            "a/../b",
            "..",
            "a%2fb",
            "\u{430}bc",
            "a\n",
        ]) {
            assert_eq!(
                alphabet.check("name", name).unwrap_err().code(),
                "invalid_package_name",
                "{name}"
            );
        }
    }

    #[test]
    fn names_are_those_that_a_client_could_mean() {
        compare(
            PYPI,
            &["a", "Foo.Bar_baz-2"],
            &["-a", "a-", ".a", "a@b", &"a".repeat(201)],
        );
        compare(
            NPM,
            &["a", "@scope/name", "left-pad", "a.b_c"],
            &[
                "A",
                "_a",
                ".a",
                "-",
                "@a",
                "@a/",
                "@/a",
                "@a/b/c",
                "a/b",
                "node_modules",
                "@a/.b",
                "a~b",
                &"a".repeat(215),
            ],
        );
        compare(
            CARGO,
            &["a", "serde_json", "A-b"],
            &["1a", "_a", "a.b", &"a".repeat(65)],
        );
        compare(
            GEM,
            &["rails", "a.b-c_d", "3scale"],
            &["-a", ".a", "_a", "123", &"a".repeat(201)],
        );
        compare(
            NUGET,
            &["Newtonsoft.Json", "a-b", "_a"],
            &["a..b", ".a", "a.", "a+b", &"a".repeat(101)],
        );
    }
}
