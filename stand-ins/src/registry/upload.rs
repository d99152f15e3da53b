//! What all protocols but the generic one do with an upload: verify the token, read what the
//! request wants, decide, and store.

use std::io::{Cursor, Read as _};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use carnet_publish_protocols::{Limits, Metadata, Publication, RequestHead, classify, read};
use carnet_resource_server::{AccessToken, Operation};

use super::admission::{Admission, Uploader};
use super::refusal::Refusal;
use super::{MAX_UPLOAD_BYTES, Registry, crates_io, npm, nuget, pypi, rubygems};

/// A file of an upload.
pub(crate) struct Artifact {
    pub(crate) name: String,
    pub(crate) sha256: String,
    pub(crate) content: Vec<u8>,
}

/// Handles every request that changes a package.
pub(crate) async fn upload(
    State(registry): State<Arc<Registry>>,
    Uploader(token): Uploader,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let head = RequestHead {
        method: method.as_str(),
        path: uri.path(),
        content_type,
        content_length: None,
    };
    let uploaded = async {
        let (publication, artifacts) = read_upload(&registry, &head, body).await?;
        apply(&registry, &token, &publication, &artifacts).await
    };
    match uploaded.await {
        Ok(response) => response,
        Err(refusal) => registry.refuse(&refusal),
    }
}

/// Reads what the request says of itself. Archives are inflated for it, which takes a while.
async fn read_upload(
    registry: &Registry,
    head: &RequestHead<'_>,
    body: Bytes,
) -> Result<(Publication, Vec<Artifact>), Refusal> {
    let protocol = registry.protocol.published_with().ok_or_else(not_ours)?;
    let request = classify(protocol, head).ok_or_else(not_ours)?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut body = Cursor::new(body);
        let publication = read(&request, &mut body, &Limits::default())?;
        let mut artifacts = Vec::new();
        for file in &publication.files {
            let mut content = Vec::new();
            file.open(&mut body)?
                .take(limit())
                .read_to_end(&mut content)?;
            artifacts.push(Artifact {
                name: file.name.clone(),
                sha256: file.sha256.clone(),
                content,
            });
        }
        Ok((publication, artifacts))
    });
    reading.await.map_err(std::io::Error::other)?
}

fn limit() -> u64 {
    u64::try_from(MAX_UPLOAD_BYTES).unwrap_or(u64::MAX)
}

fn not_ours() -> Refusal {
    Refusal::Malformed("this is not a publishing request of the registry's protocol".to_owned())
}

/// Decides whether the token allows what the request wants, and does it.
async fn apply(
    registry: &Registry,
    token: &AccessToken,
    publication: &Publication,
    artifacts: &[Artifact],
) -> Result<Response, Refusal> {
    let digest = artifacts
        .first()
        .map(|artifact| format!("sha256:{}", artifact.sha256));
    let operation = Operation {
        action: publication.operation.action(),
        package: &publication.package,
        version: publication.version.as_deref(),
        digest: digest.as_deref(),
    };
    let admission = registry.admit(token, &operation).await?;
    store(registry, &admission, publication, artifacts).await
}

async fn store(
    registry: &Registry,
    admission: &Admission<'_>,
    publication: &Publication,
    artifacts: &[Artifact],
) -> Result<Response, Refusal> {
    use carnet_publish_protocols::Operation::{Publish, Tag, Untag};
    match (publication.operation, &publication.metadata, artifacts) {
        (Publish, Metadata::Pypi(about), [file]) => pypi::store(admission, file, about).await,
        (Publish, Metadata::Npm(about), [file]) => {
            npm::store(registry, admission, file, about).await
        }
        (Publish, Metadata::Cargo(about), [file]) => crates_io::store(admission, file, about).await,
        (Publish, Metadata::Gem(about), [file]) => rubygems::store(admission, file, about).await,
        (Publish, Metadata::Nuget(about), [file]) => nuget::store(admission, file, about).await,
        (Tag | Untag, Metadata::NpmTag { tag }, _) => {
            npm::store_tag(registry, admission, tag, publication.version.as_deref()).await
        }
        (other, _, _) => Err(Refusal::Malformed(format!(
            "this example registry cannot {}",
            other.as_str()
        ))),
    }
}
