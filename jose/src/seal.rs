use std::fmt;

use josekit::jwe::{Dir, JweHeader};

/// Encrypts private keys at rest: a JWE with direct A256GCM (RFC 7516, RFC 7518 section 4.5).
#[derive(Clone)]
pub struct SealingKey([u8; 32]);

/// Why a sealed text could not be made or opened. Says nothing of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text was sealed under another key, or was changed since.
    #[error("cannot be opened with this encryption key")]
    Open,
    /// The cryptographic library refused.
    #[error("cannot be sealed")]
    Seal,
}

impl SealingKey {
    /// Takes 256 random bits as the key.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Seals `plaintext`; the answer is a compact JWE.
    ///
    /// # Errors
    ///
    /// [`SealError::Seal`].
    pub fn seal(&self, plaintext: &[u8]) -> Result<String, SealError> {
        let encrypter = Dir.encrypter_from_bytes(self.0).map_err(|_| SealError::Seal)?;
        let mut header = JweHeader::new();
        header.set_content_encryption("A256GCM");
        josekit::jwe::serialize_compact(plaintext, &header, &encrypter).map_err(|_| SealError::Seal)
    }

    /// Opens what [`SealingKey::seal`] made.
    ///
    /// # Errors
    ///
    /// [`SealError::Open`] under another key or for a changed text.
    pub fn open(&self, sealed: &str) -> Result<Vec<u8>, SealError> {
        let decrypter = Dir.decrypter_from_bytes(self.0).map_err(|_| SealError::Open)?;
        josekit::jwe::deserialize_compact(sealed, &decrypter)
            .map(|(plaintext, _)| plaintext)
            .map_err(|_| SealError::Open)
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
    fn only_the_same_key_opens_and_only_what_was_not_changed() {
        let key = SealingKey::new([7; 32]);
        let sealed = key.seal(b"secret").unwrap();
        assert!(!sealed.contains("secret"));
        assert_eq!(key.open(&sealed).unwrap(), b"secret");
        assert_ne!(sealed, key.seal(b"secret").unwrap(), "a fresh nonce each time");
        assert_eq!(SealingKey::new([8; 32]).open(&sealed), Err(SealError::Open));
        let mut changed = sealed.clone().into_bytes();
        let last = changed.len() - 3;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(key.open(std::str::from_utf8(&changed).unwrap()), Err(SealError::Open));
        assert_eq!(key.open("not a JWE"), Err(SealError::Open));
        assert_eq!(format!("{key:?}"), "SealingKey(..)");
    }
}
