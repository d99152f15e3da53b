//! Classes of reasons: the HTTP status and OAuth `error` of each, and whether the caller is at
//! fault.

use serde::Serialize;

/// What a reason concerns. The class decides the HTTP status and the OAuth `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Method,
    Path,
    /// The size of the request body.
    Size,
    Limit,
    /// The parameters of the request or their encoding.
    Request,
    GrantType,
    /// Client authentication.
    Client,
    /// What a client is held to by its registration.
    Profile,
    /// A grant type that the client may not use.
    ClientUse,
    Scope,
    /// The resource server (RFC 8707 section 2).
    Target,
    /// The authorization details (RFC 9396 section 5).
    Details,
    /// An assertion or an exchanged token, or a rule that admits it.
    Assertion,
    /// The proof of possession that came with the request (RFC 9449 section 5).
    Proof,
    /// The client certificate of the connection (RFC 8705).
    Certificate,
    /// A proof without the nonce that it has to have (RFC 9449 section 8).
    ProofNonce,
    /// A token that was issued to another client.
    ForeignToken,
    /// The sign-in of a person, as their identity provider answered it.
    SignIn,
    /// A response type of the authorization endpoint (RFC 6749 section 4.1.2.1).
    ResponseType,
    /// An authorization request in a request object (OpenID Connect Core section 3.1.2.6).
    RequestObject,
    /// The URL of one.
    RequestUri,
    /// A page would have to be shown, and the client asked for none (OpenID Connect Core section
    /// 3.1.2.6): the one of the sign-in.
    LoginRequired,
    /// The same for the page on which the person agrees.
    ConsentRequired,
    /// The same for any other page.
    InteractionRequired,
    /// The keys of a trusted issuer are unavailable. This counts as the caller's fault, because an
    /// unauthenticated caller can cause it with an unknown `kid`.
    Upstream,
    /// A temporary failure on this side, such as an unreachable database.
    Unavailable,
    /// An unexpected failure of this server.
    Internal,
}

/// Who may be told a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disclosure {
    /// Every caller.
    Anyone,
    /// A caller whose assertion proves that the rule is meant for it
    /// (`docs/src/explanation/disclosure.md`), and readers who manage the rule. Other callers are
    /// told [`Reason::NoMatchingCredential`](super::Reason::NoMatchingCredential).
    Proved,
}

/// How the reasons of one class are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRow {
    pub status: u16,
    /// The `error` (RFC 6749 section 5.2), except for a token exchange.
    pub error: &'static str,
    /// The `error` for a token exchange (RFC 8693 section 2.2.2).
    pub error_of_exchange: &'static str,
    /// Whether the refusal counts against the limit of the caller's address: only for causes that
    /// the caller could have avoided.
    pub callers_fault: bool,
}

impl Class {
    /// Status and `error` of this class. A fault of an assertion is `invalid_grant` (RFC 7523
    /// section 3.1), and `invalid_request` for a token exchange (RFC 8693 section 2.2.2).
    pub const fn row(self) -> ClassRow {
        let (status, error, callers_fault) = match self {
            Self::Method => (405, "invalid_request", false),
            Self::Path => (404, "invalid_request", false),
            Self::Size => (413, "invalid_request", true),
            Self::Limit => (429, "temporarily_unavailable", false),
            Self::Request | Self::Certificate | Self::Profile => (400, "invalid_request", true),
            Self::GrantType => (400, "unsupported_grant_type", true),
            Self::Client => (401, "invalid_client", true),
            Self::ClientUse | Self::ForeignToken => (400, "unauthorized_client", true),
            Self::Scope => (400, "invalid_scope", true),
            Self::Target => (400, "invalid_target", true),
            Self::Details => (400, "invalid_authorization_details", true),
            Self::Assertion => (400, "invalid_grant", true),
            Self::Proof => (400, "invalid_dpop_proof", true),
            Self::ProofNonce => (400, "use_dpop_nonce", false),
            Self::SignIn => (403, "access_denied", true),
            Self::ResponseType => (400, "unsupported_response_type", true),
            Self::RequestObject => (400, "request_not_supported", true),
            Self::RequestUri => (400, "request_uri_not_supported", true),
            Self::LoginRequired => (400, "login_required", false),
            Self::ConsentRequired => (400, "consent_required", false),
            Self::InteractionRequired => (400, "interaction_required", false),
            Self::Upstream => (503, "temporarily_unavailable", true),
            Self::Unavailable => (503, "temporarily_unavailable", false),
            Self::Internal => (500, "server_error", false),
        };
        let of_exchange = matches!(self, Self::Assertion | Self::ForeignToken);
        let error_of_exchange = if of_exchange {
            "invalid_request"
        } else {
            error
        };
        ClassRow {
            status,
            error,
            error_of_exchange,
            callers_fault,
        }
    }
}
