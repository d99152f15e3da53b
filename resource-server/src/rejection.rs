//! Why a token is not accepted, and the HTTP status and error code for it (RFC 6750 section 3.1).

use crate::Realm;

/// Why a request has no valid access token (RFC 6750 section 3.1).
/// [`Realm::reject`] turns it into a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The request has no access token in a place where one is accepted. Status 401, without an
    /// error code.
    #[error("no access token was presented")]
    NoToken,
    /// The request has more than one token, or its token cannot be read. Status 400,
    /// `invalid_request`. The text is a fixed reason that may be shown to the client.
    #[error("the request is not valid: {0}")]
    InvalidRequest(&'static str),
    /// The token is malformed, forged, expired, revoked, bound to a key, or issued by another
    /// server or for another registry. Status 401, `invalid_token`. The text is a fixed reason that
    /// may be shown to the client.
    #[error("the access token is not valid here: {0}")]
    InvalidToken(&'static str),
    /// The authorization server's keys or answer are needed and cannot be had. Status 503: the
    /// token may be valid, so the client should try again with it.
    #[error("the access token cannot be checked: {0}")]
    Unavailable(Outage),
}

/// Why the authorization server could not be asked. Log it for the operator of the registry; it is
/// not shown to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// The server cannot be reached, takes longer than 5 seconds, or answers with an error status.
    #[error("the authorization server cannot be reached")]
    Unreachable,
    /// The server's metadata cannot be read, names another issuer, lacks the endpoint that is
    /// needed, or gives it a URL that is less safe than the metadata's own (RFC 8414).
    #[error("the authorization server's metadata is not its own or lacks an endpoint")]
    Metadata,
    /// The server does not accept the registry's own client authentication at the introspection
    /// endpoint (status 401 or 403).
    #[error("the authorization server refuses this registry's own credentials")]
    Credentials,
    /// The server's answer is larger than 1 MiB or does not have the form that its RFC demands.
    #[error("the authorization server's answer cannot be read")]
    Answer,
}

impl Rejection {
    /// The HTTP status of the response: 400, 401 or 503.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NoToken | Self::InvalidToken(_) => 401,
            Self::InvalidRequest(_) => 400,
            Self::Unavailable(_) => 503,
        }
    }

    /// The error code of RFC 6750 section 3.1, or `None` if there is none to send: for
    /// [`NoToken`](Self::NoToken) and [`Unavailable`](Self::Unavailable).
    #[must_use]
    pub fn error(self) -> Option<&'static str> {
        match self {
            Self::NoToken | Self::Unavailable(_) => None,
            Self::InvalidRequest(_) => Some("invalid_request"),
            Self::InvalidToken(_) => Some("invalid_token"),
        }
    }

    /// The value of `WWW-Authenticate` for the realm of this name, as [`Realm::challenge`] writes
    /// it without metadata. Do not send it with a 503.
    #[must_use]
    pub fn challenge(self, realm: &str) -> String {
        Realm::new(realm).challenge(self)
    }
}
