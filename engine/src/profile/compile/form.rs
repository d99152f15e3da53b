//! Compiles `[form]`, and derives a form for profiles that have none.

use std::collections::BTreeMap;

use crate::profile::form::file::{EntryFile, FormFile};
use crate::profile::form::{CLAIMS, Entry, Form, Input, Phrases, Sentence, Spelling, VALUE};
use crate::profile::{AtLeast, Check, ClaimKind, Equals, Field, PinMode, Role};

/// What a form is compiled from besides its file.
pub(super) struct Parts<'p> {
    pub fields: &'p [Field],
    pub at_least: &'p [AtLeast],
    pub pins: PinMode,
}

/// Compiles the form of a file, or derives one. Reports every mistake.
pub(super) fn form(file: Option<FormFile>, parts: &Parts<'_>) -> Result<Form, Vec<String>> {
    let file = file.unwrap_or_else(|| derived(parts));
    let mut errors = Vec::new();
    let sentence = match file.sentence.as_deref().map(Sentence::parse) {
        Some(Ok(sentence)) => sentence,
        Some(Err(error)) => {
            errors.push(error);
            Sentence::default()
        }
        None => Sentence::default(),
    };
    let mut entries = |files: &[EntryFile], are_filters: bool| -> Vec<Entry> {
        let compiled = files.iter().map(|file| entry(file, are_filters, parts));
        let mut kept = Vec::new();
        for compiled in compiled {
            match compiled {
                Ok(entry) => kept.push(entry),
                Err(found) => errors.extend(found),
            }
        }
        kept
    };
    let mut form = Form {
        main: entries(&file.main, false),
        filters: entries(&file.filters, true),
        more: entries(&file.more, false),
        filters_needed: None,
        sentence,
    };
    if !form.entries().any(|entry| entry.field == CLAIMS) {
        form.more.extend(entry(&of_claims(), false, parts));
    }
    errors.extend(mistakes(&form, parts));
    if !errors.is_empty() {
        return Err(errors);
    }
    introduce(&mut form);
    form.filters_needed = filters_needed(&form, parts.at_least);
    Ok(form)
}

fn entry(file: &EntryFile, is_filter: bool, parts: &Parts<'_>) -> Result<Entry, Vec<String>> {
    let mut errors = Vec::new();
    let mut wrong = |detail: String| errors.push(format!("form entry `{}`: {detail}", file.label));
    let field = parts.fields.iter().find(|field| field.name == file.field);
    let control = match field {
        Some(field) => Some(control(field, parts.pins)),
        None if file.field == CLAIMS => Some((Input::Claims, Spelling::Claims)),
        None => {
            wrong(format!("there is no field `{}`", file.field));
            None
        }
    };
    let is_known =
        |name: &String| name == CLAIMS || parts.fields.iter().any(|field| field.name == *name);
    for name in file.with.keys().chain(&file.unless) {
        if !is_known(name) {
            wrong(format!("there is no field `{name}`"));
        }
    }
    let Some((input, spelling)) = control else {
        return Err(errors);
    };
    let is_text = matches!(spelling, Spelling::Texts { .. });
    if !is_text && (file.shorthand.is_some() || !file.with.is_empty()) {
        wrong("`shorthand` and `with` are for fields of texts".to_owned());
    }
    if file.says_of_patterns.is_some() && !matches!(input, Input::Text { globs: true, .. }) {
        wrong("`says_of_patterns` is for fields that take patterns".to_owned());
    }
    let has_value = |says: &String| says.contains(VALUE);
    let wrongly_said = match input {
        Input::Flag => file.says.as_ref().is_some_and(has_value),
        // Of a choice, the phrase may tell the only value that is not the default.
        Input::Choice { .. } => false,
        Input::Text { .. } | Input::Claims => {
            let mut says = file.says.iter().chain(&file.says_of_patterns);
            says.any(|says| !has_value(says))
        }
    };
    if wrongly_said {
        wrong("`says` must hold {value}, and not if the field is a truth value".to_owned());
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let name = file.name.iter().map(|name| format!(".{name}"));
    let key = format!("match.{}{}", file.field, name.collect::<String>());
    let has_tick = is_filter && input != Input::Flag;
    Ok(Entry {
        tick: has_tick.then(|| format!("{key}.on")),
        key,
        field: file.field.clone(),
        label: file.label.clone(),
        help: file.help.clone(),
        example: file.example.clone(),
        input,
        shorthand: file.shorthand.clone(),
        with: file.with.clone(),
        spelling,
        phrases: Phrases {
            says: file.says.clone(),
            says_of_patterns: file.says_of_patterns.clone(),
            unsaid: file.unsaid.clone(),
            unless: file.unless.clone(),
        },
    })
}

/// The control for a field, by what its check takes.
fn control(field: &Field, pins: PinMode) -> (Input, Spelling) {
    let texts = |list| Spelling::Texts {
        list,
        others: Vec::new(),
    };
    let one = Input::Text {
        many: false,
        globs: false,
    };
    match &field.check {
        Check::Equals(equals) => {
            let plain_only = field.role == Role::Name && pins != PinMode::Never;
            of_equals(equals, plain_only)
        }
        Check::Flag { .. } => (Input::Flag, Spelling::Flag { gives: true }),
        Check::Present { default, .. } => (Input::Flag, Spelling::Flag { gives: !default }),
        Check::MatchNames => (Input::Flag, Spelling::Flag { gives: false }),
        Check::Choice { values, default } => {
            let (values, default) = (values.clone(), Some(default.clone()));
            (Input::Choice { values, default }, texts(false))
        }
        Check::ReusableFile(_) => (one, Spelling::Called),
        Check::Upstream => (one, Spelling::Upstream),
        Check::File(_) | Check::Version { .. } | Check::Identity(_) => (one, texts(false)),
        Check::Attested(_) => (
            Input::Text {
                many: true,
                globs: false,
            },
            texts(false),
        ),
    }
}

fn of_equals(equals: &Equals, plain_only: bool) -> (Input, Spelling) {
    let list = equals.list || equals.claim.kind == ClaimKind::List;
    let spelling = Spelling::Texts {
        list,
        others: Vec::new(),
    };
    let known = [&equals.known_values, &equals.claim.one_of];
    let known = known.into_iter().find(|values| !values.is_empty());
    let input = match known.filter(|_| !list) {
        Some(values) => Input::Choice {
            values: values
                .iter()
                .filter(|value| !value.is_empty())
                .cloned()
                .collect(),
            default: None,
        },
        None => Input::Text {
            many: !plain_only,
            globs: equals.glob && !plain_only,
        },
    };
    (input, spelling)
}

/// The entry for conditions on other claims, which every profile has.
fn of_claims() -> EntryFile {
    EntryFile {
        help: Some(
            "Conditions on any claims of the token, one a line: the claim's name, = and its value."
                .to_owned(),
        ),
        example: Some("job_type = release".to_owned()),
        ..bare(CLAIMS, "Other claims")
    }
}

fn bare(field: &str, label: &str) -> EntryFile {
    EntryFile {
        field: field.to_owned(),
        name: None,
        label: label.to_owned(),
        help: None,
        example: None,
        shorthand: None,
        with: BTreeMap::new(),
        says: None,
        says_of_patterns: None,
        unsaid: None,
        unless: Vec::new(),
    }
}

/// The form of a profile without `[form]`, with the names of fields as labels: names and ids that a
/// rule needs first, then what else a rule needs, as filters.
fn derived(parts: &Parts<'_>) -> FormFile {
    let needed = |field: &Field| {
        let mut names = parts.at_least.iter().flat_map(|rule| &rule.any_of);
        names.any(|name| name.split('.').next() == Some(&field.name))
    };
    let is_named = |field: &Field| needed(field) && field.role != Role::Condition;
    let has_names = parts.fields.iter().any(is_named);
    let mut file = FormFile {
        sentence: None,
        main: Vec::new(),
        filters: Vec::new(),
        more: Vec::new(),
    };
    let mut names: Vec<&str> = Vec::new();
    for field in parts.fields {
        if names.contains(&field.name.as_str()) {
            continue;
        }
        names.push(&field.name);
        let label = match control(field, parts.pins) {
            (_, Spelling::Flag { gives: false }) => format!("{} = false", field.name),
            _ => field.name.clone(),
        };
        let list = match (needed(field), is_named(field) || !has_names) {
            (true, true) => &mut file.main,
            (true, false) => &mut file.filters,
            (false, _) => &mut file.more,
        };
        list.push(bare(&field.name, &label));
    }
    file
}

/// Mistakes of a form as a whole.
fn mistakes(form: &Form, parts: &Parts<'_>) -> Vec<String> {
    let mut errors = Vec::new();
    let mut keys: Vec<&str> = Vec::new();
    for entry in form.entries() {
        if keys.contains(&entry.key.as_str()) {
            errors.push(format!(
                "form entry `{}`: another entry of `{}` has the same `name`",
                entry.label, entry.field
            ));
        }
        keys.push(&entry.key);
    }
    let is_field = |name: &&str| parts.fields.iter().any(|field| field.name == *name);
    let unknown = form.sentence.fields().filter(|name| !is_field(name));
    errors.extend(unknown.map(|name| format!("`sentence`: there is no field `{name}`")));
    errors
}

/// Tells the entries of one field of each other's shorthands.
fn introduce(form: &mut Form) {
    let shorthands: Vec<(String, String, String)> = form
        .entries()
        .filter_map(|entry| {
            let shorthand = entry.shorthand.clone()?;
            Some((entry.field.clone(), shorthand, entry.label.clone()))
        })
        .collect();
    let lists = [&mut form.main, &mut form.filters, &mut form.more];
    for entry in lists.into_iter().flatten() {
        let Entry {
            field,
            shorthand,
            spelling: Spelling::Texts { others, .. },
            ..
        } = entry
        else {
            continue;
        };
        *others = shorthands
            .iter()
            .filter(|(of, other, _)| of == field && Some(other) != shorthand.as_ref())
            .map(|(_, other, label)| (other.clone(), label.clone()))
            .collect();
    }
}

/// The detail of the first group of `at_least` that only filters, and other fields which are not shown
/// first, can fulfil.
fn filters_needed(form: &Form, at_least: &[AtLeast]) -> Option<String> {
    let holds = |entries: &[Entry], rule: &AtLeast| {
        let mut names = rule.any_of.iter().filter_map(|name| name.split('.').next());
        names.any(|name| entries.iter().any(|entry| entry.field == name))
    };
    let needed = at_least
        .iter()
        .find(|rule| holds(&form.filters, rule) && !holds(&form.main, rule));
    needed.map(|rule| rule.detail.clone())
}
