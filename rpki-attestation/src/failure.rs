//! Why an attestation does not count.

use std::fmt;

/// At which step of the verification an attestation failed, in the order in which they are taken:
/// cheap ones first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// The set has no member `rpki_attestation`.
    Missing,
    /// The member is no base64url, or too long.
    Encoding,
    /// The octets are no signed message as RFC 6488 and the profile want it.
    Cms,
    /// The type of what was signed is another.
    ContentType,
    /// It is for another audience than everybody.
    Audience,
    /// It was made for another purpose than OAuth.
    Purpose,
    /// It is of another set.
    Digest,
    /// The set is of another issuer.
    Issuer,
    /// The one-time certificate is not valid now, or the message says it was signed in the future.
    Time,
    /// The one-time certificate names no resources of its own.
    Inherit,
    /// No trust anchor that counts is at the end of the path.
    Anchor,
    /// A certificate of the path is not in the copy of the repository, or no certificate of a CA.
    Path,
    /// A manifest is not there, not current, or does not list what it should.
    Manifest,
    /// A CRL is not there or not current.
    Crl,
    /// Resources go beyond what the certificate above holds.
    Containment,
    /// A signature is wrong.
    Signature,
    /// A certificate of the path was revoked.
    Revoked,
    /// The set is older than one that was seen before.
    RolledBack,
}

impl Step {
    pub const ALL: [Self; 18] = [
        Self::Missing,
        Self::Encoding,
        Self::Cms,
        Self::ContentType,
        Self::Audience,
        Self::Purpose,
        Self::Digest,
        Self::Issuer,
        Self::Time,
        Self::Inherit,
        Self::Anchor,
        Self::Path,
        Self::Manifest,
        Self::Crl,
        Self::Containment,
        Self::Signature,
        Self::Revoked,
        Self::RolledBack,
    ];

    /// Its name in explanations, logs, audit events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Encoding => "encoding",
            Self::Cms => "cms",
            Self::ContentType => "content_type",
            Self::Audience => "audience",
            Self::Purpose => "purpose",
            Self::Digest => "digest",
            Self::Issuer => "issuer",
            Self::Time => "time",
            Self::Inherit => "inherit",
            Self::Anchor => "anchor",
            Self::Path => "path",
            Self::Manifest => "manifest",
            Self::Crl => "crl",
            Self::Containment => "containment",
            Self::Signature => "signature",
            Self::Revoked => "revoked",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// A [`Step`] and what was found there, for the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    pub step: Step,
    /// A sentence without a full stop. What it quotes of others is short.
    pub detail: String,
    /// Whether the copy of the repository lacks something or is outdated, so that a newer copy may
    /// mend it.
    pub is_of_the_copy: bool,
}

impl Failure {
    pub fn new(step: Step, detail: impl Into<String>) -> Self {
        Self {
            step,
            detail: detail.into(),
            is_of_the_copy: false,
        }
    }

    /// A failure that a newer copy of the repository may mend.
    pub fn of_the_copy(step: Step, detail: impl Into<String>) -> Self {
        Self {
            is_of_the_copy: true,
            ..Self::new(step, detail)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.step.as_str(), self.detail)
    }
}

impl std::error::Error for Failure {}
