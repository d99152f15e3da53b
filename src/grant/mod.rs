//! The grants of the token endpoint, a file each, and the road that assertions take through all of them.

mod actor;
mod client_credentials;
mod explained;
mod record;
mod redeem;
mod request;
mod token_exchange;

pub use explained::{Would, decide, decide_on_assertion};
pub use redeem::{is_client_spent, is_unused, verify, verify_assertion};
pub use request::{ACCESS_TOKEN, GrantRequest, Presented, read_details};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::clock::Timestamp;
use crate::refusal::Refusal;
use crate::token::Minted;
use crate::trust::Snapshot;

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

    /// Reads the value of `grant_type`, byte for byte.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.name() == name)
    }
}

/// What a request is decided by: the rules, and the time. Both are looked at once, so that all parts of a decision agree.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The rules.
    pub rules: Arc<Snapshot>,
    /// The time.
    pub now: Timestamp,
}

impl Moment {
    /// The present rules and time.
    pub fn present(app: &App) -> Self {
        Self { rules: app.rules(), now: app.clock.now() }
    }
}

/// Makes and records the token that a request asks for. Nothing is used up unless a token comes out.
pub async fn grant(app: &App, request: &GrantRequest<'_>) -> Result<Minted, Refusal> {
    match &request.presented {
        Presented::Assertion(text) => redeem::redeem(app, request, text).await,
        Presented::AccessToken(text) => token_exchange::exchange(app, request, text).await,
        Presented::Client => client_credentials::grant(app, request).await,
        Presented::ClientForAdmin => client_credentials::grant_admin(app, request).await,
    }
}
