//! Archives, read only to find their metadata. Nothing is unpacked anywhere.
//!
//! Readers written for convenience take what they find; these refuse what another reader could take differently, since a registry
//! decides by one reading and a client installs by another.

pub(crate) mod tar;
pub(crate) mod zip;

use std::io::{BufReader, Read};

use crate::{Limits, Text, Unreadable, multipart::size};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link,
}

/// Checks an entry's path: relative, UTF-8, with plain segments. A slash at the end is taken off.
pub(crate) fn entry_path(raw: &[u8]) -> Result<String, Unreadable> {
    let odd = || {
        Unreadable::ambiguous(
            "an entry must have a plain relative path",
            Text::of_bytes(raw),
        )
    };
    let path = std::str::from_utf8(raw).map_err(|_| odd())?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let plain = !path.contains(|c: char| c.is_control() || c == '\\')
        && path
            .split('/')
            .all(|segment| !matches!(segment, "" | "." | ".."))
        && !path
            .split('/')
            .next()
            .is_some_and(|first| first.ends_with(':') || first.chars().nth(1) == Some(':'));
    if plain {
        Ok(path.to_owned())
    } else {
        Err(odd())
    }
}

/// A path as a file system sees it that does not tell upper from lower case.
pub(crate) fn fold(path: &str) -> String {
    path.to_uppercase().to_lowercase()
}

/// Looks out for one file while an archive is walked.
pub(crate) struct Wanted {
    path: String,
    folded: String,
    found: bool,
}

impl Wanted {
    pub(crate) fn new(path: impl Into<String>) -> Self {
        let path = path.into();
        Self {
            folded: fold(&path),
            path,
            found: false,
        }
    }

    /// Whether the entry is the file. A second one, one in another case, and one that is no file are refused, and so is a parent of
    /// it that is no directory.
    pub(crate) fn is(&mut self, path: &str, kind: Kind) -> Result<bool, Unreadable> {
        let folded = fold(path);
        if folded != self.folded {
            let above = self
                .folded
                .strip_prefix(&folded)
                .is_some_and(|rest| rest.starts_with('/'));
            return if above && kind != Kind::Directory {
                Err(Unreadable::ambiguous(
                    "a directory of the metadata is no directory",
                    path,
                ))
            } else {
                Ok(false)
            };
        }
        if self.found {
            return Err(Unreadable::duplicate(format!("entry {}", self.path)));
        }
        if path != self.path || kind != Kind::File {
            return Err(Unreadable::ambiguous(
                "the metadata must be a file of the usual name",
                path,
            ));
        }
        self.found = true;
        Ok(true)
    }
}

/// Walks a gzipped tar archive; see [`tar::scan`].
pub(crate) fn scan_tar_gz(
    reader: impl Read,
    limits: &Limits,
    visit: &mut dyn FnMut(&tar::Entry<'_>) -> Result<tar::Visit, Unreadable>,
) -> Result<Vec<(String, Vec<u8>)>, Unreadable> {
    let mut gzip = flate2::bufread::GzDecoder::new(BufReader::with_capacity(1 << 16, reader));
    let kept = tar::scan(&mut gzip, tar::Records::Known, limits, visit)?;
    only_member(&mut gzip.into_inner())?;
    Ok(kept)
}

/// Inflates a small gzip file.
pub(crate) fn gunzip(
    field: &'static str,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Vec<u8>, Unreadable> {
    let mut gzip = flate2::bufread::GzDecoder::new(bytes);
    let mut inflated = Vec::new();
    gzip.by_ref()
        .take(limits.metadata.saturating_add(1))
        .read_to_end(&mut inflated)
        .map_err(|error| Unreadable::decoding(field, "a gzip file", error))?;
    if size(inflated.len()) > limits.metadata {
        return Err(Unreadable::too_large(field, limits.metadata, "bytes"));
    }
    only_member(&mut gzip.into_inner())?;
    Ok(inflated)
}

/// Some readers go on with a second member, some ignore it.
fn only_member(rest: &mut impl std::io::BufRead) -> Result<(), Unreadable> {
    let rest = rest
        .fill_buf()
        .map_err(|error| Unreadable::decoding("the archive", "a gzip file", error))?;
    if rest.is_empty() {
        Ok(())
    } else {
        Err(Unreadable::ambiguous(
            "data follow the end of the gzip stream",
            Text::of_bytes(rest.get(..8).unwrap_or(rest)),
        ))
    }
}
