//! The plan of `carnet apply`, computed with dry runs of the admin API.

use std::collections::HashSet;

use axum::http::Method;
use serde_json::{Map, Value};

use super::given_secrets::without_secret;
use super::references::{Named, ObjectName, Reference, named_first, references};
use super::stored::{Current, StoredObject, StoredObjects, View};
use crate::command::CommandError;
use crate::command::admin_client::{AdminClient, Demand, in_path};
use crate::command::progress::Progress;
use crate::documents::{Bundle, Difference, Kind, differences, whole};

/// Read-only members of answers that say nothing about what a change does.
const BOOKKEEPING: [&str; 11] = [
    "id",
    "name",
    "client_id",
    "revision",
    "warnings",
    "secrets",
    "has_secret",
    "created_at",
    "updated_at",
    "first_used_at",
    "last_used_at",
];

/// What has to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Objects come in the order in which they refer to each other, deletions last and in the
    /// opposite order.
    pub steps: Vec<Step>,
    pub unchanged: usize,
    /// Kinds that are not pruned, since the token may not read them.
    pub unread: Vec<Kind>,
}

/// One object to be saved or deleted.
#[derive(Clone, Debug)]
pub struct Step {
    pub kind: Kind,
    /// The key of the object in the file, or the name by which the server holds it.
    pub name: String,
    pub action: Action,
    /// The members that the step changes.
    pub changes: Vec<Difference>,
    /// The mistakes for which the server would refuse the step, against the objects as they are
    /// before the plan.
    pub problem: Option<Problem>,
    /// The warnings that the saved object would have.
    pub warnings: Vec<Value>,
    /// What a rule would admit and permit, in sentences.
    pub preview: Vec<Value>,
    /// The object as the server holds it; `None` if it is new.
    pub before: Option<Map<String, Value>>,
    /// The `ETag` of `before`.
    pub etag: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Create(Map<String, Value>),
    Update(Map<String, Value>),
    /// The token may not read the kind, so it is unknown whether the object exists.
    Save(Map<String, Value>),
    Delete,
}

impl Action {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Update(_) => "update",
            Self::Save(_) => "save",
            Self::Delete => "delete",
        }
    }
}

/// Why the server refuses, or would refuse, a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub text: String,
    /// Whether the token is not permitted to save the object. Then nothing is known about the
    /// object itself, and what refers to it may be in order.
    pub is_forbidden: bool,
}

impl Step {
    /// The object as its place in a file: `table.name`.
    pub fn object(&self) -> String {
        format!("{}.{}", self.kind.table(), self.name)
    }

    /// The object in a sentence, such as `trusted issuer github`.
    pub fn noun(&self) -> String {
        format!("{} {}", self.kind.noun(), self.name)
    }

    /// The document to be saved; `None` for a deletion.
    pub fn wanted(&self) -> Option<&Map<String, Value>> {
        match &self.action {
            Action::Create(wanted) | Action::Update(wanted) | Action::Save(wanted) => Some(wanted),
            Action::Delete => None,
        }
    }

    /// What has to be true of the object for the plan to be what was shown.
    pub fn demand(&self) -> Demand<'_> {
        match (&self.action, &self.etag) {
            (Action::Create(_), _) => Demand::IsNew,
            (Action::Update(_) | Action::Delete, Some(etag)) => Demand::Version(etag),
            (Action::Update(_) | Action::Delete, None) | (Action::Save(_), _) => Demand::Nothing,
        }
    }

    pub fn object_name(&self) -> ObjectName {
        let nothing = Map::new();
        let members = self.wanted().or(self.before.as_ref());
        ObjectName::of(self.kind, &self.name, members.unwrap_or(&nothing))
    }

    /// Whether the server will make a client secret.
    pub fn makes_secret(&self) -> bool {
        let has_secret = |members: &Map<String, Value>| {
            let method = members.get("auth_method").and_then(Value::as_str);
            method.is_some_and(|method| method.starts_with("client_secret_"))
        };
        match self.kind {
            Kind::Client => {
                self.wanted().is_some_and(has_secret)
                    && !self.before.as_ref().is_some_and(has_secret)
            }
            Kind::Notification => self.before.is_none(),
            _ => false,
        }
    }
}

/// Computes plans.
pub struct Planner<'a> {
    client: &'a AdminClient,
    /// Whether objects that are not in the file are deleted.
    prune: bool,
    /// Whether the token may read a kind, as far as is known.
    may_read: &'a dyn Fn(Kind) -> bool,
    /// What the plan creates (`true`) or updates.
    planned: Named<bool>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    pub fn new(client: &'a AdminClient, prune: bool, may_read: &'a dyn Fn(Kind) -> bool) -> Self {
        Self {
            client,
            prune,
            may_read,
            planned: Named::default(),
            plan: Plan::default(),
        }
    }

    /// Compares a file with the server. Whether an object would change is the result of a dry run,
    /// since only the server knows its profiles and the form in which it stores objects. Kinds that
    /// the file does not name are read only to be pruned.
    pub async fn plan(
        mut self,
        bundle: &Bundle,
        progress: &mut Progress,
    ) -> Result<Plan, CommandError> {
        let mut removals = Vec::new();
        for kind in Kind::ALL {
            let wanted = named_first(bundle, kind);
            if wanted.is_empty() && !self.prune {
                continue;
            }
            let stored = if (self.may_read)(kind) {
                StoredObjects::read(self.client, kind, View::Whole, None).await?
            } else {
                None
            };
            if self.prune && stored.is_none() {
                self.plan.unread.push(kind);
            }
            let mut exported = None;
            for (name, wanted) in &wanted {
                let step = self
                    .step(kind, (name, wanted), stored.as_ref(), &mut exported)
                    .await?;
                match step {
                    Some(step) => {
                        let is_new = step.before.is_none();
                        self.planned.insert(step.object_name(), is_new);
                        self.plan.steps.push(step);
                    }
                    None => self.plan.unchanged = self.plan.unchanged.saturating_add(1),
                }
                progress.step();
            }
            let stored = stored.filter(|_| self.prune).unwrap_or_default();
            for object in removals_of(kind, &stored, &wanted) {
                let current = Current::read(self.client, kind, object).await?;
                removals.extend(current.map(|current| removal(kind, &object.name, current)));
            }
        }
        self.plan.steps.extend(removals.into_iter().rev());
        Ok(self.plan)
    }

    /// The step that makes an object equal to that of the file; `None` if it is so already.
    /// `stored` is `None` if the kind cannot be read.
    async fn step(
        &self,
        kind: Kind,
        (name, wanted): (&str, &Map<String, Value>),
        stored: Option<&StoredObjects>,
        exported: &mut Option<StoredObjects>,
    ) -> Result<Option<Step>, CommandError> {
        let tried = self.try_out(kind, name, wanted).await?;
        if tried.says_the_same {
            return Ok(None);
        }
        let listed = stored.and_then(|stored| stored.get(kind, name, wanted));
        // Read again with its version, so that the plan is carried out on what it shows.
        let before = match listed {
            Some(listed) => Current::read(self.client, kind, listed).await?,
            None => None,
        };
        let action = match (stored, &before) {
            (None, _) => Action::Save(wanted.clone()),
            (Some(_), None) => Action::Create(wanted.clone()),
            (Some(_), Some(_)) => Action::Update(wanted.clone()),
        };
        let changes = match (&before, &tried.stored) {
            (None, _) => whole(&without_secret(kind, wanted), true),
            (Some(before), Some(after)) => differences(&told(&before.members), &told(after)),
            // The server cannot tell what it would store before the objects exist that the plan
            // creates earlier, so the file is compared with what was given before.
            (Some(_), None) => {
                let exported = match exported {
                    Some(exported) => exported,
                    None => exported.insert(
                        StoredObjects::read(self.client, kind, View::Export, None)
                            .await?
                            .unwrap_or_default(),
                    ),
                };
                let given = exported.get(kind, name, wanted);
                let wanted = without_secret(kind, wanted);
                differences(
                    &told(given.map_or(&wanted, |given| &given.members)),
                    &wanted,
                )
            }
        };
        Ok(Some(Step {
            kind,
            name: name.to_owned(),
            action,
            changes,
            problem: tried.problem,
            warnings: tried.warnings,
            preview: tried.preview,
            etag: before.as_ref().and_then(|before| before.etag.clone()),
            before: before.map(|before| before.members),
        }))
    }

    /// Tries in a dry run to save one object.
    async fn try_out(
        &self,
        kind: Kind,
        name: &str,
        wanted: &Map<String, Value>,
    ) -> Result<Tried, CommandError> {
        let body = Value::Object(wanted.clone());
        let path = format!(
            "/{}/{}?dry_run=true&validate=offline",
            kind.segment(),
            in_path(name)
        );
        let answer = self.client.send(Method::PUT, &path, Some(&body)).await?;
        match answer.status {
            200..300 => {}
            401 | 429 | 500.. => {
                let object = format!("{}.{name}", kind.table());
                let problem = answer.problem();
                return Err(CommandError::Other(format!("{object}: {problem}")));
            }
            status => {
                let problem = Problem {
                    text: answer.problem(),
                    is_forbidden: status == 403,
                };
                return Ok(Tried {
                    problem: Some(problem),
                    ..Tried::default()
                });
            }
        }
        let list = |name: &str| {
            let list = answer.body.get(name).and_then(Value::as_array);
            list.cloned().unwrap_or_default()
        };
        let errors = list("errors");
        let referred = references(kind, wanted);
        let text = |error: &Value, name: &str| {
            let text = error.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let lines: Vec<String> = errors
            .iter()
            .filter(|error| !self.is_mended_by_plan(&text(error, "pointer"), &referred))
            .map(|error| format!("{} {}", text(error, "pointer"), text(error, "detail")))
            .collect();
        let problem = (!lines.is_empty()).then(|| Problem {
            text: lines.join("\n"),
            is_forbidden: false,
        });
        let would_change = answer.body.get("would_change") == Some(&Value::Bool(true));
        Ok(Tried {
            says_the_same: !would_change && errors.is_empty(),
            stored: answer
                .body
                .get("stored")
                .and_then(Value::as_object)
                .cloned(),
            warnings: list("warnings"),
            preview: list("preview"),
            problem,
        })
    }

    /// Whether a mistake of the dry run is none any more once the plan comes to this object: the
    /// member refers to an object that the plan creates earlier, or needs an action or an owner of
    /// an object that the plan changes earlier.
    fn is_mended_by_plan(&self, pointer: &str, referred: &[Reference]) -> bool {
        let is_about = |reference: &&Reference| {
            let rest = pointer.strip_prefix(&reference.pointer);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        referred.iter().filter(is_about).any(|reference| {
            match self.planned.get(&reference.object) {
                Some(true) => true,
                Some(false) => pointer.ends_with("/actions") || pointer.ends_with("/owner"),
                None => false,
            }
        })
    }
}

/// The answer to a dry run.
#[derive(Debug, Default)]
struct Tried {
    says_the_same: bool,
    stored: Option<Map<String, Value>>,
    warnings: Vec<Value>,
    preview: Vec<Value>,
    problem: Option<Problem>,
}

/// The stored objects that the file does not have.
fn removals_of<'s>(
    kind: Kind,
    stored: &'s StoredObjects,
    wanted: &[(&String, &Map<String, Value>)],
) -> Vec<&'s StoredObject> {
    let kept: HashSet<&str> = wanted
        .iter()
        .filter_map(|(name, members)| stored.get(kind, name, members))
        .map(|object| object.name.as_str())
        .collect();
    stored
        .iter()
        .filter(|object| !kept.contains(object.name.as_str()))
        .collect()
}

fn removal(kind: Kind, name: &str, current: Current) -> Step {
    let mut going = told(&current.members);
    // Members without a value are most of a document.
    going.retain(|_, value| !matches!(value, Value::Array(list) if list.is_empty()));
    Step {
        kind,
        name: name.to_owned(),
        action: Action::Delete,
        changes: whole(&going, false),
        problem: None,
        warnings: Vec::new(),
        preview: Vec::new(),
        before: Some(current.members),
        etag: current.etag,
    }
}

/// The members of an answer that a diff shows.
fn told(members: &Map<String, Value>) -> Map<String, Value> {
    let mut told = members.clone();
    told.retain(|name, _| !BOOKKEEPING.contains(&name.as_str()));
    told
}
