//! The web API of crates.io and a sparse index, for cargo.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use carnet_publish_protocols::CargoMetadata;
use serde_json::{Map, Value, json};

use super::admission::Admission;
use super::refusal::Refusal;
use super::upload::{Artifact, upload};
use super::{Registry, Unanswered, download};

pub(super) fn router() -> Router<Arc<Registry>> {
    Router::new()
        .route("/api/v1/crates/new", put(upload))
        .route("/api/v1/crates/{name}/{version}/download", get(crate_file))
        .route("/index/config.json", get(config))
        .route("/index/{*path}", get(entries))
}

/// Stores a version: its `.crate` file and its line in the index.
pub(super) async fn store(
    admission: &Admission<'_>,
    artifact: &Artifact,
    metadata: &CargoMetadata,
) -> Result<Response, Refusal> {
    let version = admission.version();
    if admission.is_described(version).await? {
        return Err(Refusal::Exists(format!(
            "crate version `{version}` is already uploaded"
        )));
    }
    let entry = entry(&metadata.json, &artifact.sha256);
    admission
        .store(&file_of(version), &artifact.content)
        .await?;
    admission.describe(version, &entry).await?;
    let none: [&str; 0] = [];
    let warnings = json!({ "invalid_categories": none, "invalid_badges": none, "other": none });
    Ok(Json(json!({ "warnings": warnings })).into_response())
}

/// The line of the index, which names some members differently than the request ("Index Format" in
/// the Cargo Book).
fn entry(request: &Map<String, Value>, sha256: &str) -> Value {
    let member = |name: &str| request.get(name).cloned().unwrap_or_default();
    let dependencies = match request.get("deps") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_object).collect(),
        _ => Vec::new(),
    };
    json!({
        "name": member("name"), "vers": member("vers"), "cksum": sha256, "yanked": false, "v": 2,
        "deps": dependencies.into_iter().map(dependency).collect::<Vec<_>>(),
        "features": {}, "features2": member("features"),
        "links": member("links"), "rust_version": member("rust_version"),
    })
}

/// A dependency that is renamed in `Cargo.toml` has its new name in `name` and its own in
/// `package`.
fn dependency(request: &Map<String, Value>) -> Value {
    let mut dependency = request.clone();
    let requirement = dependency.remove("version_req").unwrap_or_default();
    dependency.insert("req".to_owned(), requirement);
    if let Some(new_name @ Value::String(_)) = dependency.remove("explicit_name_in_toml") {
        let own_name = dependency.insert("name".to_owned(), new_name);
        dependency.insert("package".to_owned(), own_name.unwrap_or_default());
    }
    dependency.into()
}

fn file_of(version: &str) -> String {
    format!("{version}.crate")
}

async fn config(State(registry): State<Arc<Registry>>) -> Response {
    let url = &registry.url;
    let downloads = format!("{url}/api/v1/crates");
    Json(json!({ "dl": downloads, "api": url, "auth-required": false })).into_response()
}

/// The index file of a crate, whose path ends with its name in lower case.
async fn entries(
    State(registry): State<Arc<Registry>>,
    Path(path): Path<String>,
) -> Result<Response, Unanswered> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let entries: Vec<Value> = registry.storage.documents(name).await?;
    if entries.is_empty() {
        return Err(Unanswered::NotFound);
    }
    let lines: Vec<String> = entries.iter().map(Value::to_string).collect();
    Ok(lines.join("\n").into_response())
}

async fn crate_file(
    registry: State<Arc<Registry>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Unanswered> {
    download(registry, Path((name, file_of(&version)))).await
}
