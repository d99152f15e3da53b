//! Why a request could not be read.

use std::{fmt, io};

/// A publishing request that says nothing certain about itself, and is therefore refused.
///
/// The text is one sentence of printable ASCII that names the field, what was expected and what was received. It is bounded in
/// length and fit for the answer to the client. [`code`](Self::code) does not change between releases.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The body, or the head of the request, does not have the protocol's form.
    #[error("{field} must be {expected}; received {received}")]
    Malformed {
        /// What could not be read, in the protocol's own words.
        field: Text,
        /// What the protocol asks for.
        expected: Text,
        /// What was sent instead.
        received: Text,
    },
    /// A field that the operation needs is absent.
    #[error("{field} must be present")]
    Missing {
        /// The field, in the protocol's own words.
        field: Text,
    },
    /// A field, a key or an archive's entry occurs twice, so that two readers may choose differently.
    #[error("{field} must occur once; received it again")]
    Duplicate {
        /// The field, key or entry.
        field: Text,
    },
    /// A package name that no client of the protocol could mean.
    #[error("{field} must be a package name of {protocol}; received {received}")]
    InvalidName {
        /// Where the name was read.
        field: Text,
        /// The protocol whose alphabet applies.
        protocol: &'static str,
        /// The name.
        received: Text,
    },
    /// A version that the protocol does not know.
    #[error("{field} must be a version of {protocol}; received {received}")]
    InvalidVersion {
        /// Where the version was read.
        field: Text,
        /// The protocol whose rules apply.
        protocol: &'static str,
        /// The version.
        received: Text,
    },
    /// Two places of one request name different packages.
    #[error("{field} must name the package of {reference}, {expected}; received {received}")]
    NameMismatch {
        /// Where the other name was read.
        field: Text,
        /// Where the name was read first.
        reference: Text,
        /// The name read first.
        expected: Text,
        /// The other name.
        received: Text,
    },
    /// Two places of one request name different versions.
    #[error("{field} must be the version of {reference}, {expected}; received {received}")]
    VersionMismatch {
        /// Where the other version was read.
        field: Text,
        /// Where the version was read first.
        reference: Text,
        /// The version read first.
        expected: Text,
        /// The other version.
        received: Text,
    },
    /// A digest or a length that the request states is not the one of the file it carries.
    #[error("{field} must be that of the file, {expected}; received {received}")]
    DigestMismatch {
        /// The field that states the digest or length.
        field: Text,
        /// What was computed.
        expected: Text,
        /// What was stated.
        received: Text,
    },
    /// A limit of [`Limits`](crate::Limits) is exceeded.
    #[error("{field} must not exceed {limit} {unit}")]
    TooLarge {
        /// What is too large.
        field: Text,
        /// The limit.
        limit: u64,
        /// The limit's unit, in the plural.
        unit: &'static str,
    },
    /// An archive that readers could understand differently, or that no packaging tool writes.
    #[error("the archive must be unambiguous; {problem}: {entry}")]
    AmbiguousArchive {
        /// What makes it ambiguous.
        problem: &'static str,
        /// The entry or the field concerned.
        entry: Text,
    },
    /// The body could not be read from its storage. This is a failure of this side, not of the request.
    #[error("the request body could not be read from its storage")]
    Storage(#[from] io::Error),
}

impl Unreadable {
    /// The reason as a stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::Missing { .. } => "missing_field",
            Self::Duplicate { .. } => "duplicate_field",
            Self::InvalidName { .. } => "invalid_package_name",
            Self::InvalidVersion { .. } => "invalid_version",
            Self::NameMismatch { .. } => "name_mismatch",
            Self::VersionMismatch { .. } => "version_mismatch",
            Self::DigestMismatch { .. } => "digest_mismatch",
            Self::TooLarge { .. } => "limit_exceeded",
            Self::AmbiguousArchive { .. } => "ambiguous_archive",
            Self::Storage(_) => "storage_failure",
        }
    }

    /// Whether the cause lies on this side: such a request may succeed when it is sent again.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Storage(_))
    }

    pub(crate) fn malformed(
        field: impl Into<Text>,
        expected: impl Into<Text>,
        received: impl Into<Text>,
    ) -> Self {
        Self::Malformed {
            field: field.into(),
            expected: expected.into(),
            received: received.into(),
        }
    }

    pub(crate) fn missing(field: impl Into<Text>) -> Self {
        Self::Missing {
            field: field.into(),
        }
    }

    pub(crate) fn duplicate(field: impl Into<Text>) -> Self {
        Self::Duplicate {
            field: field.into(),
        }
    }

    pub(crate) fn ambiguous(problem: &'static str, entry: impl Into<Text>) -> Self {
        Self::AmbiguousArchive {
            problem,
            entry: entry.into(),
        }
    }

    pub(crate) fn too_large(field: impl Into<Text>, limit: u64, unit: &'static str) -> Self {
        Self::TooLarge {
            field: field.into(),
            limit,
            unit,
        }
    }

    /// Tells a decoder's complaint about its input from a failure of the storage below it.
    pub(crate) fn decoding(
        field: impl Into<Text>,
        expected: &'static str,
        error: io::Error,
    ) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match error.kind() {
            UnexpectedEof => Self::malformed(field, expected, "truncated data"),
            InvalidData | InvalidInput => Self::malformed(field, expected, "corrupt data"),
            _ => Self::Storage(error),
        }
    }
}

/// A short text of printable ASCII, made out of anything: other characters become `?`, and what is longer than
/// [`Text::LONGEST`] characters is cut.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// The greatest number of characters.
    pub const LONGEST: usize = 120;

    /// The text of bytes that need not be UTF-8.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let start = bytes
            .get(..bytes.len().min(Self::LONGEST.saturating_mul(4)))
            .unwrap_or_default();
        Self::from(String::from_utf8_lossy(start).as_ref())
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut shown: String = text
            .chars()
            .take(Self::LONGEST)
            .map(|c| {
                if c == ' ' || c.is_ascii_graphic() {
                    c
                } else {
                    '?'
                }
            })
            .collect();
        if shown.is_empty() {
            shown.push_str("nothing");
        } else if text.chars().nth(Self::LONGEST).is_some() {
            shown.push_str("...");
        }
        Self(shown)
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
