//! Why a token is not accepted, and the HTTP status and error code for it (RFC 6750 section 3.1,
//! RFC 9449 section 7.1).

use carnet_dpop::InvalidProof;

use crate::Realm;

/// Why a request has no valid access token (RFC 6750 section 3.1).
/// [`Realm::reject`] turns it into a response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The request has the DPoP scheme, and its token or its proof of possession is not accepted.
    #[error(transparent)]
    Dpop(#[from] DpopRejection),
    /// The authorization server's keys or answer are needed and cannot be had, or a proof cannot be
    /// remembered. Status 503: the token may be valid, so the client should try again with it.
    #[error("the access token cannot be checked: {0}")]
    Unavailable(Outage),
}

/// Why a request with the scheme `Authorization: DPoP` is rejected (RFC 9449 section 7.1). The
/// error stands in the challenge of this scheme. Only verifiers that take proofs reject so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DpopRejection {
    /// The token cannot be read. Status 400, `invalid_request`. The text is a fixed reason that may
    /// be shown to the client.
    #[error("the request is not valid: {0}")]
    InvalidRequest(&'static str),
    /// The token is not valid, as in [`Rejection::InvalidToken`], or it is not bound to the key of
    /// the proof. Status 401, `invalid_token`. The text is a fixed reason that may be shown to the
    /// client.
    #[error("the access token is not valid here: {0}")]
    InvalidToken(&'static str),
    /// There is no `DPoP` header. Status 401, `invalid_dpop_proof`.
    #[error("the request has no DPoP header with a proof")]
    NoProof,
    /// The proof is not valid for this request. Status 401, `invalid_dpop_proof`.
    #[error("the DPoP proof is not valid here: {0}")]
    InvalidProof(InvalidProof),
    /// The proof was used before. Status 401, `invalid_dpop_proof`.
    #[error("the DPoP proof was used before")]
    UsedProof,
    /// The proof needs the nonce in here, which the response gives the client in `DPoP-Nonce`
    /// (section 9). Status 401, `use_dpop_nonce`.
    #[error("the DPoP proof needs the nonce of this registry")]
    NonceNeeded(String),
}

/// Why a token could not be checked. Log it for the operator of the registry; it is not shown to
/// clients.
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
    /// A proof of possession cannot be remembered: the memory is full or cannot be reached
    /// ([`Presented::Unremembered`](crate::Presented::Unremembered)).
    #[error("the registry cannot remember another proof of possession")]
    Memory,
    /// The cryptographic library cannot make a nonce.
    #[error("the registry cannot make a nonce")]
    Nonce,
}

impl Rejection {
    /// The HTTP status of the response: 400, 401 or 503.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::InvalidRequest(_) | Self::Dpop(DpopRejection::InvalidRequest(_)) => 400,
            Self::NoToken | Self::InvalidToken(_) | Self::Dpop(_) => 401,
            Self::Unavailable(_) => 503,
        }
    }

    /// The error code of RFC 6750 section 3.1 or RFC 9449 section 7.1, or `None` if there is none to
    /// send: for [`NoToken`](Self::NoToken) and [`Unavailable`](Self::Unavailable).
    #[must_use]
    pub fn error(&self) -> Option<&'static str> {
        match self {
            Self::NoToken | Self::Unavailable(_) => None,
            Self::InvalidRequest(_) => Some("invalid_request"),
            Self::InvalidToken(_) => Some("invalid_token"),
            Self::Dpop(rejection) => Some(rejection.error()),
        }
    }

    /// The values of `WWW-Authenticate` for the realm of this name, as [`Realm::challenges`] writes
    /// them without metadata. Do not send them with a 503.
    #[must_use]
    pub fn challenges(&self, realm: &str) -> Vec<String> {
        Realm::new(realm).challenges(self)
    }

    /// The rejection of a request with the DPoP scheme for a reason that holds for both schemes.
    pub(crate) fn under_dpop(self) -> Self {
        match self {
            Self::InvalidRequest(why) => DpopRejection::InvalidRequest(why).into(),
            Self::InvalidToken(why) => DpopRejection::InvalidToken(why).into(),
            other => other,
        }
    }
}

impl DpopRejection {
    /// The error code: of RFC 6750 section 3.1 for what concerns the token, of RFC 9449 section 7.1
    /// for what concerns the proof.
    #[must_use]
    pub fn error(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidToken(_) => "invalid_token",
            Self::NoProof | Self::InvalidProof(_) | Self::UsedProof => "invalid_dpop_proof",
            Self::NonceNeeded(_) => "use_dpop_nonce",
        }
    }
}
