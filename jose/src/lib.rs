//! Strict JOSE: compact JWS parsing, JWK sets and signing keys. Carnet's authorization server and
//! its resource-server crate share it, so that both sides read a token in the same way.
//!
//! * [`Compact`] splits a compact JWS into its parts and checks their form (RFC 7515 section 7.1).
//!   It does not verify the signature.
//! * [`json`] reads JSON with limits and refuses repeated members.
//! * [`KeySet`] turns a JWK set (RFC 7517 section 5) into verifiers and picks exactly one for a
//!   token.
//! * [`SigningKey`] signs Carnet's own tokens; [`SealingKey`] encrypts signing keys at rest.
//!
//! The last two need the feature `crypto` (on by default), which brings josekit and OpenSSL. No
//! other crate of the workspace imports josekit. What josekit leaves to its caller is done here:
//! repeated members, header parameters that carry keys, the choice of the algorithm, several keys
//! with one `kid`.
//!
//! Claims such as `exp` and `aud` are not checked here. "Decision D-nn" refers to
//! `docs/src/development/numbered-decisions.md` in the repository.

#![warn(missing_docs)]
#![cfg_attr(
    test,
    expect(
        non_snake_case,
        reason = "test names begin with the requirement they show"
    )
)]

mod algorithm;
mod compact;
pub mod json;
#[cfg(feature = "crypto")]
mod jwk;
#[cfg(feature = "crypto")]
mod key_set;
mod key_use;
#[cfg(feature = "crypto")]
mod seal;
#[cfg(feature = "crypto")]
mod signature;
#[cfg(feature = "crypto")]
mod signing;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use compact::{Compact, Header, MAX_KEY_ID_BYTES, MAX_TOKEN_BYTES, Malformed};
#[cfg(feature = "crypto")]
pub use key_set::{KeySet, KeySetError, MAX_KEYS, NoKey, VerificationKey};
pub use key_use::KeyUse;
#[cfg(feature = "crypto")]
pub use seal::{Purpose, SealError, SealingKey};
#[cfg(feature = "crypto")]
pub use signing::{PublicKey, SigningError, SigningKey, thumbprint};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq as _;

/// Encodes bytes as base64url without padding (RFC 7515 section 2).
#[must_use]
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Encodes bytes as base64 with padding (RFC 4648 section 4), the form of webhook secrets and
/// signatures.
#[must_use]
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Decodes base64 with padding (RFC 4648 section 4), the form of certificates in JSON and in HTTP.
/// The result is `None` for anything else, line breaks included.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(feature = "crypto")]
fn push_base64url(text: &mut String, bytes: &[u8]) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

/// Decodes base64url without padding. The result is `None` for padding, characters outside the
/// alphabet and unused trailing bits that are not zero, so that each value has exactly one encoding
/// (RFC 7515 section 2; decision D-30).
#[must_use]
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Fills `bytes` with cryptographically secure random bytes from the operating system.
///
/// # Errors
///
/// [`NoRandomness`] if it has none. The buffer must not be used then.
pub fn fill_random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(|_| NoRandomness)
}

/// The random number generator failed, so no secret can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no randomness")]
pub struct NoRandomness;

/// SHA-256 (FIPS 180-4). With the feature `crypto` it is OpenSSL's, which is several times as fast
/// on processors without SHA instructions.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    #[cfg(feature = "crypto")]
    {
        // `openssl::sha::sha256` looks the function up at each call.
        let mut hasher = openssl::sha::Sha256::new();
        hasher.update(bytes);
        hasher.finish()
    }
    #[cfg(not(feature = "crypto"))]
    return <sha2::Sha256 as sha2::Digest>::digest(bytes).into();
}

/// HMAC with SHA-256 (RFC 2104).
///
/// # Errors
///
/// [`MacError`] if the cryptographic library fails.
#[cfg(feature = "crypto")]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Result<Vec<u8>, MacError> {
    let key = openssl::pkey::PKey::hmac(key).map_err(|_| MacError)?;
    let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &key)
        .map_err(|_| MacError)?;
    signer.sign_oneshot_to_vec(message).map_err(|_| MacError)
}

/// The cryptographic library could not compute a message authentication code.
#[cfg(feature = "crypto")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no message authentication code can be computed")]
pub struct MacError;

/// Whether two values are equal, in a time that depends only on their lengths. Use it to compare
/// secrets and their hashes.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(all(test, feature = "crypto"))]
mod tests {
    use super::*;

    #[test]
    fn hmac_sha256_gives_the_values_of_rfc_4231() {
        let code = hmac_sha256(b"Jefe", b"what do ya want for nothing?").unwrap();
        assert_eq!(
            base64url(code),
            "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM"
        );
        assert_eq!(base64([0xfb, 0xff]), "+/8=");
    }
}
