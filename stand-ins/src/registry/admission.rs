//! Whether an upload is allowed.

use std::io;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use carnet_resource_server::{AccessToken, Operation, RegistryState, allows};
use serde::Serialize;
use tokio::sync::MutexGuard;

use super::Registry;
use super::refusal::Refusal;
use super::storage::DOCUMENT;

/// The verified token of an upload. Handlers take it before the body, so that nothing of the body
/// is read for a request without a valid token.
pub(crate) struct Uploader(pub(crate) AccessToken);

/// An upload that the token allows. While it lives, no other upload is decided: what was true when
/// it was allowed is still true when it is stored.
pub(crate) struct Admission<'r> {
    registry: &'r Registry,
    package: String,
    version: String,
    owner: String,
    is_new: bool,
    _one_at_a_time: MutexGuard<'r, ()>,
}

impl FromRequestParts<Arc<Registry>> for Uploader {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        registry: &Arc<Registry>,
    ) -> Result<Self, Response> {
        registry
            .verify(parts)
            .await
            .map(Self)
            .map_err(|rejection| registry.refuse(&Refusal::Token(rejection)))
    }
}

impl Registry {
    /// Decides whether the token allows an operation, as of now.
    pub(crate) async fn admit(
        &self,
        token: &AccessToken,
        operation: &Operation<'_>,
    ) -> Result<Admission<'_>, Refusal> {
        if !self.storage.can_name(operation.package) {
            return Err(Refusal::names());
        }
        let one_at_a_time = self.storage.change().await;
        let owner = self.storage.owner(operation.package).await?;
        let state = RegistryState {
            exists: owner.is_some(),
            owned_by: &|name| owner.as_deref() == Some(name),
            // This registry has no organizations: each principal acts for itself only.
            may_act_for: &|principal, owner| principal == owner,
        };
        let names = self.storage.names;
        let allowed = allows(&token.authorization_details, names, operation, &state)
            .map_err(|denied| Refusal::denied(denied, operation, token))?;
        Ok(Admission {
            registry: self,
            package: operation.package.to_owned(),
            version: operation.version.unwrap_or_default().to_owned(),
            owner: allowed.owner.to_owned(),
            is_new: owner.is_none(),
            _one_at_a_time: one_at_a_time,
        })
    }
}

impl Admission<'_> {
    /// The owner on whose behalf the upload is made.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// The name of the package, as the client wrote it.
    pub(crate) fn package(&self) -> &str {
        &self.package
    }

    /// The version, as the client wrote it. Empty if the operation has none.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether the package has a file of this name already.
    pub(crate) async fn has(&self, file: &str) -> io::Result<bool> {
        let files = self.registry.storage.files(&self.package).await?;
        Ok(files.iter().any(|name| name == file))
    }

    /// Whether the package has a document of this name, without `.json`.
    pub(crate) async fn is_described(&self, name: &str) -> io::Result<bool> {
        self.has(&format!("{name}{DOCUMENT}")).await
    }

    /// Stores a file of the package, and the owner of a new package before it.
    pub(crate) async fn store(&self, file: &str, content: &[u8]) -> io::Result<()> {
        let storage = &self.registry.storage;
        if self.is_new {
            storage.write_owner(&self.package, &self.owner).await?;
        }
        storage.write(&self.package, file, content).await
    }

    /// Stores a document, from which the index is made: after the files that it describes.
    pub(crate) async fn describe(&self, name: &str, document: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(document)?;
        self.store(&format!("{name}{DOCUMENT}"), &text).await
    }
}
