//! npm's packument.

use std::collections::BTreeSet;

use serde_json::Value;
use url::Url;

use super::{Ask, Asked, Existence, Held, NoAnswer, Page, Published, can_be_asked, unintelligible};

pub(super) async fn existence<A: Ask>(
    asked: &Asked<'_, A>,
    package: &str,
) -> Result<Existence, NoAnswer> {
    Ok(match packument(asked, package).await? {
        Some(_) => Existence::Exists,
        None => Existence::New,
    })
}

/// The packument gives no SHA-256, so the tarball is hashed.
pub(super) async fn held<A: Ask>(
    asked: &Asked<'_, A>,
    published: &Published<'_>,
) -> Result<Held, NoAnswer> {
    let Some((url, packument)) = packument(asked, published.package).await? else {
        return Ok(Held::Absent);
    };
    let versions = packument.get("versions");
    let Some(version) = versions.and_then(|versions| versions.get(published.version)) else {
        return Ok(Held::Absent);
    };
    let tarball = version
        .pointer("/dist/tarball")
        .and_then(Value::as_str)
        .and_then(|tarball| url.join(tarball).ok())
        .ok_or_else(|| unintelligible(&url, "a packument with the URLs of tarballs"))?;
    // Its host may be any, and whoever published wrote it: only the file's name counts.
    let file = tarball
        .path_segments()
        .and_then(Iterator::last)
        .unwrap_or_default();
    can_be_asked(asked.index.protocol, file)?;
    let tarball = asked.url(&format!("{}/-/{file}", published.package))?;
    match asked.hashed(&tarball, published).await? {
        Held::Absent => Err(unintelligible(&tarball, "the tarball of the packument")),
        held => Ok(held),
    }
}

pub(super) async fn has_other_versions<A: Ask>(
    asked: &Asked<'_, A>,
    package: &str,
    versions: &BTreeSet<&str>,
) -> Result<bool, NoAnswer> {
    let Some((url, packument)) = packument(asked, package).await? else {
        return Ok(false);
    };
    let held = packument.get("versions").and_then(Value::as_object);
    let held = held.ok_or_else(|| unintelligible(&url, "a packument with versions"))?;
    Ok(held
        .keys()
        .any(|version| !versions.contains(version.as_str())))
}

/// The packument of a package with its URL; `None` if the registry says, in JSON, that there is none.
async fn packument<A: Ask>(
    asked: &Asked<'_, A>,
    package: &str,
) -> Result<Option<(Url, Value)>, NoAnswer> {
    let url = asked.url(&package.replace('/', "%2f"))?;
    let object = |url: &Url, body: &[u8], expected| {
        serde_json::from_slice::<Value>(body)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| unintelligible(url, expected))
    };
    match asked.page(&url, Some("application/json")).await? {
        Page::Found { url, body } => {
            let packument = object(&url, &body, "a packument")?;
            if packument.get("name").and_then(Value::as_str) != Some(package) {
                return Err(unintelligible(&url, "the packument of this package"));
            }
            Ok(Some((url, packument)))
        }
        Page::Missing { url, body } => {
            object(
                &url,
                &body,
                "an npm registry's answer that a package is not found",
            )?;
            Ok(None)
        }
        Page::Elsewhere(url) => Err(NoAnswer::Elsewhere { url }),
    }
}
