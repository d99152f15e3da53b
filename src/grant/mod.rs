//! The grants of the token endpoint, and the road they share.

mod redeem;
mod request;

pub use redeem::{is_unused, redeem, verify};
pub use request::{GrantRequest, read_details};

use serde::{Deserialize, Serialize};

/// The grants of the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GrantType {
    /// An assertion of a trusted issuer (RFC 7523 section 2.1).
    #[serde(rename = "urn:ietf:params:oauth:grant-type:jwt-bearer")]
    JwtBearer,
}

impl GrantType {
    /// Every grant.
    pub const ALL: [Self; 1] = [Self::JwtBearer];

    /// The value of `grant_type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }

    /// Reads the value of `grant_type`, byte for byte.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }
}
