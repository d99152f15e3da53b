//! The access tokens we issue, JWTs of RFC 9068 or opaque keys: made in one place, and judged when they come back.

mod claims;
mod issuer;

pub use crate::scope::ScopeSet;
pub use claims::Workload;
pub use issuer::{Acting, AdminGrant, MintError, Minted, NO_REDIRECT, TokenIssuer};

/// How long an admin token lives that a client gets, in seconds.
pub const ADMIN_LIFETIME_SECONDS: i64 = 900;
