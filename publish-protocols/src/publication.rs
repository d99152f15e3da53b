//! What a request says about itself, once all its places agree.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::File;

/// A publishing request that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// What the client wants done.
    pub operation: Operation,
    /// The package's name as the client sent it. It is a name of the protocol's alphabet; folding it to the registry's canonical
    /// spelling is the caller's work.
    pub package: String,
    /// The version as the client sent it, where the operation concerns one.
    pub version: Option<String>,
    /// The files that the body carries, in its order.
    pub files: Vec<File>,
    /// What an index of this protocol needs to know besides.
    pub metadata: Metadata,
}

/// What a request does to a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new file or version is added.
    Publish,
    /// A tag of a package is pointed at a version (npm).
    Tag,
    /// A tag of a package is removed (npm).
    Untag,
    /// Messages of deprecation, or other members of versions that exist, are changed (npm).
    Deprecate,
    /// Versions, or the whole package, are removed for good (npm).
    Unpublish,
    /// A version is hidden from new resolutions (cargo, gem).
    Yank,
    /// A yank is taken back (cargo).
    Unyank,
    /// A version is hidden from search (NuGet).
    Unlist,
    /// An unlisted version is shown again (NuGet).
    Relist,
}

impl Operation {
    /// The operation's name in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Tag => "tag",
            Self::Untag => "untag",
            Self::Deprecate => "deprecate",
            Self::Unpublish => "unpublish",
            Self::Yank => "yank",
            Self::Unyank => "unyank",
            Self::Unlist => "unlist",
            Self::Relist => "relist",
        }
    }

    /// The action that a token or a rule must have for the operation: `publish` for what adds to a package, `unlist` for what hides
    /// a version or shows it again, `delete` for what removes it for good.
    ///
    /// ```
    /// use carnet_publish_protocols::Operation;
    ///
    /// assert_eq!(Operation::Tag.action(), "publish");
    /// assert_eq!(Operation::Yank.action(), "unlist");
    /// assert_eq!(Operation::Unpublish.action(), "delete");
    /// ```
    pub fn action(self) -> &'static str {
        match self {
            Self::Publish | Self::Tag | Self::Untag | Self::Deprecate => "publish",
            Self::Yank | Self::Unyank | Self::Unlist | Self::Relist => "unlist",
            Self::Unpublish => "delete",
        }
    }
}

/// What an index needs to know about a publication besides name, version and files.
#[derive(Clone, Debug, PartialEq)]
pub enum Metadata {
    /// Nothing: the operation concerns a package or a version that exists.
    None,
    /// An upload to a Python index.
    Pypi(PypiMetadata),
    /// A version of an npm package.
    Npm(NpmMetadata),
    /// The tag that is set or removed.
    NpmTag {
        /// The tag's name.
        tag: String,
    },
    /// A packument without attachments that replaces parts of the one that exists.
    NpmPackument {
        /// Each version that the packument names, with its message of deprecation if it has one. An empty message takes a
        /// deprecation back.
        versions: BTreeMap<String, Option<String>>,
        /// The packument's revision, where the path names one.
        revision: Option<String>,
    },
    /// The removal of a package or of one of its files.
    NpmRemoval {
        /// The tarball's file name; absent where the whole package is removed.
        file: Option<String>,
        /// The packument's revision that the client saw.
        revision: String,
    },
    /// A version of a crate.
    Cargo(CargoMetadata),
    /// A version of a gem.
    Gem(GemMetadata),
    /// The platform of the gem to be yanked, if the client named one.
    GemYank {
        /// The platform.
        platform: Option<String>,
    },
    /// A version of a NuGet package.
    Nuget(NugetMetadata),
}

/// What a Python index needs to know about an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PypiMetadata {
    /// Wheel or sdist.
    pub file_type: PypiFileType,
    /// `Requires-Python` of the archive's own metadata.
    pub requires_python: Option<String>,
    /// The text of `METADATA` (wheel) or `PKG-INFO` (sdist).
    pub metadata: String,
    /// The `attestations` field (PEP 740): a JSON array, as it was sent.
    pub attestations: Option<String>,
}

/// The kinds of file that a Python index takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PypiFileType {
    /// `bdist_wheel`: a wheel (PEP 427).
    Wheel,
    /// `sdist`: a source distribution (PEP 625).
    Sdist,
}

/// What a packument needs to know about a version.
#[derive(Clone, Debug, PartialEq)]
pub struct NpmMetadata {
    /// The version's manifest, with `dist` as the client computed it (checked against the tarball).
    pub manifest: Map<String, Value>,
    /// `dist-tags` of the request: names of tags and the version, which is the one published.
    pub dist_tags: BTreeMap<String, String>,
    /// `access` of the request: `public` or `restricted`.
    pub access: Option<String>,
    /// The provenance attachment: a Sigstore bundle, as JSON text.
    pub provenance: Option<String>,
    /// The tarball's SHA-512 in the form of Subresource Integrity, computed.
    pub integrity: String,
    /// The tarball's SHA-1 in lower-case hexadecimal, computed.
    pub shasum: String,
}

/// What a cargo index needs to know about a version.
#[derive(Clone, Debug, PartialEq)]
pub struct CargoMetadata {
    /// The JSON metadata of the request as cargo sent it: `deps`, `features`, `links`, `rust_version` and more. Its names differ
    /// from those of the index; see "Web API" and "Index Format" of the Cargo Book.
    pub json: Map<String, Value>,
}

/// What a gem index needs to know about a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GemMetadata {
    /// The platform, `ruby` if any.
    pub platform: String,
    /// The dependencies, in the order of the specification.
    pub dependencies: Vec<GemDependency>,
    /// Requirements on the version of Ruby, such as `>= 3.0`; several hold together.
    pub required_ruby_version: Vec<String>,
    /// Requirements on the version of RubyGems.
    pub required_rubygems_version: Vec<String>,
    /// The specification as YAML, as the gem carries it.
    pub specification: String,
}

/// One dependency of a gem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GemDependency {
    /// The gem depended on.
    pub name: String,
    /// Requirements such as `~> 1.2`; several hold together.
    pub requirements: Vec<String>,
    /// Whether it is needed to use the gem, not only to develop it.
    pub runtime: bool,
}

/// What a NuGet index needs to know about a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NugetMetadata {
    /// Whether this is a package of symbols (`/api/v2/symbolpackage`).
    pub symbols: bool,
    /// `description`.
    pub description: String,
    /// `authors`.
    pub authors: String,
    /// The groups of dependencies, in the nuspec's order; the ones without a group come as a group without a framework.
    pub dependencies: Vec<NugetDependencyGroup>,
    /// The text of the nuspec.
    pub nuspec: String,
}

/// The dependencies of a NuGet package for one framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NugetDependencyGroup {
    /// The target framework, such as `net8.0`; absent for all others.
    pub target_framework: Option<String>,
    /// Ids and version ranges (an absent range admits every version).
    pub dependencies: Vec<(String, Option<String>)>,
}
