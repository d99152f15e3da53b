//! The compact index of RubyGems, and the older API for registries without it.

use serde::Deserialize;
use url::Url;

use super::{Ask, Asked, Existence, Held, NoAnswer, Page, Published, Start, unintelligible};

/// What `api/v1/dependencies` answers if there is no such gem: an empty array of Ruby's Marshal 4.8.
const NO_DEPENDENCIES: &[u8] = b"\x04\x08[\x00";

/// A version in `api/v1/versions/NAME.json`.
#[derive(Deserialize)]
struct Version {
    number: String,
    platform: Option<String>,
    sha: Option<String>,
}

/// What the index says of a gem.
enum Gem {
    /// The compact index has it; a line for each version.
    Compact { url: Url, info: String },
    /// The older API has it.
    Versions(Vec<Version>),
    /// There is no such gem in the compact index.
    Missing,
    /// The registry has neither.
    Unknown,
}

/// What the index says of one version of a gem.
enum Listed {
    No,
    /// The version is there, and the file has to be hashed. A registry that has no index that this
    /// module reads may have the file, too.
    WithoutDigest,
    WithDigest(String),
}

impl From<Option<String>> for Listed {
    fn from(sha256: Option<String>) -> Self {
        sha256.map_or(Self::WithoutDigest, Self::WithDigest)
    }
}

pub(super) async fn existence<A: Ask>(
    asked: &Asked<'_, A>,
    package: &str,
) -> Result<Existence, NoAnswer> {
    match gem(asked, package).await? {
        Gem::Compact { .. } => Ok(Existence::Exists),
        Gem::Versions(versions) if !versions.is_empty() => Ok(Existence::Exists),
        Gem::Missing => Ok(Existence::New),
        Gem::Versions(_) | Gem::Unknown => dependencies(asked, package).await,
    }
}

pub(super) async fn held<A: Ask>(
    asked: &Asked<'_, A>,
    published: &Published<'_>,
) -> Result<Held, NoAnswer> {
    let file = published.file;
    // The version and, for gems that are not pure Ruby, the platform.
    let full = file
        .strip_prefix(published.package)
        .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".gem"))
        .ok_or_else(|| NoAnswer::NotInIndex(file.to_owned()))?;
    let listed = match gem(asked, published.package).await? {
        Gem::Compact { url, info } => listed(&url, &info, full)?,
        Gem::Versions(versions) => {
            let version = versions.into_iter().find(|one| one.full() == full);
            version.map_or(Listed::No, |version| version.sha.into())
        }
        Gem::Missing => Listed::No,
        Gem::Unknown => Listed::WithoutDigest,
    };
    match listed {
        Listed::No => Ok(Held::Absent),
        Listed::WithDigest(sha256) => Ok(Held::compare(&sha256, published.sha256)),
        Listed::WithoutDigest => {
            let url = asked.url(&format!("gems/{file}"))?;
            asked.hashed(&url, published).await
        }
    }
}

impl Version {
    fn full(&self) -> String {
        match self.platform.as_deref() {
            None | Some("ruby" | "") => self.number.clone(),
            Some(platform) => format!("{}-{platform}", self.number),
        }
    }
}

async fn gem<A: Ask>(asked: &Asked<'_, A>, package: &str) -> Result<Gem, NoAnswer> {
    let url = asked.url(&format!("info/{package}"))?;
    match asked.page(&url, None).await? {
        Page::Found { url, body } => {
            let info = String::from_utf8(body.to_vec()).ok();
            // The line of dashes divides the head, which is empty, from the versions.
            let info = info.filter(|info| info.lines().any(|line| line == "---"));
            let info = info.ok_or_else(|| unintelligible(&url, "a gem of the compact index"))?;
            return Ok(Gem::Compact { url, info });
        }
        Page::Missing { .. } => {}
        Page::Elsewhere(url) => return Err(NoAnswer::Elsewhere { url }),
    }
    if has_compact_index(asked).await? {
        return Ok(Gem::Missing);
    }
    let url = asked.url(&format!("api/v1/versions/{package}.json"))?;
    match asked.json(&url).await? {
        None => Ok(Gem::Unknown),
        Some(versions) => serde_json::from_value(versions)
            .map(Gem::Versions)
            .map_err(|_| unintelligible(&url, "a list of versions")),
    }
}

/// Whether the registry has a compact index at all. Its list of versions is too large to be read;
/// that it is there is enough.
async fn has_compact_index<A: Ask>(asked: &Asked<'_, A>) -> Result<bool, NoAnswer> {
    let url = asked.url("versions")?;
    Ok(match asked.start(&url, None).await? {
        Start::Larger => true,
        Start::Missing => false,
        Start::Whole(body) => {
            let text = String::from_utf8_lossy(&body);
            text.lines().any(|line| line == "---")
        }
    })
}

/// Asks the API that Bundler used before the compact index.
async fn dependencies<A: Ask>(asked: &Asked<'_, A>, package: &str) -> Result<Existence, NoAnswer> {
    let mut url = asked.url("api/v1/dependencies")?;
    url.query_pairs_mut().append_pair("gems", package);
    match asked.page(&url, None).await? {
        Page::Found { body, .. } if body.as_ref() == NO_DEPENDENCIES => Ok(Existence::New),
        Page::Found { body, .. } if body.starts_with(b"\x04\x08[") => Ok(Existence::Exists),
        Page::Found { url, .. } | Page::Missing { url, .. } => {
            Err(unintelligible(&url, "the dependencies of a gem"))
        }
        Page::Elsewhere(url) => Err(NoAnswer::Elsewhere { url }),
    }
}

/// What the compact index says of one version.
fn listed(url: &Url, info: &str, full: &str) -> Result<Listed, NoAnswer> {
    let mut lines = info.lines().skip_while(|line| *line != "---").skip(1);
    let Some(line) = lines.find(|line| line.split(' ').next() == Some(full)) else {
        return Ok(Listed::No);
    };
    let (_, requirements) = line
        .split_once('|')
        .ok_or_else(|| unintelligible(url, "a gem of the compact index"))?;
    let checksum = requirements
        .split(',')
        .find_map(|requirement| requirement.strip_prefix("checksum:"));
    Ok(checksum.map(str::to_owned).into())
}
