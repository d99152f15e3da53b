//! Reads what a publishing request says about itself out of the registry's own protocol: the package's name, its version, its
//! files with their digests, and the operation. A registry or a gateway can then decide before it accepts anything.
//!
//! [`classify`] tells by method and path which request this is; [`read`] reads its body. Everything is synchronous over
//! [`Read`] and [`Seek`], without network or clock, and bounded by [`Limits`] whatever is sent: files are streamed, archives are
//! walked without a path ever being written anywhere.
//!
//! A request names its package in several places: the path, a form or JSON document, the name of a file, and the metadata inside
//! the archive. [`read`] returns a [`Publication`] only if all of them agree; it does not choose between them. In the same way it
//! refuses whatever two readers could understand differently: fields and entries that occur twice, archives whose directory and
//! entries disagree, data behind an archive's end. A digest that the request states must be the one computed.
//!
//! | protocol | requests |
//! |---|---|
//! | [`Protocol::Pypi`] | upload of a wheel or a source distribution (legacy upload) |
//! | [`Protocol::Npm`] | publish, dist-tags, deprecate, unpublish |
//! | [`Protocol::CratesIo`] | publish, yank, unyank |
//! | [`Protocol::Rubygems`] | push, yank |
//! | [`Protocol::Nuget`] | push of packages and of symbols, unlist, relist |
//!
//! Everything else is unknown to [`classify`], such as changes of owners, and should be refused.
//!
//! Two modules know the rest of the exchange: [`credential`] finds what a tool sent as its secret, and [`dialect`] puts a refusal
//! into the form whose text the tool prints.
//!
//! ```
//! use std::io::Cursor;
//! use carnet_publish_protocols::{classify, read, Limits, Operation, Protocol, RequestHead};
//!
//! let head = RequestHead {
//!     method: "DELETE",
//!     path: "/api/v1/crates/serde/1.0.0/yank",
//!     content_type: None,
//!     content_length: None,
//! };
//! let request = classify(Protocol::CratesIo, &head).expect("a request of cargo's");
//! let publication = read(&request, &mut Cursor::new([]), &Limits::default())?;
//! assert_eq!(publication.operation, Operation::Yank);
//! assert_eq!(publication.package, "serde");
//! # Ok::<(), carnet_publish_protocols::Unreadable>(())
//! ```

mod archive;
mod cargo;
pub mod credential;
pub mod dialect;
mod error;
mod file;
mod gem;
mod json;
mod limits;
mod multipart;
mod names;
mod npm;
mod nuget;
mod path;
mod publication;
mod pypi;
mod version;

use std::{
    io::{Read, Seek, SeekFrom},
    str::FromStr,
};

use carnet_access::PackageNames;
pub use error::{Text, Unreadable};
pub use file::{Content, Encoding, File};
pub use limits::Limits;
pub use nuget::NugetVersion;
pub use path::segments as path_segments;
pub use publication::{
    CargoMetadata, GemDependency, GemMetadata, Metadata, NpmMetadata, NugetDependencyGroup,
    NugetMetadata, Operation, Publication, PypiFileType, PypiMetadata,
};

/// A protocol that package tools publish with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The legacy upload of Python indexes.
    Pypi,
    /// The registry API of npm.
    Npm,
    /// The web API of cargo.
    CratesIo,
    /// The push API of NuGet, version 2, which version 3 kept.
    Nuget,
    /// The API of RubyGems.
    Rubygems,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Pypi,
        Self::Npm,
        Self::CratesIo,
        Self::Nuget,
        Self::Rubygems,
    ];

    /// The protocol's name: the one that `front_door.kind` of a registry's document uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::CratesIo => "crates-io",
            Self::Nuget => "nuget",
            Self::Rubygems => "rubygems",
        }
    }
}

impl Protocol {
    /// Where the paths of the protocol's front door begin, at which its tools trade their platform's token for a key.
    pub fn front_door_path(self) -> &'static str {
        match self {
            Self::Pypi => "/_/oidc/",
            Self::Npm => "/-/npm/v1/oidc/",
            Self::CratesIo => "/api/v1/trusted_publishing/",
            Self::Nuget => "/api/v2/token",
            Self::Rubygems => "/api/v1/oidc/",
        }
    }

    /// How the protocol's tools compare package names. A registry's `package_names` in Carnet has to be the same.
    pub fn package_names(self) -> PackageNames {
        match self {
            Self::Npm | Self::Rubygems => PackageNames::Exact,
            Self::Pypi => PackageNames::Pep503,
            Self::CratesIo => PackageNames::Cargo,
            Self::Nuget => PackageNames::AsciiCaseInsensitive,
        }
    }
}

/// The name is not one of [`Protocol::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a protocol must be one of pypi, npm, crates-io, nuget and rubygems")]
pub struct UnknownProtocol;

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.as_str() == name)
            .ok_or(UnknownProtocol)
    }
}

/// What is known of a request before its body is read.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method, in upper case as it was sent.
    pub method: &'a str,
    /// The path below the registry's root, beginning with `/`, percent-encoded as it was sent, with the query if there is one.
    pub path: &'a str,
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
    /// The `Content-Length` header; [`read`] refuses a body of another length.
    pub content_length: Option<u64>,
}

/// A publishing request that the protocol knows, with what its path says.
#[derive(Clone, Debug)]
pub struct Request {
    call: Call,
    content_type: Option<String>,
    content_length: Option<u64>,
}

#[derive(Clone, Debug)]
enum Call {
    Pypi,
    Npm(npm::Call),
    Cargo(cargo::Call),
    Gem(gem::Call),
    Nuget(nuget::Call),
}

impl Request {
    /// Whether the request carries a body that has to be received before [`read`]; otherwise the body must be empty.
    pub fn has_body(&self) -> bool {
        match &self.call {
            Call::Npm(call) => call.has_body(),
            Call::Cargo(call) => call.has_body(),
            Call::Pypi | Call::Gem(_) => true,
            Call::Nuget(call) => call.has_body(),
        }
    }

    /// The content type with which the body may go on to another reader, in words of our own: with the client's, that reader could
    /// take the body for something else than [`read`] does. `None` for a request without a body.
    ///
    /// # Errors
    /// [`Unreadable`] if the client's content type is that of a form, and names no usual boundary.
    pub fn content_type(&self) -> Result<Option<String>, Unreadable> {
        const BYTES: &str = "application/octet-stream";
        let given = self.content_type.as_deref();
        let form = || multipart::content_type(given).map(Some);
        match &self.call {
            _ if !self.has_body() => Ok(None),
            Call::Pypi => form(),
            Call::Nuget(_) if nuget::is_form(given) => form(),
            Call::Npm(_) => Ok(Some("application/json".to_owned())),
            Call::Gem(gem::Call::Yank) => Ok(Some("application/x-www-form-urlencoded".to_owned())),
            Call::Nuget(_) | Call::Cargo(_) | Call::Gem(gem::Call::Push) => {
                Ok(Some(BYTES.to_owned()))
            }
        }
    }
}

/// Which publishing request of the protocol a method and a path are.
///
/// `None` if they are none. That includes paths that are spelled in any but the usual way (empty or dot segments, characters that
/// are encoded without need) and paths with a query: an upstream might understand them differently.
pub fn classify(protocol: Protocol, head: &RequestHead<'_>) -> Option<Request> {
    let segments = path::segments(head.path)?;
    let call = match protocol {
        Protocol::Pypi => pypi::classify(head.method, &segments).then_some(Call::Pypi),
        Protocol::Npm => npm::classify(head.method, &segments).map(Call::Npm),
        Protocol::CratesIo => cargo::classify(head.method, &segments).map(Call::Cargo),
        Protocol::Rubygems => gem::classify(head.method, &segments).map(Call::Gem),
        Protocol::Nuget => nuget::classify(head.method, &segments).map(Call::Nuget),
    }?;
    Some(Request {
        call,
        content_type: head.content_type.map(str::to_owned),
        content_length: head.content_length,
    })
}

/// Reads the body of a request and returns what the request is about.
///
/// The body is read from its start to its end, wherever it stands. It is left at no particular place.
///
/// # Errors
/// [`Unreadable`] names what is wrong with the request. [`Unreadable::Storage`] is the one reason that is not the client's.
pub fn read(
    request: &Request,
    body: &mut (impl Read + Seek),
    limits: &Limits,
) -> Result<Publication, Unreadable> {
    let length = body.seek(SeekFrom::End(0))?;
    if length > limits.body {
        return Err(Unreadable::too_large("the body", limits.body, "bytes"));
    }
    if let Some(stated) = request.content_length
        && stated != length
    {
        return Err(Unreadable::malformed(
            "the body",
            format!("of the length of Content-Length, {stated}"),
            length.to_string(),
        ));
    }
    if !request.has_body() && length != 0 {
        return Err(Unreadable::malformed(
            "the body",
            "empty",
            format!("{length} bytes"),
        ));
    }
    let content_type = request.content_type.as_deref();
    match &request.call {
        Call::Pypi => pypi::read(content_type, body, length, limits),
        Call::Npm(call) => {
            if length > 0 && !content_type.is_none_or(is_plain_json) {
                return Err(Unreadable::malformed(
                    "Content-Type",
                    "application/json in UTF-8",
                    content_type.unwrap_or_default(),
                ));
            }
            npm::read(call, body, length, limits)
        }
        Call::Cargo(call) => cargo::read(call, body, length, limits),
        Call::Gem(call) => gem::read(*call, body, length, limits),
        Call::Nuget(call) => nuget::read(call, content_type, body, length, limits),
    }
}

/// Whether a content type is that of JSON which no reader decodes by another charset than UTF-8.
fn is_plain_json(content_type: &str) -> bool {
    let plain = content_type.to_ascii_lowercase().replace(' ', "");
    matches!(
        plain.as_str(),
        "application/json" | "application/json;charset=utf-8"
    )
}
