//! Whom a permit lets the caller act as, and with what: the entries of the token.
//!
//! The order is that of decision D-01, step 9: target, then principal, then scope, then details. Entries of several rules
//! stand side by side and are never put together.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use carnet_resource_server::{AuthorizationDetail, DETAIL_TYPE, PackagePattern, is_well_formed_name};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::token::ScopeSet;
use crate::trust::{
    Candidate, Denial, FederatedCredential, MatchReport, Mismatch, Permission, Permit, ResourceServer, Rule, Snapshot,
    TrustedIssuer, version_in,
};

/// The most entries a token may have; beyond that the oldest credentials win, so that nobody can push others out.
const MAX_ENTRIES: usize = 100;

/// A registry identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its id: the `sub` of its tokens.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: PrincipalKind,
    /// The registry's own id of it.
    pub external_id: Option<String>,
    /// Whether it is switched on.
    pub enabled: bool,
}

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person's account.
    User,
    /// An organization.
    Organization,
    /// A team.
    Team,
    /// A service account.
    Service,
    /// A project.
    Project,
}

impl PrincipalKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::User, Self::Organization, Self::Team, Self::Service, Self::Project];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Organization => "organization",
            Self::Team => "team",
            Self::Service => "service",
            Self::Project => "project",
        }
    }
}

impl fmt::Display for PrincipalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PrincipalKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// What a request asks for beside presenting an assertion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessRequest {
    /// The resource servers it names (RFC 8707).
    pub resources: Vec<String>,
    /// The name of the principal whose rules are meant.
    pub principal: Option<String>,
    /// The scope it wants.
    pub scope: Option<ScopeSet>,
    /// The details it wants (RFC 9396).
    pub details: Option<Vec<DetailRequest>>,
}

/// One requested entry of `authorization_details`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetailRequest {
    /// The type; only [`DETAIL_TYPE`] is known.
    #[serde(rename = "type")]
    pub kind: String,
    /// The actions.
    pub actions: Vec<String>,
    /// Package names, or patterns equal to permitted ones.
    pub packages: Vec<String>,
    /// The owner, by name.
    #[serde(default)]
    pub owner: Option<String>,
    /// The version.
    #[serde(default)]
    pub version: Option<String>,
    /// The artifact, as `sha256:…`.
    #[serde(default)]
    pub digest: Option<String>,
    /// The resource servers.
    #[serde(default)]
    pub locations: Option<Vec<String>>,
}

/// What a token will say: for one resource server, for one principal or for the workload itself.
#[derive(Clone, Debug)]
pub struct Entitlement {
    /// The resource server.
    pub resource_server: Arc<ResourceServer>,
    /// `sub`.
    pub subject: String,
    /// The one principal, if it is one.
    pub principal: Option<Arc<Principal>>,
    /// The union of the entries' actions.
    pub scope: ScopeSet,
    /// The entries, newest credential first.
    pub details: Vec<AuthorizationDetail>,
    /// The credentials that gave the entries, newest first.
    pub credentials: Vec<Granting>,
}

/// A federated credential that a token rests on.
#[derive(Clone, Debug)]
pub struct Granting {
    /// The credential.
    pub credential: Arc<FederatedCredential>,
    /// The ids that the token's transaction pins.
    pub pins: serde_json::Map<String, Value>,
}

/// A permit and what it entitles to. Only [`authorize`] makes one.
#[derive(Debug)]
pub struct Authorization {
    permit: Permit,
    entitlement: Entitlement,
}

/// Decides what the permit entitles to for this request.
pub fn authorize(permit: Permit, request: &AccessRequest) -> Result<Authorization, Box<Denial>> {
    let assertion = permit.assertion();
    match entitle(permit.report(), permit.snapshot(), assertion.issuer(), assertion.claims(), request) {
        Ok(entitlement) => Ok(Authorization { permit, entitlement }),
        Err(refusal) => Err(permit.deny(refusal)),
    }
}

impl Authorization {
    /// Turns the yes into a no.
    pub fn deny(self, refusal: Refusal) -> Box<Denial> {
        self.permit.deny(refusal)
    }

    /// The permit.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// What it entitles to.
    pub fn entitlement(&self) -> &Entitlement {
        &self.entitlement
    }
}

impl Entitlement {
    /// When the first of its credentials ends.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.credentials.iter().filter_map(|granting| granting.credential.expires_at).min()
    }
}

/// One entry, still tied to the rule that gives it.
#[derive(Clone, Debug)]
struct Entry<'r> {
    candidate: &'r Candidate,
    principal: &'r Arc<Principal>,
    detail: AuthorizationDetail,
}

/// The decision itself, for permits, explanations and offline cases alike.
pub fn entitle(
    report: &MatchReport,
    snapshot: &Snapshot,
    issuer: &TrustedIssuer,
    claims: &Claims,
    request: &AccessRequest,
) -> Result<Entitlement, Refusal> {
    let matching: Vec<(&Candidate, Rule<'_>)> =
        report.matching().filter_map(|candidate| Some((candidate, candidate.credential.rule.open()?))).collect();
    let server = target(&matching, snapshot, request)?;
    let matching = above_floor(matching, &server, issuer, claims)?;
    let entries = entries(&matching, &server, issuer, claims);
    let entries = of_principal(entries, &server, request)?;
    let entries = newest_first(within_scope_and_details(entries, &server, request)?);
    assemble(entries, server, issuer, claims)
}

/// The one resource server meant (contract, section 4: which credentials count).
fn target(
    matching: &[(&Candidate, Rule<'_>)],
    snapshot: &Snapshot,
    request: &AccessRequest,
) -> Result<Arc<ResourceServer>, Refusal> {
    let covered: BTreeSet<_> = matching
        .iter()
        .flat_map(|(_, rule)| &rule.permissions)
        .filter_map(|permission| snapshot.resource_server(permission.resource_server))
        .map(|server| server.name.as_str())
        .collect();
    let named: BTreeSet<_> = request
        .resources
        .iter()
        .map(|resource| snapshot.resource_server_named(resource).map(|server| server.name.as_str()))
        .collect::<Option<_>>()
        .ok_or(Refusal::parameter(Reason::TargetUnknown, "resource"))?;
    let mut wanted = if named.is_empty() { covered.iter() } else { named.iter() };
    let name = match (wanted.next(), wanted.next()) {
        (Some(name), None) if covered.contains(name) => name,
        (Some(_), Some(_)) => return Err(Refusal::parameter(Reason::TargetAmbiguous, "resource")),
        _ => return Err(Refusal::parameter(Reason::TargetNotGranted, "resource")),
    };
    snapshot.resource_server(name).cloned().ok_or(Refusal::parameter(Reason::TargetUnknown, "resource"))
}

/// Leaves out the rules that the registry's floor excludes: without an environment of their own, for a ref that is not
/// protected.
fn above_floor<'r>(
    matching: Vec<(&'r Candidate, Rule<'r>)>,
    server: &ResourceServer,
    issuer: &TrustedIssuer,
    claims: &Claims,
) -> Result<Vec<(&'r Candidate, Rule<'r>)>, Refusal> {
    const FIELD: &str = "require_protected_ref_or_environment";
    let profile = &issuer.profile;
    let Some(floor) = profile.floor.as_ref().filter(|_| server.require_protected_ref_or_environment) else {
        return Ok(matching);
    };
    if floor.protected.truth(claims) == Ok(true) {
        return Ok(matching);
    }
    let binds = |rule: &Rule<'_>| {
        let field = profile.fields_named(&floor.environment_field).next().and_then(|(at, _)| u16::try_from(at).ok());
        rule.conditions.iter().any(|condition| field.is_some() && condition.field == field)
    };
    let (above, below): (Vec<_>, Vec<_>) = matching.into_iter().partition(|(_, rule)| binds(rule));
    if !above.is_empty() {
        return Ok(above);
    }
    let received = claims.get(&floor.protected.path).cloned().unwrap_or(Value::Null);
    let mismatches: Vec<Mismatch> = below
        .iter()
        .filter(|(candidate, _)| candidate.is_proved_to_be_meant(profile))
        .map(|(candidate, _)| Mismatch {
            credential: candidate.credential.id,
            field: FIELD.to_owned(),
            expected: json!({ (floor.protected.name.as_str()): "true", "or": floor.environment_field }),
            received: received.clone(),
            reason: Reason::RefUnprotected,
        })
        .collect();
    let reason = if mismatches.is_empty() { Reason::NoMatchingCredential } else { Reason::RefUnprotected };
    Err(Refusal::no_match(reason, mismatches))
}

fn entries<'r>(
    matching: &[(&'r Candidate, Rule<'r>)],
    server: &ResourceServer,
    issuer: &TrustedIssuer,
    claims: &Claims,
) -> Vec<Entry<'r>> {
    let mut entries = Vec::new();
    for (candidate, rule) in matching {
        let Some(principal) = &candidate.principal else { continue };
        let version = rule.conditions.iter().find_map(|condition| version_in(condition, &issuer.profile, claims));
        let here = rule.permissions.iter().filter(|permission| permission.resource_server == server.name);
        entries.extend(here.map(|permission| Entry {
            candidate,
            principal,
            detail: detail(permission, candidate, principal, server, version),
        }));
    }
    entries
}

fn detail(
    permission: &Permission<'_>,
    candidate: &Candidate,
    principal: &Principal,
    server: &ResourceServer,
    version: Option<&str>,
) -> AuthorizationDetail {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    AuthorizationDetail {
        kind: DETAIL_TYPE.to_owned(),
        actions: owned(&permission.actions),
        packages: owned(&permission.packages),
        owner: permission.owner.unwrap_or(&principal.name).to_owned(),
        principal: principal.name.clone(),
        credential: candidate.credential.id.to_string(),
        revision: candidate.credential.revision,
        locations: vec![server.resource.clone()],
        version: version.map(str::to_owned),
        digest: None,
    }
}

fn of_principal<'r>(
    entries: Vec<Entry<'r>>,
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<Entry<'r>>, Refusal> {
    let Some(name) = &request.principal else {
        if server.require_principal {
            return Err(Refusal::parameter(Reason::PrincipalRequired, "principal"));
        }
        return Ok(entries);
    };
    let entries: Vec<_> = entries.into_iter().filter(|entry| entry.principal.name.eq_ignore_ascii_case(name)).collect();
    // The name of an account without a matching rule is answered like a name that nobody has.
    if entries.is_empty() { Err(Reason::NoMatchingCredential.into()) } else { Ok(entries) }
}

fn within_scope_and_details<'r>(
    entries: Vec<Entry<'r>>,
    server: &ResourceServer,
    request: &AccessRequest,
) -> Result<Vec<Entry<'r>>, Refusal> {
    let too_wide = || Refusal::parameter(Reason::ScopeNotGranted, "scope");
    if let Some(scope) = &request.scope
        && !union(&entries).is_some_and(|permitted| scope.is_within(&permitted))
    {
        return Err(too_wide());
    }
    let narrowed = match &request.details {
        None => entries,
        Some(wanted) => {
            let mut narrowed = Vec::new();
            for wanted in wanted {
                narrowed.extend(inside(wanted, &entries, server)?);
            }
            narrowed
        }
    };
    let Some(scope) = &request.scope else {
        return Ok(narrowed);
    };
    let mut cut = Vec::new();
    for mut entry in narrowed {
        entry.detail.actions.retain(|action| scope.contains(action));
        match (entry.detail.actions.is_empty(), request.details.is_some()) {
            (false, _) => cut.push(entry),
            (true, true) => return Err(too_wide()),
            (true, false) => {}
        }
    }
    Ok(cut)
}

/// The permitted entries that hold all of a requested one, each with the narrower values.
fn inside<'r>(
    wanted: &DetailRequest,
    entries: &[Entry<'r>],
    server: &ResourceServer,
) -> Result<Vec<Entry<'r>>, Refusal> {
    let refused = |reason| Refusal::parameter(reason, "authorization_details");
    let names = server.package_names;
    let permits = |pattern: &String, package: &String| {
        PackagePattern::try_from(pattern.clone()).is_ok_and(|pattern| match package.contains('*') {
            true => names.same(pattern.as_str(), package),
            false => is_well_formed_name(package) && pattern.covers(package, names),
        })
    };
    let covers = |entry: &&Entry<'r>| {
        wanted.packages.iter().all(|package| entry.detail.packages.iter().any(|pattern| permits(pattern, package)))
    };
    let covering: Vec<&Entry<'r>> = entries.iter().filter(covers).collect();
    if covering.is_empty() {
        return Err(refused(Reason::PackageOutOfScope));
    }
    let acting: Vec<&Entry<'r>> = covering
        .into_iter()
        .filter(|entry| wanted.actions.iter().all(|action| entry.detail.actions.contains(action)))
        .collect();
    if acting.is_empty() {
        return Err(refused(Reason::ActionOutOfScope));
    }
    let here = wanted.locations.as_ref().is_none_or(|places| places.iter().all(|place| *place == server.resource));
    let fitting: Vec<Entry<'r>> = acting
        .into_iter()
        .filter(|entry| {
            here && wanted.owner.as_ref().is_none_or(|owner| entry.detail.owner.eq_ignore_ascii_case(owner))
        })
        .filter(|entry| {
            entry.detail.version.is_none() || wanted.version.is_none() || entry.detail.version == wanted.version
        })
        .map(|entry| narrow(entry, wanted))
        .collect();
    if fitting.is_empty() { Err(refused(Reason::OwnerOutOfScope)) } else { Ok(fitting) }
}

fn narrow<'r>(entry: &Entry<'r>, wanted: &DetailRequest) -> Entry<'r> {
    let mut entry = entry.clone();
    entry.detail.actions.retain(|action| wanted.actions.contains(action));
    entry.detail.packages.clone_from(&wanted.packages);
    entry.detail.version = entry.detail.version.or_else(|| wanted.version.clone());
    entry.detail.digest.clone_from(&wanted.digest);
    entry
}

fn union(entries: &[Entry<'_>]) -> Option<ScopeSet> {
    ScopeSet::of(entries.iter().flat_map(|entry| &entry.detail.actions).map(String::as_str))
}

/// Keeps the first [`MAX_ENTRIES`] of the oldest credentials, then puts the newest first.
fn newest_first(mut entries: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    let age = |entry: &Entry<'_>| (entry.candidate.credential.created_at, entry.candidate.credential.id);
    entries.sort_by_key(age);
    entries.truncate(MAX_ENTRIES);
    entries.sort_by_key(|entry| std::cmp::Reverse(age(entry)));
    let mut kept: Vec<Entry<'_>> = Vec::with_capacity(entries.len());
    for entry in entries {
        if !kept.iter().any(|other| other.detail == entry.detail) {
            kept.push(entry);
        }
    }
    kept
}

fn assemble(
    entries: Vec<Entry<'_>>,
    server: Arc<ResourceServer>,
    issuer: &TrustedIssuer,
    claims: &Claims,
) -> Result<Entitlement, Refusal> {
    let scope = union(&entries).ok_or(Reason::ScopeNotGranted)?;
    let first = entries.first().map(|entry| entry.principal).ok_or(Reason::NoMatchingCredential)?;
    let only = entries.iter().all(|entry| entry.principal.id == first.id).then(|| first.clone());
    let subject = match &only {
        Some(principal) => principal.id.clone(),
        None => {
            let id = issuer.profile.workload_id.render(claims).map_err(|unreadable| Refusal::new(unreadable.into()))?;
            format!("workload:{}:{id}", issuer.name)
        }
    };
    let mut credentials: Vec<Granting> = Vec::new();
    for entry in &entries {
        if !credentials.iter().any(|granting| granting.credential.id == entry.candidate.credential.id) {
            let pins = entry.candidate.pins.clone();
            credentials.push(Granting { credential: entry.candidate.credential.clone(), pins });
        }
    }
    let details = entries.into_iter().map(|entry| entry.detail).collect();
    Ok(Entitlement { resource_server: server, subject, principal: only, scope, details, credentials })
}
