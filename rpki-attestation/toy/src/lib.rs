//! A small RPKI: a trust anchor, an authority below it, and a network below that, with manifests and
//! CRLs, in a directory that looks like the cache of `rpki-client`.
//!
//! Everything is built and signed by the command `openssl`. Panics if something goes wrong: it is for
//! tests and examples.

mod authority;
mod holdings;
mod message;
mod openssl;
mod publication;

use std::path::{Path, PathBuf};

pub use authority::Authority;
pub use holdings::{Holdings, Window};
pub use message::{AUDIENCE, Attestation, CONTENT_TYPE, PURPOSE, SignedMessage};

/// The host of every object.
pub const HOST: &str = "rpki.example";

/// A trust anchor `toy`, the authority `registry` and the network `network` below it.
pub struct ToyRpki {
    dir: PathBuf,
    /// Removes the directory at the end.
    _temporary: Option<tempfile::TempDir>,
    pub anchor: Authority,
    pub registry: Authority,
    pub network: Authority,
}

impl ToyRpki {
    /// In a directory that is removed with it. The network holds AS64496 to AS64499, 192.0.2.0/24 and
    /// `2001:db8::/32`.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory for the toy RPKI");
        let toy = Self::within(dir.path());
        Self {
            _temporary: Some(dir),
            ..toy
        }
    }

    /// The same in a directory that stays.
    pub fn within(dir: &Path) -> Self {
        let cache = dir.join("cache");
        let work = dir.join("work");
        let anchor = Authority::anchor(
            &work,
            &cache,
            "toy",
            &Holdings::new(
                "64496-64511",
                &["10.0.0.0/8", "192.0.2.0/24"],
                &["2001:db8::/32"],
            ),
        );
        let registry = anchor.issue_authority(
            "registry",
            &Holdings::new("64496-64503", &["192.0.2.0/24"], &["2001:db8::/32"]),
        );
        let network = registry.issue_authority(
            "network",
            &Holdings::new("64496-64499", &["192.0.2.0/24"], &["2001:db8::/32"]),
        );
        let toy = Self {
            dir: dir.to_owned(),
            _temporary: None,
            anchor,
            registry,
            network,
        };
        for authority in [&toy.anchor, &toy.registry, &toy.network] {
            authority.publish(&Window::default());
        }
        toy.anchor.write_locator(&toy.tal_dir());
        toy
    }

    /// What `rpki.repository.dir` names.
    pub fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// What `rpki.tal_dir` names.
    pub fn tal_dir(&self) -> PathBuf {
        self.dir.join("tals")
    }

    /// A directory of its own for files of a test.
    pub fn scratch(&self) -> &Path {
        &self.dir
    }
}

impl Default for ToyRpki {
    fn default() -> Self {
        Self::new()
    }
}
