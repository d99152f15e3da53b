//! What a document says of others: do they exist, and does it contradict them.

use std::path::Path;

use serde_json::Value;
use url::Url;

use super::Rejected;
use super::managed::{Managed, Occasion};
use crate::app::App;
use crate::model::KeySource;
use crate::objects::{
    ClientDocument, PrincipalDocument, ResourceServerDocument, Stored, TrustedIssuerDocument, compile_issuer,
};
use crate::trust::Problem;

fn invalid(pointer: &str, detail: impl Into<String>) -> Rejected {
    Rejected::Invalid(vec![Problem::new(pointer, detail)])
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
                    problems.push(Problem::new(format!("/acts_for/{at}"), format!("there is no principal {owner}")));
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
            let theirs = || std::iter::once(&other.document.resource).chain(&other.document.aliases);
            for (pointer, uri) in std::iter::once(("/resource", &self.resource))
                .chain(self.aliases.iter().map(|alias| ("/aliases", alias)))
            {
                if theirs().any(|taken| taken == uri) {
                    problems.push(Problem::new(pointer, format!("`{uri}` is a URI of resource server {}", other.name)));
                }
            }
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
                None => problems.push(Problem::new("/owner", format!("there is no principal {owner}"))),
            }
        }
        let moved = present.map(|present| self.moved_from(&present.document)).unwrap_or_default();
        if !moved.is_empty() && app.store.has_credentials_of(name).await? {
            let detail = "cannot change while federated credentials refer to the trusted issuer";
            problems.extend(moved.into_iter().map(|pointer| Problem::new(pointer, detail)));
        }
        for other in app.store.all_objects::<Self>().await?.iter().filter(|other| other.name != name) {
            problems.extend(self.conflicts_with(&other.name, &other.document, app));
        }
        for (pointer, path) in self.keys.as_ref().map(named_files).unwrap_or_default() {
            let over_network = !occasion.author.is_local && app.config.key_files_dir.is_none();
            let present = present.and_then(|present| present.document.keys.as_ref());
            if over_network && present != self.keys.as_ref() {
                let detail =
                    "names a file of the server: over the network that takes key_files_dir in its configuration";
                problems.push(Problem::new(pointer, detail));
            }
            problems.extend(app.upstream.files().check(path).err().map(|detail| Problem::new(pointer, detail)));
        }
        if problems.is_empty() && occasion.online {
            problems.extend(self.unreachable(app, name).await);
        }
        if problems.is_empty() { Ok(()) } else { Err(Rejected::Invalid(problems)) }
    }
}

impl TrustedIssuerDocument {
    /// The members by which it is another platform now. Rules and pinned ids mean the platform they were written for.
    fn moved_from(&self, before: &Self) -> Vec<&'static str> {
        let changes = [
            ("/profile", self.profile != before.profile),
            ("/issuer", self.issuer != before.issuer),
            ("/trust_domain", self.trust_domain != before.trust_domain),
        ];
        changes.into_iter().filter(|(_, changed)| *changed).map(|(pointer, _)| pointer).collect()
    }

    /// Whether the keys of one may be those of the other: SPIFFE ids are their trust domain's word, other subjects their
    /// issuer's.
    fn is_same_platform(&self, other: &Self) -> bool {
        match (&self.trust_domain, &other.trust_domain) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.issuer == other.issuer,
        }
    }

    fn conflicts_with(&self, name: &str, other: &Self, app: &App) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.issuer == other.issuer || (self.trust_domain.is_some() && self.trust_domain == other.trust_domain) {
            let all = |document: &Self| {
                let mut audiences = document.accepted_audiences(app.context());
                audiences.extend(document.extra_audiences.iter().flatten().cloned());
                audiences
            };
            let theirs = all(other);
            if let Some(shared) = all(self).iter().find(|audience| theirs.contains(audience)) {
                let detail = format!(
                    "trusted issuer {name} has the same issuer or trust domain and takes `{shared}` too: nobody could tell their assertions apart"
                );
                problems.push(Problem::new("/audiences", detail));
            }
        }
        if !self.is_same_platform(other)
            && let (Some(ours), Some(theirs)) = (&self.keys, &other.keys)
            && let Some(pointer) = shared_keys(ours, theirs)
        {
            let detail = format!(
                "trusted issuer {name} has another issuer or trust domain and the same key set: either could speak for the other"
            );
            problems.push(Problem::new(pointer, detail));
        }
        problems
    }

    /// Tries to fetch the keys, so that a mistake shows now and not at the first release.
    async fn unreachable(&self, app: &App, name: &str) -> Option<Problem> {
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
        Some(Problem::new("/keys", format!("{error}; ?validate=offline (apply --offline) saves without trying")))
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

/// Where a source says that its keys are those of another. Discovery follows the issuer, and a review has no keys.
fn shared_keys(ours: &KeySource, theirs: &KeySource) -> Option<&'static str> {
    if let (KeySource::Static { jwks }, KeySource::Static { jwks: theirs }) = (ours, theirs) {
        let theirs: Vec<_> = key_material(theirs).collect();
        return key_material(jwks).any(|key| theirs.contains(&key)).then_some("/keys/jwks");
    }
    let (pointer, place) = place_of(ours)?;
    (place_of(theirs)?.1 == place).then_some(pointer)
}

/// What makes a key the key it is; its `kid` and `use` are only what somebody calls it.
fn key_material(jwks: &Value) -> impl Iterator<Item = [Option<&Value>; 5]> {
    let keys = jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
    keys.map(|key| ["crv", "x", "y", "n", "e"].map(|member| key.get(member)))
}

/// A place that keys are read from.
#[derive(PartialEq, Eq)]
enum Place<'a> {
    Url(Option<Url>),
    File(&'a Path),
}

fn place_of(keys: &KeySource) -> Option<(&'static str, Place<'_>)> {
    match keys {
        KeySource::JwksUri { uri } | KeySource::SpiffeBundle { uri: Some(uri), .. } => {
            Some(("/keys/uri", Place::Url(Url::parse(uri).ok())))
        }
        KeySource::File { path } | KeySource::SpiffeBundle { path: Some(path), .. } => {
            Some(("/keys/path", Place::File(Path::new(path))))
        }
        KeySource::SpiffeBundle { .. }
        | KeySource::Static { .. }
        | KeySource::Discovery
        | KeySource::TokenReview { .. } => None,
    }
}
