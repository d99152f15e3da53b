//! The files that trusted issuers may name: those of one folder, which whoever runs the server has chosen.
//!
//! What is saved by the admin API comes from elsewhere than the configuration. Without the folder its author could have the server
//! read any file of the host, its encryption key included, and send it to an API server of the author's.

use std::path::{Component, Path, PathBuf};

use tokio::io::AsyncReadExt as _;

use super::discovery::KeysError;

const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The files that trusted issuers may name.
#[derive(Clone, Debug, Default)]
pub struct KeyFiles(Option<PathBuf>);

impl KeyFiles {
    /// Those in this folder, which is absolute; without one none.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// Whether a path is one in the folder, as far as the path alone says; the folder.
    pub fn folder_of(&self, path: &str) -> Result<&Path, String> {
        let Some(folder) = &self.0 else {
            return Err("is a file, and no folder is configured that such files may be in (key_files_dir)".to_owned());
        };
        let path = Path::new(path);
        let climbs = path.components().any(|part| part == Component::ParentDir);
        if path.starts_with(folder) && !climbs {
            Ok(folder)
        } else {
            Err(format!("is a file in the folder {} (key_files_dir)", folder.display()))
        }
    }

    /// Reads a file. What is wrong with it is told, and nothing of what is in it.
    pub(super) async fn read(&self, path: &str) -> Result<Vec<u8>, KeysError> {
        let unusable = |why: String| KeysError::Unusable { url: path.to_owned(), why };
        let failed = |error: std::io::Error| unusable(format!("it cannot be read: {error}"));
        let folder = self.folder_of(path).map_err(unusable)?;
        let folder = tokio::fs::canonicalize(folder).await.map_err(failed)?;
        let file = tokio::fs::canonicalize(path).await.map_err(failed)?;
        // Links may lead on within the folder, as those in the volumes of a pod do.
        if !file.starts_with(&folder) {
            return Err(unusable("it leads out of the folder for key files".to_owned()));
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
