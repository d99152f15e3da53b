//! The encryption keys, under which private keys are sealed in the database: where they come from.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use carnet_jose::{Purpose, SealError, SealingKey, SigningError, SigningKey};
use secrecy::ExposeSecret as _;

use super::SigningKeysError;
use crate::config::{Config, EncryptionKeySource, create_private};
use crate::ids;
use crate::store::StoredKey;

/// Cookies have a key of their own: strangers send them, and as many as they like.
const COOKIES: &str = "carnet cookies";

/// The current encryption key, which seals, and the earlier ones, which only open what was sealed
/// before (`keys.old_encryption_key_files`).
#[derive(Debug)]
pub struct EncryptionKeys {
    current: SealingKey,
    old: Vec<SealingKey>,
    /// The keys of cookies that are derived from these, in the same order.
    cookies: Vec<SealingKey>,
}

impl EncryptionKeys {
    /// Reads the keys. Creates the file of the current one if the configuration names no key.
    pub fn create(config: &Config) -> Result<Self, SigningKeysError> {
        if let EncryptionKeySource::Generated(path) = &config.encryption_key
            && !path.exists()
        {
            make_key_file(path)?;
        }
        Self::read(config)
    }

    /// Reads the keys.
    pub fn read(config: &Config) -> Result<Self, SigningKeysError> {
        let current = match &config.encryption_key {
            EncryptionKeySource::Given(key) => parse("keys.encryption_key", key.expose_secret()),
            EncryptionKeySource::File(path) | EncryptionKeySource::Generated(path) => {
                read_key_file(path)
            }
        };
        let old = config
            .old_encryption_key_files
            .iter()
            .map(|path| read_key_file(path));
        let (current, old) = (current?, old.collect::<Result<Vec<_>, _>>()?);
        let of_cookies = |key: &SealingKey| {
            let derived = key.derived(COOKIES);
            derived.map_err(|error| SigningKeysError::EncryptionKey(error.to_string()))
        };
        let cookies = std::iter::once(&current).chain(&old).map(of_cookies);
        Ok(Self {
            cookies: cookies.collect::<Result<_, _>>()?,
            current,
            old,
        })
    }

    /// The key that seals.
    pub fn current(&self) -> &SealingKey {
        &self.current
    }

    /// Opens a signing key with the current encryption key or an earlier one. Fails with the error
    /// of the current one.
    pub fn open(&self, key: &StoredKey) -> Result<SigningKey, SigningError> {
        let current = open_with(&self.current, key);
        if current.is_ok() {
            return current;
        }
        let opened = self.old.iter().find_map(|old| open_with(old, key).ok());
        opened.map_or(current, Ok)
    }

    /// Opens another secret with the current encryption key or an earlier one. Fails with the error
    /// of the current one.
    pub fn open_sealed(&self, sealed: &str, purpose: Purpose<'_>) -> Result<Vec<u8>, SealError> {
        let current = self.current.open(sealed, purpose);
        if current.is_ok() {
            return current;
        }
        let opened = self
            .old
            .iter()
            .find_map(|old| old.open(sealed, purpose).ok());
        opened.map_or(current, Ok)
    }

    /// Encrypts the content of a cookie.
    pub fn seal_cookie(&self, content: &[u8], purpose: Purpose<'_>) -> Result<String, SealError> {
        let key = self.cookies.first().ok_or(SealError::Seal)?;
        key.seal(content, purpose)
    }

    /// Opens a cookie with the current encryption key or an earlier one.
    pub fn open_cookie(&self, sealed: &str, purpose: Purpose<'_>) -> Result<Vec<u8>, SealError> {
        let mut keys = self.cookies.iter();
        let opened = keys.find_map(|key| key.open(sealed, purpose).ok());
        opened.ok_or(SealError::Open)
    }

    /// Whether a signing key is sealed under the current encryption key.
    pub fn is_current(&self, key: &StoredKey) -> bool {
        open_with(&self.current, key).is_ok()
    }
}

fn open_with(sealing: &SealingKey, key: &StoredKey) -> Result<SigningKey, SigningError> {
    let algorithm = key.algorithm.parse().map_err(|_| SigningError::Damaged)?;
    SigningKey::open(&key.sealed_private, &key.key_id, algorithm, sealing)
}

/// The files with encryption keys that others than their owner may read or write.
pub fn exposed_key_files(config: &Config) -> Vec<&Path> {
    let current = match &config.encryption_key {
        EncryptionKeySource::Given(_) => None,
        EncryptionKeySource::File(path) | EncryptionKeySource::Generated(path) => {
            Some(path.as_path())
        }
    };
    let old = config.old_encryption_key_files.iter();
    current
        .into_iter()
        .chain(old.map(std::path::PathBuf::as_path))
        .filter(|path| is_exposed(path))
        .collect()
}

/// Whether others than its owner may read or write a file.
pub fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

/// Parses a key of 32 bytes in base64 or hexadecimal; `source` is named in the error.
fn parse(source: &str, text: &str) -> Result<SealingKey, SigningKeysError> {
    parse_key(text.trim()).map(SealingKey::new).ok_or_else(|| {
        SigningKeysError::EncryptionKey(format!(
            "{source}: must be 32 bytes in base64 or hexadecimal"
        ))
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

fn read_key_file(path: &Path) -> Result<SealingKey, SigningKeysError> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&shown, &text),
        Err(error) => Err(SigningKeysError::EncryptionKey(format!("{shown}: {error}"))),
    }
}

/// Creates the file with a new key in it, readable by its owner only.
fn make_key_file(path: &Path) -> Result<(), SigningKeysError> {
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
            file.sync_all().map_err(failed)
        }
        // Another process created the file first.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
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
        let config = |name: &str, value: &Path| {
            let variable = (name.to_owned(), value.display().to_string());
            Config::from_sources(None, [variable]).unwrap()
        };
        let generated = config("CARNET_DATA_DIR", &folder);
        assert!(EncryptionKeys::read(&generated).is_err());
        let purpose = Purpose {
            kind: "test",
            owner: "x",
        };
        let made = EncryptionKeys::create(&generated).unwrap();
        let sealed = made.current().seal(b"x", purpose).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = EncryptionKeys::create(&generated).unwrap();
        assert_eq!(again.current().open(&sealed, purpose).unwrap(), b"x");
        assert_eq!(exposed_key_files(&generated), Vec::<&Path>::new());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(exposed_key_files(&generated), [path.as_path()]);
        let missing = config("CARNET_KEYS__ENCRYPTION_KEY_FILE", &folder.join("missing"));
        assert!(EncryptionKeys::create(&missing).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
