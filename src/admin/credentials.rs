//! Saving federated credentials (rules): validates `match` by the trusted issuer's profile,
//! resolves references, decides whether the rule is vouched for
//! (`docs/src/explanation/consent.md`), and keeps pinned ids and the revision up to date.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::author::Author;
use super::managed::{Managed, Occasion};
use super::references::{check_dependants, check_permission, existing_principal, resolve_actors};
use super::{Rejected, room};
use crate::app::App;
use crate::clock::Timestamp;
use crate::documents::{
    CredentialState, Document as _, FederatedCredentialDocument, Preview, Stored,
    TrustedIssuerDocument, Vouching, compile_credential,
};
use crate::model::{PENDING_DAYS, RuleReference, Snapshot, State, TrustedIssuer};
use crate::profile::Profile;
use crate::store::StoreError;
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
        // To stop a rule is always possible, whatever became of what it names.
        if let Some(present) = present.filter(|present| is_only_disabled(&present.document, self)) {
            return Ok(CredentialState {
                revision: present.state.revision.saturating_add(1),
                ..present.state.clone()
            });
        }
        let mut problems = Vec::new();
        let principal = existing_principal(app, &mut self.principal, "/principal").await?;
        let principal = principal.map_err(|problem| problems.push(problem)).ok();
        let (under, by_nature) = under_issuer(self, app, &mut problems).await?;
        for at in 0..self.permissions.len() {
            if let Some(permission) = self.permissions.get_mut(at) {
                let found = check_permission(app, permission, Some(&self.principal)).await?;
                problems.extend(found.into_iter().map(|p| {
                    DocumentError::new(format!("/permissions/{at}{}", p.pointer), p.detail)
                }));
            }
        }
        let (actors, unknown) = resolve_actors(self, app, present, occasion.author).await?;
        problems.extend(unknown);
        let vouching = vouching(self, (&actors, by_nature), present, occasion.author);
        // Stored in the state, not in the document.
        self.vouched = None;
        let is_self_service = self.enabled && !vouching.counts() && !by_nature;
        // Who owns the trusted issuer says whose jobs are meant, and nothing of the packages of others.
        // A disabled rule grants nothing, and withdrawing `vouched` only takes rights away, so
        // neither needs the check. Owners are checked again for each token.
        let asks_for_owners = self.enabled && !vouching.counts();
        let is_withdrawn = present.is_some_and(|present| means_the_same(&present.document, self));
        if let Some(principal) = principal.filter(|_| asks_for_owners && !is_withdrawn) {
            problems.extend(self.check_owners(&principal.document));
        }
        problems.extend(check_dependants(self, app, present, occasion.author).await?);
        let is_new_there = present.is_none_or(|present| {
            present.document.principal != self.principal
                || present.document.trusted_issuer != self.trusted_issuer
        });
        if is_new_there
            && app
                .store
                .count_credentials(&self.principal, &self.trusted_issuer)
                .await?
                >= MAX_RULES
        {
            let detail =
                format!("a principal must have at most {MAX_RULES} rules about one trusted issuer");
            problems.push(DocumentError::new("", detail));
        }
        if let Some(profile) = under
            .as_ref()
            .filter(|_| is_self_service && problems.is_empty())
        {
            problems.extend(self.check_index_key(profile));
        }
        match under.filter(|_| problems.is_empty()) {
            None => Err(Rejected::Invalid(problems)),
            Some(profile) => Ok(state(
                self,
                &profile,
                (vouching, actors),
                present,
                app.clock.now(),
            )),
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
            let principal = members
                .get("principal")
                .and_then(Value::as_str)
                .unwrap_or_default();
            found.retain(|rule| rule.document.principal.eq_ignore_ascii_case(principal));
        }
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(StoreError::Ambiguous(reference.to_owned()).into()),
        }
    }

    fn name_in<'r>(&self, reference: &'r str) -> Result<&'r str, DocumentError> {
        match reference.split_once(':') {
            Some((principal, _)) if !principal.eq_ignore_ascii_case(&self.principal) => {
                Err(DocumentError::new(
                    "/principal",
                    format!(
                        "must be {principal}, as in the name of the rule; this is {}",
                        self.principal
                    ),
                ))
            }
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
        let found =
            issuer.and_then(|issuer| normalise(&issuer.profile, &issuer.terms, matcher).err());
        found.map(in_match).unwrap_or_default()
    }

    fn principal(&self) -> Option<&str> {
        Some(&self.principal)
    }

    fn among(rules: Arc<Snapshot>, stored: &Stored<Self>) -> Arc<Snapshot> {
        let issuer = rules.issuer_named(&stored.document.trusted_issuer);
        let Some((id, issuer)) = stored.id.parse().ok().zip(issuer) else {
            return rules;
        };
        let compiled = compile_credential(id, stored, issuer.id, &issuer.profile);
        let mut with_it = (*rules).clone();
        with_it.set_credential(id, Some(compiled));
        Arc::new(with_it)
    }

    fn says_the_same(&self, state: &Self::State, present: &Stored<Self>) -> bool {
        if state.vouching.counts() != present.state.vouching.counts() {
            return false;
        }
        // An exported document holds pinned ids as members of `match`, and saving a pending rule
        // again only renews its seven days: neither is a change.
        let mut with_pins = present.document.clone();
        for (field, id) in &present.state.pinned {
            with_pins
                .matcher
                .entry(field.clone())
                .or_insert_with(|| id.clone());
        }
        present.document == *self || with_pins == *self
    }

    fn more_warnings(rules: &Snapshot, stored: &Stored<Self>) -> Vec<Warning> {
        let issuer = rules.issuer_named(&stored.document.trusted_issuer);
        let mut warnings = issuer
            .map(|issuer| rule_warnings(issuer, &stored.document.matcher))
            .unwrap_or_default();
        warnings.extend(room::warning(rules, stored));
        if stored.state.vouching == Vouching::Assumed {
            let detail = "the rule is older than consent and counts for workloads that do not ask for its principal; save it \
                          as an administrator, or with \"vouched\": false";
            warnings.push(Warning {
                code: "vouching_assumed".to_owned(),
                detail: detail.to_owned(),
            });
        }
        warnings
    }

    fn preview(rules: &Snapshot, stored: &Stored<Self>) -> Vec<String> {
        let document = &stored.document;
        let issuer = rules.issuer_named(&document.trusted_issuer);
        let preview = issuer.map(|issuer| {
            let form = issuer.profile.form();
            Preview::new(
                form,
                &document.matcher,
                &document.principal,
                &document.permissions,
            )
        });
        preview.unwrap_or_default().sentences()
    }

    fn shown_state(app: &App, stored: &Stored<Self>) -> Map<String, Value> {
        let mut members = Map::new();
        let FederatedCredentialDocument {
            enabled,
            expires_at,
            ..
        } = stored.document;
        let state = State::of(
            enabled,
            expires_at,
            stored.state.pending_until,
            app.clock.now(),
        );
        let rules = app.rules();
        let issuer = rules.issuer_named(&stored.document.trusted_issuer);
        let owner = issuer.and_then(|issuer| issuer.owner.as_deref());
        let by_nature =
            owner.is_some_and(|owner| owner.eq_ignore_ascii_case(&stored.document.principal));
        members.insert(
            "vouched".to_owned(),
            (stored.state.vouching.counts() || by_nature).into(),
        );
        members.insert("state".to_owned(), state.as_str().into());
        members.insert(
            "pinned".to_owned(),
            Value::Object(stored.state.pinned.clone()),
        );
        if state == State::Pending {
            let until = stored.state.pending_until.map(|until| until.to_string());
            members.insert("pending_until".to_owned(), json!(until));
        }
        members.insert("revision".to_owned(), stored.state.revision.into());
        for (name, at) in [
            ("first_used_at", stored.state.first_used_at),
            ("last_used_at", stored.state.last_used_at),
        ] {
            members.insert(name.to_owned(), json!(at.map(|at| at.to_string())));
        }
        members
    }

    fn recorded_state(stored: &Stored<Self>) -> Map<String, Value> {
        let vouched = stored.state.vouching.counts();
        Map::from_iter([
            ("revision".to_owned(), stored.state.revision.into()),
            ("vouched".to_owned(), vouched.into()),
        ])
    }

    fn exported_with_state(stored: &Stored<Self>) -> Map<String, Value> {
        let mut members = stored.document.exported();
        if let Some(Value::Object(matcher)) = members.get_mut("match") {
            for (name, id) in &stored.state.pinned {
                matcher.entry(name.clone()).or_insert_with(|| id.clone());
            }
        }
        members.insert(
            "pinned".to_owned(),
            Value::Object(stored.state.pinned.clone()),
        );
        // Assumed vouching is nobody's decision, so it is not exported as `vouched: true`.
        if stored.state.vouching != Vouching::Assumed {
            members.insert("vouched".to_owned(), stored.state.vouching.counts().into());
        }
        members
    }
}

/// Resolves the trusted issuer and brings `match` into its stored form. Returns the profile, and
/// whether the issuer belongs to the rule's principal, so that its rules count without being
/// vouched for.
async fn under_issuer(
    document: &mut FederatedCredentialDocument,
    app: &App,
    problems: &mut Vec<DocumentError>,
) -> Result<(Option<Arc<Profile>>, bool), Rejected> {
    let Some(issuer) = app
        .store
        .named::<TrustedIssuerDocument>(&document.trusted_issuer)
        .await?
    else {
        let name = &document.trusted_issuer;
        let detail =
            format!("must be an existing trusted issuer; there is no trusted issuer {name}");
        problems.push(DocumentError::new("/trusted_issuer", detail));
        return Ok((None, false));
    };
    let owner = issuer.document.owner.as_ref();
    if owner.is_some_and(|owner| *owner != document.principal) {
        problems.push(DocumentError::new(
            "/trusted_issuer",
            "must not belong to another principal",
        ));
    }
    let by_nature = owner == Some(&document.principal);
    document.trusted_issuer = issuer.name;
    let profile = app.profiles.get(&issuer.document.profile).cloned();
    if let Some(profile) = &profile {
        match normalise(profile, &issuer.document.terms(), &document.matcher) {
            Ok(normalised) => document.matcher = normalised.matcher,
            Err(found) => problems.extend(in_match(found)),
        }
    }
    Ok((profile, by_nature))
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
                && !is_about_the_same(
                    &present.document,
                    document,
                    (&present.state.actors, actors),
                ) =>
        {
            Vouching::SelfService
        }
        // An administrator who saves an enabled rule confirms it; disabling it does not confirm it.
        (None, Some(present))
            if author.is_admin
                && document.enabled
                && present.state.vouching == Vouching::Assumed =>
        {
            Vouching::Vouched
        }
        (None, Some(present)) => present.state.vouching,
    }
}

/// Moves problems inside `match` to their place in the whole document.
fn in_match(problems: Vec<DocumentError>) -> Vec<DocumentError> {
    problems
        .into_iter()
        .map(|p| DocumentError::new(format!("/match{}", p.pointer), p.detail))
        .collect()
}

/// Warnings of the profile about an accepted rule, such as `any_ref`.
pub(super) fn rule_warnings(issuer: &TrustedIssuer, matcher: &Map<String, Value>) -> Vec<Warning> {
    normalise(&issuer.profile, &issuer.terms, matcher)
        .map(|normalised| normalised.warnings)
        .unwrap_or_default()
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
    let pinned = kept
        .map(|present| present.state.pinned.clone())
        .unwrap_or_default();
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
    // Saving a pending rule again starts its seven days anew; switching it off does not.
    let kept_until = present
        .filter(|_| !document.enabled)
        .and_then(|present| present.state.pending_until);
    let anew = now.plus_seconds(PENDING_DAYS.saturating_mul(86_400));
    CredentialState {
        pinned,
        pending_until: pending.then(|| kept_until.unwrap_or(anew)),
        vouching,
        actors,
        revision,
        first_used_at: present.and_then(|present| present.state.first_used_at),
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

/// Whether a rule differs from the stored one in nothing but that it is switched off.
fn is_only_disabled(
    stored: &FederatedCredentialDocument,
    changed: &FederatedCredentialDocument,
) -> bool {
    let disabled = FederatedCredentialDocument {
        enabled: false,
        ..stored.clone()
    };
    stored.enabled && *changed == disabled
}

pub(super) fn means_the_same(
    left: &FederatedCredentialDocument,
    right: &FederatedCredentialDocument,
) -> bool {
    is_about_the_same(left, right, (&[], &[]))
        && left.actors == right.actors
        && left.expires_at == right.expires_at
        && left.enabled == right.enabled
}
