//! Compiles a bundle offline into the snapshot of a server that holds nothing else: `policy test`
//! judges cases by it. The checks are those of saving, except for clients and for anything that
//! needs the network.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    Bundle, CredentialState, Document, FederatedCredentialDocument, Kind, LintFinding,
    MissingIssuer, PermissionDocument, PrincipalDocument, ReadContext, ResourceServerDocument,
    Stored, TrustedIssuerDocument, Vouching, compile_credential, compile_issuer, door_conflicts,
    lint, no_issuer_at_door,
};
use crate::clock::Timestamp;
use crate::ids::{CredentialId, ResourceServerId, TrustedIssuerId, base32};
use crate::model::{PENDING_DAYS, RuleReference, Snapshot, TrustedIssuer};
use crate::trust::{DocumentError, is_pending, normalise};

/// The compiled objects of a bundle, as if an administrator had saved all of them at `now`.
#[derive(Debug)]
pub struct Imagined {
    rules: Snapshot,
    credentials: Vec<Stored<FederatedCredentialDocument>>,
    now: Timestamp,
}

impl Imagined {
    /// Reads and compiles a bundle. Errors with every mistake for which saving would refuse an
    /// object.
    pub fn new(
        bundle: &Bundle,
        context: ReadContext<'_>,
        now: Timestamp,
    ) -> Result<Self, Vec<LintFinding>> {
        let mut findings = lint(bundle, &[], MissingIssuer::IsMistake, context);
        findings.retain(|finding| finding.is_error);
        if findings.is_empty() {
            let objects = Objects::of(bundle, context, now);
            findings.extend(objects.findings());
            if findings.is_empty() {
                return Ok(objects.compiled());
            }
        }
        Err(findings)
    }

    /// The snapshot that requests are decided by.
    pub fn rules(self) -> Arc<Snapshot> {
        Arc::new(self.rules)
    }

    /// A rule with its state, by `name` or `principal:name`.
    pub fn credential(&self, name: &str) -> Option<&Stored<FederatedCredentialDocument>> {
        self.credentials
            .iter()
            .find(|stored| is_called(stored, name))
    }

    /// When a rule in this state would end if it got no first match; `None` if it needs none.
    pub fn pending_until(&self, stored: &Stored<FederatedCredentialDocument>) -> Option<Timestamp> {
        let issuer = self.rules.issuer_named(&stored.document.trusted_issuer)?;
        pending_until(issuer, &stored.document, &stored.state, self.now)
    }

    /// Replaces the rule that has the id of `stored`.
    pub fn replace(&mut self, stored: Stored<FederatedCredentialDocument>) {
        set_credential(&mut self.rules, &stored);
        self.credentials.retain(|other| other.id != stored.id);
        self.credentials.push(stored);
    }
}

fn pending_until(
    issuer: &TrustedIssuer,
    document: &FederatedCredentialDocument,
    state: &CredentialState,
    now: Timestamp,
) -> Option<Timestamp> {
    let pending = is_pending(&issuer.profile, &document.matcher, &state.pinned);
    pending.then(|| now.plus_seconds(PENDING_DAYS.saturating_mul(86_400)))
}

fn set_credential(rules: &mut Snapshot, stored: &Stored<FederatedCredentialDocument>) {
    let issuer = rules.issuer_named(&stored.document.trusted_issuer).cloned();
    let Some((id, issuer)) = stored.id.parse().ok().zip(issuer) else {
        return;
    };
    rules.set_credential(
        id,
        Some(compile_credential(id, stored, issuer.id, &issuer.profile)),
    );
}

fn is_called(stored: &Stored<FederatedCredentialDocument>, reference: &str) -> bool {
    match reference.split_once(':') {
        Some((principal, name)) => {
            stored.document.principal.eq_ignore_ascii_case(principal)
                && stored.name.eq_ignore_ascii_case(name)
        }
        None => stored.name.eq_ignore_ascii_case(reference),
    }
}

/// The documents of a bundle, before they are compiled. Clients are left out: a case has none.
struct Objects<'a> {
    context: ReadContext<'a>,
    now: Timestamp,
    principals: Vec<Stored<PrincipalDocument>>,
    issuers: Vec<Stored<TrustedIssuerDocument>>,
    servers: Vec<Stored<ResourceServerDocument>>,
    credentials: Vec<Stored<FederatedCredentialDocument>>,
}

fn named<'s, D: Document>(objects: &'s [Stored<D>], name: &str) -> Option<&'s Stored<D>> {
    objects
        .iter()
        .find(|stored| stored.name.eq_ignore_ascii_case(name))
}

impl<'a> Objects<'a> {
    fn of(bundle: &Bundle, context: ReadContext<'a>, now: Timestamp) -> Self {
        Self {
            context,
            now,
            principals: read(bundle, context, now, |id| format!("pr_{}", base32(id))),
            issuers: read(bundle, context, now, |id| TrustedIssuerId(id).to_string()),
            servers: read(bundle, context, now, |id| ResourceServerId(id).to_string()),
            credentials: read(bundle, context, now, |id| CredentialId(id).to_string()),
        }
    }

    /// The mistakes that only show in combination with other objects: unknown references and
    /// conflicts.
    fn findings(&self) -> Vec<LintFinding> {
        let mut findings = Vec::new();
        let mut add = |kind: Kind, name: &str, problems: Vec<DocumentError>| {
            findings.extend(
                problems
                    .into_iter()
                    .map(|problem| LintFinding::error(kind, name, problem)),
            );
        };
        for stored in &self.principals {
            let missing = stored.document.acts_for.iter().enumerate();
            let missing =
                missing.filter_map(|(at, name)| self.no_principal(format!("/acts_for/{at}"), name));
            add(Kind::Principal, &stored.name, missing.collect());
        }
        for (at, stored) in self.issuers.iter().enumerate() {
            let owner = stored
                .document
                .owner
                .iter()
                .filter_map(|owner| self.no_principal("/owner".to_owned(), owner));
            let mut problems: Vec<DocumentError> = owner.collect();
            for other in self.issuers.iter().take(at) {
                problems.extend(stored.document.conflicts_with(
                    &other.name,
                    &other.document,
                    self.context,
                ));
            }
            add(Kind::TrustedIssuer, &stored.name, problems);
        }
        for (at, stored) in self.servers.iter().enumerate() {
            let others = self.servers.iter().take(at);
            let conflicts = others
                .flat_map(|other| stored.document.conflicts_with(&other.name, &other.document));
            let mut problems: Vec<DocumentError> = conflicts.collect();
            let issuers = self.issuers.iter();
            problems.extend(door_conflicts(
                &stored.document,
                issuers.map(|issuer| (issuer.name.as_str(), &issuer.document)),
                self.context,
            ));
            let door = stored.document.front_door.as_ref();
            let listed = door.and_then(|door| door.trusted_issuers.as_ref());
            let missing = listed.into_iter().flatten().enumerate();
            let missing = missing.filter(|(_, name)| named(&self.issuers, name).is_none());
            problems.extend(missing.map(|(at, name)| no_issuer_at_door(at, name)));
            add(Kind::ResourceServer, &stored.name, problems);
        }
        for stored in &self.credentials {
            add(
                Kind::FederatedCredential,
                &stored.name,
                self.problems_of(&stored.document),
            );
        }
        findings
    }

    fn problems_of(&self, document: &FederatedCredentialDocument) -> Vec<DocumentError> {
        let mut problems: Vec<DocumentError> = self
            .no_principal("/principal".to_owned(), &document.principal)
            .into_iter()
            .collect();
        let owner = named(&self.issuers, &document.trusted_issuer)
            .and_then(|issuer| issuer.document.owner.as_ref());
        if owner.is_some_and(|owner| !owner.eq_ignore_ascii_case(&document.principal)) {
            problems.push(DocumentError::new(
                "/trusted_issuer",
                "must not belong to another principal",
            ));
        }
        for (at, permission) in document.permissions.iter().enumerate() {
            let found = self.problems_of_permission(permission);
            problems.extend(
                found.into_iter().map(|p| {
                    DocumentError::new(format!("/permissions/{at}{}", p.pointer), p.detail)
                }),
            );
        }
        for (at, actor) in document.actors.iter().enumerate() {
            if self.actors_called(document, actor).count() != 1 {
                let detail =
                    format!("must be one federated credential; none or several are called {actor}");
                problems.push(DocumentError::new(format!("/actors/{at}"), detail));
            }
        }
        problems
    }

    fn problems_of_permission(&self, permission: &PermissionDocument) -> Vec<DocumentError> {
        let server = named(&self.servers, &permission.resource_server);
        let server = server.map(|server| (server.name.as_str(), &server.document));
        let owner = permission
            .owner
            .as_ref()
            .and_then(|owner| self.no_principal("/owner".to_owned(), owner));
        permission
            .problem_at(server)
            .into_iter()
            .chain(owner)
            .collect()
    }

    fn no_principal(&self, pointer: String, name: &str) -> Option<DocumentError> {
        let detail = || format!("must be an existing principal; there is no principal {name}");
        named(&self.principals, name)
            .is_none()
            .then(|| DocumentError::new(pointer, detail()))
    }

    /// The rules that an entry of `actors` may mean. Those of the document's own principal hide
    /// others, as when a rule is saved.
    fn actors_called<'s>(
        &'s self,
        document: &'s FederatedCredentialDocument,
        reference: &'s str,
    ) -> impl Iterator<Item = &'s Stored<FederatedCredentialDocument>> {
        let called = move |stored: &&Stored<_>| is_called(stored, reference);
        let is_own = |stored: &Stored<FederatedCredentialDocument>| {
            stored
                .document
                .principal
                .eq_ignore_ascii_case(&document.principal)
        };
        let has_own = self.credentials.iter().filter(called).any(is_own);
        self.credentials
            .iter()
            .filter(called)
            .filter(move |stored| !has_own || is_own(stored))
    }

    fn compiled(self) -> Imagined {
        let mut rules = Snapshot::empty();
        for Stored {
            id, name, document, ..
        } in &self.principals
        {
            let id = document.id.as_ref().unwrap_or(id);
            rules.set_principal(name, Some(document.compile(id, name, self.now)));
        }
        for Stored {
            id, name, document, ..
        } in &self.servers
        {
            let server = id
                .parse()
                .ok()
                .map(|id| document.compile(id, name, self.context.token_lifetime_seconds));
            rules.set_resource_server(name, server);
        }
        for issuer in self
            .issuers
            .iter()
            .filter_map(|stored| compile_issuer(stored, self.context))
        {
            rules.set_issuer(issuer.id, Some(issuer));
        }
        let credentials: Vec<_> = self
            .credentials
            .iter()
            .map(|stored| self.saved(stored, &rules))
            .collect();
        for stored in &credentials {
            set_credential(&mut rules, stored);
        }
        Imagined {
            rules,
            credentials,
            now: self.now,
        }
    }

    /// A rule in the form in which saving by an administrator stores it.
    fn saved(
        &self,
        stored: &Stored<FederatedCredentialDocument>,
        rules: &Snapshot,
    ) -> Stored<FederatedCredentialDocument> {
        let mut saved = stored.clone();
        let document = &mut saved.document;
        let said = document.vouched.take();
        let actors = document
            .actors
            .iter()
            .filter_map(|actor| self.actors_called(&stored.document, actor).next());
        let listed = actors.filter_map(|actor| {
            Some(RuleReference {
                name: actor.name.clone(),
                id: actor.id.parse().ok()?,
                revision: 1,
            })
        });
        saved.state = CredentialState {
            vouching: if said == Some(false) {
                Vouching::SelfService
            } else {
                Vouching::Vouched
            },
            actors: listed.collect(),
            revision: 1,
            ..CredentialState::default()
        };
        if let Some(issuer) = rules.issuer_named(&document.trusted_issuer) {
            if let Ok(normalised) = normalise(&issuer.profile, &issuer.terms, &document.matcher) {
                document.matcher = normalised.matcher;
            }
            saved.state.pending_until = pending_until(issuer, document, &saved.state, self.now);
        }
        // Compiled names are compared exactly, so they need the spelling of the resource server
        // itself.
        for permission in &mut document.permissions {
            if let Some(server) = named(&self.servers, &permission.resource_server) {
                permission.resource_server.clone_from(&server.name);
            }
        }
        saved
    }
}

/// Reads the objects of a kind. Those with mistakes are skipped; [`lint()`] has reported them.
fn read<D: Document>(
    bundle: &Bundle,
    context: ReadContext<'_>,
    now: Timestamp,
    id: impl Fn(Uuid) -> String,
) -> Vec<Stored<D>> {
    let objects = bundle.of(D::KIND).enumerate();
    let stored = objects.filter_map(|(at, (reference, members))| {
        let document = D::read(members, context).ok()?;
        let name = match reference.split_once(':') {
            Some((_, name)) if D::KIND == Kind::FederatedCredential => name,
            _ => reference,
        };
        // Ids by position, so that a verdict on the same bundle never changes.
        let id = id(Uuid::from_u128(u128::try_from(at).unwrap_or_default()));
        let name = name.to_owned();
        Some(Stored {
            id,
            name,
            version: 1,
            created_at: now,
            updated_at: now,
            document,
            state: D::State::default(),
        })
    });
    stored.collect()
}
