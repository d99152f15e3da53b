//! The access tokens we issue: JWTs of RFC 9068, made in one place.

mod issuer;
mod scope;

pub use issuer::{AdminGrant, MintError, Minted, NO_REDIRECT, TokenIssuer, Workload};
pub use scope::{InvalidScope, ScopeSet};
