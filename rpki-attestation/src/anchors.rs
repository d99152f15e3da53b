//! Trust anchor locators (RFC 8630).

use std::path::{Path, PathBuf};

use rpki::repository::tal::Tal;

const MOST_OCTETS: u64 = 64 * 1024;

/// The trust anchors that may be at the end of a path.
#[derive(Clone, Debug)]
pub struct TrustAnchors {
    tals: Vec<Tal>,
}

impl TrustAnchors {
    /// Reads every file `NAME.tal` of a directory.
    pub fn read(dir: &Path) -> Result<Self, AnchorError> {
        let unreadable = |error| AnchorError::Unreadable(dir.to_owned(), error);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "tal") {
                files.push(path);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(AnchorError::None(dir.to_owned()));
        }
        let tals = files
            .into_iter()
            .map(read_tal)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { tals })
    }

    /// Their names, which are those of the files without `.tal`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tals.iter().map(|tal| tal.info().name())
    }

    pub(crate) fn tals(&self) -> &[Tal] {
        &self.tals
    }
}

fn read_tal(path: PathBuf) -> Result<Tal, AnchorError> {
    let Some(name) = path.file_stem().and_then(|name| name.to_str()) else {
        return Err(AnchorError::Malformed(
            path,
            "its name is no text".to_owned(),
        ));
    };
    let name = name.to_owned();
    let size = std::fs::metadata(&path).map(|metadata| metadata.len());
    if size.is_ok_and(|size| size > MOST_OCTETS) {
        return Err(AnchorError::Malformed(
            path,
            "it is longer than 64 KiB".to_owned(),
        ));
    }
    let content =
        std::fs::read(&path).map_err(|error| AnchorError::Unreadable(path.clone(), error))?;
    Tal::read_named(name, &mut content.as_slice())
        .map_err(|error| AnchorError::Malformed(path, error.to_string()))
}

/// Why trust anchor locators cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, std::io::Error),
    #[error("{0} is no trust anchor locator (RFC 8630): {1}")]
    Malformed(PathBuf, String),
    #[error("there is no file NAME.tal in {0}")]
    None(PathBuf),
}
