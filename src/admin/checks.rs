//! Checks principals, resource servers and trusted issuers against other stored objects before they
//! are saved: references must resolve, and two objects must not contradict each other.

use super::managed::{Managed, Occasion};
use super::references::existing_principal;
use super::{Rejected, front_doors};
use crate::app::App;
use crate::documents::{
    ClientDocument, PrincipalDocument, ResourceServerDocument, Stored, TrustedIssuerDocument,
    compile_issuer,
};
use crate::model::KeySource;
use crate::trust::DocumentError;

fn invalid(pointer: &str, detail: impl Into<String>) -> Rejected {
    Rejected::Invalid(vec![DocumentError::new(pointer, detail)])
}

impl Managed for PrincipalDocument {
    async fn prepare(
        &mut self,
        app: &App,
        _: &str,
        present: Option<&Stored<Self>>,
        _: Occasion<'_>,
    ) -> Result<Self::State, Rejected> {
        let mut problems = Vec::new();
        for (at, owner) in self.acts_for.iter_mut().enumerate() {
            let pointer = format!("/acts_for/{at}");
            problems.extend(existing_principal(app, owner, pointer).await?.err());
        }
        if !problems.is_empty() {
            return Err(Rejected::Invalid(problems));
        }
        match present {
            Some(present) => match &self.id {
                Some(id) if *id != present.id => {
                    return Err(invalid("/id", "must not change once the principal exists"));
                }
                _ => self.id = Some(present.id.clone()),
            },
            // A token's `sub` is the id of a principal or the name of a client, so the two must
            // never be equal.
            None => {
                if let Some(id) = &self.id
                    && app.store.named::<ClientDocument>(id).await?.is_some()
                {
                    return Err(invalid("/id", "must not be the client_id of a client"));
                }
            }
        }
        Ok(())
    }
}

impl Managed for ResourceServerDocument {
    async fn prepare(
        &mut self,
        app: &App,
        name: &str,
        _: Option<&Stored<Self>>,
        _: Occasion<'_>,
    ) -> Result<Self::State, Rejected> {
        let mut problems = Vec::new();
        for other in app
            .store
            .all_objects::<Self>()
            .await?
            .iter()
            .filter(|other| other.name != name)
        {
            problems.extend(self.conflicts_with(&other.name, &other.document));
        }
        problems.extend(front_doors::problems_of(self, app).await?);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Rejected::Invalid(problems))
        }
    }
}

impl Managed for TrustedIssuerDocument {
    async fn prepare(
        &mut self,
        app: &App,
        name: &str,
        present: Option<&Stored<Self>>,
        occasion: Occasion<'_>,
    ) -> Result<Self::State, Rejected> {
        let mut problems = Vec::new();
        if let Some(owner) = &mut self.owner {
            problems.extend(existing_principal(app, owner, "/owner").await?.err());
        }
        let moved = present
            .map(|present| self.moved_from(&present.document))
            .unwrap_or_default();
        if !moved.is_empty() && app.store.has_credentials_of(name).await? {
            let detail = "must not change while federated credentials refer to the trusted issuer";
            problems.extend(
                moved
                    .into_iter()
                    .map(|pointer| DocumentError::new(pointer, detail)),
            );
        }
        for other in app
            .store
            .all_objects::<Self>()
            .await?
            .iter()
            .filter(|other| other.name != name)
        {
            problems.extend(self.conflicts_with(&other.name, &other.document, app.context()));
        }
        problems.extend(front_doors::in_conflict(self, app, name).await?);
        for (pointer, path) in self.keys.as_ref().map(named_files).unwrap_or_default() {
            let over_network = !occasion.author.is_local && app.config.key_files_dir.is_none();
            let present = present.and_then(|present| present.document.keys.as_ref());
            if over_network && present != self.keys.as_ref() {
                let detail = "must not name a file over the network unless the server's configuration sets key_files_dir";
                problems.push(DocumentError::new(pointer, detail));
            }
            problems.extend(
                app.upstream
                    .files()
                    .check(path)
                    .err()
                    .map(|detail| DocumentError::new(pointer, detail)),
            );
        }
        if !problems.is_empty() {
            return Err(Rejected::Invalid(problems));
        }
        let unreachable = if occasion.online {
            unreachable(self, app, name).await
        } else {
            None
        };
        unreachable.map_or(Ok(()), |problem| Err(Rejected::NoKeys(problem)))
    }
}

/// Fetches the keys once, so that a wrong URL is reported when the issuer is saved and not when
/// the first workload presents an assertion.
async fn unreachable(
    document: &TrustedIssuerDocument,
    app: &App,
    name: &str,
) -> Option<DocumentError> {
    let now = app.clock.now();
    let stored = Stored {
        id: crate::ids::TrustedIssuerId::new(now).to_string(),
        name: name.to_owned(),
        version: 0,
        created_at: now,
        updated_at: now,
        document: document.clone(),
        state: (),
    };
    let issuer = compile_issuer(&stored, app.context())?;
    let error = app.upstream.try_fetch(&issuer).await.err()?;
    let detail = format!(
        "must lead to usable keys: {error}; ?validate=offline (apply --offline) saves without fetching"
    );
    Some(DocumentError::new("/keys", detail))
}

/// The server files that a key source names, each with its JSON Pointer.
pub fn named_files(keys: &KeySource) -> Vec<(&'static str, &str)> {
    match keys {
        KeySource::File { path }
        | KeySource::SpiffeBundle {
            path: Some(path), ..
        } => vec![("/keys/path", path)],
        KeySource::TokenReview {
            ca_file,
            token_file,
            ..
        } => files_of_requests(ca_file.as_deref(), Some(token_file)),
        KeySource::JwksUri {
            ca_file,
            token_file,
            ..
        } => files_of_requests(ca_file.as_deref(), token_file.as_deref()),
        KeySource::SpiffeBundle { path: None, .. }
        | KeySource::Static { .. }
        | KeySource::Discovery => Vec::new(),
    }
}

/// The files with the certificate authority and the bearer token for a request.
fn files_of_requests<'a>(
    ca_file: Option<&'a str>,
    token_file: Option<&'a str>,
) -> Vec<(&'static str, &'a str)> {
    let ca = ca_file.map(|path| ("/keys/ca_file", path));
    let token = token_file.map(|path| ("/keys/token_file", path));
    ca.into_iter().chain(token).collect()
}
