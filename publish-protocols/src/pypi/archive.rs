//! The metadata inside a Python distribution.

use std::io::{Read, Seek};

use super::file_name::FileName;
use crate::{
    Limits, PypiFileType, Unreadable,
    archive::{Kind, Wanted, fold, scan_tar_gz, tar::Visit, zip::Archive},
    file::Section,
    multipart::Part,
    version::{pep440, pep503},
};

/// The text of `METADATA` or `PKG-INFO`.
pub(super) fn metadata(
    name: &FileName<'_>,
    body: &mut (impl Read + Seek),
    content: &Part,
    limits: &Limits,
) -> Result<String, Unreadable> {
    let file = Section::new(body, content.offset, content.length)?;
    let bytes = match name.file_type {
        PypiFileType::Wheel => of_wheel(name, file, limits)?,
        PypiFileType::Sdist => of_sdist(name, file, limits)?,
    };
    String::from_utf8(bytes)
        .map_err(|_| Unreadable::malformed("the archive's metadata", "UTF-8", "another encoding"))
}

/// `METADATA` of the one `.dist-info` directory, which bears the name and version of the file name (binary distribution format,
/// "The .dist-info directory").
fn of_wheel(
    name: &FileName<'_>,
    file: Section<'_, impl Read + Seek>,
    limits: &Limits,
) -> Result<Vec<u8>, Unreadable> {
    let mut archive = Archive::open(file, limits)?;
    let mut directory: Option<String> = None;
    for entry in &archive.entries {
        let first = entry.path.split('/').next().unwrap_or_default();
        if !fold(first).ends_with(".dist-info") {
            continue;
        }
        match &directory {
            None => directory = Some(first.to_owned()),
            Some(known) if known == first => {}
            Some(_) => {
                return Err(Unreadable::duplicate(
                    "the .dist-info directory of the wheel",
                ));
            }
        }
    }
    let directory =
        directory.ok_or_else(|| Unreadable::missing("the .dist-info directory of the wheel"))?;
    let fits = directory
        .strip_suffix(".dist-info")
        .and_then(|stem| stem.rsplit_once('-'))
        .is_some_and(|(dir_name, version)| {
            pep503(dir_name) == pep503(name.name) && pep440(version) == pep440(name.version)
        });
    if !fits {
        return Err(Unreadable::NameMismatch {
            field: "the .dist-info directory".into(),
            reference: "the file name".into(),
            expected: name.stem.into(),
            received: directory.into(),
        });
    }
    let mut wanted = Wanted::new(format!("{directory}/METADATA"));
    let mut found = None;
    for (at, entry) in archive.entries.iter().enumerate() {
        let kind = if entry.is_directory {
            Kind::Directory
        } else {
            Kind::File
        };
        if wanted.is(&entry.path, kind)? {
            found = Some(at);
        }
    }
    archive.content(
        found.ok_or_else(|| Unreadable::missing("METADATA of the wheel"))?,
        limits,
    )
}

/// `PKG-INFO` in the one directory, which bears the name of the file (source distribution format).
fn of_sdist(
    name: &FileName<'_>,
    file: Section<'_, impl Read + Seek>,
    limits: &Limits,
) -> Result<Vec<u8>, Unreadable> {
    let mut wanted = Wanted::new(format!("{}/PKG-INFO", name.stem));
    let mut kept = scan_tar_gz(file, limits, &mut |entry| {
        let first = entry.path.split('/').next().unwrap_or_default();
        if first != name.stem {
            return Err(Unreadable::NameMismatch {
                field: "a directory in the archive".into(),
                reference: "the file name".into(),
                expected: name.stem.into(),
                received: first.into(),
            });
        }
        Ok(if wanted.is(entry.path, entry.kind)? {
            Visit::Keep
        } else {
            Visit::Skip
        })
    })?;
    kept.pop()
        .map(|(_, bytes)| bytes)
        .ok_or_else(|| Unreadable::missing("PKG-INFO of the source distribution"))
}
