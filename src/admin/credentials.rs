//! Federated credentials: the rule is read by its profile, pins outlive what does not concern them, the revision tells whether
//! its meaning changed.

use serde_json::{Map, Value, json};

use super::Rejected;
use super::objects::{Author, Managed, Occasion};
use crate::app::App;
use crate::clock::Timestamp;
use crate::model::{PENDING_DAYS, State, TrustedIssuer};
use crate::objects::{
    ClientDocument, CredentialState, Document as _, FederatedCredentialDocument, PermissionDocument, PrincipalDocument,
    ResourceServerDocument, Stored, TrustedIssuerDocument,
};
use crate::profile::Profile;
use crate::trust::{Problem, Warning, is_pending, names_the_same, normalise};

impl Managed for FederatedCredentialDocument {
    async fn prepare(
        &mut self,
        app: &App,
        name: &str,
        present: Option<&Stored<Self>>,
        occasion: Occasion<'_>,
    ) -> Result<Self::State, Rejected> {
        let mut problems = Vec::new();
        match app.store.named::<PrincipalDocument>(&self.principal).await? {
            Some(principal) => self.principal = principal.name,
            None => problems.push(Problem::new("/principal", format!("there is no principal {}", self.principal))),
        }
        let under = match app.store.named::<TrustedIssuerDocument>(&self.trusted_issuer).await? {
            None => {
                problems.push(Problem::new(
                    "/trusted_issuer",
                    format!("there is no trusted issuer {}", self.trusted_issuer),
                ));
                None
            }
            Some(issuer) => {
                if issuer.document.owner.as_ref().is_some_and(|owner| *owner != self.principal) {
                    problems.push(Problem::new("/trusted_issuer", "belongs to another principal"));
                }
                self.trusted_issuer = issuer.name;
                app.profiles.get(&issuer.document.profile).map(|profile| (profile.clone(), issuer.document.terms()))
            }
        };
        if let Some((profile, terms)) = &under {
            match normalise(profile, terms, &self.matcher) {
                Ok(normalised) => self.matcher = normalised.matcher,
                Err(found) => problems.extend(in_match(found)),
            }
        }
        for at in 0..self.permissions.len() {
            if let Some(permission) = self.permissions.get_mut(at) {
                let found = check_permission(app, permission, Some(&self.principal)).await?;
                problems.extend(
                    found.into_iter().map(|p| Problem::new(format!("/permissions/{at}{}", p.pointer), p.detail)),
                );
            }
        }
        problems.extend(self.check_actors(app, present, occasion.author).await?);
        problems.extend(self.check_dependants(app, name, present, occasion.author).await?);
        match under.filter(|_| problems.is_empty()) {
            None => Err(Rejected::Invalid(problems)),
            Some((profile, _)) => Ok(state(self, &profile, present, app.clock.now())),
        }
    }

    async fn further_problems(app: &App, members: &Map<String, Value>) -> Vec<Problem> {
        let (Some(Value::String(issuer)), Some(Value::Object(matcher))) =
            (members.get("trusted_issuer"), members.get("match"))
        else {
            return Vec::new();
        };
        let rules = app.rules();
        let issuer = rules.issuer_named(issuer);
        let found = issuer.and_then(|issuer| normalise(&issuer.profile, &issuer.terms, matcher).err());
        found.map(in_match).unwrap_or_default()
    }

    fn principal(&self) -> Option<&str> {
        Some(&self.principal)
    }

    fn more_warnings(&self, app: &App) -> Vec<Warning> {
        let rules = app.rules();
        let issuer = rules.issuer_named(&self.trusted_issuer);
        issuer.map(|issuer| rule_warnings(issuer, &self.matcher)).unwrap_or_default()
    }

    fn shown_state(stored: &Stored<Self>, now: Timestamp) -> Map<String, Value> {
        let mut members = Map::new();
        let FederatedCredentialDocument { enabled, expires_at, .. } = stored.document;
        let state = State::of(enabled, expires_at, stored.state.pending_until, now);
        members.insert("state".to_owned(), state.as_str().into());
        members.insert("pinned".to_owned(), Value::Object(stored.state.pinned.clone()));
        members.insert("revision".to_owned(), stored.state.revision.into());
        members.insert("last_used_at".to_owned(), json!(stored.state.last_used_at.map(|at| at.to_string())));
        members
    }

    fn exported_with_state(stored: &Stored<Self>) -> Map<String, Value> {
        let mut members = stored.document.exported();
        if let Some(Value::Object(matcher)) = members.get_mut("match") {
            for (name, id) in &stored.state.pinned {
                matcher.entry(name.clone()).or_insert_with(|| id.clone());
            }
        }
        members.insert("pinned".to_owned(), Value::Object(stored.state.pinned.clone()));
        members
    }
}

impl FederatedCredentialDocument {
    /// The actors exist. A limited author names only rules of its own principals: whoever is named cannot be removed any more.
    async fn check_actors(
        &mut self,
        app: &App,
        present: Option<&Stored<Self>>,
        author: &Author,
    ) -> Result<Vec<Problem>, Rejected> {
        let mut problems = Vec::new();
        let before: &[String] = present.map(|present| present.document.actors.as_slice()).unwrap_or_default();
        for (at, actor) in self.actors.iter_mut().enumerate() {
            let kept = before.iter().any(|name| name.eq_ignore_ascii_case(actor));
            let stored = app.store.named::<Self>(actor).await?;
            if let Some(stored) = stored.filter(|stored| kept || author.may_act_for(&stored.document.principal)) {
                *actor = stored.name;
            } else {
                let detail = format!("there is no federated credential {actor}");
                problems.push(Problem::new(format!("/actors/{at}"), detail));
            }
        }
        Ok(problems)
    }
}

impl FederatedCredentialDocument {
    /// A client may rest on this rule and have rights of its own beside it. Whoever may write rules only, and changed what this one means,
    /// would give those rights to a workload of their choice. Switching it off takes rights away, and anybody may do that.
    async fn check_dependants(
        &self,
        app: &App,
        name: &str,
        present: Option<&Stored<Self>>,
        author: &Author,
    ) -> Result<Option<Problem>, Rejected> {
        let Some(present) = present.filter(|_| !author.is_admin) else {
            return Ok(None);
        };
        let switched_off = Self { enabled: false, ..present.document.clone() };
        if means_the_same(&present.document, self) || means_the_same(&switched_off, self) {
            return Ok(None);
        }
        let rests_on_it = |client: &Stored<ClientDocument>| {
            let document = &client.document;
            let named = document.federated_credentials.iter().any(|credential| credential.eq_ignore_ascii_case(name));
            named && (!document.scopes.is_empty() || document.resource_server.is_some())
        };
        let clients = app.store.all_objects::<ClientDocument>().await?;
        let problem = |client: &Stored<ClientDocument>| {
            let detail = format!(
                "client {} has rights of its own and rests on this rule: an administrator has to change it",
                client.name
            );
            Problem::new("", detail)
        };
        Ok(clients.iter().find(|client| rests_on_it(client)).map(problem))
    }
}

/// Problems of a `match`, placed in the document.
fn in_match(problems: Vec<Problem>) -> Vec<Problem> {
    problems.into_iter().map(|p| Problem::new(format!("/match{}", p.pointer), p.detail)).collect()
}

/// What is weak about a rule that was accepted.
pub(super) fn rule_warnings(issuer: &TrustedIssuer, matcher: &Map<String, Value>) -> Vec<Warning> {
    normalise(&issuer.profile, &issuer.terms, matcher).map(|normalised| normalised.warnings).unwrap_or_default()
}

/// What a permission names exists; names are brought into the form in which they are stored.
pub(super) async fn check_permission(
    app: &App,
    permission: &mut PermissionDocument,
    principal: Option<&str>,
) -> Result<Vec<Problem>, Rejected> {
    let mut problems = Vec::new();
    match app.store.named::<ResourceServerDocument>(&permission.resource_server).await? {
        None => {
            let detail = format!("there is no resource server {}", permission.resource_server);
            problems.push(Problem::new("/resource_server", detail));
        }
        Some(server) => {
            let unknown: Vec<&str> = permission
                .actions
                .iter()
                .filter(|action| !server.document.actions.contains(action))
                .map(String::as_str)
                .collect();
            if !unknown.is_empty() {
                let known = server.document.actions.join(", ");
                let detail = format!("{} has no action {}; its actions are {known}", server.name, unknown.join(", "));
                problems.push(Problem::new("/actions", detail));
            }
            permission.resource_server = server.name;
        }
    }
    if let Some(owner) = &mut permission.owner {
        match app.store.named::<PrincipalDocument>(owner).await? {
            Some(principal) => owner.clone_from(&principal.name),
            None => problems.push(Problem::new("/owner", format!("there is no principal {owner}"))),
        }
    }
    // The principal itself is the owner unless another one is named, so it need not be written down.
    if principal.is_some() && permission.owner.as_deref() == principal {
        permission.owner = None;
    }
    Ok(problems)
}

/// What is stored beside the document.
fn state(
    document: &FederatedCredentialDocument,
    profile: &Profile,
    present: Option<&Stored<FederatedCredentialDocument>>,
    now: Timestamp,
) -> CredentialState {
    let kept = present.filter(|present| {
        let old = &present.document;
        old.trusted_issuer == document.trusted_issuer && names_the_same(profile, &old.matcher, &document.matcher)
    });
    let pinned = kept.map(|present| present.state.pinned.clone()).unwrap_or_default();
    let pending = is_pending(profile, &document.matcher, &pinned);
    let revision = match present {
        None => 1,
        Some(present) if means_the_same(&present.document, document) => present.state.revision,
        Some(present) => present.state.revision.saturating_add(1),
    };
    CredentialState {
        pinned,
        // Saving a pending rule again gives it seven new days.
        pending_until: pending.then(|| now.plus_seconds(PENDING_DAYS.saturating_mul(86_400))),
        revision,
        last_used_at: present.and_then(|present| present.state.last_used_at),
    }
}

fn means_the_same(left: &FederatedCredentialDocument, right: &FederatedCredentialDocument) -> bool {
    left.principal == right.principal
        && left.trusted_issuer == right.trusted_issuer
        && left.matcher == right.matcher
        && left.permissions == right.permissions
        && left.actors == right.actors
        && left.expires_at == right.expires_at
        && left.enabled == right.enabled
}
