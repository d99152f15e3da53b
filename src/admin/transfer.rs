//! Accepts that a repository went to another owner.
//!
//! A platform keeps the id of a repository that is transferred, and the names and the owner's id
//! change. No rule follows by itself, because whoever gets the repository would get the rule with
//! it. The refusal of the first job under the new owner is recorded; after it, whoever may change
//! the rule can accept what was seen.

use serde_json::{Map, Value, json};

use super::author::Author;
use super::managed::Occasion;
use super::saving::{Change, Precondition, Saved, save};
use super::{Rejected, find};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::documents::{FederatedCredentialDocument, Stored};
use crate::ids::EventId;
use crate::profile::{Check, Claims, Equals, Field, Profile, Role};
use crate::reason::Reason;
use crate::store::AuditFilter;
use crate::trust::DocumentError;

/// How many of the latest refusals of a rule are searched.
const SEARCHED: usize = 500;
/// Events that are read at a time.
const PAGE: usize = 100;

/// Changes a rule to the names and the owner of the latest refused assertion whose repository has
/// the id that the rule has. The rule's other conditions stay.
pub async fn accept_transfer(
    app: &App,
    reference: &str,
    author: &Author,
) -> Result<Saved<FederatedCredentialDocument>, Rejected> {
    let rule = find::<FederatedCredentialDocument>(app, reference, author).await?;
    let rules = app.rules();
    let issuer = rules.issuer_named(&rule.document.trusted_issuer);
    let profile = issuer.map(|issuer| issuer.profile.clone());
    let profile = profile.ok_or(Rejected::NotFound)?;
    app.flush_audit().await;
    let Some(claims) = latest(app, &rule, &profile).await? else {
        return Err(refused(
            "",
            "no refused assertion of a repository with the rule's repository id is recorded: let a job of the repository ask for a token first",
        ));
    };
    let matcher = transferred(&rule, &profile, &claims)?;
    let precondition = Precondition {
        versions: Some(vec![rule.version]),
        ..Precondition::default()
    };
    let occasion = Occasion {
        online: true,
        author,
    };
    let change = Change::Patch(json!({ "match": matcher }));
    save(app, &rule.id, &change, &precondition, occasion).await
}

/// The claims of the latest refused assertion of the rule's repository. It was signed by the
/// platform: refusals of others are not recorded with a rule.
async fn latest(
    app: &App,
    rule: &Stored<FederatedCredentialDocument>,
    profile: &Profile,
) -> Result<Option<Claims>, Rejected> {
    let filter = AuditFilter {
        credential: rule.id.parse().ok(),
        outcome: Some(Outcome::Refused),
        trusted_issuer: Some(rule.document.trusted_issuer.clone()),
        ..AuditFilter::default()
    };
    let mut before: Option<EventId> = None;
    for _ in 0..SEARCHED.div_ceil(PAGE) {
        let page = app.store.audit_events(&filter, before, PAGE).await?;
        let of_repository = page.events.iter().find_map(|(event, _)| {
            let claims = claims_of(event, profile)?;
            is_of_repository(rule, profile, &claims).then_some(claims)
        });
        if of_repository.is_some() || page.next.is_none() {
            return Ok(of_repository);
        }
        before = page.next;
    }
    Ok(None)
}

/// The claims of the workload that an event describes, at the places where the assertion had them.
fn claims_of(event: &AuditEvent, profile: &Profile) -> Option<Claims> {
    let detail: Value = serde_json::from_str(&event.detail).ok()?;
    let described = detail.pointer("/workload/claims")?.as_object()?;
    let at_top = profile
        .claims
        .iter()
        .filter(|spec| !spec.path.starts_with('/'));
    let members = at_top.filter_map(|spec| {
        let value = described.get(&spec.name)?;
        Some((spec.path.clone(), value.clone()))
    });
    Some(Claims::new(members.collect::<Map<_, _>>()))
}

/// The fields that names and ids of repositories and owners have, with their comparison.
fn named(profile: &Profile) -> impl Iterator<Item = (&Field, &Equals)> {
    profile
        .fields
        .iter()
        .filter_map(|field| match &field.check {
            Check::Equals(equals) if field.role != Role::Condition => Some((field, equals)),
            _ => None,
        })
}

/// The value that a rule has for a field, given or pinned; `None` if it has none or several.
fn value<'r>(rule: &'r Stored<FederatedCredentialDocument>, field: &Field) -> Option<&'r str> {
    let given = rule.document.matcher.get(&field.name);
    given
        .or_else(|| rule.state.pinned.get(&field.name))?
        .as_str()
}

/// Whether the claims are of the repository whose id the rule has.
fn is_of_repository(
    rule: &Stored<FederatedCredentialDocument>,
    profile: &Profile,
    claims: &Claims,
) -> bool {
    let mut ids = named(profile).filter(|(field, _)| field.mismatch == Reason::RepoIdMismatch);
    ids.any(|(field, equals)| {
        let received = equals.read(claims).ok().flatten();
        value(rule, field)
            .zip(received)
            .is_some_and(|(expected, received)| equals.claim.same(expected, &received))
    })
}

/// The rule's `match` with the names and the owner of the claims.
fn transferred(
    rule: &Stored<FederatedCredentialDocument>,
    profile: &Profile,
    claims: &Claims,
) -> Result<Map<String, Value>, Rejected> {
    let mut matcher = rule.document.matcher.clone();
    let mut has_new_owner = false;
    for (field, equals) in named(profile) {
        let is_given = rule.document.matcher.contains_key(&field.name);
        if !is_given && !rule.state.pinned.contains_key(&field.name) {
            continue;
        }
        let Some(present) = value(rule, field) else {
            let pointer = format!("/match/{}", field.name);
            return Err(refused(&pointer, "must be one plain value to be replaced"));
        };
        let Some(received) = equals.read(claims).ok().flatten() else {
            let pointer = format!("/match/{}", field.name);
            return Err(refused(
                &pointer,
                "the recorded assertion has no such claim",
            ));
        };
        let is_same = equals.claim.same(present, &received);
        has_new_owner |= !is_same && field.mismatch == Reason::OwnerIdMismatch;
        if !is_same || !is_given {
            matcher.insert(field.name.clone(), Value::from(received.as_ref()));
        }
    }
    if has_new_owner {
        Ok(matcher)
    } else {
        Err(refused(
            "",
            "the latest refused assertion of the repository has the owner that the rule has: it was refused for another reason",
        ))
    }
}

fn refused(pointer: &str, detail: &str) -> Rejected {
    Rejected::Invalid(vec![DocumentError::new(pointer, detail)])
}
