//! The access tokens we issue, JWTs of RFC 9068 or opaque keys: made in one place, and judged when they come back.

mod claims;
mod issuer;
mod own;

pub use crate::scope::ScopeSet;
pub use claims::{RestsOn, Workload};
pub use issuer::{Acting, AdminGrant, MintError, Minted, NO_REDIRECT, TokenIssuer};
pub use own::{Ended, LiveToken, OwnToken, OwnTokens, read_jwt};

/// What begins the `client_id` of tokens that no registered client asked for; the newest credential in the token follows (decision D-17).
/// No client can have such a name.
pub const FEDERATED: &str = "federated:";

/// How long an admin token lives that a client gets, in seconds.
pub const ADMIN_LIFETIME_SECONDS: i64 = 900;
/// The `client_id` of admin tokens that whoever holds the database makes. No client can have this name.
pub const LOCAL_CLIENT: &str = "carnet-cli";
