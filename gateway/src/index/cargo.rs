//! A sparse index of cargo ("Index Format" and "Sparse Protocol" of the Cargo Book).

use carnet_access::PackageNames;
use serde::Deserialize;
use url::Url;

use super::{Ask, Asked, Existence, Held, NoAnswer, Page, Published, unintelligible};

/// Where the configuration of an index is, below the URL of a registry: in a folder of the index;
/// at the root (Gitea, Nexus); among the paths of the web API (kellnr).
const PLACES: [&str; 3] = [
    "index/config.json",
    "config.json",
    "api/v1/crates/config.json",
];

/// How many separators of a name are tried with both kinds, at most: 64 requests, for a new crate alone.
const MOST_SEPARATORS: usize = 6;

#[derive(Deserialize)]
struct Configuration {
    #[expect(
        dead_code,
        reason = "its presence tells a configuration from other JSON"
    )]
    dl: String,
}

/// A line of the index.
#[derive(Deserialize)]
struct Version {
    name: String,
    vers: String,
    cksum: String,
}

pub(super) async fn existence<A: Ask>(
    asked: &Asked<'_, A>,
    package: &str,
) -> Result<Existence, NoAnswer> {
    let versions = versions(asked, package).await?;
    Ok(if versions.is_empty() {
        Existence::New
    } else {
        Existence::Exists
    })
}

pub(super) async fn held<A: Ask>(
    asked: &Asked<'_, A>,
    published: &Published<'_>,
) -> Result<Held, NoAnswer> {
    let versions = versions(asked, published.package).await?;
    let found = versions
        .iter()
        .find(|version| version.vers == published.version);
    Ok(found.map_or(Held::Absent, |version| {
        Held::compare(&version.cksum, published.sha256)
    }))
}

/// The versions of a crate, whichever of `-` and `_` its name is spelled with; none if there is no
/// such crate.
async fn versions<A: Ask>(asked: &Asked<'_, A>, package: &str) -> Result<Vec<Version>, NoAnswer> {
    let base = base(asked).await?;
    let name = package.to_ascii_lowercase();
    let spellings = spellings(&name).ok_or_else(|| NoAnswer::NotInIndex(package.to_owned()))?;
    for spelled in spellings {
        let url = asked.below(&base, &entry(&spelled))?;
        match asked.page(&url, None).await? {
            Page::Found { url, body } => return read(&url, &body, package),
            Page::Missing { .. } => {}
            Page::Elsewhere(url) => return Err(NoAnswer::Elsewhere { url }),
        }
    }
    Ok(Vec::new())
}

/// The URL of the index, found by its configuration.
async fn base<A: Ask>(asked: &Asked<'_, A>) -> Result<Url, NoAnswer> {
    let mut first = None;
    for place in PLACES {
        let url = asked.url(place)?;
        let found = match asked.page(&url, None).await {
            Ok(Page::Found { url, body }) => {
                // A registry with a web interface answers paths that it does not know with a page.
                match serde_json::from_slice::<Configuration>(&body) {
                    Ok(_) => return asked.below(&url, "./"),
                    Err(_) => unintelligible(&url, "the configuration of a sparse index"),
                }
            }
            Ok(Page::Missing { url, .. }) => {
                unintelligible(&url, "the configuration of a sparse index")
            }
            Ok(Page::Elsewhere(url)) => NoAnswer::Elsewhere { url },
            Err(error @ NoAnswer::Status { .. }) => error,
            Err(error) => return Err(error),
        };
        let is_status = matches!(found, NoAnswer::Status { .. });
        if first.is_none() || is_status {
            first = Some(found);
        }
    }
    Err(first.unwrap_or_else(|| unintelligible(&asked.index.hosted, "a sparse index")))
}

/// The ways to spell a name with `-` and `_`, its own first. A registry has one crate of these at
/// most, since they are the same name. `None` if they are too many.
fn spellings(name: &str) -> Option<Vec<String>> {
    let parts: Vec<&str> = name.split(['-', '_']).collect();
    let separators = parts.len().saturating_sub(1);
    if separators > MOST_SEPARATORS {
        return None;
    }
    let mut joined = vec![String::new()];
    for (number, part) in parts.iter().enumerate() {
        let ends: &[&str] = if number < separators {
            &["-", "_"]
        } else {
            &[""]
        };
        joined = joined
            .iter()
            .flat_map(|start| ends.iter().map(move |end| format!("{start}{part}{end}")))
            .collect();
    }
    // The one that was asked for comes first: it is there for every further version.
    joined.sort_by_key(|spelled| spelled != name);
    Some(joined)
}

/// The path of a crate in the index.
fn entry(name: &str) -> String {
    let part = |from: usize, to: usize| name.get(from..to).unwrap_or_default();
    match name.len() {
        1 => format!("1/{name}"),
        2 => format!("2/{name}"),
        3 => format!("3/{}/{name}", part(0, 1)),
        _ => format!("{}/{}/{name}", part(0, 2), part(2, 4)),
    }
}

fn read(url: &Url, body: &[u8], package: &str) -> Result<Vec<Version>, NoAnswer> {
    let expected = "the lines of this crate in a sparse index";
    let lines = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty());
    let versions = lines
        .map(serde_json::from_slice)
        .collect::<Result<Vec<Version>, _>>()
        .map_err(|_| unintelligible(url, expected))?;
    let is_this = |version: &Version| PackageNames::Cargo.same(&version.name, package);
    if versions.is_empty() || !versions.iter().all(is_this) {
        return Err(unintelligible(url, expected));
    }
    Ok(versions)
}
