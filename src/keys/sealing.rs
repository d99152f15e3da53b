//! The key that seals private keys in the database: where it comes from.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use carnet_jose::SealingKey;
use secrecy::ExposeSecret as _;

use super::SigningKeysError;
use crate::config::{EncryptionKeySource, create_private};
use crate::ids;

/// Reads the encryption key that seals private keys, 32 bytes in base64 or hexadecimal. Creates its
/// file if the configuration names no key.
pub fn sealing_key(source: &EncryptionKeySource) -> Result<SealingKey, SigningKeysError> {
    let text = match source {
        EncryptionKeySource::Given(key) => key.expose_secret().to_owned(),
        EncryptionKeySource::File(path) => read_key_file(path)?,
        EncryptionKeySource::Generated(path) if path.exists() => read_key_file(path)?,
        EncryptionKeySource::Generated(path) => make_key_file(path)?,
    };
    parse_key(text.trim()).map(SealingKey::new).ok_or_else(|| {
        SigningKeysError::EncryptionKey("it is not 32 bytes in base64 or hexadecimal".to_owned())
    })
}

fn parse_key(text: &str) -> Option<[u8; 32]> {
    let from_hex = || {
        let digit = |at: usize| {
            text.get(at..at.checked_add(2)?)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        (text.len() == 64)
            .then(|| (0..64).step_by(2).map(digit).collect::<Option<Vec<u8>>>())
            .flatten()
    };
    let decoded = from_hex()
        .or_else(|| URL_SAFE_NO_PAD.decode(text).ok())
        .or_else(|| STANDARD.decode(text).ok())?;
    decoded.try_into().ok()
}

fn read_key_file(path: &Path) -> Result<String, SigningKeysError> {
    use std::os::unix::fs::PermissionsExt as _;

    if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
        tracing::warn!(file = %path.display(), "others than its owner may read or write the encryption key");
    }
    std::fs::read_to_string(path)
        .map_err(|error| SigningKeysError::EncryptionKey(format!("{}: {error}", path.display())))
}

/// Creates the file with a new key in it, readable by its owner only.
fn make_key_file(path: &Path) -> Result<String, SigningKeysError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let failed = |error: std::io::Error| {
        SigningKeysError::EncryptionKey(format!("{}: {error}", path.display()))
    };
    if let Some(folder) = path.parent() {
        create_private(folder).map_err(failed)?;
    }
    let text = URL_SAFE_NO_PAD.encode(ids::random::<32>());
    match std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(mut file) => {
            file.write_all(text.as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            Ok(text)
        }
        // Another process created the file first.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read_key_file(path),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use carnet_jose::Purpose;

    use super::*;

    #[test]
    fn keys_are_read_in_hexadecimal_and_base64() {
        let bytes = [0xabu8; 32];
        assert_eq!(parse_key(&"ab".repeat(32)), Some(bytes));
        assert_eq!(parse_key(&URL_SAFE_NO_PAD.encode(bytes)), Some(bytes));
        assert_eq!(parse_key(&STANDARD.encode(bytes)), Some(bytes));
        for text in [
            "",
            "short",
            &"zz".repeat(32),
            &"ab".repeat(31),
            &URL_SAFE_NO_PAD.encode([1u8; 31]),
        ] {
            assert_eq!(parse_key(text), None, "{text}");
        }
    }

    #[test]
    fn the_generated_encryption_key_file_is_private_and_reused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder =
            std::env::temp_dir().join(format!("carnet-{}", uuid::Uuid::from_bytes(ids::random())));
        let path = folder.join("encryption.key");
        let source = EncryptionKeySource::Generated(path.clone());
        let purpose = Purpose {
            kind: "test",
            owner: "x",
        };
        let sealed = sealing_key(&source).unwrap().seal(b"x", purpose).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            sealing_key(&source)
                .unwrap()
                .open(&sealed, purpose)
                .unwrap(),
            b"x"
        );
        assert!(sealing_key(&EncryptionKeySource::File(folder.join("missing"))).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
