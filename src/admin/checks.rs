//! What a document says of others: do they exist, and does it contradict them.

use super::Rejected;
use super::managed::{Managed, Occasion};
use crate::app::App;
use crate::documents::{
    ClientDocument, PrincipalDocument, ResourceServerDocument, Stored, TrustedIssuerDocument, compile_issuer,
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
            match app.store.named::<Self>(owner).await? {
                Some(principal) => owner.clone_from(&principal.name),
                None => {
                    problems
                        .push(DocumentError::new(format!("/acts_for/{at}"), format!("there is no principal {owner}")));
                }
            }
        }
        if !problems.is_empty() {
            return Err(Rejected::Invalid(problems));
        }
        match present {
            Some(present) => match &self.id {
                Some(id) if *id != present.id => return Err(invalid("/id", "is fixed once the principal was made")),
                _ => self.id = Some(present.id.clone()),
            },
            // Tokens tell principals and clients apart by these: they must never be equal.
            None => {
                if let Some(id) = &self.id
                    && app.store.named::<ClientDocument>(id).await?.is_some()
                {
                    return Err(invalid("/id", "is the client_id of a client"));
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
        for other in app.store.all_objects::<Self>().await?.iter().filter(|other| other.name != name) {
            problems.extend(self.conflicts_with(&other.name, &other.document));
        }
        if problems.is_empty() { Ok(()) } else { Err(Rejected::Invalid(problems)) }
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
            match app.store.named::<PrincipalDocument>(owner).await? {
                Some(principal) => owner.clone_from(&principal.name),
                None => problems.push(DocumentError::new("/owner", format!("there is no principal {owner}"))),
            }
        }
        let moved = present.map(|present| self.moved_from(&present.document)).unwrap_or_default();
        if !moved.is_empty() && app.store.has_credentials_of(name).await? {
            let detail = "cannot change while federated credentials refer to the trusted issuer";
            problems.extend(moved.into_iter().map(|pointer| DocumentError::new(pointer, detail)));
        }
        for other in app.store.all_objects::<Self>().await?.iter().filter(|other| other.name != name) {
            problems.extend(self.conflicts_with(&other.name, &other.document, app.context()));
        }
        for (pointer, path) in self.keys.as_ref().map(named_files).unwrap_or_default() {
            let over_network = !occasion.author.is_local && app.config.key_files_dir.is_none();
            let present = present.and_then(|present| present.document.keys.as_ref());
            if over_network && present != self.keys.as_ref() {
                let detail =
                    "names a file of the server: over the network that takes key_files_dir in its configuration";
                problems.push(DocumentError::new(pointer, detail));
            }
            problems.extend(app.upstream.files().check(path).err().map(|detail| DocumentError::new(pointer, detail)));
        }
        if problems.is_empty() && occasion.online {
            problems.extend(self.unreachable(app, name).await);
        }
        if problems.is_empty() { Ok(()) } else { Err(Rejected::Invalid(problems)) }
    }
}

impl TrustedIssuerDocument {
    /// Tries to fetch the keys, so that a mistake shows now and not at the first release.
    async fn unreachable(&self, app: &App, name: &str) -> Option<DocumentError> {
        let now = app.clock.now();
        let stored = Stored {
            id: crate::ids::TrustedIssuerId::new(now).to_string(),
            name: name.to_owned(),
            version: 0,
            created_at: now,
            updated_at: now,
            document: self.clone(),
            state: (),
        };
        let issuer = compile_issuer(&stored, app.context())?;
        let error = app.upstream.try_fetch(&issuer).await.err()?;
        Some(DocumentError::new("/keys", format!("{error}; ?validate=offline (apply --offline) saves without trying")))
    }
}

/// The files that a source names.
fn named_files(keys: &KeySource) -> Vec<(&'static str, &str)> {
    match keys {
        KeySource::File { path } | KeySource::SpiffeBundle { path: Some(path), .. } => vec![("/keys/path", path)],
        KeySource::TokenReview { ca_file, token_file, .. } => {
            let ca = ca_file.as_deref().map(|path| ("/keys/ca_file", path));
            ca.into_iter().chain([("/keys/token_file", token_file.as_str())]).collect()
        }
        KeySource::SpiffeBundle { path: None, .. }
        | KeySource::JwksUri { .. }
        | KeySource::Static { .. }
        | KeySource::Discovery => Vec::new(),
    }
}
