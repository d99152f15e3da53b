//! Encryption of private keys at rest. The encryption key is kept outside the database, so a copy
//! of the database alone discloses no signing key.

use std::fmt;

use josekit::jwe::{Dir, JweHeader};
use serde_json::{Map, Value};

use crate::json::{self, Limits};
use crate::{MacError, from_base64url, hmac_sha256};

/// Bytes of the initialization vector of AES-GCM (RFC 7518 section 5.3).
const IV_BYTES: usize = 12;
/// Bytes of its authentication tag.
const TAG_BYTES: usize = 16;

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

    /// A sealing key for texts that others keep, such as cookies: they are never tried with the key
    /// of the texts in the database.
    ///
    /// # Errors
    ///
    /// [`MacError`] if the cryptographic library fails.
    pub fn derived(&self, purpose: &str) -> Result<Self, MacError> {
        let secret = self.derive(purpose)?;
        Ok(Self(secret.try_into().map_err(|_| MacError)?))
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

    /// Decrypts what [`SealingKey::seal`] made for `purpose`.
    ///
    /// # Errors
    ///
    /// [`SealError::Open`] for another key, another purpose, or a text that was changed.
    pub fn open(&self, sealed: &str, purpose: Purpose<'_>) -> Result<Vec<u8>, SealError> {
        let (plaintext, header) = self.opened(sealed)?;
        let has =
            |(name, value): (&str, &str)| header.claim(name).and_then(Value::as_str) == Some(value);
        if purpose.members().into_iter().all(has) {
            Ok(plaintext)
        } else {
            Err(SealError::Open)
        }
    }

    /// Decrypts a text without any purpose. Such texts were made by releases that sealed signing keys
    /// alone.
    pub(crate) fn open_without_purpose(&self, sealed: &str) -> Result<Vec<u8>, SealError> {
        let (plaintext, header) = self.opened(sealed)?;
        if header
            .claims_set()
            .keys()
            .any(|name| name.starts_with("carnet_"))
        {
            return Err(SealError::Open);
        }
        Ok(plaintext)
    }

    fn opened(&self, sealed: &str) -> Result<(Vec<u8>, JweHeader), SealError> {
        if !has_form_of_ours(sealed) {
            return Err(SealError::Open);
        }
        let decrypter = Dir
            .decrypter_from_bytes(self.0)
            .map_err(|_| SealError::Open)?;
        josekit::jwe::deserialize_compact(sealed, &decrypter).map_err(|_| SealError::Open)
    }
}

/// Whether a compact JWE looks as [`SealingKey::seal`] makes it. josekit takes tags of any length, of
/// which one of one byte is guessed in 256 tries, other algorithms and compressed texts; without an
/// initialization vector OpenSSL's binding panics.
fn has_form_of_ours(sealed: &str) -> bool {
    let parts: Vec<&str> = sealed.split('.').collect();
    let &[header, "", iv, _, tag] = parts.as_slice() else {
        return false;
    };
    let has_length =
        |text: &str, bytes: usize| from_base64url(text).is_some_and(|read| read.len() == bytes);
    let header = from_base64url(header).and_then(|text| json::object(&text, Limits::DOCUMENT).ok());
    has_length(iv, IV_BYTES)
        && has_length(tag, TAG_BYTES)
        && header.is_some_and(|header| is_header_of_ours(&header))
}

fn is_header_of_ours(header: &Map<String, Value>) -> bool {
    let is = |name: &str, value: &str| header.get(name).and_then(Value::as_str) == Some(value);
    let known = ["alg", "enc", "carnet_kind", "carnet_owner"];
    is("alg", "dir")
        && is("enc", "A256GCM")
        && header.keys().all(|name| known.contains(&name.as_str()))
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

    /// Without these checks one tag of a single byte in 256 is right.
    #[test]
    fn a_tag_that_was_cut_off_opens_nothing() {
        let key = SealingKey::new([7; 32]);
        let purpose = Purpose {
            kind: "cookie",
            owner: "k1",
        };
        let sealed = key.seal(b"secret", purpose).unwrap();
        let (rest, tag) = sealed.rsplit_once('.').unwrap();
        let tag = from_base64url(tag).unwrap();
        assert_eq!(tag.len(), TAG_BYTES);
        for bytes in 0..TAG_BYTES {
            let cut = format!("{rest}.{}", crate::base64url(&tag[..bytes]));
            assert_eq!(
                key.open(&cut, purpose),
                Err(SealError::Open),
                "{bytes} bytes"
            );
        }
        for byte in 0..=u8::MAX {
            let guessed = format!("{rest}.{}", crate::base64url([byte]));
            assert_eq!(key.open(&guessed, purpose), Err(SealError::Open), "{byte}");
        }
    }

    #[test]
    fn only_the_form_that_is_sealed_is_opened() {
        let key = SealingKey::new([7; 32]);
        let purpose = Purpose {
            kind: "cookie",
            owner: "k1",
        };
        let sealed = key.seal(b"secret", purpose).unwrap();
        let parts: Vec<&str> = sealed.split('.').collect();
        let with = |at: usize, text: &str| {
            let mut parts = parts.clone();
            parts[at] = text;
            parts.join(".")
        };
        let header = |text: &str| crate::base64url(text);
        for hostile in [
            with(2, ""),
            with(2, &crate::base64url([0; 11])),
            with(1, "AA"),
            format!("{sealed}.AA"),
            with(0, &header(r#"{"alg":"dir","enc":"A256GCM"}"#)),
            with(
                0,
                &header(
                    r#"{"alg":"dir","enc":"A256GCM","zip":"DEF","carnet_kind":"cookie","carnet_owner":"k1"}"#,
                ),
            ),
            format!("{}...AA.AA", header(r#"{"alg":"dir","enc":"A256GCM"}"#)),
        ] {
            assert_eq!(
                key.open(&hostile, purpose),
                Err(SealError::Open),
                "{hostile}"
            );
            assert_eq!(
                key.open_without_purpose(&hostile),
                Err(SealError::Open),
                "{hostile}"
            );
        }
        // Nor a whole text of another form, sealed with the same key.
        let encrypter = Dir.encrypter_from_bytes([7; 32]).unwrap();
        let mut unnamed = JweHeader::new();
        unnamed.set_content_encryption("A256GCM");
        let older = josekit::jwe::serialize_compact(b"older", &unnamed, &encrypter).unwrap();
        assert_eq!(
            key.open(&older, purpose),
            Err(SealError::Open),
            "it is for no purpose"
        );
        assert_eq!(key.open_without_purpose(&older).unwrap(), b"older");
        assert_eq!(key.open_without_purpose(&sealed), Err(SealError::Open));
        let mut zipped = unnamed.clone();
        zipped.set_compression("DEF");
        for (name, value) in purpose.members() {
            zipped.set_claim(name, Some(value.into())).unwrap();
        }
        let zipped = josekit::jwe::serialize_compact(b"zipped", &zipped, &encrypter).unwrap();
        assert_eq!(key.open(&zipped, purpose), Err(SealError::Open));
    }

    #[test]
    fn a_derived_key_opens_nothing_of_the_key_itself() {
        let key = SealingKey::new([7; 32]);
        let purpose = Purpose {
            kind: "cookie",
            owner: "k1",
        };
        let cookies = key.derived("cookies").unwrap();
        let sealed = cookies.seal(b"secret", purpose).unwrap();
        assert_eq!(
            key.derived("cookies")
                .unwrap()
                .open(&sealed, purpose)
                .unwrap(),
            b"secret"
        );
        assert_eq!(key.open(&sealed, purpose), Err(SealError::Open));
        assert_eq!(
            key.derived("others").unwrap().open(&sealed, purpose),
            Err(SealError::Open)
        );
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
