//! The publication of a version: a packument with its tarball.

use std::{
    collections::BTreeMap,
    io::{Read, Seek},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Attachment,
    sieve::{Sieved, several},
};
use crate::{
    Encoding, File, Limits, Metadata, NpmMetadata, Operation, Publication, Unreadable,
    archive::{Wanted, fold, scan_tar_gz, tar::Visit},
    file::{Hash, digest, hex, open, same_digest},
    json,
    multipart::size,
    names, version,
};

/// What only a publication says.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "dist-tags")]
    dist_tags: Option<BTreeMap<String, String>>,
    access: Option<String>,
    versions: BTreeMap<String, Map<String, Value>>,
}

pub(super) fn publication(
    package: &str,
    version: String,
    attachments: &BTreeMap<String, Attachment>,
    sieved: &Sieved,
    body: &mut (impl Read + Seek),
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    if size(sieved.text.len()) > limits.metadata {
        return Err(Unreadable::too_large(
            "the packument",
            limits.metadata,
            "bytes",
        ));
    }
    let mut document: Document = json::read("the packument", &sieved.text)?;
    let manifest = document.versions.remove(&version).unwrap_or_default();
    for key in ["name", "version"] {
        if !manifest.contains_key(key) {
            return Err(Unreadable::missing(format!("{key} of the manifest")));
        }
    }
    let dist_tags = document.dist_tags.unwrap_or_default();
    for (tag, tagged) in &dist_tags {
        check_tag(tag)?;
        version::same(
            "dist-tags of the packument",
            tagged,
            "versions of the packument",
            &version,
        )?;
    }
    let named = Named::new(package, &version, attachments)?;
    let file = tarball(&named, sieved, &manifest, body)?;
    let content = open(body, file.0.offset, file.0.encoded_length, Encoding::Base64)?;
    compare_archive(package, &version, content, limits)?;
    let (file, integrity, shasum) = file;
    Ok(Publication {
        operation: Operation::Publish,
        package: package.to_owned(),
        version: Some(version),
        files: vec![file],
        metadata: Metadata::Npm(NpmMetadata {
            manifest,
            dist_tags,
            access: document.access,
            provenance: named.provenance.map(|attachment| attachment.data.clone()),
            integrity,
            shasum,
        }),
    })
}

/// The name of a tag: npm refuses ranges of versions, and nothing needs other characters.
pub(super) fn check_tag(tag: &str) -> Result<(), Unreadable> {
    let plain = (1..=128).contains(&tag.len())
        && tag.starts_with(|c: char| c.is_ascii_alphabetic())
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if plain {
        Ok(())
    } else {
        Err(Unreadable::malformed(
            "the tag",
            "a letter, then letters, digits, hyphens, dots and underscores",
            tag,
        ))
    }
}

/// The attachments: `{name}-{version}.tgz`, and `{name}-{version}.sigstore` if the client made a provenance.
struct Named<'a> {
    file_name: String,
    length: Option<u64>,
    provenance: Option<&'a Attachment>,
}

impl<'a> Named<'a> {
    fn new(
        package: &str,
        version: &str,
        attachments: &'a BTreeMap<String, Attachment>,
    ) -> Result<Self, Unreadable> {
        let file_name = format!("{package}-{version}.tgz");
        let provenance_name = format!("{package}-{version}.sigstore");
        if attachments.len() > 2
            || attachments
                .keys()
                .filter(|name| name.strip_suffix(".tgz").is_some())
                .count()
                > 1
        {
            return Err(several());
        }
        for name in attachments.keys().filter(|name| **name != provenance_name) {
            names::same(
                "_attachments of the packument",
                name,
                "the path",
                &file_name,
            )?;
        }
        let tarball = attachments
            .get(&file_name)
            .ok_or_else(|| Unreadable::missing(format!("attachment {file_name}")))?;
        Ok(Self {
            length: tarball.length,
            provenance: attachments.get(&provenance_name),
            file_name,
        })
    }
}

/// The tarball with the digests that the manifest states, as Subresource Integrity and as SHA-1.
fn tarball(
    named: &Named<'_>,
    sieved: &Sieved,
    manifest: &Map<String, Value>,
    body: &mut (impl Read + Seek),
) -> Result<(File, String, String), Unreadable> {
    let [(offset, encoded_length)] = *sieved.tarballs.as_slice() else {
        return Err(several());
    };
    let mut reader = open(body, offset, encoded_length, Encoding::Base64)?;
    let digests = digest(
        &mut reader,
        &[Hash::Sha512, Hash::Sha1],
        "data of the attachment",
    )?;
    if let Some(stated) = named.length {
        same_digest(
            "length of the attachment",
            &stated.to_string(),
            &digests.length.to_string(),
        )?;
    }
    let [sha512, sha1] = digests.other.as_slice() else {
        return Err(several());
    };
    let integrity = format!("sha512-{}", STANDARD.encode(sha512));
    let shasum = hex(sha1);
    let stated = |key: &str| {
        manifest
            .get("dist")
            .and_then(|dist| dist.get(key))
            .map(|value| value.as_str().unwrap_or_default())
    };
    let (stated_integrity, stated_shasum) = (stated("integrity"), stated("shasum"));
    if stated_integrity.is_none() && stated_shasum.is_none() {
        return Err(Unreadable::missing("dist.integrity of the manifest"));
    }
    if let Some(stated) = stated_integrity {
        same_digest("dist.integrity of the manifest", stated, &integrity)?;
    }
    if let Some(stated) = stated_shasum {
        same_digest("dist.shasum of the manifest", stated, &shasum)?;
    }
    let file = File {
        name: named.file_name.clone(),
        sha256: digests.sha256,
        length: digests.length,
        offset,
        encoded_length,
        encoding: Encoding::Base64,
    };
    Ok((file, integrity, shasum))
}

/// Compares the tarball's own `package.json`. Clients take off the first directory of every entry, whatever its name.
fn compare_archive(
    package: &str,
    version: &str,
    content: impl Read,
    limits: &Limits,
) -> Result<(), Unreadable> {
    let mut wanted = Wanted::new("package/package.json");
    let mut kept = scan_tar_gz(content, limits, &mut |entry| {
        if wanted.is(entry.path, entry.kind)? {
            return Ok(Visit::Keep);
        }
        if entry
            .path
            .split_once('/')
            .is_some_and(|(_, rest)| fold(rest) == "package.json")
        {
            return Err(Unreadable::ambiguous(
                "the metadata must be a file of the usual name",
                entry.path,
            ));
        }
        Ok(Visit::Skip)
    })?;
    let (_, manifest) = kept
        .pop()
        .ok_or_else(|| Unreadable::missing("package/package.json of the tarball"))?;
    let [name, in_archive] = json::two_members(
        "package.json of the tarball",
        &manifest,
        ["name", "version"],
    )?;
    names::same(
        "name in package.json of the tarball",
        &name,
        "the path",
        package,
    )?;
    version::same(
        "version in package.json of the tarball",
        &in_archive,
        "versions of the packument",
        version,
    )
}
