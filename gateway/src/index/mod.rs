//! Questions to the registry's own index: whether the hosted repository has a package, whether it
//! holds a published file with the digest that was published, and whose a package is.
//!
//! A registry that says neither yes nor no gives an error. Only its own "not found", or a redirect
//! of a Python index to another one, means that a package is new.

mod cargo;
mod npm;
mod nuget;
mod owners;
mod pypi;
mod rubygems;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::Future;

use bytes::Bytes;
use carnet_publish_protocols::Protocol;
use url::Url;

use crate::rewrite::{Bases, rebase};

/// The largest index or packument that is read, in bytes. Packuments of old packages have some
/// megabytes.
const MOST_INDEX_BYTES: u64 = 64 * 1024 * 1024;
/// The largest file that is hashed, in bytes.
const MOST_FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// How many redirects within the registry are followed.
const MOST_REDIRECTS: usize = 3;

/// An answer of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, decoded if it was compressed.
    pub body: Bytes,
    /// The `Location` header.
    pub location: Option<String>,
}

/// A file of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// The status. The digest is that of the body, whatever the status.
    pub status: u16,
    /// The SHA-256 of the body in lower-case hexadecimal.
    pub sha256: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The body is larger than was asked for.
    #[error("the answer is too large")]
    TooLarge,
    /// The registry cannot be reached, or the answer broke off. The text is for the log alone.
    #[error("{0}")]
    Failed(String),
}

/// Sends requests to the registry, with the credential for questions of the gateway's own. Redirects
/// are not followed. Every URL that is asked is below the registry's base URL.
pub trait Ask: Sync {
    /// Gets a document of at most `most_bytes`.
    fn get(
        &self,
        url: &Url,
        accept: Option<&str>,
        most_bytes: u64,
    ) -> impl Future<Output = Result<Answer, Unanswered>> + Send;

    /// Gets a file of at most `most_bytes` and hashes it, without holding it in memory.
    fn sha256(
        &self,
        url: &Url,
        most_bytes: u64,
    ) -> impl Future<Output = Result<Digested, Unanswered>> + Send;
}

/// Whether the hosted repository has a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existence {
    /// It has the package.
    Exists,
    /// It says that there is none of this name.
    New,
}

/// Whether the hosted repository holds a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It holds the file with this digest.
    Same,
    /// It holds another file under the same name or version.
    Different,
    /// It does not hold it.
    Absent,
}

impl Held {
    fn compare(one: &str, other: &str) -> Self {
        if one.eq_ignore_ascii_case(other) {
            Self::Same
        } else {
            Self::Different
        }
    }
}

/// A file that was published, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Published<'p> {
    /// The package's name as the client wrote it.
    pub package: &'p str,
    /// The version as the client wrote it.
    pub version: &'p str,
    /// The file's name.
    pub file: &'p str,
    /// The SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: &'p str,
}

/// The registry did not answer the question. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// There was no answer at all.
    #[error("the registry does not answer at {url}: {reason}")]
    Unanswered {
        /// What was asked.
        url: String,
        /// What went wrong.
        reason: Unanswered,
    },
    /// The status says neither yes nor no.
    #[error("the registry answers {status} at {url}")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// The answer is not what an index of the protocol answers.
    #[error("the registry's answer at {url} must be {expected}")]
    Unintelligible {
        /// What was asked.
        url: String,
        /// What an index of the protocol answers.
        expected: &'static str,
    },
    /// The index leads to a URL that is not below the registry's base URL.
    #[error("the registry's index leads elsewhere, to {url}")]
    Elsewhere {
        /// The URL.
        url: String,
    },
    /// The name, version or file cannot be asked for, or the protocol's index does not list it.
    #[error("the registry's index cannot be asked for `{0}`")]
    NotInIndex(String),
    /// The protocol, which is named, has no lists of owners.
    #[error("registries of {0} have no lists of owners")]
    NoOwnerLists(&'static str),
}

/// The index of one registry.
#[derive(Clone, Debug)]
pub struct Index {
    protocol: Protocol,
    bases: Bases,
    hosted: Url,
}

impl Index {
    /// The index below `hosted`, of a registry with these base URLs.
    pub fn new(protocol: Protocol, bases: Bases, hosted: &Url) -> Self {
        Self {
            protocol,
            bases,
            hosted: folder(hosted),
        }
    }

    /// Whether the hosted repository has a package of this name.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the registry says neither yes nor no.
    pub async fn existence(&self, ask: &impl Ask, package: &str) -> Result<Existence, NoAnswer> {
        can_be_asked(self.protocol, package)?;
        let asked = Asked { index: self, ask };
        match self.protocol {
            Protocol::Pypi => pypi::existence(&asked, package).await,
            Protocol::Npm => npm::existence(&asked, package).await,
            Protocol::CratesIo => cargo::existence(&asked, package).await,
            Protocol::Nuget => nuget::existence(&asked, package).await,
            Protocol::Rubygems => rubygems::existence(&asked, package).await,
        }
    }

    /// Whether the hosted repository holds a file that was published, with its digest.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the registry does not say it.
    pub async fn held(&self, ask: &impl Ask, published: &Published<'_>) -> Result<Held, NoAnswer> {
        for text in [published.package, published.version, published.file] {
            can_be_asked(self.protocol, text)?;
        }
        let asked = Asked { index: self, ask };
        match self.protocol {
            Protocol::Pypi => pypi::held(&asked, published).await,
            Protocol::Npm => npm::held(&asked, published).await,
            Protocol::CratesIo => cargo::held(&asked, published).await,
            Protocol::Nuget => nuget::held(&asked, published).await,
            Protocol::Rubygems => rubygems::held(&asked, published).await,
        }
    }

    /// Whether the hosted repository has versions of an npm package beside these; no for other protocols.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the registry does not say it.
    pub async fn has_other_versions(
        &self,
        ask: &impl Ask,
        package: &str,
        versions: &BTreeSet<&str>,
    ) -> Result<bool, NoAnswer> {
        if self.protocol != Protocol::Npm {
            return Ok(false);
        }
        can_be_asked(self.protocol, package)?;
        npm::has_other_versions(&Asked { index: self, ask }, package, versions).await
    }

    /// The logins of those who own a package, by the registry's list; `None` if it has no list for
    /// this package.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the protocol has no lists, or if the answer of the registry is none.
    pub async fn owners(
        &self,
        ask: &impl Ask,
        package: &str,
    ) -> Result<Option<BTreeSet<String>>, NoAnswer> {
        can_be_asked(self.protocol, package)?;
        owners::owners(&Asked { index: self, ask }, package).await
    }
}

/// Refuses what could become another path. Publications have names of their protocol's alphabet;
/// operators may name anything. Only the name of an npm package in a scope has a slash.
fn can_be_asked(protocol: Protocol, text: &str) -> Result<(), NoAnswer> {
    let is_part = |part: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@+!".contains(&byte);
        part.bytes().all(is_allowed) && part.bytes().any(|byte| byte != b'.')
    };
    let is_name = match text.split_once('/') {
        Some((scope, name)) if protocol == Protocol::Npm => is_part(scope) && is_part(name),
        _ => is_part(text),
    };
    if is_name {
        Ok(())
    } else {
        Err(NoAnswer::NotInIndex(text.to_owned()))
    }
}

/// A URL with a slash at the end of its path, and nothing behind it.
fn folder(url: &Url) -> Url {
    let mut folder = url.clone();
    folder.set_query(None);
    folder.set_fragment(None);
    if !folder.path().ends_with('/') {
        folder.set_path(&format!("{}/", url.path()));
    }
    folder
}

/// A document of the index.
enum Page {
    Found {
        url: Url,
        body: Bytes,
    },
    Missing {
        url: Url,
        body: Bytes,
    },
    /// A redirect that leaves the registry.
    Elsewhere(String),
}

/// A document that is too large to be read, and tells by being there.
enum Start {
    Missing,
    Whole(Bytes),
    Larger,
}

/// One question to one registry, which may take several requests.
struct Asked<'a, A> {
    index: &'a Index,
    ask: &'a A,
}

impl<A: Ask> Asked<'_, A> {
    /// The URL of a path below the hosted repository. The path is made of a fixed beginning and of
    /// names that [`can_be_asked`] allows.
    fn url(&self, path: &str) -> Result<Url, NoAnswer> {
        self.below(&self.index.hosted, path)
    }

    /// Whether a redirect leads to the page of this project at an index of another host.
    fn is_of_another_index(&self, to: &str, project: &str) -> bool {
        let bases = &self.index.bases;
        let own = [&self.index.hosted, &bases.upstream, &bases.public];
        Url::parse(to).is_ok_and(|to| {
            let path = to.path().trim_end_matches('/');
            let is_own = own.iter().any(|own| own.host() == to.host());
            !is_own && path.rsplit('/').next() == Some(project)
        })
    }

    fn below(&self, base: &Url, path: &str) -> Result<Url, NoAnswer> {
        base.join(path)
            .ok()
            .and_then(|url| self.inside(&url))
            .ok_or_else(|| NoAnswer::NotInIndex(path.to_owned()))
    }

    /// The URL at which the gateway reaches what the registry names, if it is below the registry's
    /// base URL or below the public one.
    fn inside(&self, url: &Url) -> Option<Url> {
        let Bases { upstream, public } = &self.index.bases;
        let text = url.as_str();
        let is_below = |base: &Url| rebase(text, base, base).is_some();
        if is_below(&self.index.hosted) || is_below(upstream) {
            return Some(url.clone());
        }
        Url::parse(&rebase(text, public, upstream)?).ok()
    }

    async fn page(&self, url: &Url, accept: Option<&str>) -> Result<Page, NoAnswer> {
        self.bounded(url, accept, MOST_INDEX_BYTES).await
    }

    /// The document at a URL, of at most `most_bytes`.
    async fn bounded(
        &self,
        url: &Url,
        accept: Option<&str>,
        most_bytes: u64,
    ) -> Result<Page, NoAnswer> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.ask.get(&url, accept, most_bytes).await;
            let answer = answer.map_err(|reason| unanswered(&url, reason))?;
            match (answer.status, answer.location) {
                (200, _) => {
                    return Ok(Page::Found {
                        url,
                        body: answer.body,
                    });
                }
                (404, _) => {
                    return Ok(Page::Missing {
                        url,
                        body: answer.body,
                    });
                }
                (301 | 302 | 303 | 307 | 308, Some(location)) => {
                    let target = url.join(&location).ok();
                    match target.and_then(|target| self.inside(&target)) {
                        Some(next) => url = next,
                        None => return Ok(Page::Elsewhere(location)),
                    }
                }
                (status, _) => return Err(status_at(&url, status)),
            }
        }
        Err(unintelligible(&url, "no chain of redirects"))
    }

    /// Whether there is a document at a URL, which lists all that the registry has.
    async fn start(&self, url: &Url, accept: Option<&str>) -> Result<Start, NoAnswer> {
        const MOST_BYTES: u64 = 1024;
        match self.ask.get(url, accept, MOST_BYTES).await {
            Err(Unanswered::TooLarge) => Ok(Start::Larger),
            Err(reason) => Err(unanswered(url, reason)),
            Ok(answer) => match answer.status {
                200 => Ok(Start::Whole(answer.body)),
                404 => Ok(Start::Missing),
                status => Err(status_at(url, status)),
            },
        }
    }

    /// The JSON document at a URL; `None` if there is none.
    async fn json(&self, url: &Url) -> Result<Option<serde_json::Value>, NoAnswer> {
        match self.page(url, Some("application/json")).await? {
            Page::Found { url, body } => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|_| unintelligible(&url, "JSON")),
            Page::Missing { .. } => Ok(None),
            Page::Elsewhere(url) => Err(NoAnswer::Elsewhere { url }),
        }
    }

    /// The digest of the file at a URL; `None` if there is none.
    async fn digest(&self, url: &Url) -> Result<Option<String>, NoAnswer> {
        let inside = self.inside(url).ok_or_else(|| NoAnswer::Elsewhere {
            url: url.to_string(),
        })?;
        let digested = self.ask.sha256(&inside, MOST_FILE_BYTES).await;
        let digested = digested.map_err(|reason| unanswered(&inside, reason))?;
        match digested.status {
            200 => Ok(Some(digested.sha256)),
            404 => Ok(None),
            status => Err(status_at(&inside, status)),
        }
    }

    /// Whether the file at a URL, which the index does not give a digest of, is the published one.
    async fn hashed(&self, url: &Url, published: &Published<'_>) -> Result<Held, NoAnswer> {
        let digest = self.digest(url).await?;
        Ok(digest.map_or(Held::Absent, |digest| {
            Held::compare(&digest, published.sha256)
        }))
    }
}

fn unanswered(url: &Url, reason: Unanswered) -> NoAnswer {
    NoAnswer::Unanswered {
        url: url.to_string(),
        reason,
    }
}

fn status_at(url: &Url, status: u16) -> NoAnswer {
    NoAnswer::Status {
        url: url.to_string(),
        status,
    }
}

fn unintelligible(url: &Url, expected: &'static str) -> NoAnswer {
    NoAnswer::Unintelligible {
        url: url.to_string(),
        expected,
    }
}
