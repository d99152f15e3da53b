//! The web API of cargo ("Registry Web API" of the Cargo Book): `PUT /api/v1/crates/new` with the length of the JSON metadata in
//! four bytes (little endian), the metadata, the length of the `.crate` file likewise, and the file.

use std::io::{Read, Seek};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    CargoMetadata, Encoding, File, Limits, Metadata, Operation, Publication, Unreadable,
    archive::{Kind, Wanted, scan_tar_gz, tar::Visit},
    file::{digest, open},
    json,
    multipart::exactly,
    names, version,
};

/// A request and what its path says, not checked yet.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Publish,
    Yank { package: String, version: String },
    Unyank { package: String, version: String },
}

impl Call {
    pub(crate) fn has_body(&self) -> bool {
        matches!(self, Self::Publish)
    }
}

pub(crate) fn classify(method: &str, segments: &[&str]) -> Option<Call> {
    let rest = segments.strip_prefix(&["api", "v1", "crates"])?;
    match (method, rest) {
        ("PUT", ["new"]) => Some(Call::Publish),
        ("DELETE", [package, version, "yank"]) => Some(Call::Yank {
            package: (*package).to_owned(),
            version: (*version).to_owned(),
        }),
        ("PUT", [package, version, "unyank"]) => Some(Call::Unyank {
            package: (*package).to_owned(),
            version: (*version).to_owned(),
        }),
        _ => None,
    }
}

pub(crate) fn read(
    call: &Call,
    body: &mut (impl Read + Seek),
    length: u64,
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    let (operation, package, version) = match call {
        Call::Publish => return publish(body, length, limits),
        Call::Yank { package, version } => (Operation::Yank, package, version),
        Call::Unyank { package, version } => (Operation::Unyank, package, version),
    };
    names::CARGO.check("the path", package)?;
    version::check(
        version::is_semver(version),
        "the path",
        "crates.io",
        version,
    )?;
    Ok(Publication {
        operation,
        package: package.clone(),
        version: Some(version.clone()),
        files: Vec::new(),
        metadata: Metadata::None,
    })
}

fn publish(
    body: &mut (impl Read + Seek),
    length: u64,
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    let json_length = length_at(body, 0)?;
    if json_length > limits.metadata {
        return Err(Unreadable::too_large(
            "the JSON metadata",
            limits.metadata,
            "bytes",
        ));
    }
    let json: Map<String, Value> =
        json::read("the JSON metadata", &exactly(body, 4, json_length)?)?;
    let (package, version) = (text(&json, "name")?, text(&json, "vers")?);
    names::CARGO.check("name of the JSON metadata", &package)?;
    version::check(
        version::is_semver(&version),
        "vers of the JSON metadata",
        "crates.io",
        &version,
    )?;
    let file_length = length_at(body, json_length.saturating_add(4))?;
    let offset = json_length.saturating_add(8);
    if offset.saturating_add(file_length) != length {
        let expected = length.saturating_sub(offset);
        return Err(Unreadable::malformed(
            "the length of the crate",
            format!("{expected}, the rest of the body"),
            file_length.to_string(),
        ));
    }
    let digests = digest(
        &mut open(body, offset, file_length, Encoding::Raw)?,
        &[],
        "the crate",
    )?;
    compare_archive(
        &package,
        &version,
        open(body, offset, file_length, Encoding::Raw)?,
        limits,
    )?;
    Ok(Publication {
        operation: Operation::Publish,
        files: vec![File::raw(
            format!("{package}-{version}.crate"),
            digests,
            offset,
        )],
        package,
        version: Some(version),
        metadata: Metadata::Cargo(CargoMetadata { json }),
    })
}

fn text(json: &Map<String, Value>, key: &'static str) -> Result<String, Unreadable> {
    match json.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Unreadable::malformed(
            format!("{key} of the JSON metadata"),
            "a string",
            "another value",
        )),
        None => Err(Unreadable::missing(format!("{key} of the JSON metadata"))),
    }
}

fn length_at(body: &mut (impl Read + Seek), offset: u64) -> Result<u64, Unreadable> {
    let bytes = exactly(body, offset, 4)?;
    let bytes = <[u8; 4]>::try_from(bytes.as_slice())
        .map_err(|_| Unreadable::missing("the length of a piece of the body"))?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

/// What matters of a `Cargo.toml`. cargo writes the inherited values of a workspace out before it packs the file.
#[derive(Deserialize)]
struct Manifest {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// Compares the crate's own `Cargo.toml`. Everything has to be in one directory, and links are refused, as on crates.io.
fn compare_archive(
    package: &str,
    version: &str,
    content: impl Read,
    limits: &Limits,
) -> Result<(), Unreadable> {
    let directory = format!("{package}-{version}");
    let mut wanted = Wanted::new(format!("{directory}/Cargo.toml"));
    let mut kept = scan_tar_gz(content, limits, &mut |entry| {
        let first = entry.path.split('/').next().unwrap_or_default();
        names::same(
            "a directory in the crate",
            first,
            "the JSON metadata",
            &directory,
        )?;
        if entry.kind == Kind::Link {
            return Err(Unreadable::ambiguous(
                "a crate must have no links",
                entry.path,
            ));
        }
        Ok(if wanted.is(entry.path, entry.kind)? {
            Visit::Keep
        } else {
            Visit::Skip
        })
    })?;
    let (_, manifest) = kept
        .pop()
        .ok_or_else(|| Unreadable::missing("Cargo.toml of the crate"))?;
    let manifest: Manifest = toml::from_slice(&manifest).map_err(|error| {
        Unreadable::malformed(
            "Cargo.toml of the crate",
            "TOML with package.name and package.version",
            error.message(),
        )
    })?;
    names::same(
        "package.name in Cargo.toml of the crate",
        &manifest.package.name,
        "the JSON metadata",
        package,
    )?;
    version::same(
        "package.version in Cargo.toml of the crate",
        &manifest.package.version,
        "the JSON metadata",
        version,
    )
}
