//! `PUT /packages/{name}/{version}` and `GET /packages/{name}`, for curl. A version is one file.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use carnet_resource_server::{AccessToken, Operation};
use serde_json::json;

use super::admission::Uploader;
use super::refusal::Refusal;
use super::storage::is_file_name;
use super::{Registry, Unanswered, hex};

pub(super) fn router() -> Router<Arc<Registry>> {
    Router::new()
        .route("/packages/{name}/{version}", put(upload))
        .route("/packages/{name}", get(show))
}

async fn upload(
    State(registry): State<Arc<Registry>>,
    Path((name, version)): Path<(String, String)>,
    Uploader(token): Uploader,
    content: Bytes,
) -> Response {
    publish(&registry, &token, &name, &version, &content)
        .await
        .unwrap_or_else(|refusal| registry.refuse(&refusal))
}

async fn publish(
    registry: &Registry,
    token: &AccessToken,
    name: &str,
    version: &str,
    content: &[u8],
) -> Result<Response, Refusal> {
    if !is_file_name(version) {
        return Err(Refusal::names());
    }
    let digest = format!("sha256:{}", hex(&carnet_jose::sha256(content)));
    let operation = Operation {
        action: "publish",
        package: name,
        version: Some(version),
        digest: Some(&digest),
    };
    let admission = registry.admit(token, &operation).await?;
    if admission.has(version).await? {
        let exists = "this version was published before";
        return Err(Refusal::Exists(exists.to_owned()));
    }
    admission.store(version, content).await?;
    let done = json!({ "name": name, "version": version, "owner": admission.owner() });
    Ok((StatusCode::CREATED, Json(done)).into_response())
}

async fn show(
    State(registry): State<Arc<Registry>>,
    Path(name): Path<String>,
) -> Result<Response, Unanswered> {
    let owner = registry.storage.owner(&name).await?;
    let owner = owner.ok_or(Unanswered::NotFound)?;
    let versions = registry.storage.files(&name).await?;
    let shown = json!({ "name": name, "owner": owner, "versions": versions });
    Ok(Json(shown).into_response())
}
