//! NuGet: push (`PUT /api/v2/package`), the v3 service index with its package content, and the v2
//! feed that NuGet 2 installs from.

mod feed;

use std::cmp::Ordering;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carnet_publish_protocols::{NugetMetadata, NugetVersion};
use openssl::sha::sha512;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::admission::Admission;
use super::refusal::Refusal;
use super::upload::{Artifact, upload};
use super::{Registry, Unanswered, download};

/// What the indexes say of a version.
#[derive(Serialize, Deserialize)]
struct IndexedPackage {
    id: String,
    version: String,
    description: String,
    authors: String,
    /// In base64.
    sha512: String,
    bytes: usize,
    /// The dependencies as the v2 feed writes them: `id:range:framework`, joined by `|`.
    dependencies: String,
}

pub(super) fn router() -> Router<Arc<Registry>> {
    Router::new()
        .route("/api/v2/package", put(upload))
        .route("/api/v2/package/", put(upload))
        .route("/api/v2/package/{id}/{version}", get(package))
        .route("/v3/index.json", get(services))
        .route("/v3/content/{id}/index.json", get(versions))
        .route("/v3/content/{id}/{version}/{file}", get(content))
        .route("/v3/registration/{id}/index.json", get(registration))
        .merge(feed::router())
}

/// Stores a version: its package, and what the indexes say of it.
pub(super) async fn store(
    admission: &Admission<'_>,
    artifact: &Artifact,
    metadata: &NugetMetadata,
) -> Result<Response, Refusal> {
    if metadata.symbols {
        let unsupported = "this example registry takes no packages of symbols";
        return Err(Refusal::Malformed(unsupported.to_owned()));
    }
    let version = NugetVersion::of(admission.version()).to_string();
    if admission.is_described(&version).await? {
        let (id, version) = (admission.package(), admission.version());
        return Err(Refusal::Exists(format!(
            "A package with ID '{id}' and version '{version}' already exists and cannot be modified."
        )));
    }
    let described = IndexedPackage {
        id: admission.package().to_owned(),
        version: admission.version().to_owned(),
        description: metadata.description.clone(),
        authors: metadata.authors.clone(),
        sha512: STANDARD.encode(sha512(&artifact.content)),
        bytes: artifact.content.len(),
        dependencies: dependencies(metadata),
    };
    admission
        .store(&file_of(&version), &artifact.content)
        .await?;
    admission.describe(&version, &described).await?;
    Ok(StatusCode::CREATED.into_response())
}

fn dependencies(metadata: &NugetMetadata) -> String {
    let groups = metadata.dependencies.iter().flat_map(|group| {
        let framework = group.target_framework.as_deref().unwrap_or_default();
        group.dependencies.iter().map(move |(id, range)| {
            format!("{id}:{}:{framework}", range.as_deref().unwrap_or_default())
        })
    });
    groups.collect::<Vec<_>>().join("|")
}

/// Orders versions by their numbers; a prerelease is before its release.
fn by_version(left: &IndexedPackage, right: &IndexedPackage) -> Ordering {
    let (left, right) = (
        NugetVersion::of(&left.version),
        NugetVersion::of(&right.version),
    );
    let releases = match (left.label, right.label) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => left.cmp(right),
    };
    left.numbers.cmp(&right.numbers).then(releases)
}

fn file_of(version: &str) -> String {
    format!("{version}.nupkg")
}

/// The versions of a package, oldest first, or the answer that there are none.
async fn packages(registry: &Registry, id: &str) -> Result<Vec<IndexedPackage>, Unanswered> {
    let mut packages: Vec<IndexedPackage> = registry.storage.documents(id).await?;
    if packages.is_empty() {
        return Err(Unanswered::NotFound);
    }
    packages.sort_by(by_version);
    Ok(packages)
}

async fn services(State(registry): State<Arc<Registry>>) -> Response {
    let url = &registry.url;
    let service = |kind: &str, path: &str| json!({ "@type": kind, "@id": format!("{url}{path}") });
    let services = [
        service("PackagePublish/2.0.0", "/api/v2/package"),
        service("PackageBaseAddress/3.0.0", "/v3/content/"),
        service("RegistrationsBaseUrl/3.6.0", "/v3/registration/"),
        // The newest that NuGet 5 knows.
        service("RegistrationsBaseUrl/3.4.0", "/v3/registration/"),
        service("RegistrationsBaseUrl", "/v3/registration/"),
    ];
    Json(json!({ "version": "3.0.0", "resources": services })).into_response()
}

async fn versions(
    State(registry): State<Arc<Registry>>,
    Path(id): Path<String>,
) -> Result<Response, Unanswered> {
    let packages = packages(&registry, &id).await?;
    let versions = packages
        .iter()
        .map(|package| NugetVersion::of(&package.version).to_string());
    Ok(Json(json!({ "versions": versions.collect::<Vec<_>>() })).into_response())
}

async fn content(
    registry: State<Arc<Registry>>,
    Path((id, version, file)): Path<(String, String, String)>,
) -> Result<Response, Unanswered> {
    let version = NugetVersion::of(&version).to_string();
    if !file.eq_ignore_ascii_case(&format!("{id}.{version}.nupkg")) {
        return Err(Unanswered::NotFound);
    }
    package(registry, Path((id, version))).await
}

async fn package(
    registry: State<Arc<Registry>>,
    Path((id, version)): Path<(String, String)>,
) -> Result<Response, Unanswered> {
    download(
        registry,
        Path((id, file_of(&NugetVersion::of(&version).to_string()))),
    )
    .await
}

/// All versions on one page, which is inlined.
async fn registration(
    State(registry): State<Arc<Registry>>,
    Path(id): Path<String>,
) -> Result<Response, Unanswered> {
    let packages = packages(&registry, &id).await?;
    let base = format!(
        "{}/v3/registration/{}",
        registry.url,
        id.to_ascii_lowercase()
    );
    let leaves = packages.iter().map(|package| {
        let version = NugetVersion::of(&package.version).to_string();
        let content = format!("{}/api/v2/package/{}/{version}", registry.url, package.id);
        json!({
            "@id": format!("{base}/{version}.json"), "packageContent": content,
            "catalogEntry": {
                "@id": format!("{base}/{version}.json"), "id": package.id, "version": package.version,
                "description": package.description, "authors": package.authors, "listed": true,
                "packageContent": content,
            },
        })
    });
    let leaves: Vec<_> = leaves.collect();
    let bound = |package: Option<&IndexedPackage>| {
        package.map(|one| NugetVersion::of(&one.version).to_string())
    };
    let page = json!({
        "@id": format!("{base}/index.json#page"), "count": leaves.len(), "items": leaves,
        "lower": bound(packages.first()), "upper": bound(packages.last()),
    });
    let index = json!({ "@id": format!("{base}/index.json"), "count": 1, "items": [page] });
    Ok(Json(index).into_response())
}
