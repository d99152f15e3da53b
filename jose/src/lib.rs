//! Strict JOSE, shared by the authorization server and the resource-server crate.
//!
//! The two sides of the wire must read a token alike, so the reading lives in one place: [`Compact`] takes a
//! compact JWS apart (RFC 7515 section 7.1) without trusting it, [`KeySet`] turns a JWK set (RFC 7517 section 5)
//! into ready verifiers and picks exactly one of them, [`SigningKey`] makes our own tokens.
//!
//! josekit does the cryptography (feature `crypto`) and is imported nowhere else. What it leaves to its caller is done here: members that
//! occur twice, header parameters that name keys, the choice of the algorithm, several keys of one `kid`.

#![warn(missing_docs)]
#![cfg_attr(test, expect(non_snake_case, reason = "test names begin with the requirement they show"))]

mod algorithm;
mod compact;
pub mod json;
#[cfg(feature = "crypto")]
mod key_set;
#[cfg(feature = "crypto")]
mod seal;
#[cfg(feature = "crypto")]
mod signing;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use compact::{Compact, Header, MAX_KEY_ID_BYTES, MAX_TOKEN_BYTES, Malformed};
#[cfg(feature = "crypto")]
pub use key_set::{KeySet, KeySetError, KeyUse, MAX_KEYS, NoKey, VerificationKey};
#[cfg(feature = "crypto")]
pub use seal::{Purpose, SealError, SealingKey};
#[cfg(feature = "crypto")]
pub use signing::{PublicKey, SigningError, SigningKey};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

/// Encodes as base64url without padding (RFC 7515 section 2).
#[must_use]
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(feature = "crypto")]
fn push_base64url(text: &mut String, bytes: &[u8]) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

/// Decodes base64url, refusing padding, foreign characters and unused trailing bits that are not zero, so that one
/// value has one spelling (RFC 7515 section 2; decision D-30).
#[must_use]
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Fills a buffer with randomness: from OpenSSL's generator, which the operating system seeds (NIST SP 800-90A), or without OpenSSL
/// from the operating system's own.
///
/// # Errors
///
/// If the operating system has none.
pub fn fill_random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    #[cfg(feature = "crypto")]
    let filled = openssl::rand::rand_bytes(bytes).is_ok();
    #[cfg(not(feature = "crypto"))]
    let filled = getrandom::fill(bytes).is_ok();
    if filled { Ok(()) } else { Err(NoRandomness) }
}

/// The operating system gives no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no randomness")]
pub struct NoRandomness;

/// SHA-256 (FIPS 180-4): OpenSSL's where it is there, which is several times as fast on processors without instructions for it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    #[cfg(feature = "crypto")]
    return openssl::sha::sha256(bytes);
    #[cfg(not(feature = "crypto"))]
    return <sha2::Sha256 as sha2::Digest>::digest(bytes).into();
}

/// Whether two values are equal, in a time that depends on their lengths only.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}
