//! The files that trusted issuers may name: those of one folder where whoever runs the server has chosen one, and never the server's own.
//!
//! What is saved by the admin API comes from elsewhere than the configuration. Its author could have the server read any file that it can
//! read, and send it to an API server of the author's.

use std::path::{Component, Path, PathBuf};

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
    /// Those in this folder, if there is one, and none at or below `own`. All are absolute.
    pub fn new(folder: Option<PathBuf>, own: Vec<PathBuf>) -> Self {
        Self { folder, own }
    }

    /// Whether a path may be named, as far as the path alone says.
    pub fn check(&self, path: &str) -> Result<(), String> {
        let path = Path::new(path);
        let climbs = path.components().any(|part| part == Component::ParentDir);
        match &self.folder {
            Some(folder) if !path.starts_with(folder) || climbs => {
                Err(format!("is a file in the folder {} (key_files_dir)", folder.display()))
            }
            None if climbs || self.own.iter().any(|own| path.starts_with(own)) => {
                Err("is no file of the server's own, and named without `..`".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Reads a file. What is wrong with it is told, and nothing of what is in it.
    pub(super) async fn read(&self, path: &str) -> Result<Vec<u8>, KeySetError> {
        let unusable = |why: String| KeySetError::Unusable { url: path.to_owned(), why };
        let failed = |error: std::io::Error| unusable(format!("it cannot be read: {error}"));
        self.check(path).map_err(unusable)?;
        let file = tokio::fs::canonicalize(path).await.map_err(failed)?;
        // Links may lead on within the folder, as those in the volumes of a pod do.
        if let Some(folder) = &self.folder {
            let folder = tokio::fs::canonicalize(folder).await.map_err(failed)?;
            if !file.starts_with(&folder) {
                return Err(unusable("it leads out of the folder for key files".to_owned()));
            }
        } else {
            for own in &self.own {
                if tokio::fs::canonicalize(own).await.is_ok_and(|own| file.starts_with(own)) {
                    return Err(unusable("it leads to a file of the server's own".to_owned()));
                }
            }
        }
        // Asked before it is opened: opening a pipe waits for somebody who writes.
        if !tokio::fs::metadata(&file).await.map_err(failed)?.is_file() {
            return Err(unusable("it is no file".to_owned()));
        }
        let file = tokio::fs::File::open(file).await.map_err(failed)?;
        let mut body = Vec::new();
        let limit = MAX_FILE_BYTES.saturating_add(1);
        file.take(u64::try_from(limit).unwrap_or(u64::MAX)).read_to_end(&mut body).await.map_err(failed)?;
        if body.len() > MAX_FILE_BYTES {
            return Err(unusable(format!("it is larger than {MAX_FILE_BYTES} bytes")));
        }
        Ok(body)
    }
}
