//! Federated credentials: the rule is read by its profile, pins outlive what does not concern them, the revision tells whether
//! its meaning changed.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::author::Author;
use super::managed::{Managed, Occasion};
use super::{Rejected, room};
use crate::app::App;
use crate::clock::Timestamp;
use crate::documents::{
    ClientDocument, CredentialState, Document as _, FederatedCredentialDocument, PermissionDocument, PrincipalDocument,
    ResourceServerDocument, Stored, TrustedIssuerDocument, Vouching, compile_credential,
};
use crate::model::{PENDING_DAYS, Rule, RuleReference, Snapshot, State, TrustedIssuer, acts_for};
use crate::profile::Profile;
use crate::store::{StoreError, StoredCredential};
use crate::trust::{DocumentError, Warning, is_pending, names_the_same, normalise};

/// How many rules a principal may have about one trusted issuer (contract, section 6).
const MAX_RULES: u64 = 1_000;

impl Managed for FederatedCredentialDocument {
    async fn prepare(
        &mut self,
        app: &App,
        _: &str,
        present: Option<&Stored<Self>>,
        occasion: Occasion<'_>,
    ) -> Result<Self::State, Rejected> {
        let mut problems = Vec::new();
        let principal = app.store.named::<PrincipalDocument>(&self.principal).await?;
        match &principal {
            Some(principal) => self.principal.clone_from(&principal.name),
            None => {
                problems.push(DocumentError::new("/principal", format!("there is no principal {}", self.principal)));
            }
        }
        let mut by_nature = false;
        let under = match app.store.named::<TrustedIssuerDocument>(&self.trusted_issuer).await? {
            None => {
                problems.push(DocumentError::new(
                    "/trusted_issuer",
                    format!("there is no trusted issuer {}", self.trusted_issuer),
                ));
                None
            }
            Some(issuer) => {
                if issuer.document.owner.as_ref().is_some_and(|owner| *owner != self.principal) {
                    problems.push(DocumentError::new("/trusted_issuer", "belongs to another principal"));
                }
                by_nature = issuer.document.owner.as_ref() == Some(&self.principal);
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
                    found.into_iter().map(|p| DocumentError::new(format!("/permissions/{at}{}", p.pointer), p.detail)),
                );
            }
        }
        let (actors, unknown) = self.check_actors(app, present, occasion.author).await?;
        problems.extend(unknown);
        let vouching = vouching(self, (&actors, by_nature), present, occasion.author);
        // Who vouches is told by what is stored beside the document.
        self.vouched = None;
        // What gives nothing, or is only not vouched for any more, needs no right: owners are judged again whenever a rule gives something.
        let is_self_service = self.enabled && !vouching.counts() && !by_nature;
        let is_withdrawn = present.is_some_and(|present| means_the_same(&present.document, self));
        if let Some(principal) = principal.filter(|_| is_self_service && !is_withdrawn) {
            problems.extend(self.check_owners(&principal.document));
        }
        problems.extend(self.check_dependants(app, present, occasion.author).await?);
        let is_new_there = present.is_none_or(|present| {
            present.document.principal != self.principal || present.document.trusted_issuer != self.trusted_issuer
        });
        if is_new_there && app.store.count_credentials(&self.principal, &self.trusted_issuer).await? >= MAX_RULES {
            let detail = format!("a principal has {MAX_RULES} rules about one trusted issuer at most");
            problems.push(DocumentError::new("", detail));
        }
        if let Some((profile, _)) = under.as_ref().filter(|_| is_self_service && problems.is_empty()) {
            problems.extend(self.check_index_key(profile));
        }
        match under.filter(|_| problems.is_empty()) {
            None => Err(Rejected::Invalid(problems)),
            Some((profile, _)) => Ok(state(self, &profile, (vouching, actors), present, app.clock.now())),
        }
    }

    /// By id, as `principal:name`, or by the bare name where only one has it, of those that the author may touch. A document under a
    /// bare name means its own principal's rule of the name and never another one's: anybody may use any name.
    async fn called(
        app: &App,
        reference: &str,
        members: Option<&Map<String, Value>>,
        author: &Author,
    ) -> Result<Option<Stored<Self>>, Rejected> {
        let mut found = app.store.credentials_called(reference).await?;
        found.retain(|rule| author.may_act_for(&rule.document.principal));
        let is_bare = !reference.contains(':') && found.iter().all(|rule| rule.id != reference);
        if let Some(members) = members.filter(|_| is_bare) {
            let principal = members.get("principal").and_then(Value::as_str).unwrap_or_default();
            found.retain(|rule| rule.document.principal.eq_ignore_ascii_case(principal));
        }
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(StoreError::Ambiguous(reference.to_owned()).into()),
        }
    }

    fn name_in<'r>(&self, reference: &'r str) -> Result<&'r str, DocumentError> {
        match reference.split_once(':') {
            Some((principal, _)) if !principal.eq_ignore_ascii_case(&self.principal) => Err(DocumentError::new(
                "/principal",
                format!("is {}, and the rule is named as one of {principal}", self.principal),
            )),
            Some((_, name)) => Ok(name),
            None => Ok(reference),
        }
    }

    async fn further_problems(app: &App, members: &Map<String, Value>) -> Vec<DocumentError> {
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

    fn among(rules: Arc<Snapshot>, stored: &Stored<Self>) -> Arc<Snapshot> {
        let issuer = rules.issuer_named(&stored.document.trusted_issuer);
        let Some((id, issuer)) = stored.id.parse().ok().zip(issuer) else { return rules };
        let compiled = compile_credential(id, stored, issuer.id, &issuer.profile);
        let mut with_it = (*rules).clone();
        with_it.set_credential(id, Some(compiled));
        Arc::new(with_it)
    }

    fn says_the_same(&self, _: &Self::State, present: &Stored<Self>) -> bool {
        // Pins may be written as ids, and the days of a pending rule are not the document's.
        let mut with_pins = present.document.clone();
        for (field, id) in &present.state.pinned {
            with_pins.matcher.entry(field.clone()).or_insert_with(|| id.clone());
        }
        present.document == *self || with_pins == *self
    }

    fn more_warnings(rules: &Snapshot, stored: &Stored<Self>) -> Vec<Warning> {
        let issuer = rules.issuer_named(&stored.document.trusted_issuer);
        let mut warnings = issuer.map(|issuer| rule_warnings(issuer, &stored.document.matcher)).unwrap_or_default();
        warnings.extend(room::warning(rules, stored));
        if stored.state.vouching == Vouching::Assumed {
            let detail = "the rule is older than consent and counts for workloads that do not ask for its principal; save it \
                          as an administrator, or with \"vouched\": false";
            warnings.push(Warning { code: "vouching_assumed".to_owned(), detail: detail.to_owned() });
        }
        warnings
    }

    fn shown_state(app: &App, stored: &Stored<Self>) -> Map<String, Value> {
        let mut members = Map::new();
        let FederatedCredentialDocument { enabled, expires_at, .. } = stored.document;
        let state = State::of(enabled, expires_at, stored.state.pending_until, app.clock.now());
        let rules = app.rules();
        let issuer = rules.issuer_named(&stored.document.trusted_issuer);
        let owner = issuer.and_then(|issuer| issuer.owner.as_deref());
        let by_nature = owner.is_some_and(|owner| owner.eq_ignore_ascii_case(&stored.document.principal));
        members.insert("vouched".to_owned(), (stored.state.vouching.counts() || by_nature).into());
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
        // What is only assumed is not handed on as somebody's word.
        if stored.state.vouching != Vouching::Assumed {
            members.insert("vouched".to_owned(), stored.state.vouching.counts().into());
        }
        members
    }
}

impl FederatedCredentialDocument {
    /// A rule that is found by no value has to be tried for every token of its issuer, at everybody's cost.
    fn check_index_key(&self, profile: &Profile) -> Option<DocumentError> {
        let none = Map::new();
        let rule = Rule { conditions: Rule::conditions(profile, &self.matcher, &none), ..Rule::default() };
        let fields = profile.index.iter().flatten().map(|key| {
            let names: Vec<&str> = key.iter().filter_map(|at| Some(profile.fields.get(*at)?.name.as_str())).collect();
            names.join(" and ")
        });
        let fields: Vec<String> = fields.collect();
        rule.index_keys(profile).is_empty().then(|| {
            let detail = format!(
                "a self-service rule names plain values, not too many of them, of one of these: {}",
                fields.join("; ")
            );
            DocumentError::new("/match", detail)
        })
    }

    /// Whom nobody vouches for is good for the packages of its own principal, and of those whom that one acts for.
    fn check_owners(&self, principal: &PrincipalDocument) -> Vec<DocumentError> {
        let is_foreign = |owner: &String| !acts_for(&self.principal, &principal.acts_for, owner);
        let foreign = self.permissions.iter().enumerate();
        let foreign = foreign.filter(|(_, permission)| permission.owner.as_ref().is_some_and(is_foreign));
        let detail = "is another principal, which this one does not act for: an administrator has to say so (acts_for), or to vouch for the rule";
        foreign.map(|(at, _)| DocumentError::new(format!("/permissions/{at}/owner"), detail)).collect()
    }

    /// The actors exist. A limited author names only rules of its own principals: whoever is named cannot be removed any more.
    async fn check_actors(
        &mut self,
        app: &App,
        present: Option<&Stored<Self>>,
        author: &Author,
    ) -> Result<(Vec<RuleReference>, Vec<DocumentError>), Rejected> {
        let (mut actors, mut problems) = (Vec::new(), Vec::new());
        let before = present.map(|present| present.state.actors.as_slice()).unwrap_or_default();
        for (at, reference) in self.actors.iter_mut().enumerate() {
            let mut found = app.store.credentials_called(reference).await?;
            let is_kept = |rule: &Stored<Self>| before.iter().find(|actor| actor.id.to_string() == rule.id);
            found.retain(|rule| is_kept(rule).is_some() || author.may_act_for(&rule.document.principal));
            if found.iter().any(|rule| rule.document.principal == self.principal) {
                found.retain(|rule| rule.document.principal == self.principal);
            }
            let [rule] = found.as_slice() else {
                problems.push(unresolved(&format!("/actors/{at}"), reference, &found));
                continue;
            };
            // One that somebody vouches for is meant whatever becomes of it; one that is not this author's to name stays as it was.
            let stays = rule.state.vouching.counts() || !author.may_act_for(&rule.document.principal);
            let kept = is_kept(rule).filter(|_| stays).map(|actor| actor.revision);
            let own = rule.document.principal == self.principal;
            *reference = if own { rule.name.clone() } else { format!("{}:{}", rule.document.principal, rule.name) };
            actors.push(RuleReference {
                name: rule.name.clone(),
                id: rule.id.parse().map_err(|_| StoreError::Corrupt(rule.id.clone()))?,
                revision: kept.unwrap_or(rule.state.revision),
            });
        }
        Ok((actors, problems))
    }
}

/// What is wrong with a reference that means no one rule.
pub(super) fn unresolved(pointer: &str, reference: &str, found: &[StoredCredential]) -> DocumentError {
    let detail = if found.is_empty() {
        format!("there is no federated credential {reference}")
    } else {
        StoreError::Ambiguous(reference.to_owned()).to_string()
    };
    DocumentError::new(pointer, detail)
}

impl Stored<FederatedCredentialDocument> {
    /// The bare name, where only this one has it, else with its principal.
    pub(super) async fn shortest_reference(&self, app: &App) -> Result<String, Rejected> {
        let others = app.store.credentials_called(&self.name).await?;
        let is_only = others.iter().all(|other| other.id == self.id);
        Ok(if is_only { self.name.clone() } else { format!("{}:{}", self.document.principal, self.name) })
    }
}

/// Whether somebody vouches for what is being saved (contract, section 4). Whoever is limited to principals vouches for nothing, and
/// what they change is not what was vouched for.
fn vouching(
    document: &FederatedCredentialDocument,
    (actors, by_nature): (&[RuleReference], bool),
    present: Option<&Stored<FederatedCredentialDocument>>,
    author: &Author,
) -> Vouching {
    let said = document.vouched.filter(|_| author.may_vouch());
    // Whoever vouched, vouched for a rule of that principal.
    let present = present.filter(|present| present.document.principal == document.principal);
    match (said, present) {
        // What is shown because the trusted issuer is the principal's own is nobody's word.
        (Some(true), Some(present)) if by_nature => present.state.vouching,
        (Some(true), _) => Vouching::Vouched,
        (None, None) if author.is_admin => Vouching::Vouched,
        (Some(false), _) | (None, None) => Vouching::SelfService,
        (None, Some(present))
            if !author.may_vouch()
                && !is_about_the_same(&present.document, document, (&present.state.actors, actors)) =>
        {
            Vouching::SelfService
        }
        // Whoever only switches one off has not said yet that it is right.
        (None, Some(present)) if author.is_admin && document.enabled && present.state.vouching == Vouching::Assumed => {
            Vouching::Vouched
        }
        (None, Some(present)) => present.state.vouching,
    }
}

impl FederatedCredentialDocument {
    /// A client may rest on this rule and have rights of its own beside it. Whoever may write rules only, and changed what this one means,
    /// would give those rights to a workload of their choice. Switching it off takes rights away, and anybody may do that.
    async fn check_dependants(
        &self,
        app: &App,
        present: Option<&Stored<Self>>,
        author: &Author,
    ) -> Result<Option<DocumentError>, Rejected> {
        let Some(present) = present.filter(|_| !author.is_admin) else {
            return Ok(None);
        };
        let switched_off = Self { enabled: false, ..present.document.clone() };
        if means_the_same(&present.document, self) || means_the_same(&switched_off, self) {
            return Ok(None);
        }
        let rests_on_it = |client: &Stored<ClientDocument>| {
            let document = &client.document;
            let named = client.state.listed.iter().any(|listed| listed.credential == present.id);
            named && (!document.scopes.is_empty() || document.resource_server.is_some())
        };
        let clients = app.store.all_objects::<ClientDocument>().await?;
        let problem = |client: &Stored<ClientDocument>| {
            let detail = format!(
                "client {} has rights of its own and rests on this rule: an administrator has to change it",
                client.name
            );
            DocumentError::new("", detail)
        };
        Ok(clients.iter().find(|client| rests_on_it(client)).map(problem))
    }
}

/// Problems of a `match`, placed in the document.
fn in_match(problems: Vec<DocumentError>) -> Vec<DocumentError> {
    problems.into_iter().map(|p| DocumentError::new(format!("/match{}", p.pointer), p.detail)).collect()
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
) -> Result<Vec<DocumentError>, Rejected> {
    let server = app.store.named::<ResourceServerDocument>(&permission.resource_server).await?;
    let found = permission.problem_at(server.as_ref().map(|server| (server.name.as_str(), &server.document)));
    let mut problems: Vec<DocumentError> = found.into_iter().collect();
    if let Some(server) = server {
        permission.resource_server = server.name;
    }
    if let Some(owner) = &mut permission.owner {
        match app.store.named::<PrincipalDocument>(owner).await? {
            Some(principal) => owner.clone_from(&principal.name),
            None => problems.push(DocumentError::new("/owner", format!("there is no principal {owner}"))),
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
    (vouching, actors): (Vouching, Vec<RuleReference>),
    present: Option<&Stored<FederatedCredentialDocument>>,
    now: Timestamp,
) -> CredentialState {
    let kept = present.filter(|present| {
        let old = &present.document;
        old.principal == document.principal
            && old.trusted_issuer == document.trusted_issuer
            && names_the_same(profile, &old.matcher, &document.matcher)
    });
    let pinned = kept.map(|present| present.state.pinned.clone()).unwrap_or_default();
    let pending = is_pending(profile, &document.matcher, &pinned);
    let revision = match present {
        None => 1,
        Some(present)
            if means_the_same(&present.document, document)
                && present.state.actors == actors
                && (vouching.counts() || !present.state.vouching.counts()) =>
        {
            present.state.revision
        }
        Some(present) => present.state.revision.saturating_add(1),
    };
    CredentialState {
        pinned,
        // Saving a pending rule again gives it seven new days.
        pending_until: pending.then(|| now.plus_seconds(PENDING_DAYS.saturating_mul(86_400))),
        vouching,
        actors,
        revision,
        last_used_at: present.and_then(|present| present.state.last_used_at),
    }
}

/// Whether what somebody vouched for is still the same.
fn is_about_the_same(
    left: &FederatedCredentialDocument,
    right: &FederatedCredentialDocument,
    actors: (&[RuleReference], &[RuleReference]),
) -> bool {
    left.principal == right.principal
        && left.trusted_issuer == right.trusted_issuer
        && left.matcher == right.matcher
        && left.permissions == right.permissions
        && actors.0 == actors.1
}

fn means_the_same(left: &FederatedCredentialDocument, right: &FederatedCredentialDocument) -> bool {
    is_about_the_same(left, right, (&[], &[]))
        && left.actors == right.actors
        && left.expires_at == right.expires_at
        && left.enabled == right.enabled
}
