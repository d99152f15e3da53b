//! The access tokens we issue, JWTs of RFC 9068 or opaque keys: made in one place, and judged when they come back.

mod claims;
mod issuer;

pub use issuer::{MintError, Minted, TokenIssuer};
