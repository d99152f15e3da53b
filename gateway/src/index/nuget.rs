//! The package content of NuGet's version 3, found by the service index.

use carnet_publish_protocols::NugetVersion;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{Ask, Asked, Existence, Held, NoAnswer, Published, folder, unintelligible};

/// Where the service index is, below the URL of a registry.
const PLACES: [&str; 2] = ["v3/index.json", "index.json"];
const CONTENT: &str = "PackageBaseAddress/3.0.0";

#[derive(Deserialize)]
struct Services {
    resources: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "@id")]
    id: String,
    #[serde(rename = "@type")]
    kind: Value,
}

#[derive(Deserialize)]
struct Versions {
    versions: Vec<String>,
}

pub(super) async fn existence<A: Ask>(
    asked: &Asked<'_, A>,
    package: &str,
) -> Result<Existence, NoAnswer> {
    let content = content(asked).await?;
    let versions = versions(asked, &content, package).await?;
    Ok(if versions.is_empty() {
        Existence::New
    } else {
        Existence::Exists
    })
}

/// The index gives no digests, so the package is hashed. Packages of symbols are in no index.
pub(super) async fn held<A: Ask>(
    asked: &Asked<'_, A>,
    published: &Published<'_>,
) -> Result<Held, NoAnswer> {
    if published.file.ends_with(".snupkg") {
        return Err(NoAnswer::NotInIndex(published.file.to_owned()));
    }
    let content = content(asked).await?;
    let versions = versions(asked, &content, published.package).await?;
    let version = normal(published.version);
    if !versions.iter().any(|listed| normal(listed) == version) {
        return Ok(Held::Absent);
    }
    let id = published.package.to_ascii_lowercase();
    let path = format!("{id}/{version}/{id}.{version}.nupkg");
    let url = asked.below(&content, &path)?;
    match asked.hashed(&url, published).await? {
        Held::Absent => Err(unintelligible(&url, "the package of the list of versions")),
        held => Ok(held),
    }
}

fn normal(version: &str) -> String {
    NugetVersion::of(version).to_string()
}

/// The URL of the package content, which is asked below the registry's base URL only.
async fn content<A: Ask>(asked: &Asked<'_, A>) -> Result<Url, NoAnswer> {
    for place in PLACES {
        let url = asked.url(place)?;
        let Some(index) = asked.json(&url).await? else {
            continue;
        };
        let services: Services = serde_json::from_value(index)
            .map_err(|_| unintelligible(&url, "a service index of NuGet"))?;
        let service = services
            .resources
            .iter()
            .find(|service| service.kind == CONTENT)
            .ok_or_else(|| unintelligible(&url, "a service index with package content"))?;
        let named = url.join(&service.id).ok();
        return named
            .and_then(|named| asked.inside(&folder(&named)))
            .ok_or_else(|| NoAnswer::Elsewhere {
                url: service.id.clone(),
            });
    }
    let url = asked.url(PLACES[0])?;
    Err(unintelligible(&url, "a service index of NuGet"))
}

/// The versions of a package; none if there is no such package.
async fn versions<A: Ask>(
    asked: &Asked<'_, A>,
    content: &Url,
    package: &str,
) -> Result<Vec<String>, NoAnswer> {
    let id = package.to_ascii_lowercase();
    let url = asked.below(content, &format!("{id}/index.json"))?;
    match asked.json(&url).await? {
        None => Ok(Vec::new()),
        Some(list) => serde_json::from_value::<Versions>(list)
            .map(|list| list.versions)
            .map_err(|_| unintelligible(&url, "a list of versions")),
    }
}
