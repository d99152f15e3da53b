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

/// What something is sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// The kind of thing.
    pub kind: &'a str,
    /// Whose it is, by its id.
    pub owner: &'a str,
}

impl<'a> Purpose<'a> {
    fn members(&self) -> [(&'static str, &'a str); 2] {
        [("carnet_kind", self.kind), ("carnet_owner", self.owner)]
    }
}

impl SealingKey {
    /// Takes 256 random bits as the key.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Seals `plaintext` for a purpose; the answer is a compact JWE. The purpose stands in its protected header, which is additional
    /// authenticated data (RFC 7516 section 5.1), so what was sealed for one thing cannot be put in the place of another.
    ///
    /// # Errors
    ///
    /// [`SealError::Seal`].
    pub fn seal(&self, plaintext: &[u8], purpose: Purpose<'_>) -> Result<String, SealError> {
        let encrypter = Dir.encrypter_from_bytes(self.0).map_err(|_| SealError::Seal)?;
        let mut header = JweHeader::new();
        header.set_content_encryption("A256GCM");
        for (name, value) in purpose.members() {
            header.set_claim(name, Some(value.into())).map_err(|_| SealError::Seal)?;
        }
        josekit::jwe::serialize_compact(plaintext, &header, &encrypter).map_err(|_| SealError::Seal)
    }

    /// Opens what [`SealingKey::seal`] made for this purpose. What was sealed before there were purposes has none, and opens.
    ///
    /// # Errors
    ///
    /// [`SealError::Open`] under another key, for another purpose or for a changed text.
    pub fn open(&self, sealed: &str, purpose: Purpose<'_>) -> Result<Vec<u8>, SealError> {
        let decrypter = Dir.decrypter_from_bytes(self.0).map_err(|_| SealError::Open)?;
        let (plaintext, header) = josekit::jwe::deserialize_compact(sealed, &decrypter).map_err(|_| SealError::Open)?;
        let has = |(name, value): (&str, &str)| header.claim(name).and_then(|given| given.as_str()) == Some(value);
        let has_none = purpose.members().iter().all(|(name, _)| header.claim(name).is_none());
        if has_none || purpose.members().into_iter().all(has) { Ok(plaintext) } else { Err(SealError::Open) }
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
        let purpose = Purpose { kind: "signing key", owner: "k1" };
        let sealed = key.seal(b"secret", purpose).unwrap();
        assert!(!sealed.contains("secret"));
        assert_eq!(key.open(&sealed, purpose).unwrap(), b"secret");
        for other in [Purpose { owner: "k2", ..purpose }, Purpose { kind: "account", ..purpose }] {
            assert_eq!(key.open(&sealed, other), Err(SealError::Open));
        }
        assert_ne!(sealed, key.seal(b"secret", purpose).unwrap(), "a fresh nonce each time");
        assert_eq!(SealingKey::new([8; 32]).open(&sealed, purpose), Err(SealError::Open));
        let mut changed = sealed.clone().into_bytes();
        let last = changed.len() - 3;
        changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(key.open(std::str::from_utf8(&changed).unwrap(), purpose), Err(SealError::Open));
        assert_eq!(key.open("not a JWE", purpose), Err(SealError::Open));
        assert_eq!(format!("{key:?}"), "SealingKey(..)");
    }
}
