//! The files that trusted issuers may name: those of `key_files_dir` if it is configured, and never
//! the server's own.
//!
//! Trusted issuers are saved over the admin API, whose users are not those who configure the
//! server. Without these checks such a user could have the server read any file that it can read,
//! and send its content to an API server of the user's choice.

use std::path::{Component, Path, PathBuf};

use secrecy::SecretString;
use tokio::io::AsyncReadExt as _;

use super::discovery::KeySetError;

const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The files that trusted issuers may name.
#[derive(Clone, Debug, Default)]
pub struct KeyFiles {
    folder: Option<PathBuf>,
    own: Vec<PathBuf>,
}

impl KeyFiles {
    /// Allows the files in `folder`; without a folder, all files except those at or below `own`.
    /// All paths are absolute.
    pub fn new(folder: Option<PathBuf>, own: Vec<PathBuf>) -> Self {
        Self { folder, own }
    }

    /// Checks a path without looking at the file system, and so without following links.
    pub fn check(&self, path: &str) -> Result<(), String> {
        let path = Path::new(path);
        let climbs = path.components().any(|part| part == Component::ParentDir);
        match &self.folder {
            Some(folder) if !path.starts_with(folder) || climbs => Err(format!(
                "must be a file in the folder {} (key_files_dir)",
                folder.display()
            )),
            None if climbs || self.own.iter().any(|own| path.starts_with(own)) => Err(
                "must not be a file of the server's own, and must be named without `..`".to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// Reads a file with text.
    pub(super) async fn text(&self, path: &str) -> Result<String, KeySetError> {
        String::from_utf8(self.read(path).await?).map_err(|_| KeySetError::Unusable {
            url: path.to_owned(),
            why: "it is no text".to_owned(),
        })
    }

    /// Reads a file with a bearer token, without the white space around it.
    pub(super) async fn secret(&self, path: &str) -> Result<SecretString, KeySetError> {
        Ok(self.text(path).await?.trim().into())
    }

    /// Reads a file of at most 1 MiB. Errors name the problem and never contain anything of the
    /// file.
    pub(super) async fn read(&self, path: &str) -> Result<Vec<u8>, KeySetError> {
        let unusable = |why: String| KeySetError::Unusable {
            url: path.to_owned(),
            why,
        };
        let failed = |error: std::io::Error| unusable(format!("it cannot be read: {error}"));
        self.check(path).map_err(unusable)?;
        let file = tokio::fs::canonicalize(path).await.map_err(failed)?;
        // Links may lead elsewhere within the folder, as those in the volumes of a pod do.
        if let Some(folder) = &self.folder {
            let folder = tokio::fs::canonicalize(folder).await.map_err(failed)?;
            if !file.starts_with(&folder) {
                return Err(unusable(
                    "it leads out of the folder for key files".to_owned(),
                ));
            }
        } else {
            for own in &self.own {
                if tokio::fs::canonicalize(own)
                    .await
                    .is_ok_and(|own| file.starts_with(own))
                {
                    return Err(unusable(
                        "it leads to a file of the server's own".to_owned(),
                    ));
                }
            }
        }
        // Checked before opening: opening a named pipe blocks until a writer opens it.
        if !tokio::fs::metadata(&file).await.map_err(failed)?.is_file() {
            return Err(unusable("it is no file".to_owned()));
        }
        let file = tokio::fs::File::open(file).await.map_err(failed)?;
        let mut body = Vec::new();
        let limit = MAX_FILE_BYTES.saturating_add(1);
        file.take(u64::try_from(limit).unwrap_or(u64::MAX))
            .read_to_end(&mut body)
            .await
            .map_err(failed)?;
        if body.len() > MAX_FILE_BYTES {
            return Err(unusable(format!(
                "it is larger than {MAX_FILE_BYTES} bytes"
            )));
        }
        Ok(body)
    }
}
