//! How clients authenticate.

use serde::{Deserialize, Serialize};

use crate::grant_type::GrantType;

/// How a client authenticates at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// No authentication: a public client (RFC 7591 section 2).
    None,
    /// The client secret in the `Authorization` header (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// The client secret in the request body (RFC 6749 section 2.3.1).
    ClientSecretPost,
    /// An assertion that the client signs with its own key (RFC 7523 section 2.2).
    PrivateKeyJwt,
    /// A TLS connection with one of the client's own certificates, which it holds as `x5c` in its
    /// key set (RFC 8705 section 2.2).
    SelfSignedTlsClientAuth,
    /// An assertion of a trusted issuer that one of the client's federated credentials matches; the
    /// client needs no key or secret of its own.
    Federated,
}

impl AuthMethod {
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::ClientSecretBasic,
        Self::ClientSecretPost,
        Self::PrivateKeyJwt,
        Self::SelfSignedTlsClientAuth,
        Self::Federated,
    ];

    /// The name used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            Self::Federated => "federated",
        }
    }

    /// Whether the server creates a client secret for this method.
    pub const fn has_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }

    /// Whether clients of this method register keys of their own.
    pub(super) const fn has_keys(self) -> bool {
        matches!(self, Self::PrivateKeyJwt | Self::SelfSignedTlsClientAuth)
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == word)
    }

    /// The grant types of a document without `grant_types`. A public client cannot use
    /// `client_credentials` (RFC 6749 section 4.4), and `authorization_code` has to be asked for: it
    /// takes redirect URIs and is of no use beside `client_credentials`.
    pub(super) fn grants(self) -> Vec<GrantType> {
        let can = |grant: &GrantType| match grant {
            GrantType::JwtBearer | GrantType::TokenExchange => true,
            GrantType::ClientCredentials => self != Self::None,
            GrantType::AuthorizationCode => false,
        };
        GrantType::ALL.into_iter().filter(can).collect()
    }
}
