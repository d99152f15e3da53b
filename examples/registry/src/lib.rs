//! A small package registry that takes Carnet's access tokens: what a resource server has to do, and no more.
//!
//! Packages are files below one folder. An upload needs a bearer token; the token's entries decide together with what the
//! registry knows (does the package exist, who owns it) whether it is allowed.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use carnet_resource_server::{Operation, PackageNames, RegistryState, Rejection, Verifier, allows};
use serde_json::json;
use tokio::sync::Mutex;

/// The file that holds the owner's name; no version may be called so.
const OWNER: &str = ".owner";
const MAX_PACKAGE_BYTES: usize = 64 * 1024 * 1024;

/// The registry.
#[derive(Debug)]
pub struct Registry {
    verifier: Verifier,
    names: PackageNames,
    folder: PathBuf,
    /// Two uploads of one new package must not both make it.
    uploading: Mutex<()>,
}

/// Why an upload was not done.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The token is missing or not valid here.
    #[error(transparent)]
    Token(#[from] Rejection),
    /// The token does not allow this.
    #[error(transparent)]
    Denied(#[from] carnet_resource_server::Denied),
    /// The name or version cannot be used.
    #[error("names and versions hold letters, digits, `.`, `_`, `-` and `+`")]
    Name,
    /// The version is there already.
    #[error("this version was published before")]
    Exists,
    /// The disk failed.
    #[error("the package cannot be stored: {0}")]
    Storage(#[from] std::io::Error),
}

impl Registry {
    /// A registry that keeps its packages below `folder`.
    pub fn new(verifier: Verifier, names: PackageNames, folder: PathBuf) -> Self {
        Self { verifier, names, folder, uploading: Mutex::default() }
    }

    /// Its routes: `GET /packages/{name}` and `PUT /packages/{name}/{version}`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/packages/{name}", get(show))
            .route("/packages/{name}/{version}", put(upload))
            .layer(DefaultBodyLimit::max(MAX_PACKAGE_BYTES))
            .with_state(Arc::new(self))
    }

    async fn publish(
        &self,
        headers: &HeaderMap,
        name: &str,
        version: &str,
        content: &[u8],
    ) -> Result<String, UploadError> {
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = self.verifier.verify(authorization).await?;
        if !is_file_name(name) || !is_file_name(version) {
            return Err(UploadError::Name);
        }
        let package = self.folder.join(self.names.normalise(name).as_ref());
        let digest = format!("sha256:{}", hex(&carnet_jose::sha256(content)));
        let operation = Operation { action: "publish", package: name, version: Some(version), digest: Some(&digest) };

        let _one_at_a_time = self.uploading.lock().await;
        let owner = read_owner(&package).await?;
        let state = RegistryState {
            exists: owner.is_some(),
            owned_by: &|name| owner.as_deref() == Some(name),
            // This registry has no organizations: everybody acts for themselves.
            may_act_for: &|principal, owner| principal == owner,
        };
        let allowed = allows(&token.authorization_details, self.names, &operation, &state)?;
        if tokio::fs::try_exists(package.join(version)).await? {
            return Err(UploadError::Exists);
        }
        tokio::fs::create_dir_all(&package).await?;
        if owner.is_none() {
            tokio::fs::write(package.join(OWNER), allowed.owner).await?;
        }
        tokio::fs::write(package.join(version), content).await?;
        Ok(allowed.owner.to_owned())
    }
}

async fn upload(
    State(registry): State<Arc<Registry>>,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    content: Bytes,
) -> Response {
    match registry.publish(&headers, &name, &version, &content).await {
        Ok(owner) => {
            (StatusCode::CREATED, Json(json!({ "name": name, "version": version, "owner": owner }))).into_response()
        }
        Err(error) => error.into_response(),
    }
}

async fn show(State(registry): State<Arc<Registry>>, Path(name): Path<String>) -> Response {
    let package = registry.folder.join(registry.names.normalise(&name).as_ref());
    let found = if is_file_name(&name) { versions(&package).await } else { Ok(None) };
    match found {
        Ok(Some((owner, versions))) => {
            Json(json!({ "name": name, "owner": owner, "versions": versions })).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => UploadError::Storage(error).into_response(),
    }
}

async fn versions(package: &FilePath) -> std::io::Result<Option<(String, Vec<String>)>> {
    let Some(owner) = read_owner(package).await? else {
        return Ok(None);
    };
    let mut versions = Vec::new();
    let mut entries = tokio::fs::read_dir(package).await?;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != OWNER {
            versions.push(name);
        }
    }
    versions.sort();
    Ok(Some((owner, versions)))
}

async fn read_owner(package: &FilePath) -> std::io::Result<Option<String>> {
    match tokio::fs::read_to_string(package.join(OWNER)).await {
        Ok(owner) => Ok(Some(owner)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl UploadError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Token(rejection) => StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::UNAUTHORIZED),
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Name => StatusCode::BAD_REQUEST,
            Self::Exists => StatusCode::CONFLICT,
            Self::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let reason = match &self {
            Self::Denied(denied) => Some(denied.reason.code()),
            _ => None,
        };
        let body = Json(json!({ "detail": self.to_string(), "reason": reason }));
        match self {
            Self::Token(rejection) => {
                (status, [(WWW_AUTHENTICATE, rejection.challenge("registry"))], body).into_response()
            }
            Self::Denied(_) => {
                let challenge = "Bearer realm=\"registry\", error=\"insufficient_scope\"";
                (status, [(WWW_AUTHENTICATE, challenge)], body).into_response()
            }
            _ => (status, body).into_response(),
        }
    }
}

/// Whether a text can be the name of a file here: nothing that leads elsewhere, and not the owner's file.
fn is_file_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+');
    !text.is_empty() && text.len() <= 128 && !text.starts_with('.') && text.bytes().all(allowed)
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
