//! The kinds of reasons, as a table: what each is to OAuth, and whether the caller is at fault.

use serde::Serialize;

/// A kind of error: what it is to OAuth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The HTTP method.
    Method,
    /// The path.
    Path,
    /// The size of the body.
    Size,
    /// A rate limit.
    Limit,
    /// The form of the request.
    Request,
    /// The grant type.
    GrantType,
    /// Client authentication.
    Client,
    /// What the client may use.
    ClientUse,
    /// The scope.
    Scope,
    /// The resource server (RFC 8707 section 2).
    Target,
    /// The authorization details (RFC 9396 section 5).
    Details,
    /// An assertion, or a token that is exchanged, or what rests on it.
    Assertion,
    /// A token that is somebody else's.
    ForeignToken,
    /// The keys of a trusted issuer are out of reach. Anybody can ask for keys that are not there, so it counts as a refusal.
    Upstream,
    /// Something that this server needs is away.
    Unavailable,
    /// This server.
    Internal,
}

/// Who is told a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disclosure {
    /// Whoever asks.
    Anyone,
    /// As a rule's verdict whoever has proved that the rule is meant for it (contract, section 4), and whoever manages it; others
    /// are told [`Reason::NoMatchingCredential`](super::Reason::NoMatchingCredential).
    Proved,
}

/// One row of the table of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRow {
    /// The HTTP status.
    pub status: u16,
    /// The `error` (RFC 6749 section 5.2), at an endpoint without grants.
    pub error: &'static str,
    /// The `error` for a token exchange (RFC 8693 section 2.2.2).
    pub error_of_exchange: &'static str,
    /// Whether the caller could have known better. Nobody is slowed down for what is wrong elsewhere.
    pub callers_fault: bool,
}

impl Class {
    /// What the class is to OAuth. What is wrong with an assertion is `invalid_grant` (RFC 7523 section 3.1), and
    /// `invalid_request` for a token exchange.
    pub const fn row(self) -> ClassRow {
        let (status, error, callers_fault) = match self {
            Self::Method => (405, "invalid_request", false),
            Self::Path => (404, "invalid_request", false),
            Self::Size => (413, "invalid_request", true),
            Self::Limit => (429, "temporarily_unavailable", false),
            Self::Request => (400, "invalid_request", true),
            Self::GrantType => (400, "unsupported_grant_type", true),
            Self::Client => (401, "invalid_client", true),
            Self::ClientUse | Self::ForeignToken => (400, "unauthorized_client", true),
            Self::Scope => (400, "invalid_scope", true),
            Self::Target => (400, "invalid_target", true),
            Self::Details => (400, "invalid_authorization_details", true),
            Self::Assertion => (400, "invalid_grant", true),
            Self::Upstream => (503, "temporarily_unavailable", true),
            Self::Unavailable => (503, "temporarily_unavailable", false),
            Self::Internal => (500, "server_error", false),
        };
        let of_exchange = matches!(self, Self::Assertion | Self::ForeignToken);
        let error_of_exchange = if of_exchange { "invalid_request" } else { error };
        ClassRow { status, error, error_of_exchange, callers_fault }
    }
}
