//! Saving, dry runs, updates of the state, and removal, for every kind of object.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Rejected;
use super::author::Author;
use super::events::{event, refused};
use super::managed::{Managed, Occasion};
use super::objects::{find, shown, warnings_among};
use super::referrers::referrers;
use crate::app::App;
use crate::audit::Outcome;
use crate::clock::Timestamp;
use crate::documents::{Document, Stored};
use crate::ids::check_name;
use crate::store::{StoreError, Write};
use crate::trust::{DocumentError, Warning};

/// Attempts to write a change while concurrent changes to the same object come first.
const ATTEMPTS: usize = 5;

/// The preconditions of a request that changes an object (RFC 9110 section 13.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`: the object must have one of these versions.
    pub versions: Option<Vec<i64>>,
    /// `If-Match: *`: the object must exist.
    pub exists: bool,
    /// `If-None-Match: *`: the object must not exist.
    pub absent: bool,
}

impl Precondition {
    fn check(&self, version: Option<i64>) -> Result<(), Rejected> {
        let wrong_version = self
            .versions
            .as_ref()
            .is_some_and(|versions| version.is_none_or(|v| !versions.contains(&v)));
        let unexpected = (self.exists && version.is_none()) || (self.absent && version.is_some());
        if wrong_version || unexpected {
            Err(Rejected::Changed)
        } else {
            Ok(())
        }
    }
}

/// The requested change, by its HTTP method.
#[derive(Clone, Debug)]
pub enum Change {
    /// `POST`: create; the name must be free.
    Create(Map<String, Value>),
    /// `PUT`: create or replace.
    Replace(Map<String, Value>),
    /// `PATCH`: apply a merge patch (RFC 7396) to an existing object.
    Patch(Value),
}

#[derive(Debug)]
pub struct Saved<D: Document> {
    pub object: Stored<D>,
    /// False if the object existed before.
    pub created: bool,
}

/// The answer to a dry run.
#[derive(Debug, Default, Serialize)]
pub struct DryRun {
    /// The object as it would be stored; `None` if it would be refused.
    pub stored: Option<Map<String, Value>>,
    /// Whether saving would change the stored object.
    pub would_change: bool,
    /// The mistakes for which saving would be refused.
    pub errors: Vec<DocumentError>,
    /// The warnings that the saved object would have.
    pub warnings: Vec<Warning>,
    /// What the object means, in sentences: of a rule what it admits and what it permits. Empty for
    /// other kinds, and if saving would be refused.
    pub preview: Vec<String>,
}

/// Creates or changes an object, with an audit event. A document equal to the stored one changes
/// neither version nor audit log.
pub async fn save<D: Managed>(
    app: &App,
    reference: &str,
    change: &Change,
    precondition: &Precondition,
    occasion: Occasion<'_>,
) -> Result<Saved<D>, Rejected> {
    for attempt in 1..=ATTEMPTS {
        let Prepared {
            name,
            present,
            document,
            state,
        } = prepare(app, reference, change, precondition, occasion).await?;
        if let Err(rejected) = &state
            && let Some(problems) = rejected.in_document()
            && occasion.online
        {
            app.audit(refused(
                occasion.author,
                &document,
                &name,
                problems,
                app.clock.now(),
            ));
        }
        match write(app, &name, present, document, state?, occasion.author).await {
            Err(Rejected::Changed) if attempt < ATTEMPTS && precondition.versions.is_none() => {}
            outcome => return outcome,
        }
    }
    Err(Rejected::Changed)
}

/// Computes what [`save`] would do. Writes nothing, and no audit event.
pub async fn try_out<D: Managed>(
    app: &App,
    reference: &str,
    change: &Change,
    precondition: &Precondition,
    occasion: Occasion<'_>,
) -> Result<DryRun, Rejected> {
    let prepared = prepare::<D>(app, reference, change, precondition, occasion).await;
    let prepared = prepared.and_then(|prepared| {
        Ok((
            prepared.state?,
            prepared.present,
            prepared.name,
            prepared.document,
        ))
    });
    let (state, present, name, document) = match prepared {
        Ok(prepared) => prepared,
        Err(rejected) => match rejected.in_document() {
            Some(errors) => {
                return Ok(DryRun {
                    errors: errors.to_vec(),
                    ..DryRun::default()
                });
            }
            None => return Err(rejected),
        },
    };
    let now = app.clock.now();
    let would_change = present
        .as_ref()
        .is_none_or(|present| !document.says_the_same(&state, present));
    let is_new = present.is_none();
    let object = if let Some(present) = present {
        Stored {
            document,
            state,
            ..present
        }
    } else {
        new_object(document, state, &name, now)
    };
    let warnings = warnings_among(app, &D::among(app.rules(), &object), &object);
    let mut stored = shown(app, &object);
    // Left out: values that the server would generate anew when the object is saved.
    let of_its_making = ["created_at", "updated_at", "secrets"]
        .into_iter()
        .filter(|_| is_new);
    let made_id = (is_new && object.document.given_id().is_none()).then_some("id");
    for member in ["warnings", "client_secret", "secret"]
        .into_iter()
        .chain(of_its_making)
        .chain(made_id)
    {
        stored.shift_remove(member);
    }
    Ok(DryRun {
        stored: Some(stored),
        would_change,
        errors: Vec::new(),
        preview: D::preview(&app.rules(), &object),
        warnings,
    })
}

/// A change that was read and checked, and not written yet.
struct Prepared<D: Managed> {
    name: String,
    present: Option<Stored<D>>,
    document: D,
    /// The state to store beside the document, or the mistakes found.
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
    // Looked up for this author first: no later error may reveal an object that the author may not
    // see.
    let present: Option<Stored<D>> = D::called(app, reference, given, author).await?;
    // Judged before the document is read, whose mistakes may tell what is stored.
    let may_change = |document: &D| document.may_be_changed_by(author);
    if !present.iter().all(|present| may_change(&present.document)) {
        return Err(Rejected::Forbidden);
    }
    let checked = precondition.check(present.as_ref().map(|present| present.version));
    let members = match (change, &present) {
        (Change::Patch(_), None) => return Err(Rejected::NotFound),
        (Change::Create(_), Some(_)) if checked.is_ok() => {
            return Err(Rejected::Exists(format!(
                "there is a {} of this name",
                D::KIND.noun()
            )));
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
    let is_anothers = document
        .principal()
        .is_some_and(|principal| !author.may_act_for(principal));
    if is_anothers || !may_change(&document) {
        return Err(Rejected::Forbidden);
    }
    let name = match &present {
        Some(present) => present.name.clone(),
        None => document
            .name_in(reference)
            .map_err(|problem| Rejected::Invalid(vec![problem]))?
            .to_owned(),
    };
    check_name(&name)
        .map_err(|detail| Rejected::Invalid(vec![DocumentError::new("/name", detail)]))?;
    let state = document
        .prepare(app, &name, present.as_ref(), occasion)
        .await;
    Ok(Prepared {
        name,
        present,
        document,
        state,
    })
}

/// Writes a prepared document with its audit event, unless it equals the stored one.
async fn write<D: Managed>(
    app: &App,
    name: &str,
    present: Option<Stored<D>>,
    document: D,
    state: D::State,
    author: &Author,
) -> Result<Saved<D>, Rejected> {
    let now = app.clock.now();
    // The audit event needs the principal's id, and another replica may have created the principal
    // within the last second.
    if document
        .principal()
        .is_some_and(|name| app.rules().principal(&name.to_ascii_lowercase()).is_none())
    {
        refresh(app).await?;
    }
    if let Some(present) = present {
        if present.document == document && present.state == state {
            return Ok(Saved {
                object: present,
                created: false,
            });
        }
        let object = Stored {
            version: present.version.saturating_add(1),
            updated_at: now,
            document,
            state,
            ..present.clone()
        };
        let event = event(
            app,
            author,
            Outcome::Updated,
            (Some(&present), Some(&object)),
            now,
        );
        app.store
            .write(Write::Update(&object, present.version), &event, now)
            .await?;
        refresh(app).await?;
        return Ok(Saved {
            object,
            created: false,
        });
    }
    let object = new_object(document, state, name, now);
    let event = event(app, author, Outcome::Created, (None, Some(&object)), now);
    app.store.write(Write::Insert(&object), &event, now).await?;
    refresh(app).await?;
    Ok(Saved {
        object,
        created: true,
    })
}

fn new_object<D: Managed>(document: D, state: D::State, name: &str, now: Timestamp) -> Stored<D> {
    let id = document
        .given_id()
        .map_or_else(|| D::new_id(now), str::to_owned);
    Stored {
        id,
        name: name.to_owned(),
        version: 1,
        created_at: now,
        updated_at: now,
        document,
        state,
    }
}

/// Applies `change` to the stored object, and again to its new version if a concurrent change came
/// first.
pub(super) async fn update<D: Managed>(
    app: &App,
    reference: &str,
    author: &Author,
    change: impl Fn(&Stored<D>, Timestamp) -> Result<(D, D::State), Rejected>,
) -> Result<Saved<D>, Rejected> {
    for _ in 0..ATTEMPTS {
        let present: Stored<D> = find(app, reference, author).await?;
        if !present.document.may_be_changed_by(author) {
            return Err(Rejected::Forbidden);
        }
        let (document, state) = change(&present, app.clock.now())?;
        let name = present.name.clone();
        match write(app, &name, Some(present), document, state, author).await {
            Err(Rejected::Changed) => {}
            outcome => return outcome,
        }
    }
    Err(Rejected::Changed)
}

/// Removes an object, with an audit event. Errors with [`Rejected::InUse`] if another object refers
/// to it.
pub async fn delete<D: Managed>(
    app: &App,
    reference: &str,
    precondition: &Precondition,
    author: &Author,
) -> Result<(), Rejected> {
    let present: Stored<D> = find(app, reference, author).await?;
    if !present.document.may_be_changed_by(author) {
        return Err(Rejected::Forbidden);
    }
    precondition.check(Some(present.version))?;
    let now = app.clock.now();
    let event = event(app, author, Outcome::Deleted, (Some(&present), None), now);
    let deletion = Write::Delete(&present, present.version);
    match app.store.write(deletion, &event, now).await {
        Ok(_) => refresh(app).await,
        Err(StoreError::InUse(_)) => Err(Rejected::InUse(referrers(app, &present, author).await?)),
        Err(error) => Err(error.into()),
    }
}

/// Loads the change into this replica's snapshot; other replicas follow within a second.
pub(super) async fn refresh(app: &App) -> Result<(), Rejected> {
    app.refresh()
        .await
        .map_err(|error| Rejected::Unavailable(error.to_string()))
}

fn patched(mut members: Map<String, Value>, patch: &Value) -> Result<Map<String, Value>, Rejected> {
    let Value::Object(patch) = patch else {
        let detail = "must be an object, since the request is a merge patch";
        return Err(Rejected::Invalid(vec![DocumentError::new("", detail)]));
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
                let slot = members
                    .entry(name.clone())
                    .or_insert_with(|| Value::Object(Map::new()));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patches_follow_rfc_7396() {
        let patch = |target: Value, patch: Value| {
            patched(target.as_object().unwrap().clone(), &patch)
                .map(Value::Object)
                .unwrap()
        };
        assert_eq!(
            patch(json!({"a": "b"}), json!({"a": "c"})),
            json!({"a": "c"})
        );
        assert_eq!(
            patch(json!({"a": "b", "b": "c"}), json!({"a": null})),
            json!({"b": "c"})
        );
        assert_eq!(
            patch(json!({"a": ["b"]}), json!({"a": "c"})),
            json!({"a": "c"})
        );
        assert_eq!(
            patch(
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}})
            ),
            json!({"a": {"b": "d"}})
        );
        assert_eq!(
            patch(json!({"a": "x"}), json!({"a": {"b": {"c": null}}})),
            json!({"a": {"b": {}}})
        );
        assert!(patched(Map::new(), &json!([])).is_err());
    }

    #[test]
    fn preconditions_guard_against_lost_updates() {
        let matching = Precondition {
            versions: Some(vec![3, 4]),
            ..Precondition::default()
        };
        assert!(matching.check(Some(3)).is_ok());
        assert!(matching.check(Some(5)).is_err() && matching.check(None).is_err());
        let new = Precondition {
            absent: true,
            ..Precondition::default()
        };
        assert!(new.check(None).is_ok() && new.check(Some(1)).is_err());
        let there = Precondition {
            exists: true,
            ..Precondition::default()
        };
        assert!(there.check(Some(1)).is_ok() && there.check(None).is_err());
    }
}
