//! Why the gateway refuses a request, and the answer in the words of the registry's tools.

use carnet_access::{AccessToken, DenialReason, Denied};
use carnet_publish_protocols::{Operation, Publication, Unreadable};

use crate::authority::{NoToken, Unavailable};
use crate::registry::Registry;
use crate::spool::NotReceived;
use crate::upstream::NoAnswer;

/// The most package patterns of a token that a refusal names.
const NAMED: usize = 5;

/// Codes of refusals of DPoP proofs, which are the errors of RFC 9449 sections 7.1 and 9.
pub(crate) const INVALID_PROOF: &str = "invalid_dpop_proof";
pub(crate) const USE_NONCE: &str = "use_dpop_nonce";

/// What a refusal is, as far as protocols tell refusals apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is no token, or none that counts.
    Token,
    /// The token, or the record of the package, does not allow it.
    Denied,
    /// The request cannot be read, or is none of the protocol.
    Malformed,
    /// The path is nobody's.
    Unknown,
    /// It is too large.
    TooLarge,
    /// Its length is not stated.
    NoLength,
    /// The gateway or the server cannot do it now.
    Later,
    /// The registry cannot be reached, or does not accept the gateway.
    Upstream,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// The stable code of the reason.
    pub(crate) code: &'static str,
    /// What is wrong, and how to mend it.
    pub(crate) text: String,
    /// The nonce for the next DPoP proof.
    pub(crate) nonce: Option<String>,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, code: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            kind,
            code,
            text,
            nonce: None,
        }
    }

    /// Whether it is about a DPoP proof, so that the challenge of that scheme has the error.
    pub(crate) fn is_about_proof(&self) -> bool {
        matches!(self.code, INVALID_PROOF | USE_NONCE)
    }

    /// A method or path that the protocol's tools do not use.
    pub(crate) fn unknown() -> Self {
        Self::new(
            Kind::Unknown,
            "path_unknown",
            "the gateway passes only what the registry's own tools read and publish; this method and path are none of it",
        )
    }

    pub(crate) fn unavailable(error: &Unavailable) -> Self {
        tracing::error!(%error, "the gateway cannot decide");
        let text = "the gateway cannot decide at the moment; try again";
        Self::new(Kind::Later, "temporarily_unavailable", text)
    }
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(&error)
    }
}

impl From<NotReceived> for Refusal {
    fn from(error: NotReceived) -> Self {
        let (kind, code) = match &error {
            NotReceived::TooLarge(_) => (Kind::TooLarge, "limit_exceeded"),
            NotReceived::Length | NotReceived::Trailers => (Kind::Malformed, "malformed"),
            NotReceived::Slow => (Kind::Malformed, "too_slow"),
            NotReceived::Cut => (Kind::Malformed, "cut_off"),
            NotReceived::NoRoom | NotReceived::Storage(_) => {
                (Kind::Later, "temporarily_unavailable")
            }
        };
        if let NotReceived::Storage(error) = &error {
            tracing::error!(%error, "the spool cannot be written");
            return Self::new(kind, code, "the gateway cannot keep the request; try again");
        }
        Self::new(kind, code, error.to_string())
    }
}

impl From<Unreadable> for Refusal {
    fn from(error: Unreadable) -> Self {
        match &error {
            Unreadable::Storage(cause) => {
                tracing::error!(error = %cause, "the spool cannot be read");
                let text = "the gateway cannot read the request; try again";
                Self::new(Kind::Later, "temporarily_unavailable", text)
            }
            Unreadable::TooLarge { .. } => {
                Self::new(Kind::TooLarge, error.code(), error.to_string())
            }
            _ => Self::new(Kind::Malformed, error.code(), error.to_string()),
        }
    }
}

impl Refusal {
    /// There is no answer of this registry.
    pub(crate) fn no_answer(registry: &Registry, error: &NoAnswer) -> Self {
        let upstream = &registry.bases.upstream;
        tracing::warn!(registry = registry.name, %upstream, %error, "no answer of the registry");
        let text = match error {
            NoAnswer::Unreachable(_) => {
                "the registry behind the gateway cannot be reached; nothing was published"
            }
            NoAnswer::Silent(_) | NoAnswer::TooLong => {
                "the registry behind the gateway did not answer. Whether it took the publication is not known: look before you publish again"
            }
        };
        Self::new(Kind::Upstream, "registry_unreachable", text)
    }
}

/// The refusal of a token that gives nothing.
pub(crate) fn no_token(why: NoToken) -> Refusal {
    let (code, text) = match why {
        NoToken::Inactive => (
            "token_inactive",
            "the token is not in force: it is unknown, ended or revoked, or its rule was changed. Get a new one for each run",
        ),
        NoToken::OtherRegistry => (
            "token_of_other_registry",
            "the token is for another registry: ask for one with the `resource` of this one",
        ),
    };
    Refusal::new(Kind::Token, code, text)
}

/// The refusal of a publication that the token does not allow.
pub(crate) fn denied(
    denied: Denied,
    publication: &Publication,
    action: &str,
    token: &AccessToken,
) -> Refusal {
    let reason = denied.reason;
    let mend = match reason {
        DenialReason::PackageOutOfScope => format!("it covers {}", covered(token)),
        DenialReason::ActionOutOfScope => {
            format!("the rule in Carnet needs the action `{action}` in its permissions")
        }
        DenialReason::CreateDenied | DenialReason::OwnerAmbiguous => {
            "publish the first version with a token that names its principal (`carnet exchange --principal NAME`) and has the action `create`".to_owned()
        }
        DenialReason::VersionMismatch | DenialReason::DigestMismatch => {
            "request a token without `authorization_details`, or with those of this upload"
                .to_owned()
        }
        DenialReason::OwnerLost => "the rule has to be one of the package's owner".to_owned(),
    };
    let (what, package) = (publication.operation.as_str(), &publication.package);
    Refusal::new(
        Kind::Denied,
        reason.code(),
        format!(
            "{what} of `{package}` is refused: {reason} ({}); {mend}",
            reason.code()
        ),
    )
}

fn covered(token: &AccessToken) -> String {
    let all = token.authorization_details.iter();
    let patterns: Vec<&String> = all.flat_map(|entry| &entry.packages).collect();
    let shown = patterns.iter().take(NAMED);
    let shown: Vec<String> = shown.map(|pattern| format!("`{pattern}`")).collect();
    match patterns.len().saturating_sub(shown.len()) {
        _ if shown.is_empty() => "no package".to_owned(),
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}

/// The refusal of an operation on a package whose record does not allow it.
pub(crate) fn of_record(
    code: &'static str,
    operation: Operation,
    package: &str,
    why: &str,
) -> Refusal {
    let what = operation.as_str();
    Refusal::new(
        Kind::Denied,
        code,
        format!("{what} of `{package}` is refused: {why} ({code})"),
    )
}
