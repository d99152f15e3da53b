//! The packages of a registry, as files below one folder: a folder for each package, with a file
//! for its owner, its artifacts, and JSON documents from which a protocol makes its index.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use carnet_resource_server::PackageNames;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, MutexGuard};

/// The file in a package's folder that contains the owner's name. No artifact can have this name.
const OWNER: &str = ".owner";
/// The end of the names of documents.
pub(crate) const DOCUMENT: &str = ".json";

/// The folder of a registry.
#[derive(Debug)]
pub(crate) struct Storage {
    folder: PathBuf,
    pub(crate) names: PackageNames,
    /// Held during an upload, so that two first uploads cannot both create a package.
    changing: Mutex<()>,
}

impl Storage {
    /// Packages below `folder`, whose names are compared as `names` says.
    pub(crate) fn new(folder: PathBuf, names: PackageNames) -> Self {
        Self {
            folder,
            names,
            changing: Mutex::default(),
        }
    }

    /// Waits until no other upload is in progress, and keeps others waiting as long as the answer
    /// lives.
    pub(crate) async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// The folder of a package, or `None` if no package can have this name.
    fn package(&self, name: &str) -> Option<PathBuf> {
        let normal = self.names.normalise(name);
        // The names of npm have a scope. `%` is in no name, so the replacement is unambiguous.
        let (scope, rest) = match normal.strip_prefix('@') {
            Some(scoped) => scoped.split_once('/')?,
            None => ("", normal.as_ref()),
        };
        let is_scope = normal.starts_with('@');
        if !is_file_name(rest) || (is_scope && !is_file_name(scope)) {
            return None;
        }
        Some(self.folder.join(normal.replace('/', "%2f")))
    }

    /// Whether a package can have this name here.
    pub(crate) fn can_name(&self, name: &str) -> bool {
        self.package(name).is_some()
    }

    /// The owner of a package, or `None` if it does not exist.
    pub(crate) async fn owner(&self, name: &str) -> io::Result<Option<String>> {
        let owner = self.read_file(name, OWNER).await?;
        owner
            .map(|owner| String::from_utf8(owner).map_err(io::Error::other))
            .transpose()
    }

    /// The names of all packages, in the form in which they are compared.
    pub(crate) async fn packages(&self) -> io::Result<Vec<String>> {
        let folders = listed(&self.folder).await?;
        Ok(folders
            .into_iter()
            .map(|name| name.replace("%2f", "/"))
            .collect())
    }

    /// The names of the files of a package, in alphabetical order.
    pub(crate) async fn files(&self, name: &str) -> io::Result<Vec<String>> {
        match self.package(name) {
            Some(folder) => listed(&folder).await,
            None => Ok(Vec::new()),
        }
    }

    /// The content of a file, or `None` if there is none of this name.
    pub(crate) async fn read(&self, name: &str, file: &str) -> io::Result<Option<Vec<u8>>> {
        if is_file_name(file) {
            self.read_file(name, file).await
        } else {
            Ok(None)
        }
    }

    async fn read_file(&self, name: &str, file: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(folder) = self.package(name) else {
            return Ok(None);
        };
        found(tokio::fs::read(folder.join(file)).await)
    }

    /// The documents of a package, in alphabetical order of their names.
    pub(crate) async fn documents<D: DeserializeOwned>(&self, name: &str) -> io::Result<Vec<D>> {
        let mut documents = Vec::new();
        for file in self.files(name).await? {
            if file.ends_with(DOCUMENT)
                && let Some(text) = self.read(name, &file).await?
            {
                documents.push(serde_json::from_slice(&text)?);
            }
        }
        Ok(documents)
    }

    /// Writes the owner of a new package.
    pub(crate) async fn write_owner(&self, name: &str, owner: &str) -> io::Result<()> {
        self.write_file(name, OWNER, owner.as_bytes()).await
    }

    /// Writes a file.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if it cannot have this name; otherwise what the file system says.
    pub(crate) async fn write(&self, name: &str, file: &str, content: &[u8]) -> io::Result<()> {
        if !is_file_name(file) {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.write_file(name, file, content).await
    }

    async fn write_file(&self, name: &str, file: &str, content: &[u8]) -> io::Result<()> {
        let folder = self.package(name).ok_or(ErrorKind::InvalidInput)?;
        tokio::fs::create_dir_all(&folder).await?;
        // Renamed when it is whole, so that nobody reads half of it. Names with a dot are not listed.
        let unfinished = folder.join(format!(".{file}.new"));
        tokio::fs::write(&unfinished, content).await?;
        tokio::fs::rename(&unfinished, folder.join(file)).await
    }
}

/// The names in a folder, in alphabetical order, without those that begin with a dot.
async fn listed(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let Some(mut entries) = found(tokio::fs::read_dir(folder).await)? else {
        return Ok(names);
    };
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn found<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a text can be a file name here: it cannot lead out of the folder or name the owner's
/// file.
pub(crate) fn is_file_name(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'!');
    !text.is_empty() && text.len() <= 200 && !text.starts_with('.') && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_package_or_file_leads_out_of_the_folder() {
        let storage = Storage::new("packages".into(), PackageNames::Exact);
        for name in ["widgets", "@octo/widgets", "Knapcode.A", "a_b-c"] {
            let folder = storage.package(name).unwrap();
            assert_eq!(folder.parent(), Some(Path::new("packages")), "{name}");
        }
        for name in [
            "", ".", "..", "../a", "a/b", "@a", "@a/", "@/b", "@../b", "@a/..", "@a/b/c", "a%2fb",
            ".owner", "a\\b", "a b", "\u{e9}",
        ] {
            assert_eq!(storage.package(name), None, "{name}");
            assert!(!is_file_name(name) || storage.can_name(name), "{name}");
        }
    }
}
