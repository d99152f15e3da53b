//! The registry API of npm: a package is one document, the packument, and most requests send some of it.
//!
//! A publication puts one version, its manifest and its tarball as base64 into a packument. A packument without attachments changes
//! members of versions that exist (`npm deprecate`); one sent to a revision leaves out the versions that are to be removed
//! (`npm unpublish`). Each change of a dist-tag is a request of its own.

mod paths;
mod publish;
mod sieve;

use std::{
    collections::BTreeMap,
    io::{Read, Seek},
};

use serde::Deserialize;

pub(crate) use self::paths::{Call, classify};
use crate::{
    Limits, Metadata, Operation, Publication, Unreadable, json, multipart::exactly, names, version,
};

pub(crate) fn read(
    call: &Call,
    body: &mut (impl Read + Seek),
    length: u64,
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    names::NPM.check("the path", call.package())?;
    match call {
        Call::Packument { package, revision } => {
            packument(package, revision.as_deref(), body, limits)
        }
        Call::Tag { package, tag } => {
            if length > 256 {
                return Err(Unreadable::too_large("the body", 256, "bytes"));
            }
            let version: String = json::read("the body", &exactly(body, 0, length)?)?;
            version::check(version::is_semver(&version), "the body", "npm", &version)?;
            publish::check_tag(tag)?;
            Ok(without_files(
                Operation::Tag,
                package,
                Some(version),
                Metadata::NpmTag { tag: tag.clone() },
            ))
        }
        Call::Untag { package, tag } => {
            publish::check_tag(tag)?;
            Ok(without_files(
                Operation::Untag,
                package,
                None,
                Metadata::NpmTag { tag: tag.clone() },
            ))
        }
        Call::Remove { package, revision } => {
            let metadata = Metadata::NpmRemoval {
                file: None,
                revision: revision.clone(),
            };
            Ok(without_files(Operation::Unpublish, package, None, metadata))
        }
        Call::RemoveFile {
            package,
            file,
            revision,
        } => {
            let version = version_of_file(package, file)?;
            let metadata = Metadata::NpmRemoval {
                file: Some(file.clone()),
                revision: revision.clone(),
            };
            Ok(without_files(
                Operation::Unpublish,
                package,
                Some(version),
                metadata,
            ))
        }
    }
}

fn without_files(
    operation: Operation,
    package: &str,
    version: Option<String>,
    metadata: Metadata,
) -> Publication {
    Publication {
        operation,
        package: package.to_owned(),
        version,
        files: Vec::new(),
        metadata,
    }
}

/// The version in the name of a tarball, `{name}-{version}.tgz` with the name without its scope.
fn version_of_file(package: &str, file: &str) -> Result<String, Unreadable> {
    let name = package.rsplit('/').next().unwrap_or_default();
    let version = file
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(".tgz"));
    let Some(version) = version else {
        return Err(Unreadable::NameMismatch {
            field: "the tarball's name".into(),
            reference: "the path".into(),
            expected: format!("{name}-VERSION.tgz").into(),
            received: file.into(),
        });
    };
    version::check(
        version::is_semver(version),
        "the tarball's name",
        "npm",
        version,
    )?;
    Ok(version.to_owned())
}

/// What any packument says; attachments are read apart.
#[derive(Deserialize)]
struct Packument {
    #[serde(rename = "_id")]
    id: Option<String>,
    name: Option<String>,
    versions: Option<BTreeMap<String, Manifest>>,
    #[serde(rename = "_attachments")]
    attachments: Option<BTreeMap<String, Attachment>>,
}

#[derive(Deserialize)]
struct Manifest {
    name: Option<String>,
    version: Option<String>,
    /// npm takes any value that is no text for none.
    deprecated: Option<serde_json::Value>,
}

impl Manifest {
    fn deprecation(&self) -> Option<String> {
        self.deprecated
            .as_ref()
            .and_then(|text| text.as_str())
            .map(str::to_owned)
    }
}

/// A member of `_attachments`; the text of a tarball is empty here, since the sieve holds it back.
#[derive(Deserialize)]
struct Attachment {
    data: String,
    length: Option<u64>,
}

fn packument(
    package: &str,
    revision: Option<&str>,
    body: &mut (impl Read + Seek),
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    let sieved = sieve::sieve(body, limits)?;
    let document: Packument = json::read("the packument", &sieved.text)?;
    let name = document
        .name
        .as_deref()
        .ok_or_else(|| Unreadable::missing("name of the packument"))?;
    names::same("name of the packument", name, "the path", package)?;
    if let Some(id) = &document.id {
        names::same("_id of the packument", id, "the path", package)?;
    }
    let versions = document.versions.unwrap_or_default();
    if versions.is_empty() {
        return Err(Unreadable::missing("versions of the packument"));
    }
    check_versions(package, &versions)?;
    let attachments = document.attachments.unwrap_or_default();
    if attachments.is_empty() {
        let operation = if revision.is_some() {
            Operation::Unpublish
        } else {
            Operation::Deprecate
        };
        let versions = versions
            .into_iter()
            .map(|(version, manifest)| (version, manifest.deprecation()))
            .collect();
        let revision = revision.map(str::to_owned);
        return Ok(without_files(
            operation,
            package,
            None,
            Metadata::NpmPackument { versions, revision },
        ));
    }
    let mut versions = versions.into_keys();
    match (versions.next(), versions.next(), revision) {
        (Some(version), None, None) => {
            publish::publication(package, version, &attachments, &sieved, body, limits)
        }
        (_, _, Some(_)) => Err(Unreadable::malformed(
            "_attachments of the packument",
            "absent at a revision",
            "attachments",
        )),
        _ => Err(Unreadable::malformed(
            "versions of the packument",
            "one version beside its attachment",
            "several versions",
        )),
    }
}

/// Compares the manifests with the path and with their keys.
fn check_versions(package: &str, versions: &BTreeMap<String, Manifest>) -> Result<(), Unreadable> {
    for (key, manifest) in versions {
        version::check(
            version::is_semver(key),
            "versions of the packument",
            "npm",
            key,
        )?;
        if let Some(name) = &manifest.name {
            names::same("name of the manifest", name, "the path", package)?;
        }
        if let Some(version) = &manifest.version {
            version::same(
                "version of the manifest",
                version,
                "versions of the packument",
                key,
            )?;
        }
    }
    Ok(())
}
