//! Encryption of private keys at rest. The encryption key is kept outside the database, so a copy
//! of the database alone discloses no signing key.

use std::fmt;

use josekit::jwe::{Dir, JweHeader};

use crate::{MacError, hmac_sha256};

/// A symmetric key that encrypts private keys at rest: JWE with direct encryption, A256GCM (RFC
/// 7516, RFC 7518 sections 4.5 and 5.3). `Debug` does not show it.
#[derive(Clone)]
pub struct SealingKey([u8; 32]);

/// Why a text could not be sealed or opened. No variant contains any part of the text or the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text was sealed with another key or for another purpose, was changed, or is not a sealed
    /// text.
    #[error("cannot be opened with this encryption key")]
    Open,
    /// The cryptographic library failed to encrypt.
    #[error("cannot be sealed")]
    Seal,
}

/// What a sealed text is for. A text sealed for one purpose cannot be opened for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// The kind of object, such as `signing key`.
    pub kind: &'a str,
    /// The id of the object that the sealed text belongs to, such as the `kid` of a signing key.
    pub owner: &'a str,
}

impl<'a> Purpose<'a> {
    fn members(&self) -> [(&'static str, &'a str); 2] {
        [("carnet_kind", self.kind), ("carnet_owner", self.owner)]
    }
}

impl SealingKey {
    /// Uses 256 bits as the key. They have to be random, not derived from a password.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Derives a secret for another purpose, by which this key cannot be found: HKDF-Expand with
    /// SHA-256 (RFC 5869 section 2.3).
    ///
    /// # Errors
    ///
    /// [`MacError`] if the cryptographic library fails.
    pub fn derive(&self, purpose: &str) -> Result<Vec<u8>, MacError> {
        hmac_sha256(&self.0, &[purpose.as_bytes(), &[1]].concat())
    }

    /// Encrypts `plaintext` for `purpose` and returns a compact JWE, different on each call. The
    /// purpose is in the protected header, which is authenticated (RFC 7516 section 5.1), so a
    /// sealed text cannot be moved to another object in the database.
    ///
    /// # Errors
    ///
    /// [`SealError::Seal`] if the cryptographic library fails.
    pub fn seal(&self, plaintext: &[u8], purpose: Purpose<'_>) -> Result<String, SealError> {
        let encrypter = Dir
            .encrypter_from_bytes(self.0)
            .map_err(|_| SealError::Seal)?;
        let mut header = JweHeader::new();
        header.set_content_encryption("A256GCM");
        for (name, value) in purpose.members() {
            header
                .set_claim(name, Some(value.into()))
                .map_err(|_| SealError::Seal)?;
        }
        josekit::jwe::serialize_compact(plaintext, &header, &encrypter).map_err(|_| SealError::Seal)
    }

    /// Decrypts what [`SealingKey::seal`] made for `purpose`. Texts without any purpose were made
    /// by releases that had none, and open for every purpose.
    ///
    /// # Errors
    ///
    /// [`SealError::Open`] for another key, another purpose, or a text that was changed.
    pub fn open(&self, sealed: &str, purpose: Purpose<'_>) -> Result<Vec<u8>, SealError> {
        let decrypter = Dir
            .decrypter_from_bytes(self.0)
            .map_err(|_| SealError::Open)?;
        let (plaintext, header) =
            josekit::jwe::deserialize_compact(sealed, &decrypter).map_err(|_| SealError::Open)?;
        let has = |(name, value): (&str, &str)| {
            header.claim(name).and_then(|given| given.as_str()) == Some(value)
        };
        let has_none = purpose
            .members()
            .iter()
            .all(|(name, _)| header.claim(name).is_none());
        if has_none || purpose.members().into_iter().all(has) {
            Ok(plaintext)
        } else {
            Err(SealError::Open)
        }
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_secrets_differ_by_key_and_purpose() {
        let secret = |key: u8, purpose: &str| SealingKey::new([key; 32]).derive(purpose).unwrap();
        assert_eq!(secret(7, "nonces"), secret(7, "nonces"));
        assert_ne!(secret(7, "nonces"), secret(7, "others"));
        assert_ne!(secret(7, "nonces"), secret(8, "nonces"));
        assert_ne!(secret(7, "nonces"), [7; 32]);
    }

    #[test]
    fn sealed_text_opens_only_unchanged_and_with_the_same_key_and_purpose() {
        let key = SealingKey::new([7; 32]);
        let purpose = Purpose {
            kind: "signing key",
            owner: "k1",
        };
        let sealed = key.seal(b"secret", purpose).unwrap();
        assert!(!sealed.contains("secret"));
        assert_eq!(key.open(&sealed, purpose).unwrap(), b"secret");
        for other in [
            Purpose {
                owner: "k2",
                ..purpose
            },
            Purpose {
                kind: "account",
                ..purpose
            },
        ] {
            assert_eq!(key.open(&sealed, other), Err(SealError::Open));
        }
        assert_ne!(
            sealed,
            key.seal(b"secret", purpose).unwrap(),
            "a fresh nonce each time"
        );
        assert_eq!(
            SealingKey::new([8; 32]).open(&sealed, purpose),
            Err(SealError::Open)
        );
        let mut changed = sealed.clone().into_bytes();
        let last = changed.len() - 3;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(
            key.open(std::str::from_utf8(&changed).unwrap(), purpose),
            Err(SealError::Open)
        );
        assert_eq!(key.open("not a JWE", purpose), Err(SealError::Open));
        assert_eq!(format!("{key:?}"), "SealingKey(..)");
    }
}
