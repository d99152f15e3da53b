//! The key of the job to which the access token is bound (RFC 9449), and the proofs that it makes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use carnet_dpop::ProofKey;

use crate::error::ExchangeError;

/// Only its owner may read the file.
const PRIVATE: u32 = 0o600;
/// Bytes of a private key in a file.
const MAX_KEY_BYTES: u64 = 16 * 1024;

const OPTION: &str = "--dpop-key";

/// Opens the file of a private key that this option names. Others may not read it.
pub(crate) fn private_file(option: &str, path: &Path) -> Result<File, ExchangeError> {
    let shown = path.display();
    let unusable = |why: String| ExchangeError::usage(format!("{option} {shown}: {why}"));
    let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
    let metadata = file.metadata();
    let metadata = metadata.map_err(|error| unusable(error.to_string()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(unusable(format!(
            "others than its owner may use the file; chmod 600 {shown}"
        )));
    }
    Ok(file)
}

/// The text of a file with a key.
pub(crate) fn read_text(file: File) -> Result<String, String> {
    let mut text = String::new();
    file.take(MAX_KEY_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    Ok(text)
}

/// A private key in a file.
#[derive(Debug)]
pub struct DpopKey(ProofKey);

impl DpopKey {
    /// Reads the key, or makes one if there is no such file.
    ///
    /// # Errors
    ///
    /// Wrong usage if others may read the file, or what it holds is no private key.
    pub fn open(path: &Path) -> Result<Self, ExchangeError> {
        if matches!(path.try_exists(), Ok(false)) {
            return Self::create(path);
        }
        let unusable =
            |why: String| ExchangeError::usage(format!("{OPTION} {}: {why}", path.display()));
        let text = read_text(private_file(OPTION, path)?).map_err(unusable)?;
        let key = ProofKey::from_jwk(&text).map_err(|_| {
            unusable("it holds no private key; remove it, and a new one is made".to_owned())
        })?;
        Ok(Self(key))
    }

    fn create(path: &Path) -> Result<Self, ExchangeError> {
        let unusable = |why: String| {
            ExchangeError::usage(format!(
                "{OPTION} {}: the key cannot be made: {why}",
                path.display()
            ))
        };
        let key = ProofKey::generate().map_err(|error| unusable(error.to_string()))?;
        let text = key.to_jwk().map_err(|error| unusable(error.to_string()))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(PRIVATE);
        let written = options.open(path).and_then(|mut file| {
            // The mode of a new file is cut by the umask, never widened.
            file.set_permissions(Permissions::from_mode(PRIVATE))?;
            file.write_all(text.as_bytes())
        });
        written.map_err(|error| unusable(error.to_string()))?;
        Ok(Self(key))
    }

    /// The JWK thumbprint of the public key (RFC 7638), which `jkt` of a bound token repeats.
    pub fn thumbprint(&self) -> &str {
        self.0.thumbprint()
    }

    /// Makes a proof for one request, as of now. `token` is the access token that goes along.
    ///
    /// # Errors
    ///
    /// A refusal if the cryptographic library fails.
    pub fn prove(
        &self,
        request: (&str, &str),
        token: Option<&str>,
        nonce: Option<&str>,
    ) -> Result<String, ExchangeError> {
        let proof = self.0.prove(request, token, nonce, now());
        proof.map_err(|error| ExchangeError::refused(format!("no proof can be made: {error}")))
    }
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the client that reads the machine's clock"
)]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
