//! The upload API of PyPI (`POST /legacy/`, or `POST /` as most other registries have it) and the
//! simple index (PEP 503 and PEP 691): uv, twine, pip.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use carnet_publish_protocols::PypiMetadata;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::admission::Admission;
use super::markup::escaped;
use super::refusal::Refusal;
use super::upload::{Artifact, upload};
use super::{Registry, Unanswered, download};

/// The content type of the simple index as JSON (PEP 691).
const JSON_INDEX: &str = "application/vnd.pypi.simple.v1+json";

/// What the index says of a file (PEP 691). The URL is added when the index is answered.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct IndexedFile {
    filename: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    hashes: Hashes,
    #[serde(skip_serializing_if = "Option::is_none")]
    requires_python: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Hashes {
    sha256: String,
}

pub(super) fn router() -> Router<Arc<Registry>> {
    Router::new()
        .route("/legacy/", post(upload))
        // Where the gateway uploads: most registries have no `/legacy/`.
        .route("/", post(upload))
        .route("/simple/", get(projects))
        .route("/simple/{project}/", get(project))
        .route("/packages/{package}/{file}", get(download))
}

/// Stores a file and what the index says of it. A version may have several files.
pub(super) async fn store(
    admission: &Admission<'_>,
    artifact: &Artifact,
    metadata: &PypiMetadata,
) -> Result<Response, Refusal> {
    if admission.has(&artifact.name).await? {
        return Err(Refusal::Exists(format!(
            "File already exists: {}",
            artifact.name
        )));
    }
    let described = IndexedFile {
        filename: artifact.name.clone(),
        url: None,
        hashes: Hashes {
            sha256: artifact.sha256.clone(),
        },
        requires_python: metadata.requires_python.clone(),
    };
    admission.store(&artifact.name, &artifact.content).await?;
    admission.describe(&artifact.name, &described).await?;
    Ok(StatusCode::OK.into_response())
}

async fn projects(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
) -> Result<Response, Unanswered> {
    let names = registry.storage.packages().await?;
    if wants_json(&headers) {
        let projects: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        let meta = json!({ "api-version": "1.0" });
        return Ok(index(&json!({ "meta": meta, "projects": projects })));
    }
    let links = names
        .iter()
        .map(|name| format!("<a href=\"{name}/\">{name}</a><br>\n"));
    Ok(page(&links.collect::<String>()))
}

async fn project(
    State(registry): State<Arc<Registry>>,
    Path(project): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Unanswered> {
    let project = registry.storage.names.normalise(&project).into_owned();
    let files: Vec<IndexedFile> = registry.storage.documents(&project).await?;
    if files.is_empty() {
        return Err(Unanswered::NotFound);
    }
    let base = format!("{}/packages/{project}", registry.url);
    if wants_json(&headers) {
        let with_url = |file: IndexedFile| IndexedFile {
            url: Some(format!("{base}/{}", file.filename)),
            ..file
        };
        let files: Vec<IndexedFile> = files.into_iter().map(with_url).collect();
        let meta = json!({ "api-version": "1.0" });
        return Ok(index(
            &json!({ "meta": meta, "name": project, "files": files }),
        ));
    }
    let links = files.iter().map(|file| link(&base, file));
    Ok(page(&links.collect::<String>()))
}

fn link(base: &str, file: &IndexedFile) -> String {
    let (name, sha256) = (&file.filename, &file.hashes.sha256);
    let requires = match &file.requires_python {
        Some(requires) => format!(" data-requires-python=\"{}\"", escaped(requires)),
        None => String::new(),
    };
    format!("<a href=\"{base}/{name}#sha256={sha256}\"{requires}>{name}</a><br>\n")
}

fn page(links: &str) -> Response {
    Html(format!(
        "<!DOCTYPE html>\n<title>Simple index</title>\n{links}"
    ))
    .into_response()
}

fn index(document: &Value) -> Response {
    ([(CONTENT_TYPE, JSON_INDEX)], document.to_string()).into_response()
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains(JSON_INDEX))
}
