//! The registry of npm, pnpm and yarn: publishing, packuments, tarballs and dist-tags.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use carnet_publish_protocols::NpmMetadata;
use serde_json::{Map, Value, json};

use super::admission::Admission;
use super::refusal::Refusal;
use super::upload::{Artifact, upload};
use super::{Registry, Unanswered, download};

/// The file with the tags of a package and their versions.
const TAGS: &str = "dist-tags";

/// Names of tags and the versions they point at.
type Tags = BTreeMap<String, String>;

/// The name of a scoped package is one segment (`@scope%2fname`) or two, as the client likes.
pub(super) fn router() -> Router<Arc<Registry>> {
    Router::new()
        .route("/{name}", put(upload).get(packument))
        .route("/{scope}/{name}", get(scoped_packument))
        .route("/{name}/-/{file}", get(download))
        .route("/{scope}/{name}/-/{file}", get(scoped_download))
        .route("/-/package/{name}/visibility", get(visibility))
        .route("/-/package/{name}/dist-tags", get(dist_tags))
        .route(
            "/-/package/{name}/dist-tags/{tag}",
            put(upload).delete(upload),
        )
}

/// Stores a version: its tarball, its manifest, and the tags that point at it.
pub(super) async fn store(
    registry: &Registry,
    admission: &Admission<'_>,
    artifact: &Artifact,
    metadata: &NpmMetadata,
) -> Result<Response, Refusal> {
    let (package, version) = (admission.package(), admission.version());
    if admission.is_described(version).await? {
        return Err(Refusal::Exists(format!(
            "You cannot publish over the previously published versions: {version}."
        )));
    }
    let mut manifest = metadata.manifest.clone();
    // The attachment of a scoped package has the scope in its name; the file has not.
    let file = artifact.name.rsplit('/').next().unwrap_or_default();
    let tarball = format!("{}/{package}/-/{file}", registry.url);
    let dist = json!({
        "tarball": tarball, "integrity": metadata.integrity, "shasum": metadata.shasum,
    });
    manifest.insert("dist".to_owned(), dist);
    let mut tags = tags(registry, package).await?;
    tags.extend(metadata.dist_tags.clone());

    admission.store(file, &artifact.content).await?;
    admission.describe(version, &manifest).await?;
    admission
        .store(TAGS, json!(tags).to_string().as_bytes())
        .await?;
    Ok((StatusCode::CREATED, Json(json!({ "ok": true }))).into_response())
}

/// Points a tag at a version that exists, or removes it (`None`).
pub(super) async fn store_tag(
    registry: &Registry,
    admission: &Admission<'_>,
    tag: &str,
    version: Option<&str>,
) -> Result<Response, Refusal> {
    let mut tags = tags(registry, admission.package()).await?;
    match version {
        None => drop(tags.remove(tag)),
        Some(version) if admission.is_described(version).await? => {
            tags.insert(tag.to_owned(), version.to_owned());
        }
        Some(version) => {
            let unknown = format!("the package has no version {version}");
            return Err(Refusal::Malformed(unknown));
        }
    }
    admission
        .store(TAGS, json!(tags).to_string().as_bytes())
        .await?;
    Ok((StatusCode::CREATED, Json(json!({ "ok": true }))).into_response())
}

async fn tags(registry: &Registry, package: &str) -> std::io::Result<Tags> {
    let tags = registry.storage.read(package, TAGS).await?;
    Ok(match tags {
        Some(tags) => serde_json::from_slice(&tags)?,
        None => Tags::new(),
    })
}

async fn packument(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
) -> Result<Response, Unanswered> {
    let manifests: Vec<Map<String, Value>> = registry.storage.documents(&name).await?;
    if manifests.is_empty() {
        return Ok(not_found());
    }
    let tags = tags(&registry, &name).await?;
    let versions: Map<String, Value> = manifests
        .into_iter()
        .filter_map(|manifest| {
            let version = manifest.get("version")?.as_str()?.to_owned();
            Some((version, manifest.into()))
        })
        .collect();
    let packument = json!({ "_id": name, "name": name, "dist-tags": tags, "versions": versions });
    Ok(Json(packument).into_response())
}

async fn scoped_packument(
    registry: State<Arc<Registry>>,
    Path((scope, name)): Path<(String, String)>,
) -> Result<Response, Unanswered> {
    packument(registry, Path(format!("{scope}/{name}"))).await
}

async fn scoped_download(
    registry: State<Arc<Registry>>,
    Path((scope, name, file)): Path<(String, String, String)>,
) -> Result<Response, Unanswered> {
    download(registry, Path((format!("{scope}/{name}"), file))).await
}

/// Nothing is public here, so npm does not try to sign a provenance statement at Sigstore, which it
/// does for public packages only.
async fn visibility() -> Response {
    Json(json!({ "public": false })).into_response()
}

async fn dist_tags(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
) -> Result<Response, Unanswered> {
    let tags = tags(&registry, &name).await?;
    if tags.is_empty() {
        return Ok(not_found());
    }
    Ok(Json(tags).into_response())
}

fn not_found() -> Response {
    let body = json!({ "error": "Not found", "message": "Not found" });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}
