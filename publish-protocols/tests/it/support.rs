//! Requests and archives made by hand.

use std::{
    fmt::Write as _,
    io::{Cursor, Write as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use carnet_publish_protocols::{
    Limits, Protocol, Publication, RequestHead, Unreadable, classify, read,
};
use serde_json::{Value, json};
use sha2::Digest as _;

pub fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/tests/fixtures/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

/// The content type that goes with a recorded form: its boundary is its first line.
pub fn form_type(body: &[u8]) -> String {
    let end = body.windows(2).position(|pair| pair == b"\r\n").unwrap();
    format!(
        "multipart/form-data; boundary={}",
        std::str::from_utf8(&body[2..end]).unwrap()
    )
}

pub fn sent(
    protocol: Protocol,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Publication, Unreadable> {
    sent_within(
        &Limits::default(),
        protocol,
        method,
        path,
        content_type,
        body,
    )
}

pub fn sent_within(
    limits: &Limits,
    protocol: Protocol,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Publication, Unreadable> {
    let head = RequestHead {
        method,
        path,
        content_type,
        content_length: None,
    };
    let request = classify(protocol, &head).expect("a publishing request");
    read(&request, &mut Cursor::new(body), limits)
}

/// The code of a refusal, after checking what every refusal's text has in common.
#[track_caller]
pub fn code(result: Result<Publication, Unreadable>) -> &'static str {
    match result {
        Ok(publication) => panic!("accepted: {publication:?}"),
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.len() < 600 && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
                "{text:?}"
            );
            assert!(text.contains("must") || error.is_internal(), "{text}");
            error.code()
        }
    }
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An entry of a tar archive, with a path that need not be a good one.
pub fn entry(path: &str, kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub fn file(path: &str, content: &str) -> Vec<u8> {
    entry(path, tar::EntryType::Regular, content.as_bytes())
}

/// A tar archive of these entries, with its end.
pub fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend([0; 1024]);
    bytes
}

/// An entry of a zip archive, as the two headers describe it.
#[derive(Clone)]
pub struct Zipped {
    pub name: Vec<u8>,
    pub local_name: Vec<u8>,
    pub content: Vec<u8>,
    pub deflated: bool,
    /// Sizes in a data descriptor behind the content.
    pub described: bool,
    pub extra: Vec<u8>,
    pub local_extra: Vec<u8>,
    pub mode: u32,
    pub flags: u16,
    /// The length that the directory states instead of the real one.
    pub stated_length: Option<u32>,
    /// Bytes between this entry and the next.
    pub gap: Vec<u8>,
}

pub fn zipped(name: &str, content: &str) -> Zipped {
    Zipped {
        name: name.into(),
        local_name: name.into(),
        content: content.into(),
        deflated: true,
        described: false,
        extra: Vec::new(),
        local_extra: Vec::new(),
        mode: 0o100_644,
        flags: 0,
        stated_length: None,
        gap: Vec::new(),
    }
}

/// A zip archive of these entries.
pub fn zip(entries: &[Zipped]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let packed = if entry.deflated {
            let mut encoder =
                flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&entry.content).unwrap();
            encoder.finish().unwrap()
        } else {
            entry.content.clone()
        };
        let mut crc = flate2::Crc::new();
        crc.update(&entry.content);
        let length = entry.stated_length.unwrap_or(entry.content.len() as u32);
        let sizes = [crc.sum(), packed.len() as u32, length];
        let sizes: Vec<u8> = sizes
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let flags = entry.flags | if entry.described { 8 } else { 0 };
        let start = bytes.len() as u32;
        let common = |name: &[u8], extra: &[u8], sizes: &[u8]| {
            let mut fields = Vec::new();
            for number in [20, flags, if entry.deflated { 8 } else { 0 }, 0, 0] {
                fields.extend(u16::to_le_bytes(number));
            }
            fields.extend(sizes);
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend((extra.len() as u16).to_le_bytes());
            fields
        };
        bytes.extend(0x0403_4b50_u32.to_le_bytes());
        bytes.extend(common(
            &entry.local_name,
            &entry.local_extra,
            if entry.described { &[0; 12] } else { &sizes },
        ));
        bytes.extend(&entry.local_name);
        bytes.extend(&entry.local_extra);
        bytes.extend(&packed);
        if entry.described {
            bytes.extend(0x0807_4b50_u32.to_le_bytes());
            bytes.extend(&sizes);
        }
        bytes.extend(&entry.gap);
        directory.extend(0x0201_4b50_u32.to_le_bytes());
        directory.extend([20, 3]);
        directory.extend(common(&entry.name, &entry.extra, &sizes));
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(start.to_le_bytes());
        directory.extend(&entry.name);
        directory.extend(&entry.extra);
    }
    let start = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(0x0605_4b50_u32.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(
        [
            (entries.len() as u16).to_le_bytes(),
            (entries.len() as u16).to_le_bytes(),
        ]
        .concat(),
    );
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub const BOUNDARY: &str = "0123456789abcdef";
pub const FORM: &str = "multipart/form-data; boundary=0123456789abcdef";

/// A part of a form: the parameters of its disposition and its content.
pub fn part(parameters: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {parameters}\r\n\r\n")
        .into_bytes();
    bytes.extend(content);
    bytes.extend(b"\r\n");
    bytes
}

pub fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = parts.concat();
    bytes.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    bytes
}

/// An upload to a Python index.
pub struct Upload {
    pub name: &'static str,
    pub version: &'static str,
    pub file_type: &'static str,
    pub file_name: &'static str,
    pub content: Vec<u8>,
    pub sha256: Option<String>,
    /// More parts, before the others.
    pub more: Vec<Vec<u8>>,
}

pub fn upload(file_type: &'static str, file_name: &'static str, content: Vec<u8>) -> Upload {
    Upload {
        name: "foo-bar",
        version: "1.0",
        file_type,
        file_name,
        content,
        sha256: None,
        more: Vec::new(),
    }
}

impl Upload {
    pub fn body(&self) -> Vec<u8> {
        let sha256 = self
            .sha256
            .clone()
            .unwrap_or_else(|| hex(&sha2::Sha256::digest(&self.content)));
        let mut parts = self.more.clone();
        for (name, value) in [
            (":action", "file_upload"),
            ("name", self.name),
            ("version", self.version),
            ("filetype", self.file_type),
            ("sha256_digest", &sha256),
        ] {
            parts.push(part(&format!("name=\"{name}\""), value.as_bytes()));
        }
        parts.push(part(
            &format!("name=\"content\"; filename=\"{}\"", self.file_name),
            &self.content,
        ));
        form(&parts)
    }

    pub fn send(&self) -> Result<Publication, Unreadable> {
        sent(Protocol::Pypi, "POST", "/legacy/", Some(FORM), &self.body())
    }
}

pub fn wheel(entries: &[Zipped]) -> Upload {
    upload("bdist_wheel", "foo_bar-1.0-py3-none-any.whl", zip(entries))
}

/// The metadata of the wheel and of the source distribution.
pub const METADATA: &str = "Metadata-Version: 2.1\nName: Foo.Bar\nVersion: 1.0\n\n";

pub fn good_wheel() -> Vec<Zipped> {
    vec![
        zipped("foo_bar/__init__.py", "x = 1"),
        zipped("foo_bar-1.0.dist-info/METADATA", METADATA),
    ]
}

pub fn sdist(tar: &[u8]) -> Upload {
    upload("sdist", "foo_bar-1.0.tar.gz", gz(tar))
}

/// A publication of npm: the packument and the path's name.
pub struct Npm {
    pub path: &'static str,
    pub document: Value,
}

/// A publication of a tarball, in agreement with itself.
pub fn npm(tarball: &[u8]) -> Npm {
    let integrity = format!("sha512-{}", STANDARD.encode(sha2::Sha512::digest(tarball)));
    Npm {
        path: "/@s%2ffoo",
        document: json!({
            "_id": "@s/foo",
            "name": "@s/foo",
            "dist-tags": { "latest": "1.0.0" },
            "versions": { "1.0.0": { "name": "@s/foo", "version": "1.0.0", "dist": { "integrity": integrity, "shasum": hex(&sha1::Sha1::digest(tarball)) } } },
            "_attachments": { "@s/foo-1.0.0.tgz": { "content_type": "application/octet-stream", "data": STANDARD.encode(tarball), "length": tarball.len() } },
        }),
    }
}

pub fn npm_tarball() -> Vec<u8> {
    gz(&tar(&[
        file(
            "package/package.json",
            r#"{"name":"@s/foo","version":"1.0.0"}"#,
        ),
        file("package/index.js", "1"),
    ]))
}

impl Npm {
    pub fn send(&self) -> Result<Publication, Unreadable> {
        self.send_text(&self.document.to_string())
    }

    pub fn send_text(&self, text: &str) -> Result<Publication, Unreadable> {
        sent(
            Protocol::Npm,
            "PUT",
            self.path,
            Some("application/json"),
            text.as_bytes(),
        )
    }
}

/// The body of a publication of cargo.
pub fn cargo_body(json: &str, crate_file: &[u8]) -> Vec<u8> {
    let mut body = (json.len() as u32).to_le_bytes().to_vec();
    body.extend(json.as_bytes());
    body.extend((crate_file.len() as u32).to_le_bytes());
    body.extend(crate_file);
    body
}

pub fn cargo(json: &str, entries: &[Vec<u8>]) -> Result<Publication, Unreadable> {
    sent(
        Protocol::CratesIo,
        "PUT",
        "/api/v1/crates/new",
        None,
        &cargo_body(json, &gz(&tar(entries))),
    )
}

pub const CARGO_JSON: &str = r#"{"name":"foo","vers":"1.0.0"}"#;
pub const CARGO_TOML: &str = "[package]\nname = \"foo\"\nversion = \"1.0.0\"\n";

pub const GEMSPEC: &str = "--- !ruby/object:Gem::Specification\nname: foo\nversion: !ruby/object:Gem::Version\n  version: 1.0.0\nplatform: ruby\n";

pub fn gem_of(entries: &[Vec<u8>]) -> Result<Publication, Unreadable> {
    sent(
        Protocol::Rubygems,
        "POST",
        "/api/v1/gems",
        None,
        &tar(entries),
    )
}

pub fn metadata_gz(yaml: &str) -> Vec<u8> {
    entry("metadata.gz", tar::EntryType::Regular, &gz(yaml.as_bytes()))
}

pub fn gem(yaml: &str) -> Result<Publication, Unreadable> {
    gem_of(&[metadata_gz(yaml)])
}

pub const NUSPEC: &str =
    "<package><metadata><id>Foo.Bar</id><version>1.0.0</version></metadata></package>";

pub fn nuget(entries: &[Zipped]) -> Result<Publication, Unreadable> {
    sent(
        Protocol::Nuget,
        "PUT",
        "/api/v2/package",
        None,
        &zip(entries),
    )
}
