//! Nonces that a server gives out (RFC 9449 sections 8 and 9), computed and not stored.

use carnet_jose::{MacError, base64url, constant_time_eq, from_base64url, hmac_sha256};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::proof::Proof;

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// How long one nonce is given out, in seconds.
const SLOT_SECONDS: i64 = 60;
/// How many slots later a nonce is still taken: it is good for at least 4 minutes, and for less than
/// 5 (decision D-47).
const SLOTS_TAKEN: i64 = 4;
const SLOT_BYTES: usize = 8;
const MAC_BYTES: usize = 16;

/// Makes and checks nonces. All processes with the same secret and purpose agree on them.
#[derive(Clone)]
pub struct Nonces {
    key: [u8; 32],
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nonces").finish_non_exhaustive()
    }
}

impl Nonces {
    /// Nonces of this secret (at least 32 random bytes) for one purpose: nonces of different
    /// purposes are not taken for each other. The key is derived from the secret by HKDF (RFC 5869)
    /// with SHA-256.
    ///
    /// # Errors
    ///
    /// [`MacError`] if the cryptographic library fails.
    pub fn new(secret: &[u8], purpose: &str) -> Result<Self, MacError> {
        let extracted = hmac_sha256(&[0; 32], secret)?;
        let info = [b"dpop nonce ", purpose.as_bytes(), &[1]].concat();
        let expanded = hmac_sha256(&extracted, &info)?;
        let key = expanded.try_into().map_err(|_| MacError)?;
        Ok(Self { key })
    }

    /// The nonce to give out at `now`, in seconds since 1970: 32 characters of base64url.
    ///
    /// # Errors
    ///
    /// [`MacError`] if the cryptographic library fails.
    pub fn at(&self, now: i64) -> Result<String, MacError> {
        self.of_slot(now.div_euclid(SLOT_SECONDS))
    }

    /// The nonce to give at `now` to a client whose `proof` was accepted, if that of the proof is not
    /// the newest any more (RFC 9449 section 8.2).
    ///
    /// # Errors
    ///
    /// [`MacError`] if the cryptographic library fails.
    pub fn after(&self, proof: &Proof, now: i64) -> Result<Option<String>, MacError> {
        let newest = self.at(now)?;
        Ok(Some(newest).filter(|newest| proof.nonce() != Some(newest)))
    }

    /// Whether this nonce was given out less than 5 minutes before `now`. One of the next minute
    /// counts too, since clocks of processes differ.
    #[must_use]
    pub fn takes(&self, nonce: &str, now: i64) -> bool {
        let slot = from_base64url(nonce)
            .as_deref()
            .and_then(|bytes| bytes.first_chunk::<SLOT_BYTES>().copied())
            .map(i64::from_be_bytes);
        let Some(slot) = slot else {
            return false;
        };
        let age = now.div_euclid(SLOT_SECONDS).saturating_sub(slot);
        (-1..=SLOTS_TAKEN).contains(&age)
            && self
                .of_slot(slot)
                .is_ok_and(|expected| constant_time_eq(expected.as_bytes(), nonce.as_bytes()))
    }

    fn of_slot(&self, slot: i64) -> Result<String, MacError> {
        let slot = slot.to_be_bytes();
        let mac = hmac_sha256(&self.key, &slot)?;
        let mac = mac.get(..MAC_BYTES).ok_or(MacError)?;
        Ok(base64url([slot.as_slice(), mac].concat()))
    }
}

/// Puts the nonce for the client's next proof into the headers of an answer, which no other client
/// must get from a cache (RFC 9449 section 8.2).
pub fn offer_nonce(headers: &mut HeaderMap, nonce: &str) {
    if let Ok(nonce) = HeaderValue::from_str(nonce) {
        headers.insert(DPOP_NONCE, nonce);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
