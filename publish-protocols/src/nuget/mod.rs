//! The push API of NuGet: `PUT /api/v2/package` with a form of one file, or the package itself as the body; `DELETE` unlists a
//! version and `POST` lists it again ("Push and Delete" of the server API).
//!
//! A package is a zip archive. Id and version are in the one `.nuspec` at its root.

mod nuspec;
mod version;

use std::{
    collections::HashSet,
    io::{Read, Seek},
};

use self::nuspec::Nuspec;
pub use self::version::NugetVersion;
use crate::{
    Encoding, File, Limits, Metadata, NugetMetadata, Operation, Publication, Unreadable,
    archive::{entry_path, fold, zip::Archive},
    file::{Section, digest, open},
    multipart::{LastLine, parts},
    names,
    version::{check, is_nuget_version},
};

/// A request and what its path says, not checked yet.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Push { symbols: bool },
    Unlist { package: String, version: String },
    Relist { package: String, version: String },
}

impl Call {
    pub(crate) fn has_body(&self) -> bool {
        matches!(self, Self::Push { .. })
    }
}

/// Clients put a slash at the end of the source's address or none. Nexus and Gitea have the paths below the address itself, where
/// the service index names it for publishing.
pub(crate) fn classify(method: &str, segments: &[&str]) -> Option<Call> {
    let Some(rest) = segments.strip_prefix(&["api", "v2"]) else {
        return match (method, segments) {
            ("PUT", [""]) => Some(Call::Push { symbols: false }),
            ("PUT", ["symbolpackage"] | ["symbolpackage", ""]) => {
                Some(Call::Push { symbols: true })
            }
            ("DELETE", [package, version]) => Some(Call::Unlist {
                package: (*package).to_owned(),
                version: (*version).to_owned(),
            }),
            _ => None,
        };
    };
    match (method, rest) {
        ("PUT", ["package"] | ["package", ""]) => Some(Call::Push { symbols: false }),
        ("PUT", ["symbolpackage"] | ["symbolpackage", ""]) => Some(Call::Push { symbols: true }),
        ("DELETE", ["package", package, version]) => Some(Call::Unlist {
            package: (*package).to_owned(),
            version: (*version).to_owned(),
        }),
        ("POST", ["package", package, version]) => Some(Call::Relist {
            package: (*package).to_owned(),
            version: (*version).to_owned(),
        }),
        _ => None,
    }
}

pub(crate) fn read(
    call: &Call,
    content_type: Option<&str>,
    body: &mut (impl Read + Seek),
    length: u64,
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    let (operation, package, version) = match call {
        Call::Push { symbols } => return push(*symbols, content_type, body, length, limits),
        Call::Unlist { package, version } => (Operation::Unlist, package, version),
        Call::Relist { package, version } => (Operation::Relist, package, version),
    };
    names::NUGET.check("the path", package)?;
    check(is_nuget_version(version), "the path", "NuGet", version)?;
    Ok(Publication {
        operation,
        package: package.clone(),
        version: Some(version.clone()),
        files: Vec::new(),
        metadata: Metadata::None,
    })
}

fn push(
    symbols: bool,
    content_type: Option<&str>,
    body: &mut (impl Read + Seek),
    length: u64,
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    let (offset, length) = package_place(content_type, body, length, limits)?;
    let digests = digest(
        &mut open(body, offset, length, Encoding::Raw)?,
        &[],
        "the package",
    )?;
    let mut archive = Archive::open(Section::new(body, offset, length)?, limits)?;
    let (at, relationships) = places(&archive)?;
    let name = archive
        .entries
        .get(at)
        .map(|entry| entry.path.clone())
        .unwrap_or_default();
    let text = nuspec::text("the nuspec", archive.content(at, limits)?)?;
    if let Some(relationships) = relationships {
        let text = nuspec::text("_rels/.rels", archive.content(relationships, limits)?)?;
        nuspec::compare_relationships(&text, &name)?;
    }
    let nuspec = Nuspec::parse(&text)?;
    names::NUGET.check("id of the nuspec", &nuspec.id)?;
    check(
        is_nuget_version(&nuspec.version),
        "version of the nuspec",
        "NuGet",
        &nuspec.version,
    )?;
    let extension = if symbols { "snupkg" } else { "nupkg" };
    Ok(Publication {
        operation: Operation::Publish,
        files: vec![File::raw(
            format!("{}.{}.{extension}", nuspec.id, nuspec.version),
            digests,
            offset,
        )],
        package: nuspec.id,
        version: Some(nuspec.version),
        metadata: Metadata::Nuget(NugetMetadata {
            symbols,
            description: nuspec.description,
            authors: nuspec.authors,
            dependencies: nuspec.dependencies,
            nuspec: text,
        }),
    })
}

/// Whether the package is a part of a form.
pub(crate) fn is_form(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| {
        kind.trim_start()
            .to_ascii_lowercase()
            .starts_with("multipart/")
    })
}

/// Where the package is in the body: its offset and length.
fn package_place(
    content_type: Option<&str>,
    body: &mut (impl Read + Seek),
    length: u64,
    limits: &Limits,
) -> Result<(u64, u64), Unreadable> {
    if is_form(content_type) {
        // The end of a zip archive is certain, so that a line feed before the boundary is, too.
        let parts = parts(content_type, body, length, LastLine::OrLf, limits)?;
        let [part] = parts.as_slice() else {
            return Err(Unreadable::malformed(
                "the form",
                "of one file",
                format!("{} parts", parts.len()),
            ));
        };
        Ok((part.offset, part.length))
    } else {
        Ok((0, length))
    }
}

/// Where the nuspec and the package's relationships are. NuGet decodes percent-encoded names of entries, so that a name counts in
/// both spellings.
fn places(archive: &Archive<'_, impl Read + Seek>) -> Result<(usize, Option<usize>), Unreadable> {
    let mut names = HashSet::new();
    let (mut nuspec, mut relationships) = (None, None);
    for (at, entry) in archive.entries.iter().enumerate() {
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(&entry.path).collect();
        let folded = fold(&entry_path(&decoded)?);
        if !names.insert(folded.clone()) {
            return Err(Unreadable::duplicate(format!("entry {}", entry.path)));
        }
        let slot = match folded.as_str() {
            "_rels/.rels" => &mut relationships,
            root if !root.contains('/') && root.ends_with(".nuspec") => &mut nuspec,
            _ => continue,
        };
        if entry.path.contains('%') || entry.is_directory {
            return Err(Unreadable::ambiguous(
                "the metadata must be a file of the usual name",
                &entry.path,
            ));
        }
        if slot.replace(at).is_some() {
            return Err(Unreadable::duplicate("the nuspec of the package"));
        }
    }
    Ok((
        nuspec.ok_or_else(|| Unreadable::missing("the nuspec of the package"))?,
        relationships,
    ))
}
