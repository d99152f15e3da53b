//! A rule as it is typed into the form: the document that it means, and what the form shows.

use carnet_resource_server::ProofLevel;
use serde_json::{Map, Value, json};

use super::super::posted::Fields;
use super::page::day;
use crate::documents::{Document as _, FederatedCredentialDocument, Stored};
use crate::profile::Form;
use crate::trust::DocumentError;

/// The end of the names of fields that are times: a day, at whose beginning something happens.
const DAYS: [&str; 2] = ["expires_at", "review_at"];

/// A mistake, at the field of the form that has it; without a field, at the form as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub key: Option<String>,
    pub text: String,
}

/// A rule that is being written.
#[derive(Debug)]
pub struct Draft<'d> {
    pub principal: &'d str,
    pub trusted_issuer: &'d str,
    pub form: &'d Form,
    pub fields: &'d Fields,
    /// The rule that is changed; a new one without.
    pub stored: Option<&'d Stored<FederatedCredentialDocument>>,
}

/// The name of a field of a permission.
pub fn key(permission: usize, field: &str) -> String {
    format!("permission.{permission}.{field}")
}

/// How many permissions a form has.
pub fn permission_count(fields: &Fields) -> usize {
    let numbers = fields.below("permission.");
    let numbers = numbers.iter().filter_map(|(name, _)| {
        let (number, _) = name.split_once('.')?;
        number.parse::<usize>().ok()
    });
    numbers
        .max()
        .map_or(1, |last| last.saturating_add(1))
        .min(MAX_PERMISSIONS)
}

/// Most permissions that a form shows, as many as a rule may have.
const MAX_PERMISSIONS: usize = 100;

impl Draft<'_> {
    /// The document, and the mistakes for which it cannot be read from the form.
    pub fn document(&self) -> (Map<String, Value>, Vec<Problem>) {
        let mut members = match self.stored {
            Some(stored) => stored.document.exported(),
            None => Map::new(),
        };
        let sent = self.fields.below("");
        let read = match self.stored {
            Some(stored) => self.form.edited(&stored.document.matcher, &sent),
            None => self.form.read(&sent),
        };
        let mut problems: Vec<Problem> = read
            .problems
            .into_iter()
            .map(|problem| Problem {
                key: Some(problem.key),
                text: problem.text,
            })
            .collect();
        if self.stored.is_none() && self.fields.text("name").is_empty() {
            problems.push(Problem {
                key: Some("name".to_owned()),
                text: "must be given".to_owned(),
            });
        }
        members.insert("principal".to_owned(), self.principal.into());
        members.insert("trusted_issuer".to_owned(), self.trusted_issuer.into());
        members.insert("match".to_owned(), Value::Object(read.matched));
        members.insert("permissions".to_owned(), self.permissions().into());
        for name in DAYS {
            match self.time(name) {
                Some(time) => members.insert(name.to_owned(), time.into()),
                None => members.shift_remove(name),
            };
        }
        // A rule that is written here is vouched for by a press of its own, if at all.
        if self.stored.is_none() {
            members.insert("vouched".to_owned(), false.into());
        }
        (members, problems)
    }

    /// A time: that of the stored rule if its day was not changed, else the beginning of the day.
    fn time(&self, name: &str) -> Option<String> {
        let sent = self.fields.text(name);
        let stored = self.stored.and_then(|stored| match name {
            "expires_at" => stored.document.expires_at,
            _ => stored.document.review_at,
        });
        let kept = stored.map(|time| time.to_string());
        match kept.filter(|kept| day(kept) == sent) {
            Some(kept) => Some(kept),
            None if sent.is_empty() => None,
            None => Some(format!("{sent}T00:00:00Z")),
        }
    }

    /// The numbers of the permissions that were filled in. The first one always counts.
    fn filled(&self) -> Vec<usize> {
        let is_filled = |number: &usize| {
            let actions = key(*number, "action");
            let has_packages = !self.fields.lines(&key(*number, "packages")).is_empty();
            *number == 0 || has_packages || self.fields.has(&actions)
        };
        (0..permission_count(self.fields))
            .filter(is_filled)
            .collect()
    }

    /// The permissions that were filled in. The form shows all that a permission has.
    fn permissions(&self) -> Vec<Value> {
        let permission = |number: usize| {
            let text = |field: &str| self.fields.text(&key(number, field)).to_owned();
            let actions_key = key(number, "action");
            let actions: Vec<&str> = self.fields.all(&actions_key).collect();
            let packages = self.fields.lines(&key(number, "packages"));
            let stored = self
                .stored
                .and_then(|stored| stored.document.permissions.get(number));
            // Another order is no change.
            let same = stored.map(|stored| &stored.actions).filter(|stored| {
                stored.len() == actions.len()
                    && stored
                        .iter()
                        .all(|action| actions.contains(&action.as_str()))
            });
            let actions = same.map_or_else(|| json!(actions), |stored| json!(stored));
            let mut members = Map::new();
            members.insert("resource_server".to_owned(), text("registry").into());
            members.insert("actions".to_owned(), actions);
            members.insert("packages".to_owned(), json!(packages));
            if self.fields.has(&key(number, "proved")) {
                members.insert("min_proof".to_owned(), ProofLevel::Key.as_str().into());
            }
            if self.fields.has(&key(number, "bound")) {
                members.insert("require_sender_constraint".to_owned(), true.into());
            }
            match text("owner") {
                owner if owner.is_empty() => {}
                // The principal is the owner by default, and stays as it is written.
                owner
                    if owner.eq_ignore_ascii_case(self.principal)
                        && stored.is_none_or(|stored| stored.owner.is_none()) => {}
                owner => {
                    members.insert("owner".to_owned(), owner.into());
                }
            }
            Value::Object(members)
        };
        self.filled().into_iter().map(permission).collect()
    }

    /// Where a mistake of the document is shown in the form.
    pub fn placed(&self, error: &DocumentError) -> Problem {
        let sent = self.fields.below("");
        let pointer = error.pointer.as_str();
        let key = match pointer {
            "/name" => Some("name".to_owned()),
            "/expires_at" | "/review_at" => Some(pointer.trim_start_matches('/').to_owned()),
            _ => match self.form.key_of(pointer, &sent) {
                Some(key) => Some(key.to_owned()),
                None => in_permission(pointer, &self.filled()),
            },
        };
        let place = pointer.trim_start_matches('/').replace('/', ".");
        let text = match &key {
            Some(_) => error.detail.clone(),
            None if place.is_empty() => error.detail.clone(),
            None => format!("{place} {}", error.detail),
        };
        Problem { key, text }
    }
}

/// The field of a permission that a JSON Pointer means. The document has the filled ones alone.
fn in_permission(pointer: &str, filled: &[usize]) -> Option<String> {
    let rest = pointer.strip_prefix("/permissions/")?;
    let mut parts = rest.split('/');
    let number: usize = parts.next()?.parse().ok()?;
    let number = *filled.get(number)?;
    let field = match parts.next() {
        Some("resource_server" | "target") | None => "registry",
        Some("actions") => "action",
        Some("packages") => "packages",
        Some("owner") => "owner",
        Some(_) => return None,
    };
    Some(key(number, field))
}

/// The fields that show a stored rule.
pub fn fields_of(stored: &Stored<FederatedCredentialDocument>, form: &Form) -> Fields {
    let document = &stored.document;
    let mut fields = form.fill(&document.matcher).sent;
    let mut add = |name: String, value: String| fields.push((name, value));
    add("name".to_owned(), stored.name.clone());
    for (name, time) in DAYS
        .into_iter()
        .zip([document.expires_at, document.review_at])
    {
        if let Some(time) = time {
            add(name.to_owned(), day(&time.to_string()));
        }
    }
    for (number, permission) in document.permissions.iter().enumerate() {
        add(key(number, "registry"), permission.resource_server.clone());
        for action in &permission.actions {
            add(key(number, "action"), action.clone());
        }
        add(key(number, "packages"), permission.packages.join("\n"));
        if let Some(owner) = &permission.owner {
            add(key(number, "owner"), owner.clone());
        }
        let demands = [
            ("proved", permission.min_proof == ProofLevel::Key),
            ("bound", permission.require_sender_constraint),
        ];
        for (field, _) in demands.into_iter().filter(|(_, asked)| *asked) {
            add(key(number, field), "on".to_owned());
        }
    }
    fields.into_iter().collect()
}
