//! The access tokens we issue, JWTs of RFC 9068 or opaque keys: made in one place, and judged when they come back.

mod admin;
mod claims;
mod issuer;
pub mod opaque;
mod own;
mod scope;

pub use admin::{
    ADMIN, ADMIN_CREDENTIALS, ADMIN_CREDENTIALS_OF, ADMIN_LIFETIME_SECONDS, ADMIN_READ, LOCAL_CLIENT, covers,
    is_admin_scope,
};
pub use claims::{RestsOn, Workload};
pub use issuer::{Acting, AdminGrant, MintError, Minted, NO_REDIRECT, TokenIssuer};
pub use own::{Ended, LiveToken, OwnToken, OwnTokens, read_jwt};
pub use scope::{InvalidScope, ScopeSet};

/// What begins the `client_id` of tokens that no registered client asked for; the newest credential in the token follows (decision D-17).
/// No client can have such a name.
pub const FEDERATED: &str = "federated:";
