use crate::Realm;

/// Why a request has no valid token (RFC 6750 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No token came, or it came in a way that is not taken here. 401, and no error is named.
    #[error("no access token was presented")]
    NoToken,
    /// The request cannot be read, or has more than one token. 400 `invalid_request`.
    #[error("the request is not valid: {0}")]
    InvalidRequest(&'static str),
    /// The token is not one of this server's for this registry, or is over. 401 `invalid_token`.
    #[error("the access token is not valid here: {0}")]
    InvalidToken(&'static str),
    /// The token may be good, and nobody can tell at the moment. 503.
    #[error("the access token cannot be checked: {0}")]
    Unavailable(Outage),
}

/// Why the authorization server could not be asked: for the operator of the registry, who should find it in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Outage {
    /// It cannot be reached, is too slow, or answers with an error.
    #[error("the authorization server cannot be reached")]
    Unreachable,
    /// Its metadata is of another issuer, or does not name what is needed by a URL as safe as its own.
    #[error("the authorization server's metadata is not its own or lacks an endpoint")]
    Metadata,
    /// It does not accept the registry's own credentials for introspection.
    #[error("the authorization server refuses this registry's own credentials")]
    Credentials,
    /// Its answer is too large or not of the form its RFC demands.
    #[error("the authorization server's answer cannot be read")]
    Answer,
}

impl Rejection {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NoToken | Self::InvalidToken(_) => 401,
            Self::InvalidRequest(_) => 400,
            Self::Unavailable(_) => 503,
        }
    }

    /// The error code, where one is named: none where no token came (RFC 6750 section 3.1).
    #[must_use]
    pub fn error(self) -> Option<&'static str> {
        match self {
            Self::NoToken | Self::Unavailable(_) => None,
            Self::InvalidRequest(_) => Some("invalid_request"),
            Self::InvalidToken(_) => Some("invalid_token"),
        }
    }

    /// The value of `WWW-Authenticate`, as [`Realm::challenge`] writes it for a realm without metadata.
    #[must_use]
    pub fn challenge(self, realm: &str) -> String {
        Realm::new(realm).challenge(self)
    }
}
