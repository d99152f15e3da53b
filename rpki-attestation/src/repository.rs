//! The copy of the RPKI's repositories that a validator keeps on disk.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use rpki::uri::Rsync;

/// Octets of one object.
const MOST_OF_AN_OBJECT: u64 = 8_000_000;
/// Octets that one verification reads.
const MOST_OF_A_PATH: u64 = 32 * 1024 * 1024;

/// The cache of `rpki-client`: an object of `rsync://HOST/PATH` is the file `HOST/PATH`, the
/// certificate of the trust anchor NAME the file `ta/NAME/FILE.cer`.
#[derive(Clone, Debug)]
pub struct RepositoryCopy {
    dir: PathBuf,
}

impl RepositoryCopy {
    pub fn rpki_client(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// For one verification.
    pub(crate) fn open(&self) -> std::io::Result<Reading> {
        Ok(Reading {
            dir: self.dir.canonicalize()?,
            left: MOST_OF_A_PATH,
        })
    }
}

/// What one verification reads of a copy.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Without links.
    dir: PathBuf,
    left: u64,
}

impl Reading {
    pub(crate) fn object(&mut self, uri: &Rsync) -> Result<Bytes, ReadError> {
        // The validator keeps what it has not verified, and the anchors, in folders beside the hosts.
        let host = uri.authority();
        if host.starts_with('.') || host == "ta" {
            return Err(ReadError::Outside);
        }
        let within = format!("{host}/{}/{}", uri.module_name(), uri.path());
        self.file(&within)
    }

    pub(crate) fn anchor(&mut self, name: &str, file: &str) -> Result<Bytes, ReadError> {
        self.file(&format!("ta/{name}/{file}"))
    }

    /// `within` comes from a certificate: it must stay within the copy, also after links.
    fn file(&mut self, within: &str) -> Result<Bytes, ReadError> {
        let within = Path::new(within);
        let is_plain = within
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        if !is_plain {
            return Err(ReadError::Outside);
        }
        let path = self
            .dir
            .join(within)
            .canonicalize()
            .map_err(|_| ReadError::NotThere)?;
        if !path.starts_with(&self.dir) {
            return Err(ReadError::Outside);
        }
        let file = std::fs::File::open(path).map_err(|_| ReadError::NotThere)?;
        let most = MOST_OF_AN_OBJECT.min(self.left);
        let mut content = Vec::new();
        file.take(most.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|_| ReadError::NotThere)?;
        let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
        if length > most {
            return Err(ReadError::TooLong);
        }
        self.left = self.left.saturating_sub(length);
        Ok(content.into())
    }
}

/// Why an object was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("is not in the copy of the repository")]
    NotThere,
    #[error("names a file outside the copy of the repository")]
    Outside,
    #[error("is longer than an object may be (8,000,000 octets, 32 MiB a path)")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Rsync {
        Rsync::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn rpki_path_2__what_a_certificate_names_is_looked_up_in_the_copy_alone() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("cache");
        std::fs::create_dir_all(dir.join("rpki.example/repo/ca")).unwrap();
        std::fs::create_dir_all(dir.join("ta/example")).unwrap();
        std::fs::write(dir.join("rpki.example/repo/ca/a.cer"), "a").unwrap();
        std::fs::write(dir.join("ta/example/root.cer"), "ta").unwrap();
        std::fs::write(outer.path().join("secret.cer"), "secret").unwrap();
        let repo = dir.join("rpki.example/repo");
        std::os::unix::fs::symlink(outer.path().join("secret.cer"), repo.join("out.cer")).unwrap();
        std::os::unix::fs::symlink(outer.path(), repo.join("up")).unwrap();
        std::os::unix::fs::symlink("ca/a.cer", repo.join("in.cer")).unwrap();
        let mut reading = RepositoryCopy::rpki_client(&dir).open().unwrap();

        let mut object = |text: &str| reading.object(&uri(text));
        assert_eq!(
            object("rsync://rpki.example/repo/ca/a.cer"),
            Ok(Bytes::from("a"))
        );
        assert_eq!(
            object("rsync://rpki.example/repo/in.cer"),
            Ok(Bytes::from("a"))
        );
        assert_eq!(
            object("rsync://rpki.example/repo/b.cer"),
            Err(ReadError::NotThere)
        );
        assert_eq!(
            object("rsync://rpki.example/repo/ca"),
            Err(ReadError::NotThere)
        );
        assert_eq!(
            object("rsync://rpki.example/repo/out.cer"),
            Err(ReadError::Outside)
        );
        assert_eq!(
            object("rsync://rpki.example/repo/up/secret.cer"),
            Err(ReadError::Outside)
        );
        assert_eq!(reading.anchor("example", "root.cer"), Ok(Bytes::from("ta")));
        for within in ["a/../../secret.cer", "/etc/passwd", "..", "./../secret.cer"] {
            assert_eq!(reading.file(within), Err(ReadError::Outside), "{within}");
        }
        std::fs::create_dir_all(dir.join(".rsync/repo")).unwrap();
        std::fs::write(dir.join(".rsync/repo/a.cer"), "unverified").unwrap();
        for host in [".rsync", "ta"] {
            let uri = uri(&format!("rsync://{host}/repo/a.cer"));
            assert_eq!(reading.object(&uri), Err(ReadError::Outside), "{host}");
        }
        // The crate reads no such URI in the first place.
        assert!(Rsync::from_slice(b"rsync://rpki.example/repo/../../secret.cer").is_err());
    }

    #[test]
    fn rpki_path_2__an_object_and_a_path_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, length: u64| {
            let path = dir.path().join(name);
            std::fs::File::create(path)
                .unwrap()
                .set_len(length)
                .unwrap();
        };
        file("most", MOST_OF_AN_OBJECT);
        file("more", MOST_OF_AN_OBJECT + 1);
        let mut reading = RepositoryCopy::rpki_client(dir.path()).open().unwrap();

        assert_eq!(reading.file("more"), Err(ReadError::TooLong));
        for _ in 0..4 {
            assert!(reading.file("most").is_ok());
        }
        assert_eq!(reading.file("most"), Err(ReadError::TooLong));
    }
}
