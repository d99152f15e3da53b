//! The legacy upload of Python indexes: `POST /legacy/` with a form of `:action`, `name`, `version`, digests and `content`.
//!
//! Name and version are in the form, in the file's name (PEP 427, PEP 625) and in the archive's own metadata. Names are compared as
//! PEP 503 normalises them, versions in the normal form of PEP 440 with the zeros at their end kept. Source distributions are
//! gzipped tar archives, as PEP 625 demands; eggs and installers are not taken, as on PyPI.

mod archive;
mod core_metadata;
mod file_name;

use std::{
    collections::HashSet,
    io::{Read, Seek},
};

use self::file_name::FileName;
use crate::{
    Encoding, File, Limits, Metadata, Operation, Publication, PypiFileType, PypiMetadata,
    Unreadable,
    file::{Hash, digest, hex, open, same_digest},
    multipart::{LastLine, Part, parts},
    names,
    version::{self, pep440, pep503},
};

/// Fields of the form that hold lists, one item a field (core metadata, "multiple use").
const LISTS: [&str; 24] = [
    "classifier",
    "classifiers",
    "dynamic",
    "import_name",
    "import_names",
    "import_namespace",
    "import_namespaces",
    "license_file",
    "license_files",
    "obsoletes",
    "obsoletes_dist",
    "platform",
    "platforms",
    "project_url",
    "project_urls",
    "provides",
    "provides_dist",
    "provides_extra",
    "provides_extras",
    "requires",
    "requires_dist",
    "requires_external",
    "supported_platform",
    "supported_platforms",
];

/// Whether this is an upload: to `/legacy/` as on PyPI, or to the root as most indexes have it.
pub(crate) fn classify(method: &str, segments: &[&str]) -> bool {
    method == "POST" && matches!(segments, [""] | ["legacy", ""])
}

pub(crate) fn read(
    content_type: Option<&str>,
    body: &mut (impl Read + Seek),
    length: u64,
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    let parts = parts(content_type, body, length, LastLine::CrLf, limits)?;
    let form = Form::new(&parts)?;
    let action = form.text(":action", body, limits)?;
    if action != "file_upload" {
        return Err(Unreadable::malformed(
            "field :action",
            "file_upload",
            action,
        ));
    }
    let name = form.text("name", body, limits)?;
    names::PYPI.check("field name", &name)?;
    let version = form.text("version", body, limits)?;
    let normal = pep440(&version);
    version::check(normal.is_some(), "field version", "PyPI", &version)?;
    let claimed = Claimed {
        name: pep503(&name),
        version: normal.unwrap_or_default(),
    };
    let content = form
        .part("content")
        .ok_or_else(|| Unreadable::missing("field content"))?;
    let sent_name = content
        .file_name
        .as_deref()
        .ok_or_else(|| Unreadable::missing("the file name of field content"))?;
    let file_type = file_type(&form.text("filetype", body, limits)?)?;
    let file_name = FileName::parse(sent_name, file_type)?;
    claimed.compare_name("the file name", file_name.name)?;
    claimed.compare_version("the file name", file_name.version)?;
    // The signature belongs to the content.
    let signature = form.part("gpg_signature");
    if let Some(other) =
        signature.filter(|part| part.file_name.as_deref() != Some(&format!("{sent_name}.asc")))
    {
        let received = other.file_name.clone().unwrap_or_default();
        let expected = "named as the content with .asc";
        return Err(Unreadable::malformed(
            "field gpg_signature",
            expected,
            received,
        ));
    }
    let file = checked_file(&form, content, sent_name, body, limits)?;
    let metadata = archive::metadata(&file_name, body, content, limits)?;
    let core = core_metadata::CoreMetadata::parse(&metadata)?;
    claimed.compare_name("Name in the archive", core.name)?;
    claimed.compare_version("Version in the archive", core.version)?;
    let requires_python = core.requires_python.map(str::to_owned);
    let attestations = form.optional_text("attestations", body, limits)?;
    Ok(Publication {
        operation: Operation::Publish,
        package: name,
        version: Some(version),
        files: vec![file],
        metadata: Metadata::Pypi(PypiMetadata {
            file_type,
            requires_python,
            metadata,
            attestations,
        }),
    })
}

fn file_type(text: &str) -> Result<PypiFileType, Unreadable> {
    match text {
        "bdist_wheel" => Ok(PypiFileType::Wheel),
        "sdist" => Ok(PypiFileType::Sdist),
        other => Err(Unreadable::malformed(
            "field filetype",
            "bdist_wheel or sdist",
            other,
        )),
    }
}

/// What the form says, normalised: the reference for the other places.
struct Claimed {
    name: String,
    version: String,
}

impl Claimed {
    fn compare_name(&self, field: &'static str, other: &str) -> Result<(), Unreadable> {
        names::PYPI.check(field, other)?;
        names::same(field, &pep503(other), "field name", &self.name)
    }

    fn compare_version(&self, field: &'static str, other: &str) -> Result<(), Unreadable> {
        let normal = pep440(other);
        version::check(normal.is_some(), field, "PyPI", other)?;
        version::same(
            field,
            &normal.unwrap_or_default(),
            "field version",
            &self.version,
        )
    }
}

/// The fields of an upload.
struct Form<'a>(&'a [Part]);

impl<'a> Form<'a> {
    /// Refuses fields that occur twice and hold no list, and fields in an odd spelling.
    fn new(parts: &'a [Part]) -> Result<Self, Unreadable> {
        let mut seen = HashSet::new();
        for part in parts {
            let plain = part
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b":_-".contains(&b));
            if part.name.is_empty() || !plain {
                return Err(Unreadable::malformed(
                    "the name of a field",
                    "in lower case",
                    &part.name,
                ));
            }
            if part.name == "_charset_" {
                return Err(Unreadable::malformed(part.field(), "absent", "a charset"));
            }
            if part.file_name.is_some()
                && !matches!(part.name.as_str(), "content" | "gpg_signature")
            {
                return Err(Unreadable::malformed(part.field(), "a text", "a file"));
            }
            if !seen.insert(part.name.as_str()) && !LISTS.contains(&part.name.as_str()) {
                return Err(Unreadable::duplicate(part.field()));
            }
        }
        Ok(Self(parts))
    }

    fn part(&self, name: &str) -> Option<&'a Part> {
        self.0.iter().find(|part| part.name == name)
    }

    fn optional_text(
        &self,
        name: &str,
        body: &mut (impl Read + Seek),
        limits: &Limits,
    ) -> Result<Option<String>, Unreadable> {
        self.part(name)
            .map(|part| part.text(body, limits))
            .transpose()
    }

    fn text(
        &self,
        name: &'static str,
        body: &mut (impl Read + Seek),
        limits: &Limits,
    ) -> Result<String, Unreadable> {
        self.optional_text(name, body, limits)?
            .ok_or_else(|| Unreadable::missing(format!("field {name}")))
    }
}

/// Computes the file's digests and compares those that the form states. At least one must be stated.
fn checked_file(
    form: &Form<'_>,
    content: &Part,
    name: &str,
    body: &mut (impl Read + Seek),
    limits: &Limits,
) -> Result<File, Unreadable> {
    let sha256 = form.optional_text("sha256_digest", body, limits)?;
    let md5 = form.optional_text("md5_digest", body, limits)?;
    let blake2 = form.optional_text("blake2_256_digest", body, limits)?;
    if sha256.is_none() && md5.is_none() && blake2.is_none() {
        return Err(Unreadable::missing("field sha256_digest"));
    }
    let mut hashes = Vec::new();
    let mut stated = Vec::new();
    for (field, value, hash) in [
        ("field md5_digest", md5, Hash::Md5),
        ("field blake2_256_digest", blake2, Hash::Blake2b256),
    ] {
        if let Some(value) = value {
            hashes.push(hash);
            stated.push((field, value));
        }
    }
    let mut reader = open(body, content.offset, content.length, Encoding::Raw)?;
    let digests = digest(&mut reader, &hashes, "field content")?;
    let others = stated
        .into_iter()
        .zip(digests.other.iter().map(|bytes| hex(bytes)));
    let all = sha256
        .map(|value| (("field sha256_digest", value), digests.sha256.clone()))
        .into_iter()
        .chain(others);
    for ((field, value), computed) in all {
        same_digest(field, &value.to_ascii_lowercase(), &computed)?;
    }
    Ok(File::raw(name.to_owned(), digests, content.offset))
}
