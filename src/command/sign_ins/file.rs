//! The credentials file: `carnet/credentials.json` below `$XDG_CONFIG_HOME` (XDG Base Directory
//! Specification), which this user alone may read.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use carnet_exchange::Environment;
use carnet_jose::base64url;

use crate::command::CommandError;
use crate::ids::random;

const PRIVATE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;
/// The most that is read of the file.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Clone, Debug)]
pub struct CredentialsFile {
    folder: PathBuf,
    path: PathBuf,
}

impl CredentialsFile {
    /// The file of the user with this environment; `None` if it names no folder. Relative paths do
    /// not count.
    pub fn of(environment: &Environment) -> Option<Self> {
        let absolute = |name: &str| {
            let path = environment.get(name).map(Path::new);
            path.filter(|path| path.is_absolute())
        };
        let config = absolute("XDG_CONFIG_HOME").map(Path::to_owned);
        let config = config.or_else(|| Some(absolute("HOME")?.join(".config")))?;
        let folder = config.join("carnet");
        Some(Self {
            path: folder.join("credentials.json"),
            folder,
        })
    }

    pub fn error(&self, why: impl std::fmt::Display) -> CommandError {
        CommandError::Other(format!("{}: {why}", self.path.display()))
    }

    /// The text of the file, if there is one.
    pub fn read(&self) -> Result<Option<String>, CommandError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error(error)),
        };
        let failed = |error| self.error(error);
        self.is_ours_alone(&file.metadata().map_err(failed)?)?;
        self.is_safe_folder(&self.folder.metadata().map_err(failed)?)?;
        let mut text = String::new();
        let read = file.take(MAX_BYTES).read_to_string(&mut text);
        read.map_err(failed)?;
        Ok(Some(text))
    }

    fn is_ours_alone(&self, file: &Metadata) -> Result<(), CommandError> {
        self.is_ours(file, &self.path)?;
        if file.mode() & 0o077 != 0 {
            let path = self.path.display();
            let why = "others than its owner may use the file";
            return Err(self.error(format!("{why}; chmod 600 {path}")));
        }
        Ok(())
    }

    /// Whoever may write to the folder may put another file in the place of ours.
    fn is_safe_folder(&self, folder: &Metadata) -> Result<(), CommandError> {
        self.is_ours(folder, &self.folder)?;
        if folder.mode() & 0o022 != 0 {
            let path = self.folder.display();
            let why = "others than its owner may write to the folder";
            return Err(self.error(format!("{why}; chmod 700 {path}")));
        }
        Ok(())
    }

    fn is_ours(&self, metadata: &Metadata, path: &Path) -> Result<(), CommandError> {
        let us = rustix::process::geteuid().as_raw();
        if metadata.uid() == us {
            return Ok(());
        }
        Err(self.error(format!(
            "{} belongs to another user (uid {}, this is {us}); chown it, or set XDG_CONFIG_HOME to a folder of this user",
            path.display(),
            metadata.uid()
        )))
    }

    /// Waits until no other command changes the file; the turn ends when the result is dropped.
    pub fn lock(&self) -> Result<File, CommandError> {
        let failed = |error| self.error(error);
        let mut folders = DirBuilder::new();
        let folders = folders.recursive(true).mode(PRIVATE_FOLDER);
        folders.create(&self.folder).map_err(failed)?;
        let metadata = self.folder.metadata().map_err(failed)?;
        self.is_ours(&metadata, &self.folder)?;
        let private = Permissions::from_mode(PRIVATE_FOLDER);
        std::fs::set_permissions(&self.folder, private).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let opened = options
            .mode(PRIVATE)
            .open(self.folder.join("credentials.lock"));
        let lock = opened.map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(lock)
    }

    /// Replaces the file as a whole, so that a reader finds the old or the new text.
    pub fn write(&self, text: &str) -> Result<(), CommandError> {
        let name = format!(".credentials.{}", base64url(random::<8>()));
        let new = self.folder.join(name);
        let written = create(&new, text).and_then(|()| std::fs::rename(&new, &self.path));
        written.map_err(|error| {
            // It may not be there.
            std::fs::remove_file(&new).ok();
            self.error(error)
        })
    }
}

fn create(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(PRIVATE);
    let mut file = options.open(path)?;
    // The mode of a new file is cut by the umask, never widened.
    file.set_permissions(Permissions::from_mode(PRIVATE))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_below_the_configuration_folder_of_the_user() {
        let path = |variables: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let environment: Environment = variables.iter().map(owned).collect();
            let file = CredentialsFile::of(&environment)?;
            Some(file.path.display().to_string())
        };
        let (home, xdg) = (("HOME", "/home/p"), ("XDG_CONFIG_HOME", "/cfg"));
        let ours = |folder: &str| Some(format!("{folder}/carnet/credentials.json"));
        assert_eq!(path(&[home, xdg]), ours("/cfg"));
        assert_eq!(path(&[home]), ours("/home/p/.config"));
        assert_eq!(
            path(&[home, ("XDG_CONFIG_HOME", "")]),
            ours("/home/p/.config")
        );
        assert_eq!(
            path(&[home, ("XDG_CONFIG_HOME", "cfg")]),
            ours("/home/p/.config")
        );
        assert_eq!((path(&[]), path(&[("HOME", "p")])), (None, None));
    }
}
