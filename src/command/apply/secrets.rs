//! The file for the secrets that `carnet apply` makes for clients and webhooks. The server shows
//! each once, so the file is written anew after each secret.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::command::CommandError;

/// A new file, readable by its owner alone, with a secret for each client or webhook: TOML if
/// the file's name ends in `.toml`, else JSON.
#[derive(Debug)]
pub struct SecretsFile {
    path: PathBuf,
    file: File,
    secrets: Map<String, Value>,
}

impl SecretsFile {
    /// Makes the file, with mode 0600. Errors if it exists: it may hold the secrets of an earlier
    /// run.
    pub fn create(path: &Path) -> Result<Self, CommandError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                CommandError::Other(format!(
                    "--secrets-file {}: the file exists already and is not overwritten: name a new one",
                    path.display()
                ))
            } else {
                CommandError::File(format!("--secrets-file {}", path.display()), error)
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            secrets: Map::new(),
        })
    }

    /// Writes the secret to the disk.
    pub fn add(&mut self, name: &str, secret: &str) -> std::io::Result<()> {
        self.secrets.insert(name.to_owned(), secret.into());
        let text = if self.path.extension().is_some_and(|it| it == "toml") {
            toml::to_string(&self.secrets).map_err(std::io::Error::other)?
        } else {
            format!("{:#}\n", Value::Object(self.secrets.clone()))
        };
        // A longer text than before: nothing of the old one is left behind it.
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()
    }

    /// Removes the file again if it holds no secret.
    pub fn finish(self) -> std::io::Result<()> {
        if self.secrets.is_empty() {
            std::fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}
