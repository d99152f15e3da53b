//! Saving identity providers and memberships: seals client secrets, fetches discovery, and judges
//! `match` by the identity provider's profile.

use serde_json::{Map, Value};

use super::Rejected;
use super::managed::{Managed, Occasion};
use super::references::existing_principal;
use crate::app::App;
use crate::documents::{
    Discovered, IdentityProviderDocument, IdentityProviderState, MAX_IDENTITY_PROVIDERS,
    MembershipDocument, MembershipState, Stored,
};
use crate::ids::IdentityProviderId;
use crate::keys::provider_secret;
use crate::model::{Snapshot, State};
use crate::people::redirect_uri;
use crate::trust::{DocumentError, Warning};

impl Managed for IdentityProviderDocument {
    async fn prepare(
        &mut self,
        app: &App,
        name: &str,
        present: Option<&Stored<Self>>,
        occasion: Occasion<'_>,
    ) -> Result<Self::State, Rejected> {
        let mut problems = Vec::new();
        let mut problem = |pointer: &str, detail: String| {
            problems.push(DocumentError::new(pointer, detail));
        };
        match present {
            Some(present) => {
                let dependents = app.store.dependents_of(present).await?;
                for (pointer, why) in self.changes_what_is_fixed(&present.document, dependents) {
                    problem(pointer, why.to_owned());
                }
            }
            None if app.store.count_identity_providers().await? >= MAX_IDENTITY_PROVIDERS => {
                let detail =
                    format!("there must be at most {MAX_IDENTITY_PROVIDERS} identity providers");
                problem("", detail);
            }
            None => {}
        }
        let method = self.auth_method.unwrap_or_default();
        let has_secret = method.has_secret();
        let before = present.and_then(|present| present.state.sealed_secret.as_deref());
        let is_at_new_issuer = present.is_some_and(|it| it.document.issuer != self.issuer);
        if has_secret && self.client_secret.is_none() {
            if before.is_none() {
                let detail = format!(
                    "must be given, since auth_method is {}; private_key_jwt and none need no secret",
                    method.as_str()
                );
                problem("/client_secret", detail);
            } else if is_at_new_issuer {
                // Otherwise the secret would be sent to whoever stands at the new place.
                let detail = "must be given anew, since the issuer changes";
                problem("/client_secret", detail.to_owned());
            }
        }
        if !problems.is_empty() {
            return Err(Rejected::Invalid(problems));
        }
        let discovered = if occasion.online {
            discover(self, app, name).await.map_err(Rejected::NoKeys)?
        } else {
            let present = present.filter(|_| !is_at_new_issuer);
            present.and_then(|present| present.state.discovered.clone())
        };
        let sealed_secret = if has_secret {
            sealed(self, app, name, before)?
        } else {
            None
        };
        // Stored in the state, not in the document.
        self.client_secret = None;
        Ok(IdentityProviderState {
            sealed_secret,
            discovered,
        })
    }

    fn shown_state(app: &App, stored: &Stored<Self>) -> Map<String, Value> {
        let mut members = Map::new();
        let redirect = redirect_uri(&app.config.own, &stored.name);
        members.insert("redirect_uri".to_owned(), redirect.into());
        let has_secret = stored.state.sealed_secret.is_some();
        members.insert("has_secret".to_owned(), has_secret.into());
        let writes = stored.document.writes(&stored.state);
        members.insert("writes".to_owned(), writes.into());
        members
    }

    fn recorded_state(stored: &Stored<Self>) -> Map<String, Value> {
        let has_secret = stored.state.sealed_secret.is_some();
        Map::from_iter([("has_secret".to_owned(), has_secret.into())])
    }

    fn recorded_change(
        before: Option<&Stored<Self>>,
        after: Option<&Stored<Self>>,
    ) -> Option<(&'static str, Value)> {
        let (before, after) = (&before?.state, &after?.state);
        let is_replaced = before.sealed_secret.is_some()
            && after.sealed_secret.is_some()
            && before.sealed_secret != after.sealed_secret;
        is_replaced.then(|| ("replaced_secret", true.into()))
    }

    fn more_warnings(rules: &Snapshot, stored: &Stored<Self>) -> Vec<Warning> {
        let present = rules.identity_provider_named(&stored.name);
        let of_profile = present.map(|provider| provider.profile.defaults.algorithms.clone());
        let algorithms = stored.document.algorithms.clone().or(of_profile);
        stored
            .document
            .warnings_of_state(&stored.state, algorithms.as_deref())
    }
}

/// Fetches the provider's discovery document once, so that a mistake is reported when the provider
/// is saved and not when the first person signs in.
async fn discover(
    document: &IdentityProviderDocument,
    app: &App,
    name: &str,
) -> Result<Option<Discovered>, DocumentError> {
    let unsaved = Stored {
        id: IdentityProviderId::new(app.clock.now()).to_string(),
        name: name.to_owned(),
        version: 1,
        created_at: app.clock.now(),
        updated_at: app.clock.now(),
        document: document.clone(),
        state: IdentityProviderState::default(),
    };
    let provider = IdentityProviderDocument::compile(&unsaved, app.context());
    let no_profile = || {
        DocumentError::new(
            "/profile",
            "must be a profile for people that this server has",
        )
    };
    let found = app
        .providers
        .try_fetch(&provider.ok_or_else(no_profile)?)
        .await;
    let found = found.map_err(|why| {
        let detail = format!(
            "must lead to a discovery document that can be used: {why}; ?validate=offline (apply --offline) saves without fetching"
        );
        DocumentError::new("/issuer", detail)
    })?;
    let has_auth_time = |claims: Vec<String>| claims.iter().any(|name| name == "auth_time");
    Ok(Some(Discovered {
        auth_time: found.claims.map(has_auth_time),
        auth_methods: found.auth_methods,
        algorithms: found.algorithms,
        ends_sessions: found.end_session_endpoint.is_some(),
    }))
}

/// The client secret to store: the sealed one of before, unless another one is given.
fn sealed(
    document: &IdentityProviderDocument,
    app: &App,
    name: &str,
    before: Option<&str>,
) -> Result<Option<String>, Rejected> {
    let Some(given) = &document.client_secret else {
        return Ok(before.map(str::to_owned));
    };
    let (text, purpose) = (given.expose().as_bytes(), provider_secret(name));
    // Sealing the same text again gives another one, and saving twice must change nothing.
    let is_same = |sealed: &&str| {
        let opened = app.keys.open_sealed(sealed, purpose);
        opened.is_ok_and(|opened| opened == text)
    };
    if let Some(same) = before.filter(is_same) {
        return Ok(Some(same.to_owned()));
    }
    let sealed = app.keys.seal(text, purpose);
    let sealed = sealed.map_err(|error| Rejected::Unavailable(error.to_string()))?;
    Ok(Some(sealed))
}

impl Managed for MembershipDocument {
    async fn prepare(
        &mut self,
        app: &App,
        _: &str,
        present: Option<&Stored<Self>>,
        _: Occasion<'_>,
    ) -> Result<Self::State, Rejected> {
        let mut problems = Vec::new();
        if let Some(principal) = &mut self.principal {
            let found = existing_principal(app, principal, "/principal").await?;
            problems.extend(found.err());
        }
        let named = &self.identity_provider;
        let provider = app.store.named::<IdentityProviderDocument>(named).await?;
        match provider {
            None => {
                let detail = format!(
                    "must be an existing identity provider; there is no identity provider {named}"
                );
                problems.push(DocumentError::new("/identity_provider", detail));
            }
            Some(provider) => {
                let profile = provider.document.profile_name();
                match app.context().profiles.get(profile) {
                    None => {
                        let detail = format!(
                            "must be one whose profile this server has; there is no profile {profile}"
                        );
                        problems.push(DocumentError::new("/identity_provider", detail));
                    }
                    Some(profile) => match self.matched_by(profile) {
                        Ok(normalised) => self.matcher = normalised.matcher,
                        Err(found) => problems.extend(found),
                    },
                }
                self.identity_provider = provider.name;
            }
        }
        if !problems.is_empty() {
            return Err(Rejected::Invalid(problems));
        }
        let revision = present.map_or(1, |present| {
            let is_same = present.document.means_the_same(self);
            let before = present.state.revision;
            if is_same {
                before
            } else {
                before.saturating_add(1)
            }
        });
        Ok(MembershipState { revision })
    }

    fn shown_state(app: &App, stored: &Stored<Self>) -> Map<String, Value> {
        let MembershipDocument {
            enabled,
            expires_at,
            ..
        } = stored.document;
        let state = State::of(enabled, expires_at, None, app.clock.now());
        Map::from_iter([
            ("state".to_owned(), state.as_str().into()),
            ("revision".to_owned(), stored.state.revision.into()),
        ])
    }

    fn recorded_state(stored: &Stored<Self>) -> Map<String, Value> {
        Map::from_iter([("revision".to_owned(), stored.state.revision.into())])
    }

    fn more_warnings(rules: &Snapshot, stored: &Stored<Self>) -> Vec<Warning> {
        let provider = rules.identity_provider_named(&stored.document.identity_provider);
        let normalised =
            provider.and_then(|provider| stored.document.matched_by(&provider.profile).ok());
        normalised.map(|found| found.warnings).unwrap_or_default()
    }
}
