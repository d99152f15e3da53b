//! The API of RubyGems: `POST /api/v1/gems` with the gem as the body, `DELETE /api/v1/gems/yank` with a form.
//!
//! A gem is a tar archive of `metadata.gz` (the specification as YAML), `data.tar.gz` (the files) and checksums. Only the
//! specification says what the gem is; what it is called is derived from that.

mod specification;
mod yaml;

use std::io::{BufReader, Read, Seek};

use self::specification::Specification;
use crate::{
    Encoding, File, GemMetadata, Limits, Metadata, Operation, Publication, Unreadable,
    archive::{gunzip, tar},
    file::{digest, open},
    multipart::exactly,
    names, version,
};

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Push,
    Yank,
}

pub(crate) fn classify(method: &str, segments: &[&str]) -> Option<Call> {
    match (method, segments) {
        ("POST", ["api", "v1", "gems"]) => Some(Call::Push),
        ("DELETE", ["api", "v1", "gems", "yank"]) => Some(Call::Yank),
        _ => None,
    }
}

pub(crate) fn read(
    call: Call,
    body: &mut (impl Read + Seek),
    length: u64,
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    match call {
        Call::Push => push(body, length, limits),
        Call::Yank => yank(body, length),
    }
}

fn push(
    body: &mut (impl Read + Seek),
    length: u64,
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    let digests = digest(&mut open(body, 0, length, Encoding::Raw)?, &[], "the gem")?;
    let yaml = specification_of(open(body, 0, length, Encoding::Raw)?, limits)?;
    let specification = Specification::parse(&yaml)?;
    let (package, version) = (specification.name, specification.version);
    names::GEM.check("name of the specification", &package)?;
    version::check(
        version::is_gem_version(&version),
        "version of the specification",
        "RubyGems",
        &version,
    )?;
    let platform = specification.platform;
    let file_name = if platform == "ruby" {
        format!("{package}-{version}.gem")
    } else {
        format!("{package}-{version}-{platform}.gem")
    };
    Ok(Publication {
        operation: Operation::Publish,
        package,
        version: Some(version),
        files: vec![File::raw(file_name, digests, 0)],
        metadata: Metadata::Gem(GemMetadata {
            platform,
            dependencies: specification.dependencies,
            required_ruby_version: specification.required_ruby_version,
            required_rubygems_version: specification.required_rubygems_version,
            specification: yaml,
        }),
    })
}

/// The YAML of the one `metadata.gz`. RubyGems takes the last of several, and an uncompressed `metadata` too: neither is written by
/// its tools.
fn specification_of(gem: impl Read, limits: &Limits) -> Result<String, Unreadable> {
    const KNOWN: [&str; 6] = [
        "metadata.gz",
        "metadata.gz.sig",
        "data.tar.gz",
        "data.tar.gz.sig",
        "checksums.yaml.gz",
        "checksums.yaml.gz.sig",
    ];
    let mut seen = Vec::new();
    let mut kept = tar::scan(
        &mut BufReader::with_capacity(1 << 16, gem),
        tar::Records::Refused,
        limits,
        &mut |entry| {
            if !KNOWN.contains(&entry.path) {
                return Err(Unreadable::ambiguous(
                    "a gem must have the files that gem build writes",
                    entry.path,
                ));
            }
            if seen.iter().any(|path| path == entry.path) {
                return Err(Unreadable::duplicate(format!("entry {}", entry.path)));
            }
            seen.push(entry.path.to_owned());
            Ok(if entry.path == "metadata.gz" {
                tar::Visit::Keep
            } else {
                tar::Visit::Skip
            })
        },
    )?;
    let (_, packed) = kept
        .pop()
        .ok_or_else(|| Unreadable::missing("metadata.gz of the gem"))?;
    let yaml = gunzip("metadata.gz of the gem", &packed, limits)?;
    String::from_utf8(yaml)
        .map_err(|_| Unreadable::malformed("metadata.gz of the gem", "UTF-8", "another encoding"))
}

/// Reads the form `gem_name=…&version=…&platform=…`.
fn yank(body: &mut (impl Read + Seek), length: u64) -> Result<Publication, Unreadable> {
    const LONGEST: u64 = 4096;
    if length > LONGEST {
        return Err(Unreadable::too_large("the form", LONGEST, "bytes"));
    }
    let form = exactly(body, 0, length)?;
    let form = String::from_utf8(form)
        .map_err(|_| Unreadable::malformed("the form", "UTF-8", "another encoding"))?;
    let (mut name, mut version, mut platform) = (None, None, None);
    for pair in form.split('&') {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Unreadable::malformed("the form", "pairs of key and value", pair))?;
        let slot = match key {
            "gem_name" => &mut name,
            "version" => &mut version,
            "platform" => &mut platform,
            _ => {
                return Err(Unreadable::malformed(
                    "the form",
                    "of gem_name, version and platform",
                    key,
                ));
            }
        };
        // No name, version or platform needs a character that is encoded.
        if value.contains(['%', '+']) {
            return Err(Unreadable::malformed(
                format!("field {key}"),
                "without encoded characters",
                value,
            ));
        }
        if slot.replace(value.to_owned()).is_some() {
            return Err(Unreadable::duplicate(format!("field {key}")));
        }
    }
    let package = name.ok_or_else(|| Unreadable::missing("field gem_name"))?;
    names::GEM.check("field gem_name", &package)?;
    let version = version.ok_or_else(|| Unreadable::missing("field version"))?;
    version::check(
        version::is_gem_version(&version),
        "field version",
        "RubyGems",
        &version,
    )?;
    if let Some(platform) = &platform {
        specification::check_platform("field platform", platform)?;
    }
    Ok(Publication {
        operation: Operation::Yank,
        package,
        version: Some(version),
        files: Vec::new(),
        metadata: Metadata::GemYank { platform },
    })
}
