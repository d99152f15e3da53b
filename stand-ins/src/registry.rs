//! A small package registry that accepts Carnet's access tokens: what a resource server has to do,
//! and no more.
//!
//! Packages are files below one folder. An upload needs a bearer token, which a layer verifies
//! before the body is read. The handler then decides by the entries of the token and by what only
//! the registry knows: whether the package exists, and who owns it.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::StatusCode;
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use carnet_resource_server::{
    AccessToken, Operation, PackageNames, ProtectedResource, Realm, RegistryState, Rejection,
    RequireToken, Verifier, allows,
};
use serde_json::json;
use tokio::sync::Mutex;

/// The file in a package's folder that contains the owner's name. No version can have this name.
const OWNER: &str = ".owner";
const MAX_PACKAGE_BYTES: usize = 64 * 1024 * 1024;

/// A registry with its packages in one folder.
#[derive(Debug)]
pub struct Registry {
    verifier: Arc<Verifier>,
    realm: Realm,
    /// The registry's metadata. `None` if the resource URI is not an https URL (RFC 9728 section
    /// 1.2).
    about: Option<ProtectedResource>,
    names: PackageNames,
    folder: PathBuf,
    /// Held during an upload, so that two first uploads cannot both create a package.
    uploading: Mutex<()>,
}

/// Why an upload failed for another reason than the token.
#[derive(Debug, thiserror::Error)]
enum UploadError {
    /// The package name or the version cannot be a file name.
    #[error("names and versions hold letters, digits, `.`, `_`, `-` and `+`")]
    Name,
    /// The version exists, and versions are never replaced.
    #[error("this version was published before")]
    Exists,
    /// Reading or writing the folder failed.
    #[error("the package cannot be stored: {0}")]
    Storage(#[from] std::io::Error),
}

impl Registry {
    /// A registry that stores its packages below `folder` and compares their names as `names` says.
    pub fn new(verifier: Verifier, names: PackageNames, folder: PathBuf) -> Self {
        let about = ProtectedResource::new(verifier.resource(), verifier.issuer()).ok();
        let about = about.map(|about| about.actions(["create", "publish"]));
        let realm = Realm::new("registry");
        let realm = match &about {
            Some(about) => realm.described_by(about),
            None => realm,
        };
        Self {
            verifier: Arc::new(verifier),
            realm,
            about,
            names,
            folder,
            uploading: Mutex::default(),
        }
    }

    /// The routes `GET /packages/{name}` and `PUT /packages/{name}/{version}`, and the registry's
    /// metadata (RFC 9728).
    pub fn router(self) -> Router {
        let mut router = Router::new()
            .route("/packages/{name}/{version}", put(upload))
            .route_layer(RequireToken::new(self.verifier.clone(), self.realm.clone()))
            .route("/packages/{name}", get(show));
        if let Some(about) = self.about.clone() {
            let path = about.path().to_owned();
            router = router.route(&path, get(async move || about.answer::<Body>()));
        }
        router
            .layer(DefaultBodyLimit::max(MAX_PACKAGE_BYTES))
            .layer(map_response(report))
            .with_state(Arc::new(self))
    }

    async fn publish(
        &self,
        token: &AccessToken,
        name: &str,
        version: &str,
        content: &[u8],
    ) -> Result<Response, UploadError> {
        if !is_file_name(name) || !is_file_name(version) {
            return Err(UploadError::Name);
        }
        let package = self.folder.join(self.names.normalise(name).as_ref());
        let digest = format!("sha256:{}", hex(&carnet_jose::sha256(content)));
        let operation = Operation {
            action: "publish",
            package: name,
            version: Some(version),
            digest: Some(&digest),
        };

        let _one_at_a_time = self.uploading.lock().await;
        let owner = read_owner(&package).await?;
        let state = RegistryState {
            exists: owner.is_some(),
            owned_by: &|name| owner.as_deref() == Some(name),
            // This registry has no organizations: each principal acts for itself only.
            may_act_for: &|principal, owner| principal == owner,
        };
        let allowed = match allows(&token.authorization_details, self.names, &operation, &state) {
            Ok(allowed) => allowed,
            Err(denied) => return Ok(self.realm.deny(denied, &operation)),
        };
        if tokio::fs::try_exists(package.join(version)).await? {
            return Err(UploadError::Exists);
        }
        tokio::fs::create_dir_all(&package).await?;
        if owner.is_none() {
            tokio::fs::write(package.join(OWNER), allowed.owner).await?;
        }
        tokio::fs::write(package.join(version), content).await?;
        let done = json!({ "name": name, "version": version, "owner": allowed.owner });
        Ok((StatusCode::CREATED, Json(done)).into_response())
    }
}

async fn upload(
    State(registry): State<Arc<Registry>>,
    Extension(token): Extension<AccessToken>,
    Path((name, version)): Path<(String, String)>,
    content: Bytes,
) -> Response {
    let published = registry.publish(&token, &name, &version, &content).await;
    published.unwrap_or_else(UploadError::into_response)
}

/// Logs for the operator why tokens cannot be checked; the response to the client does not say it.
async fn report(response: Response) -> Response {
    if let Some(Rejection::Unavailable(outage)) = response.extensions().get() {
        eprintln!("tokens cannot be checked: {outage}");
    }
    response
}

async fn show(State(registry): State<Arc<Registry>>, Path(name): Path<String>) -> Response {
    let package = registry
        .folder
        .join(registry.names.normalise(&name).as_ref());
    let found = if is_file_name(&name) {
        versions(&package).await
    } else {
        Ok(None)
    };
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
            Self::Name => StatusCode::BAD_REQUEST,
            Self::Exists => StatusCode::CONFLICT,
            Self::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "detail": self.to_string() }))).into_response()
    }
}

/// Whether a text can be a file name here: it cannot lead out of the folder or name the owner's
/// file.
fn is_file_name(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+');
    !text.is_empty() && text.len() <= 128 && !text.starts_with('.') && text.bytes().all(allowed)
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use axum::http::header::WWW_AUTHENTICATE;
    use axum::http::{Method, Request};
    use tower_service::Service as _;

    use super::*;

    async fn send(method: Method, path: &str) -> Response {
        let verifier =
            Verifier::new("https://carnet.example", "https://registry.example/npm/").unwrap();
        let mut router = Registry::new(verifier, PackageNames::Exact, "nowhere".into()).router();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        router.call(request).await.unwrap()
    }

    #[tokio::test]
    async fn uploads_need_a_token_and_nothing_else_does() {
        const ABOUT: &str = "/.well-known/oauth-protected-resource/npm/";
        let refused = send(Method::PUT, "/packages/widgets/1.0.0").await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        let challenge = refused.headers()[WWW_AUTHENTICATE].to_str().unwrap();
        assert!(
            challenge.contains(&format!(
                "resource_metadata=\"https://registry.example{ABOUT}\""
            )),
            "{challenge}"
        );
        assert_eq!(send(Method::GET, ABOUT).await.status(), StatusCode::OK);
        assert_eq!(
            send(Method::GET, "/.well-known/oauth-protected-resource")
                .await
                .status(),
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            send(Method::GET, "/packages/widgets").await.status(),
            StatusCode::NOT_FOUND
        );
    }
}
