//! The grants of the token endpoint, by the names of the RFCs that define them.

use serde::{Deserialize, Serialize};

/// The grants of the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GrantType {
    /// An assertion of a trusted issuer (RFC 7523 section 2.1).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
    /// A token for another one (RFC 8693 section 2.1): an assertion, or an access token of ours.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
    /// A client for itself (RFC 6749 section 4.4).
    #[serde(rename = "client_credentials")]
    ClientCredentials,
}

impl GrantType {
    /// Every grant.
    pub const ALL: [Self; 3] = [Self::JwtBearer, Self::TokenExchange, Self::ClientCredentials];

    /// The value of `grant_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::ClientCredentials => "client_credentials",
        }
    }

    /// The name by which documents of this server call it.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::JwtBearer => "jwt-bearer",
            Self::TokenExchange => "token-exchange",
            Self::ClientCredentials => "client_credentials",
        }
    }

    /// Reads the value of `grant_type`, byte for byte.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }
}
