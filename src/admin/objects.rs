//! What all kinds have in common.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use carnet_jose::{base64url, sha256};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Rejected;
use crate::app::App;
use crate::audit::{AuditEvent, AuditPart, MAX_DETAIL_BYTES, Outcome};
use crate::clock::Timestamp;
use crate::ids::check_name;
use crate::model::Snapshot;
use crate::objects::{Document, Stored};
use crate::reason::Reason;
use crate::store::{Filter, Page, Persist, Write};
use crate::trust::{Problem, Warning};

/// How large a member of the detail of an audit event may be that has to be short.
const MAX_MEMBER_BYTES: usize = 160;

/// How often a change is tried again because somebody else was faster.
const ATTEMPTS: usize = 5;

/// A kind that can be saved.
pub trait Managed: Persist {
    /// Checks what the document says of others, brings it into its stored form and decides what is stored beside it.
    fn prepare(
        &mut self,
        app: &App,
        name: &str,
        present: Option<&Stored<Self>>,
        occasion: Occasion<'_>,
    ) -> impl Future<Output = Result<Self::State, Rejected>> + Send;

    /// What else is wrong with a document that cannot be read as a whole, so that every mistake is told at once.
    fn further_problems(_: &App, _: &Map<String, Value>) -> impl Future<Output = Vec<Problem>> + Send {
        async { Vec::new() }
    }

    /// The principal that a token has to be good for, where tokens may be limited to principals.
    fn principal(&self) -> Option<&str> {
        None
    }

    /// What a reference means to this author, among what is there. `members` are those of the document to be saved.
    fn called(
        app: &App,
        reference: &str,
        _: Option<&Map<String, Value>>,
        _: &Author,
    ) -> impl Future<Output = Result<Option<Stored<Self>>, Rejected>> + Send {
        async move { Ok(app.store.object(reference).await?) }
    }

    /// The name that a reference to something new gives it, or what is wrong with it.
    fn name_in<'r>(&self, reference: &'r str) -> Result<&'r str, Problem> {
        Ok(reference)
    }

    /// What an answer shows beside the document.
    fn shown_state(_: &App, _: &Stored<Self>) -> Map<String, Value> {
        Map::new()
    }

    /// What is weak about it under these rules, beyond what the document alone shows.
    fn more_warnings(_: &Snapshot, _: &Stored<Self>) -> Vec<Warning> {
        Vec::new()
    }

    /// The rules as they would be with this object among them, as far as warnings are told from them.
    fn among(rules: Arc<Snapshot>, _: &Stored<Self>) -> Arc<Snapshot> {
        rules
    }

    /// Whether saving it would make the object say something else. What the server found out itself may be written down or left out.
    fn says_the_same(&self, state: &Self::State, present: &Stored<Self>) -> bool {
        present.document == *self && present.state == *state
    }

    /// The document as it is exported.
    fn exported_with_state(stored: &Stored<Self>) -> Map<String, Value> {
        stored.document.exported()
    }
}

/// On what occasion a document is saved.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// Whether what can only be seen by fetching it is looked at.
    pub online: bool,
    /// Who saves it.
    pub author: &'a Author,
}

/// What a caller says an object has to be before it is changed (RFC 9110 section 13.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`: one of these versions.
    pub versions: Option<Vec<i64>>,
    /// `If-Match: *`: there has to be one.
    pub exists: bool,
    /// `If-None-Match: *`: there must be none.
    pub absent: bool,
}

impl Precondition {
    fn check(&self, version: Option<i64>) -> Result<(), Rejected> {
        let wrong_version =
            self.versions.as_ref().is_some_and(|versions| version.is_none_or(|v| !versions.contains(&v)));
        let unexpected = (self.exists && version.is_none()) || (self.absent && version.is_some());
        if wrong_version || unexpected { Err(Rejected::Changed) } else { Ok(()) }
    }
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The subject of the token.
    pub subject: String,
    /// The `jti` of the token; the local command line has none.
    pub token_id: Option<String>,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
    /// Whether it is whoever holds the database, by this machine's command line, and not the network.
    pub is_local: bool,
    /// The principals whose rules may be changed; none means all.
    pub principals: Option<Vec<String>>,
    /// Whether objects other than federated credentials are the author's business too.
    pub sees_everything: bool,
    /// Whether the author may do everything.
    pub is_admin: bool,
}

impl Author {
    /// An event of something that this author did, or was refused.
    pub fn event(&self, now: Timestamp, outcome: Outcome) -> AuditEvent {
        AuditEvent {
            client_id: Some(self.subject.clone()),
            actor: Some(self.subject.clone()),
            token_id: self.token_id.clone(),
            address: self.address,
            ..AuditEvent::new(now, outcome)
        }
    }

    /// Whether the author may vouch for rules: whoever is limited to principals may not.
    pub fn may_vouch(&self) -> bool {
        self.principals.is_none()
    }

    /// Whether the author may touch federated credentials of this principal.
    pub fn may_act_for(&self, principal: &str) -> bool {
        self.principals.as_ref().is_none_or(|names| names.iter().any(|name| name.eq_ignore_ascii_case(principal)))
    }
}

/// How an object is saved.
#[derive(Clone, Debug)]
pub enum Change {
    /// Made anew; there must be none of its name.
    Create(Map<String, Value>),
    /// Made or replaced.
    Replace(Map<String, Value>),
    /// Changed by a merge patch (RFC 7396).
    Patch(Value),
}

/// An object that was saved.
#[derive(Debug)]
pub struct Saved<D: Document> {
    /// The object.
    pub object: Stored<D>,
    /// Whether it is new.
    pub created: bool,
}

/// What saving would do.
#[derive(Debug, Default, Serialize)]
pub struct DryRun {
    /// The object as it would be stored; none if it would be refused.
    pub stored: Option<Map<String, Value>>,
    /// Whether it would say something else than what is stored now.
    pub would_change: bool,
    /// Why it would be refused.
    pub errors: Vec<Problem>,
    /// What is weak about it.
    pub warnings: Vec<Warning>,
}

/// What a reference means to this author. An object of another principal is not there for whoever is limited.
pub async fn find<D: Managed>(app: &App, reference: &str, author: &Author) -> Result<Stored<D>, Rejected> {
    D::called(app, reference, None, author).await?.ok_or(Rejected::NotFound)
}

/// A page of objects.
pub async fn list<D: Managed>(
    app: &App,
    after: Option<&str>,
    limit: u64,
    filter: &Filter,
) -> Result<Page<D>, Rejected> {
    Ok(app.store.objects(after, limit, filter).await?)
}

/// An object as an answer shows it.
pub fn shown<D: Managed>(app: &App, stored: &Stored<D>) -> Map<String, Value> {
    let context = app.context();
    let mut members = Map::new();
    members.insert("name".to_owned(), stored.name.clone().into());
    members.extend(stored.document.shown(context));
    members.insert("id".to_owned(), stored.id.clone().into());
    members.extend(D::shown_state(app, stored));
    members.insert("warnings".to_owned(), json!(warnings(app, &app.rules(), stored)));
    members.insert("created_at".to_owned(), stored.created_at.to_string().into());
    members.insert("updated_at".to_owned(), stored.updated_at.to_string().into());
    members
}

fn warnings<D: Managed>(app: &App, rules: &Snapshot, stored: &Stored<D>) -> Vec<Warning> {
    let mut warnings = stored.document.warnings(app.context());
    warnings.extend(D::more_warnings(rules, stored));
    warnings
}

/// An object as `apply` takes it: what was given, and the pins both beside it and written as ids.
pub fn exported<D: Managed>(stored: &Stored<D>) -> Map<String, Value> {
    let mut members = D::exported_with_state(stored);
    members.insert("name".to_owned(), stored.name.clone().into());
    members
}

/// Makes or changes an object. The same request twice changes nothing the second time.
pub async fn save<D: Managed>(
    app: &App,
    reference: &str,
    change: &Change,
    precondition: &Precondition,
    occasion: Occasion<'_>,
) -> Result<Saved<D>, Rejected> {
    for attempt in 1..=ATTEMPTS {
        let Prepared { name, present, document, state } =
            prepare(app, reference, change, precondition, occasion).await?;
        if let Err(Rejected::Invalid(problems)) = &state
            && occasion.online
        {
            app.audit(refused(occasion.author, &document, &name, problems, app.clock.now()));
        }
        match write(app, &name, present, document, state?, occasion.author).await {
            Err(Rejected::Changed) if attempt < ATTEMPTS && precondition.versions.is_none() => {}
            outcome => return outcome,
        }
    }
    Err(Rejected::Changed)
}

/// What saving would do; nothing is written, and no event tells of it.
pub async fn try_out<D: Managed>(
    app: &App,
    reference: &str,
    change: &Change,
    precondition: &Precondition,
    occasion: Occasion<'_>,
) -> Result<DryRun, Rejected> {
    let prepared = prepare::<D>(app, reference, change, precondition, occasion).await;
    let prepared =
        prepared.and_then(|prepared| Ok((prepared.state?, prepared.present, prepared.name, prepared.document)));
    let (state, present, name, document) = match prepared {
        Ok(prepared) => prepared,
        Err(Rejected::Invalid(errors)) => return Ok(DryRun { errors, ..DryRun::default() }),
        Err(rejected) => return Err(rejected),
    };
    let now = app.clock.now();
    let would_change = present.as_ref().is_none_or(|present| !document.says_the_same(&state, present));
    let is_new = present.is_none();
    let object = if let Some(present) = present {
        Stored { document, state, ..present }
    } else {
        new_object(document, state, &name, now)
    };
    let warnings = warnings(app, &D::among(app.rules(), &object), &object);
    let mut stored = shown(app, &object);
    // A secret would be another one, and so would be what is made with the object.
    let of_its_making = ["created_at", "updated_at", "secrets"].into_iter().filter(|_| is_new);
    let made_id = (is_new && object.document.given_id().is_none()).then_some("id");
    for member in ["warnings", "client_secret"].into_iter().chain(of_its_making).chain(made_id) {
        stored.shift_remove(member);
    }
    Ok(DryRun { stored: Some(stored), would_change, errors: Vec::new(), warnings })
}

/// What is known of a change before it is written.
struct Prepared<D: Managed> {
    name: String,
    present: Option<Stored<D>>,
    document: D,
    /// What is stored beside the document, or what is wrong with it.
    state: Result<D::State, Rejected>,
}

async fn prepare<D: Managed>(
    app: &App,
    reference: &str,
    change: &Change,
    precondition: &Precondition,
    occasion: Occasion<'_>,
) -> Result<Prepared<D>, Rejected> {
    let author = occasion.author;
    let given = match change {
        Change::Create(members) | Change::Replace(members) => Some(members),
        Change::Patch(_) => None,
    };
    // What this author may not touch is not there, before anything of it could be told.
    let present: Option<Stored<D>> = D::called(app, reference, given, author).await?;
    let checked = precondition.check(present.as_ref().map(|present| present.version));
    let members = match (change, &present) {
        (Change::Patch(_), None) => return Err(Rejected::NotFound),
        (Change::Create(_), Some(_)) if checked.is_ok() => {
            return Err(Rejected::Exists(format!("there is a {} of this name", D::KIND.noun())));
        }
        (Change::Create(members) | Change::Replace(members), _) => members.clone(),
        (Change::Patch(patch), Some(present)) => patched(present.document.exported(), patch)?,
    };
    checked?;
    let mut document = match D::read(&members, app.context()) {
        Ok(document) => document,
        Err(mut problems) => {
            problems.extend(D::further_problems(app, &members).await);
            return Err(Rejected::Invalid(problems));
        }
    };
    if document.principal().is_some_and(|principal| !author.may_act_for(principal)) {
        return Err(Rejected::Forbidden);
    }
    let name = match &present {
        Some(present) => present.name.clone(),
        None => document.name_in(reference).map_err(|problem| Rejected::Invalid(vec![problem]))?.to_owned(),
    };
    check_name(&name).map_err(|detail| Rejected::Invalid(vec![Problem::new("/name", detail)]))?;
    let state = document.prepare(app, &name, present.as_ref(), occasion).await;
    Ok(Prepared { name, present, document, state })
}

async fn write<D: Managed>(
    app: &App,
    name: &str,
    present: Option<Stored<D>>,
    document: D,
    state: D::State,
    author: &Author,
) -> Result<Saved<D>, Rejected> {
    let now = app.clock.now();
    // Another replica may have made the principal a moment ago: the event is for its eyes.
    if document.principal().is_some_and(|name| app.rules().principal(&name.to_ascii_lowercase()).is_none()) {
        refresh(app).await?;
    }
    if let Some(present) = present {
        if present.document == document && present.state == state {
            return Ok(Saved { object: present, created: false });
        }
        let object =
            Stored { version: present.version.saturating_add(1), updated_at: now, document, state, ..present.clone() };
        let event = event(app, author, Outcome::Updated, (Some(&present), Some(&object)), now);
        app.store.write(Write::Update(&object, present.version), &event, now).await?;
        refresh(app).await?;
        return Ok(Saved { object, created: false });
    }
    let object = new_object(document, state, name, now);
    let event = event(app, author, Outcome::Created, (None, Some(&object)), now);
    app.store.write(Write::Insert(&object), &event, now).await?;
    refresh(app).await?;
    Ok(Saved { object, created: true })
}

fn new_object<D: Managed>(document: D, state: D::State, name: &str, now: Timestamp) -> Stored<D> {
    let id = document.given_id().map_or_else(|| D::new_id(now), str::to_owned);
    Stored { id, name: name.to_owned(), version: 1, created_at: now, updated_at: now, document, state }
}

/// Changes what is stored of an object, whoever else changes it at the same time.
pub(super) async fn update<D: Managed>(
    app: &App,
    reference: &str,
    author: &Author,
    change: impl Fn(&Stored<D>, Timestamp) -> Result<(D, D::State), Rejected>,
) -> Result<Saved<D>, Rejected> {
    for _ in 0..ATTEMPTS {
        let present: Stored<D> = find(app, reference, author).await?;
        let (document, state) = change(&present, app.clock.now())?;
        let name = present.name.clone();
        match write(app, &name, Some(present), document, state, author).await {
            Err(Rejected::Changed) => {}
            outcome => return outcome,
        }
    }
    Err(Rejected::Changed)
}

/// Removes an object.
pub async fn delete<D: Managed>(
    app: &App,
    reference: &str,
    precondition: &Precondition,
    author: &Author,
) -> Result<(), Rejected> {
    let present: Stored<D> = find(app, reference, author).await?;
    precondition.check(Some(present.version))?;
    let now = app.clock.now();
    let event = event(app, author, Outcome::Deleted, (Some(&present), None), now);
    app.store.write(Write::Delete(&present, present.version), &event, now).await?;
    refresh(app).await
}

/// This server acts on the change at once; the others follow within a second.
async fn refresh(app: &App) -> Result<(), Rejected> {
    app.refresh().await.map_err(|error| Rejected::Unavailable(error.to_string()))
}

fn patched(mut members: Map<String, Value>, patch: &Value) -> Result<Map<String, Value>, Rejected> {
    let Value::Object(patch) = patch else {
        return Err(Rejected::Invalid(vec![Problem::new("", "a merge patch is an object")]));
    };
    merge(&mut members, patch);
    Ok(members)
}

/// RFC 7396 section 2.
fn merge(members: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                members.shift_remove(name);
            }
            Value::Object(inner) => {
                let slot = members.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(present) = slot {
                    merge(present, inner);
                }
            }
            value => {
                members.insert(name.clone(), value.clone());
            }
        }
    }
}

fn event<D: Managed>(
    app: &App,
    author: &Author,
    outcome: Outcome,
    (before, after): (Option<&Stored<D>>, Option<&Stored<D>>),
    now: Timestamp,
) -> AuditEvent {
    let mut event = author.event(now, outcome);
    let object = after.or(before);
    let rules = app.rules();
    // A rule is its principal's affair, also of the one that it was taken from.
    let concerned = [before, after].into_iter().flatten().filter_map(|object| object.document.principal());
    for principal in concerned.filter_map(|name| rules.principal(&name.to_ascii_lowercase())) {
        if event.parts.iter().all(|part| part.principal_id != principal.id) {
            event.parts.push(AuditPart {
                principal_id: principal.id.clone(),
                credential: object.and_then(|object| object.id.parse().ok()),
                revision: None,
                sees_claims: true,
            });
        }
    }
    event.parts.sort_by(|left, right| left.principal_id.cmp(&right.principal_id));
    event.principal = object.and_then(|object| object.document.principal()).map(str::to_owned);
    event.credential = object.and_then(|object| object.id.parse().ok());
    let exported = |object: Option<&Stored<D>>| object.map(|object| object.document.exported());
    let (mut before, mut after) = (exported(before), exported(after));
    let detail = |before: &Option<Map<String, Value>>, after: &Option<Map<String, Value>>| {
        let name = object.map(|object| &object.name);
        json!({ "kind": D::KIND.noun(), "name": name, "before": before, "after": after }).to_string()
    };
    event.detail = detail(&before, &after);
    if event.detail.len() > MAX_DETAIL_BYTES {
        only_changes(&mut before, &mut after);
        shorten(&mut before);
        shorten(&mut after);
        event.detail = detail(&before, &after);
    }
    event
}

/// The event of a document that was refused after others may have been asked about it: an hour's are counted in one.
fn refused<D: Managed>(author: &Author, document: &D, name: &str, problems: &[Problem], now: Timestamp) -> AuditEvent {
    let pointers: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
    let key = [D::KIND.noun(), name, &author.subject, &pointers.join(" "), &now.seconds().div_euclid(3600).to_string()];
    let mut members = Some(document.exported());
    shorten(&mut members);
    AuditEvent {
        reason: Some(Reason::PolicyInvalid),
        fold: Some(sha256(key.join("\0").as_bytes())),
        detail: json!({ "kind": D::KIND.noun(), "name": name, "problems": pointers, "document": members }).to_string(),
        ..author.event(now, Outcome::Refused)
    }
}

/// Leaves out what did not change.
fn only_changes(before: &mut Option<Map<String, Value>>, after: &mut Option<Map<String, Value>>) {
    if let (Some(before), Some(after)) = (before, after) {
        let same: Vec<String> = before
            .iter()
            .filter(|(name, value)| after.get(*name) == Some(*value))
            .map(|(name, _)| name.clone())
            .collect();
        for name in same {
            before.shift_remove(&name);
            after.shift_remove(&name);
        }
    }
}

/// Puts in the place of what is long how long it is, and its digest, so that it can be compared.
fn shorten(members: &mut Option<Map<String, Value>>) {
    for (_, value) in members.iter_mut().flatten() {
        let text = value.to_string();
        if text.len() > MAX_MEMBER_BYTES {
            let digest = base64url(sha256(text.as_bytes()));
            *value = json!({ "bytes": text.len(), "sha256": digest });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_patches_follow_rfc_7396() {
        let patch = |target: Value, patch: Value| {
            patched(target.as_object().unwrap().clone(), &patch).map(Value::Object).unwrap()
        };
        assert_eq!(patch(json!({"a": "b"}), json!({"a": "c"})), json!({"a": "c"}));
        assert_eq!(patch(json!({"a": "b", "b": "c"}), json!({"a": null})), json!({"b": "c"}));
        assert_eq!(patch(json!({"a": ["b"]}), json!({"a": "c"})), json!({"a": "c"}));
        assert_eq!(patch(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}})), json!({"a": {"b": "d"}}));
        assert_eq!(patch(json!({"a": "x"}), json!({"a": {"b": {"c": null}}})), json!({"a": {"b": {}}}));
        assert!(patched(Map::new(), &json!([])).is_err());
    }

    #[test]
    fn preconditions_guard_against_lost_updates() {
        let matching = Precondition { versions: Some(vec![3, 4]), ..Precondition::default() };
        assert!(matching.check(Some(3)).is_ok());
        assert!(matching.check(Some(5)).is_err() && matching.check(None).is_err());
        let new = Precondition { absent: true, ..Precondition::default() };
        assert!(new.check(None).is_ok() && new.check(Some(1)).is_err());
        let there = Precondition { exists: true, ..Precondition::default() };
        assert!(there.check(Some(1)).is_ok() && there.check(None).is_err());
    }
}
