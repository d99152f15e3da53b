//! A token in a file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use carnet_jose::MAX_TOKEN_BYTES;
use secrecy::SecretString;

use super::AmbientError;

/// Reads a token from a file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<SecretString, AmbientError> {
    // A little more than a token may have: white space around it, and bytes by which a longer text
    // is noticed.
    let limit = u64::try_from(MAX_TOKEN_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1024);
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(AmbientError::Failed(
            path.display().to_string(),
            error.to_string(),
        )),
    }
}
