//! Proofs of possession by DPoP (RFC 9449): a client shows with every request that it holds the
//! private key to which its access token is bound, so that a copy of the token alone is worth
//! nothing.
//!
//! * [`Expected::verify`] checks a proof against the request that it came with: the whole list of
//!   RFC 9449 section 4.3 but the single use.
//! * [`RequestUri`] is the `htu` in the one spelling in which it is compared.
//! * [`Nonces`] makes and checks nonces (RFC 9449 sections 8 and 9) without storing any.
//! * [`SpentProofs`] remembers which proofs were used, in a process ([`SingleProcess`]) or wherever
//!   several processes can see it.
//! * [`ProofKey`] makes proofs.
//!
//! The crate reads neither clock nor network. "Decision D-nn" refers to
//! `docs/src/development/numbered-decisions.md` in the repository.

#![warn(missing_docs)]
#![cfg_attr(
    test,
    expect(
        non_snake_case,
        reason = "test names begin with the requirement they show"
    )
)]

mod made;
mod nonce;
mod proof;
mod spent;
mod uri;

#[cfg(test)]
mod tests;

pub use made::ProofKey;
pub use nonce::{Nonces, offer_nonce};
pub use proof::{ALGORITHMS, Expected, InvalidProof, Proof, SentProof, token_hash};
pub use spent::{Presented, SingleProcess, SpentProofs};
pub use uri::RequestUri;
