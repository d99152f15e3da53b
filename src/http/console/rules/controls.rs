//! The controls of the form in which a rule is written.

use super::super::posted::Fields;
use super::draft::key;
use crate::admin::Catalog;
use crate::profile::{Entry, Input};

/// What a person fills in for one entry.
#[derive(Debug)]
pub struct Control {
    pub key: String,
    pub label: String,
    pub help: Option<String>,
    pub example: Option<String>,
    pub shorthand: Option<String>,
    /// The name of the checkbox of a filter, and whether it is ticked.
    pub tick: Option<(String, bool)>,
    pub value: String,
    pub kind: ControlKind,
}

#[derive(Debug)]
pub enum ControlKind {
    Text,
    /// Several values, one a line.
    Lines,
    /// One of these values.
    Choice(Vec<Choice>),
    /// A checkbox, and whether it is ticked.
    Flag(bool),
}

/// A value to choose.
#[derive(Debug)]
pub struct Choice {
    pub value: String,
    pub text: String,
    pub is_chosen: bool,
}

impl Control {
    fn of(entry: &Entry, fields: &Fields) -> Self {
        let value = fields.text(&entry.key).to_owned();
        let kind = match &entry.input {
            Input::Text { many: false, .. } => ControlKind::Text,
            Input::Text { many: true, .. } | Input::Claims => ControlKind::Lines,
            Input::Flag => ControlKind::Flag(fields.has(&entry.key)),
            Input::Choice { values, default } => {
                ControlKind::Choice(choices(values, default.as_deref(), &value))
            }
        };
        let tick = entry.tick.as_ref();
        Self {
            key: entry.key.clone(),
            label: entry.label.clone(),
            help: entry.help.clone(),
            example: entry.example.clone(),
            shorthand: entry.shorthand.clone(),
            tick: tick.map(|tick| (tick.clone(), fields.has(tick))),
            value,
            kind,
        }
    }

    /// Whether the person filled something in.
    pub fn is_filled(&self) -> bool {
        let is_ticked = self.tick.as_ref().is_some_and(|(_, is_ticked)| *is_ticked);
        is_ticked
            || match &self.kind {
                ControlKind::Flag(is_ticked) => *is_ticked,
                ControlKind::Choice(choices) => {
                    choices.first().is_some_and(|first| !first.is_chosen)
                }
                ControlKind::Text | ControlKind::Lines => !self.value.is_empty(),
            }
    }
}

/// The choices, first the one that a rule has which does not say.
fn choices(values: &[String], default: Option<&str>, chosen: &str) -> Vec<Choice> {
    let unsaid = Choice {
        value: default.unwrap_or_default().to_owned(),
        text: default.unwrap_or("any").to_owned(),
        is_chosen: chosen.is_empty() || Some(chosen) == default,
    };
    let others = values
        .iter()
        .filter(|value| Some(value.as_str()) != default);
    let others = others.map(|value| Choice {
        value: value.clone(),
        text: value.clone(),
        is_chosen: value == chosen,
    });
    std::iter::once(unsaid).chain(others).collect()
}

/// The controls of these entries, with what the fields hold.
pub fn controls(entries: &[Entry], fields: &Fields) -> Vec<Control> {
    let controls = entries.iter().map(|entry| Control::of(entry, fields));
    controls.collect()
}

/// The controls of one permission.
#[derive(Debug)]
pub struct PermissionControl {
    pub number: usize,
    pub registry_key: String,
    pub registries: Vec<Choice>,
    pub action_key: String,
    /// The actions of all registries.
    pub actions: Vec<ActionControl>,
    pub packages_key: String,
    pub packages: String,
    pub owner_key: String,
    pub owners: Vec<Choice>,
    pub proved_key: String,
    pub is_proved: bool,
    pub bound_key: String,
    pub is_bound: bool,
}

/// An action that a permission may hold.
#[derive(Debug)]
pub struct ActionControl {
    pub action: String,
    /// The registries that have the action.
    pub registries: String,
    pub is_ticked: bool,
}

/// The controls of the first `count` permissions.
pub fn permissions(catalog: &Catalog, fields: &Fields, count: usize) -> Vec<PermissionControl> {
    (0..count)
        .map(|number| permission(catalog, fields, number))
        .collect()
}

fn permission(catalog: &Catalog, fields: &Fields, number: usize) -> PermissionControl {
    let registry_key = key(number, "registry");
    let action_key = key(number, "action");
    let (packages_key, owner_key) = (key(number, "packages"), key(number, "owner"));
    let chosen = fields.text(&registry_key);
    let ticked: Vec<&str> = fields.all(&action_key).collect();
    let registries = catalog.resource_servers.iter().map(|registry| {
        let text = format!("{} ({})", registry.name, registry.resource);
        (registry.name.as_str(), text)
    });
    let owner = fields.text(&owner_key);
    let owners = catalog.owners.iter();
    let owners = owners.map(|name| (name.as_str(), name.clone()));
    let (proved_key, bound_key) = (key(number, "proved"), key(number, "bound"));
    PermissionControl {
        number,
        is_proved: fields.has(&proved_key),
        is_bound: fields.has(&bound_key),
        proved_key,
        bound_key,
        registries: of_catalog(registries, chosen),
        actions: actions(catalog, &ticked),
        packages: fields.text(&packages_key).to_owned(),
        owners: of_catalog(owners, owner),
        registry_key,
        action_key,
        packages_key,
        owner_key,
    }
}

/// What the catalog offers, with what a stored rule has that is not offered any more: a form that is
/// saved unchanged must not change it.
fn of_catalog<'c>(offered: impl Iterator<Item = (&'c str, String)>, chosen: &str) -> Vec<Choice> {
    let mut choices: Vec<Choice> = offered
        .map(|(value, text)| Choice {
            is_chosen: value.eq_ignore_ascii_case(chosen),
            value: value.to_owned(),
            text,
        })
        .collect();
    if !chosen.is_empty() && !choices.iter().any(|choice| choice.is_chosen) {
        choices.push(Choice {
            value: chosen.to_owned(),
            text: format!("{chosen} (as it is now; not offered any more)"),
            is_chosen: true,
        });
    }
    choices
}

fn actions(catalog: &Catalog, ticked: &[&str]) -> Vec<ActionControl> {
    let mut found: Vec<ActionControl> = Vec::new();
    for registry in &catalog.resource_servers {
        for action in &registry.actions {
            match found.iter_mut().find(|known| known.action == *action) {
                Some(known) => {
                    known.registries.push(' ');
                    known.registries.push_str(&registry.name);
                }
                None => found.push(ActionControl {
                    action: action.clone(),
                    registries: registry.name.clone(),
                    is_ticked: ticked.contains(&action.as_str()),
                }),
            }
        }
    }
    for action in ticked {
        if !found.iter().any(|known| known.action == *action) {
            found.push(ActionControl {
                action: (*action).to_owned(),
                registries: String::new(),
                is_ticked: true,
            });
        }
    }
    found
}
