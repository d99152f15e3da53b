//! Access tokens that we issue: JWTs (RFC 9068) or opaque tokens. The module `own_tokens` judges
//! them when they are presented.

mod claims;
mod issuer;

pub use issuer::{MintError, Minted, TokenIssuer};
