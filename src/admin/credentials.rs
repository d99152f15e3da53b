//! Saving federated credentials (rules): validates `match` by the trusted issuer's profile,
//! resolves references, decides whether the rule is vouched for
//! (`docs/src/explanation/consent.md`), and keeps pinned ids and the revision up to date.

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
use crate::model::{MAX_KEYS, PENDING_DAYS, Rule, RuleReference, Snapshot, State, TrustedIssuer, acts_for};
use crate::profile::Profile;
use crate::store::{StoreError, StoredCredential};
use crate::trust::{DocumentError, Warning, is_pending, names_the_same, normalise};

/// Most rules of one principal under one trusted issuer (`docs/src/reference/limits.md`).
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
                let detail = format!("must be an existing principal; there is no principal {}", self.principal);
                problems.push(DocumentError::new("/principal", detail));
            }
        }
        let mut by_nature = false;
        let under = match app.store.named::<TrustedIssuerDocument>(&self.trusted_issuer).await? {
            None => {
                let detail =
                    format!("must be an existing trusted issuer; there is no trusted issuer {}", self.trusted_issuer);
                problems.push(DocumentError::new("/trusted_issuer", detail));
                None
            }
            Some(issuer) => {
                if issuer.document.owner.as_ref().is_some_and(|owner| *owner != self.principal) {
                    problems.push(DocumentError::new("/trusted_issuer", "must not belong to another principal"));
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
        // Stored in the state, not in the document.
        self.vouched = None;
        // A disabled rule grants nothing, and withdrawing `vouched` only takes rights away, so
        // neither needs the check. Owners are checked again for each token.
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
            let detail = format!("a principal must have at most {MAX_RULES} rules about one trusted issuer");
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

    /// Finds a rule by id, by `principal:name`, or by a name that only one rule has, among the
    /// rules that the author may change. A document saved under a bare name means the rule of its
    /// own `principal` only, since principals may use the same names.
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
                format!("must be {principal}, as in the name of the rule; this is {}", self.principal),
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
        // An exported document holds pinned ids as members of `match`, and saving a pending rule
        // again only renews its seven days: neither is a change.
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
        // Assumed vouching is nobody's decision, so it is not exported as `vouched: true`.
        if stored.state.vouching != Vouching::Assumed {
            members.insert("vouched".to_owned(), stored.state.vouching.counts().into());
        }
        members
    }
}

impl FederatedCredentialDocument {
    /// Refuses a self-service rule without an index key: it would be evaluated for every token of
    /// its trusted issuer, and any principal could slow down all others that way.
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
                "must, as a self-service rule, have at most {MAX_KEYS} combinations of plain values of one of these: {}",
                fields.join("; ")
            );
            DocumentError::new("/match", detail)
        })
    }

    /// Owners that a self-service rule may name: its own principal and that principal's `acts_for`.
    fn check_owners(&self, principal: &PrincipalDocument) -> Vec<DocumentError> {
        let is_foreign = |owner: &String| !acts_for(&self.principal, &principal.acts_for, owner);
        let foreign = self.permissions.iter().enumerate();
        let foreign = foreign.filter(|(_, permission)| permission.owner.as_ref().is_some_and(is_foreign));
        let detail =
            "must be the rule's principal or one of its acts_for, unless an administrator vouches for the rule";
        foreign.map(|(at, _)| DocumentError::new(format!("/permissions/{at}/owner"), detail)).collect()
    }

    /// Resolves `actors`. An author limited to principals may add rules of these principals only,
    /// because a rule cannot be removed while another rule names it.
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
            // The stored revision is kept for a vouched rule, which counts at any revision, and for
            // a rule that this author may not add: saving must not renew its reference.
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

/// The mistake of a reference that matches no rule or several.
pub(super) fn unresolved(pointer: &str, reference: &str, found: &[StoredCredential]) -> DocumentError {
    let detail = if found.is_empty() {
        format!("must be an existing federated credential; there is no federated credential {reference}")
    } else {
        format!("must be principal:name or an id: rules of several principals are called {reference}")
    };
    DocumentError::new(pointer, detail)
}

impl Stored<FederatedCredentialDocument> {
    /// The name if no other rule has it, else `principal:name`.
    pub(super) async fn shortest_reference(&self, app: &App) -> Result<String, Rejected> {
        let others = app.store.credentials_called(&self.name).await?;
        let is_only = others.iter().all(|other| other.id == self.id);
        Ok(if is_only { self.name.clone() } else { format!("{}:{}", self.document.principal, self.name) })
    }
}

/// Decides the vouching of the rule that is saved (`docs/src/explanation/consent.md`). An author
/// limited to principals cannot vouch, and turns a vouched rule into a self-service one by changing
/// its meaning.
fn vouching(
    document: &FederatedCredentialDocument,
    (actors, by_nature): (&[RuleReference], bool),
    present: Option<&Stored<FederatedCredentialDocument>>,
    author: &Author,
) -> Vouching {
    let said = document.vouched.filter(|_| author.may_vouch());
    // Vouching does not move with the rule to another principal.
    let present = present.filter(|present| present.document.principal == document.principal);
    match (said, present) {
        // Under the principal's own trusted issuer every rule is shown as vouched, so a client that
        // sends back what it read does not vouch.
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
        // An administrator who saves an enabled rule confirms it; disabling it does not confirm it.
        (None, Some(present)) if author.is_admin && document.enabled && present.state.vouching == Vouching::Assumed => {
            Vouching::Vouched
        }
        (None, Some(present)) => present.state.vouching,
    }
}

impl FederatedCredentialDocument {
    /// Refuses a change by anyone but an administrator to a rule that admits a client with `scopes`
    /// or a `resource_server`: the author could give the client's rights to another workload.
    /// Disabling the rule only takes rights away and is allowed.
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
                "must be changed by an administrator: client {} has rights of its own and is admitted by this rule",
                client.name
            );
            DocumentError::new("", detail)
        };
        Ok(clients.iter().find(|client| rests_on_it(client)).map(problem))
    }
}

/// Moves problems inside `match` to their place in the whole document.
fn in_match(problems: Vec<DocumentError>) -> Vec<DocumentError> {
    problems.into_iter().map(|p| DocumentError::new(format!("/match{}", p.pointer), p.detail)).collect()
}

/// Warnings of the profile about an accepted rule, such as `any_ref`.
pub(super) fn rule_warnings(issuer: &TrustedIssuer, matcher: &Map<String, Value>) -> Vec<Warning> {
    normalise(&issuer.profile, &issuer.terms, matcher).map(|normalised| normalised.warnings).unwrap_or_default()
}

/// Checks that the resource server, actions and owner of a permission exist, and replaces names by
/// their stored spelling.
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
            None => {
                let detail = format!("must be an existing principal; there is no principal {owner}");
                problems.push(DocumentError::new("/owner", detail));
            }
        }
    }
    // The principal is the default owner, so the stored document leaves it out.
    if principal.is_some() && permission.owner.as_deref() == principal {
        permission.owner = None;
    }
    Ok(problems)
}

/// The state to store beside the document. Pinned ids are kept while the rule names the same
/// things; the revision grows when the rule's meaning changes or vouching ends.
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
        // Saving a pending rule again starts its seven days anew.
        pending_until: pending.then(|| now.plus_seconds(PENDING_DAYS.saturating_mul(86_400))),
        vouching,
        actors,
        revision,
        last_used_at: present.and_then(|present| present.state.last_used_at),
    }
}

/// Whether the members that vouching refers to are equal.
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
