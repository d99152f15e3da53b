//! The grant types of the token endpoint, by the names of the RFCs that define them.

use serde::{Deserialize, Serialize};

/// A grant type that the token endpoint supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GrantType {
    /// An assertion of a trusted issuer as the grant (RFC 7523 section 2.1).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
    /// Token exchange (RFC 8693 section 2.1): the subject token is an assertion or one of our own
    /// access tokens.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
    /// A client that acts for itself (RFC 6749 section 4.4).
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// A code of the authorization endpoint, for software that acts for a person who signed in
    /// (RFC 6749 section 4.1).
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
}

impl GrantType {
    pub const ALL: [Self; 4] = [
        Self::JwtBearer,
        Self::TokenExchange,
        Self::ClientCredentials,
        Self::AuthorizationCode,
    ];

    /// The value of the `grant_type` parameter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::ClientCredentials => "client_credentials",
            Self::AuthorizationCode => "authorization_code",
        }
    }

    /// The short name in documents of the admin API, such as `grants` of a trusted issuer.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::JwtBearer => "jwt-bearer",
            Self::TokenExchange => "token-exchange",
            Self::ClientCredentials => "client_credentials",
            Self::AuthorizationCode => "authorization_code",
        }
    }

    /// Reads the `grant_type` parameter, compared byte for byte.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }
}
