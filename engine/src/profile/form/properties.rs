//! What holds for every rule and for whatever a form sends.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use super::*;
use crate::profile::{Check, Profile, Profiles};

/// Texts that rules hold, and such that are easily read as something else.
fn text() -> impl Strategy<Value = String> {
    let known = [
        "main",
        "v*",
        "refs/heads/main",
        "refs/heads/*",
        "refs/tags/v1",
        "refs/heads/refs/tags/v1",
        "refs/pull/1/merge",
        "branch",
        "tag",
        "caller",
        "called",
        "any",
        "same-repo",
        "a@refs/heads/b",
        "o/r/.github/workflows/p.yml@v1",
        "a = b",
        "true",
        "7",
        "null",
        "\"x\"",
        " x ",
        "",
        "a\nb",
        "github-hosted",
        "spiffe://d/*",
    ];
    prop_oneof![
        select(known.to_vec()).prop_map(str::to_owned),
        "[a-z/*=@{}\" .]{0,12}"
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let plain = || text().prop_map(Value::from);
    let several = || vec(plain(), 0..4).prop_map(Value::from);
    let leaf = || {
        prop_oneof![
            plain(),
            any::<bool>().prop_map(Value::from),
            (-9_i64..9).prop_map(Value::from)
        ]
    };
    let called = (
        text(),
        prop_oneof![Just("ref"), Just("sha")],
        prop_oneof![plain(), text().prop_map(|it| json!({ "glob": it }))],
    );
    prop_oneof![
        4 => plain(),
        2 => several(),
        2 => several().prop_map(|values| json!({ "any_of": values })),
        2 => text().prop_map(|pattern| json!({ "glob": pattern })),
        1 => any::<bool>().prop_map(Value::from),
        1 => called.prop_map(|(path, at, value)| json!({ "path": path, at: value })),
        1 => (text(), leaf()).prop_map(|(claim, value)| json!({ "claim": claim, "equals": value })),
        2 => vec((text(), prop_oneof![leaf(), several(), several().prop_map(|it| json!({ "any_of": it }))]), 0..4)
            .prop_map(|members| Value::Object(members.into_iter().collect())),
    ]
}

fn profiles() -> Vec<std::sync::Arc<Profile>> {
    Profiles::load(None).unwrap().iter().cloned().collect()
}

/// A `match` of random members: of fields of the profile, `claims`, and one that no profile has.
fn matched(profile: &Profile, members: Vec<(Index, Value)>) -> Map<String, Value> {
    let mut names: Vec<&str> = profile
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    names.extend([CLAIMS, "later"]);
    let members = members.into_iter();
    members
        .map(|(at, value)| (names[at.index(names.len())].to_owned(), value))
        .collect()
}

/// A `match` in one form for each meaning: what is spelt differently and means the same is equal.
fn meaning(profile: &Profile, matched: &Map<String, Value>) -> Map<String, Value> {
    let mut meant = Map::new();
    for (name, value) in matched {
        let check = profile
            .fields_named(name)
            .next()
            .map(|(_, field)| &field.check);
        let is_list = matches!(check, Some(Check::Equals(equals)) if equals.list || equals.claim.kind == crate::profile::ClaimKind::List);
        let texts = |values: &Vec<Value>| -> Option<Value> {
            let texts: Option<BTreeSet<&str>> = values.iter().map(Value::as_str).collect();
            texts
                .filter(|texts| !texts.is_empty())
                .map(|texts| json!(texts))
        };
        // No condition on any claim.
        if name == CLAIMS && *value == json!({}) {
            continue;
        }
        let value = match (check, value) {
            (Some(Check::Flag { .. }), Value::Bool(false))
            | (Some(Check::MatchNames), Value::Bool(true)) => continue,
            (Some(Check::Present { default, .. }), Value::Bool(wanted)) if wanted == default => {
                continue;
            }
            (Some(Check::Choice { default, .. }), Value::String(text)) if text == default => {
                continue;
            }
            (Some(Check::Choice { .. } | Check::Equals(_)), Value::String(text)) => json!([text]),
            (Some(Check::Equals(_)), Value::Array(values)) if is_list => {
                texts(values).unwrap_or_else(|| value.clone())
            }
            (Some(Check::Equals(_)), Value::Object(members)) if members.len() == 1 => {
                match members.get("any_of") {
                    Some(Value::Array(values)) => texts(values).unwrap_or_else(|| value.clone()),
                    _ => value.clone(),
                }
            }
            (_, value) => value.clone(),
        };
        meant.insert(name.clone(), value);
    }
    meant
}

/// What a browser sends for random texts and ticks.
fn sent(form: &Form, given: Vec<(Index, String, bool)>) -> Vec<(String, String)> {
    let entries: Vec<&Entry> = form.entries().collect();
    let mut sent = Vec::new();
    for (at, text, ticked) in given {
        let entry = entries[at.index(entries.len())];
        sent.extend(
            entry
                .tick
                .clone()
                .filter(|_| ticked)
                .map(|tick| (tick, "on".to_owned())),
        );
        sent.push((entry.key.clone(), text));
    }
    sent
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn people_one_1__a_rule_that_is_shown_and_saved_unchanged_is_the_same_rule(
        at in any::<Index>(), members in vec((any::<Index>(), value()), 0..8),
    ) {
        let profiles = profiles();
        let profile = &profiles[at.index(profiles.len())];
        let form = profile.form();
        let stored = matched(profile, members);
        let Filled { sent, rest } = form.fill(&stored);
        let edited = form.edited(&stored, &sent);
        prop_assert_eq!(&edited.problems, &[]);
        prop_assert_eq!(&edited.matched, &stored);
        // What the form alone says, with the members that it cannot show, means the same.
        let read = form.read(&sent);
        prop_assert_eq!(&read.problems, &[]);
        let mut whole = read.matched;
        prop_assert!(rest.keys().all(|name| !whole.contains_key(name)), "{:?} {:?}", rest, whole);
        whole.extend(rest);
        prop_assert_eq!(meaning(profile, &whole), meaning(profile, &stored));
    }

    #[test]
    fn people_one_1__what_a_form_said_is_shown_again_as_it_was_said(
        at in any::<Index>(), given in vec((any::<Index>(), text(), any::<bool>()), 0..8),
    ) {
        let profiles = profiles();
        let profile = &profiles[at.index(profiles.len())];
        let form = profile.form();
        let read = form.read(&sent(form, given));
        let shown = form.fill(&read.matched);
        prop_assert_eq!(&shown.rest, &Map::new());
        let again = form.read(&shown.sent);
        prop_assert_eq!(again.problems, []);
        prop_assert_eq!(meaning(profile, &again.matched), meaning(profile, &read.matched));
        let admits = form.admits(&read.matched);
        prop_assert!(!admits.contains(VALUE), "{}", admits);
    }
}
