//! What holds for the rules of every platform. The sample cases of the book are where each property starts from.

use std::sync::OnceLock;

use carnet::policy::{Case, CaseVerdict, Expected, judge, read_cases};
use carnet::profile::{Check, ClaimSpec, Profile, Profiles};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::cases_over_http::{all_cases, run};

/// Every sample case, with the profiles it is judged by.
fn samples() -> &'static (Vec<Case>, Profiles) {
    static SAMPLES: OnceLock<(Vec<Case>, Profiles)> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/samples");
        let entries = std::fs::read_dir(root.join("cases")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let text = |path: &std::path::PathBuf| read_cases(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases: Vec<Case> = paths.iter().flat_map(text).collect();
        assert!(cases.len() > 150, "{}", cases.len());
        (cases, Profiles::load(Some(&root.join("profiles"))).unwrap())
    })
}

/// The cases that are refused although their rule can be saved: what others lack may be the very condition.
fn refused() -> &'static [&'static Case] {
    static REFUSED: OnceLock<Vec<&Case>> = OnceLock::new();
    let (cases, profiles) = samples();
    let is_refused = |case: &&Case| matches!(judge(case, profiles).0, CaseVerdict::Deny(reason) if reason.code() != "policy_invalid");
    REFUSED.get_or_init(|| cases.iter().filter(is_refused).collect())
}

fn allows(case: &Case, profiles: &Profiles) -> bool {
    judge(case, profiles).0 == CaseVerdict::Allow
}

fn profile_of<'p>(case: &Case, profiles: &'p Profiles) -> &'p Profile {
    match case.provider.as_str() {
        "github" => profiles.get("github-actions").unwrap(),
        name => profiles.get(name).unwrap(),
    }
}

/// The claims that a field of a rule reads.
fn read_by(check: &Check) -> Vec<&ClaimSpec> {
    match check {
        Check::Equals(equals) => vec![&*equals.claim],
        Check::Flag { claim, .. } | Check::Present { claim, .. } | Check::Version { claim, .. } => vec![&**claim],
        Check::File(file) => vec![&*file.claim],
        Check::ReusableFile(file) => vec![&*file.claim],
        Check::Identity(identity) => identity.claims().map(|claim| &**claim).collect(),
        Check::Choice { .. } | Check::Upstream | Check::MatchNames => Vec::new(),
    }
}

/// Takes a claim away, by its name or JSON Pointer.
fn without(claims: &Map<String, Value>, path: &str) -> Map<String, Value> {
    let mut claims = Value::Object(claims.clone());
    match path.strip_prefix('/').and_then(|_| path.rsplit_once('/')) {
        None => drop(claims.as_object_mut().unwrap().shift_remove(path)),
        Some((parent, name)) => {
            if let Some(Value::Object(members)) = claims.pointer_mut(parent) {
                members.shift_remove(&name.replace("~1", "/").replace("~0", "~"));
            }
        }
    }
    claims.as_object().unwrap().clone()
}

#[test]
fn an_absent_claim_never_matches() {
    let (cases, profiles) = samples();
    let mut tried = 0;
    for case in cases.iter().filter(|case| case.expect == Expected::Allow) {
        let profile = profile_of(case, profiles);
        let named = |name: &str| {
            let fields = &case.policy.fields;
            fields.contains_key(name) || fields.contains_key(&format!("{name}_glob"))
        };
        for field in profile.fields.iter().filter(|field| named(&field.name)) {
            if case.policy.fields.get(&field.name) == Some(&json!(false))
                || field.when.as_ref().is_some_and(|(_, value)| value != "caller")
            {
                continue;
            }
            for claim in read_by(&field.check) {
                let claims = without(&case.claims, &claim.path);
                let changed = Case { claims, ..case.clone() };
                assert!(!allows(&changed, profiles), "{} {} without {}", case.provider, case.id, claim.path);
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn an_empty_claim_equals_nothing() {
    let (cases, profiles) = samples();
    for case in cases.iter().filter(|case| case.expect == Expected::Allow) {
        for field in &profile_of(case, profiles).fields {
            let named = case.policy.fields.contains_key(&field.name);
            for claim in read_by(&field.check).into_iter().filter(|claim| named && !claim.path.starts_with('/')) {
                if case.claims.get(&claim.path).is_some_and(Value::is_string) && field.when.is_none() {
                    let mut changed = case.clone();
                    changed.claims.insert(claim.path.clone(), json!(""));
                    assert!(!allows(&changed, profiles), "{} {} with an empty {}", case.provider, case.id, claim.path);
                }
            }
        }
    }
}

/// What is compared with a pattern, in every case that is allowed by one: the case, the field and the text.
fn patterns() -> Vec<(&'static Case, String, String)> {
    let (cases, profiles) = samples();
    let mut found = Vec::new();
    for case in cases.iter().filter(|case| case.expect == Expected::Allow) {
        for name in case.policy.fields.keys().filter_map(|name| name.strip_suffix("_glob")) {
            for (_, field) in profile_of(case, profiles).fields_named(name) {
                let Check::Equals(equals) = &field.check else { continue };
                let text = case.claims.get(&equals.claim.path).and_then(Value::as_str);
                found.extend(text.map(|text| (case, name.to_owned(), text.to_owned())));
            }
        }
    }
    found
}

/// A claim made into something else.
#[derive(Clone, Debug)]
enum Change {
    Gone,
    Into(Value),
    /// What another case of the platform has there.
    OfOther,
}

fn any_change() -> impl Strategy<Value = Change> {
    let text = prop_oneof![Just(String::new()), "[a-zA-Z0-9/:_.@*-]{1,12}"];
    prop_oneof![
        Just(Change::Gone),
        Just(Change::OfOther),
        text.prop_map(|text| Change::Into(text.into())),
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from)]
            .prop_map(Change::Into),
        Just(Change::Into(json!([]))),
    ]
}

/// A case with the rule of another one under its own trusted issuer, if `mixed`, and with changed claims.
fn mix(case: &Value, other: &Value, mixed: bool, changes: &[(usize, Change)]) -> Value {
    const OF_ISSUER: [&str; 7] = [
        "issuer",
        "audience",
        "replay_key",
        "trust_domain",
        "subject_domain",
        "accept_string_booleans",
        "issuer_skips_email_verification",
    ];
    let mut case = case.clone();
    if mixed {
        let own = case["policy"]["fields"].as_object().unwrap().clone();
        let mut fields = other["policy"]["fields"].as_object().unwrap().clone();
        fields.retain(|name, _| !OF_ISSUER.contains(&name.as_str()));
        fields.extend(own.into_iter().filter(|(name, _)| OF_ISSUER.contains(&name.as_str())));
        case["policy"]["fields"] = Value::Object(fields);
    }
    let claims = case["claims"].as_object_mut().unwrap();
    for (at, change) in changes {
        let names: Vec<String> = claims.keys().cloned().collect();
        let Some(name) = names.get(at % names.len().max(1)) else { continue };
        match change {
            Change::Gone => drop(claims.shift_remove(name)),
            Change::Into(value) => drop(claims.insert(name.clone(), value.clone())),
            Change::OfOther => drop(other["claims"].get(name).map(|value| claims.insert(name.clone(), value.clone()))),
        }
    }
    case
}

/// The cases that others can be made of: of one rule, with nothing used up before and a header of the platform's own.
fn plain() -> &'static [Value] {
    static PLAIN: OnceLock<Vec<Value>> = OnceLock::new();
    PLAIN.get_or_init(|| {
        let is_plain = |case: &Value| {
            let (fields, context) = (&case["policy"]["fields"], &case["policy"]["context"]);
            let lacks = |object: &Value, names: &[&str]| names.iter().all(|name| object.get(name).is_none());
            lacks(fields, &["candidates", "template"])
                && lacks(context, &["consumed", "consumed_token_hash"])
                && lacks(&case["claims"], &["_jose", "_raw_payload"])
        };
        all_cases().into_iter().map(|(_, case)| case).filter(is_plain).collect()
    })
}

/// A further condition: an entry of `claims`, or a field that another case of the platform has.
fn add_condition(case: &Case, cases: &[Case], pick: usize, value: &Value) -> Case {
    let mut changed = case.clone();
    let fields = &mut changed.policy.fields;
    let others: Vec<(&String, &Value)> = cases
        .iter()
        .filter(|other| other.provider == case.provider)
        .flat_map(|other| &other.policy.fields)
        .filter(|(name, _)| !fields.contains_key(*name) && !name.starts_with("issuer") && !is_setting(name))
        .collect();
    if let Some((name, value)) = others.get(pick % (others.len() + 1)) {
        fields.insert((*name).clone(), (*value).clone());
    } else {
        let mut claims = fields.get("claims").and_then(Value::as_object).cloned().unwrap_or_default();
        claims.insert("sub".to_owned(), value.clone());
        fields.insert("claims".to_owned(), Value::Object(claims));
    }
    changed
}

/// Whether a field of a case is no condition: it loosens or belongs to something else.
fn is_setting(name: &str) -> bool {
    const SETTINGS: [&str; 21] = [
        "accept_string_booleans",
        "actions",
        "allow_create",
        "audience",
        "called_workflow",
        "candidates",
        "created_by",
        "defaults",
        "expires_at",
        "issuer_skips_email_verification",
        "match_names",
        "name_normalization",
        "package_owner",
        "packages",
        "pending_expires_at",
        "principal",
        "replay_key",
        "require_pod_binding",
        "state",
        "template",
        "workflow_binding",
    ];
    SETTINGS.contains(&name)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_further_condition_never_turns_a_no_into_a_yes(at in any::<usize>(), pick in any::<usize>(), value in "[a-z:/.]{1,20}") {
        let (cases, profiles) = samples();
        let refused = refused();
        let case = refused[at % refused.len()];
        let changed = add_condition(case, cases, pick, &json!(value));
        prop_assert!(!allows(&changed, profiles), "{} {}: {:?}", case.provider, case.id, changed.policy.fields);
    }

    #[test]
    fn the_order_of_rules_does_not_matter(at in any::<usize>(), shift in 1..4usize, picks in proptest::collection::vec(any::<usize>(), 1..4)) {
        let (cases, profiles) = samples();
        let case = &cases[at % cases.len()];
        if case.policy.fields.contains_key("candidates") || case.policy.fields.contains_key("template") {
            return Ok(());
        }
        // Two trusted issuers of one name and audience cannot be: all rules are about the case's own.
        let issuer = ["issuer", "audience", "replay_key", "trust_domain", "subject_domain", "accept_string_booleans", "issuer_skips_email_verification"];
        let is_same = |other: &Case| issuer.iter().all(|name| other.policy.fields.get(*name) == case.policy.fields.get(*name));
        let same: Vec<&Case> = cases.iter().filter(|other| {
            let fields = &other.policy.fields;
            other.provider == case.provider && is_same(other) && !fields.contains_key("candidates") && !fields.contains_key("template")
        }).collect();
        let mut rules: Vec<Value> = vec![Value::Object(case.policy.fields.clone())];
        rules.extend(picks.iter().map(|pick| Value::Object(same[pick % same.len()].policy.fields.clone())));
        let verdict = |rules: &[Value]| {
            let mut changed = case.clone();
            changed.policy.fields = Map::from_iter([("candidates".to_owned(), json!(rules))]);
            allows(&changed, profiles)
        };
        let before = verdict(&rules);
        let length = rules.len();
        rules.rotate_left(shift % length);
        prop_assert_eq!(verdict(&rules), before, "{} {}", &case.provider, &case.id);
    }

    #[test]
    fn a_star_never_crosses_a_slash_in_any_field(at in any::<usize>(), from in any::<usize>(), to in any::<usize>(), double in any::<bool>()) {
        let (_, profiles) = samples();
        let patterns = patterns();
        let (case, name, text) = &patterns[at % patterns.len()];
        let (from, to) = (from % (text.len() + 1), to % (text.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        let star = if double { "**" } else { "*" };
        let mut changed = (*case).clone();
        changed.policy.fields.insert(format!("{name}_glob"), json!(format!("{}{star}{}", &text[..from], &text[to..])));
        let verdict = judge(&changed, profiles).0;
        // Some fields want a beginning that no star stands in.
        prop_assume!(!verdict.is_mistake());
        let is_inside = double || !text[from..to].contains('/');
        prop_assert_eq!(verdict == CaseVerdict::Allow, is_inside, "{} {}: {:?}", &case.provider, &case.id, &changed.policy.fields);
    }

    #[test]
    fn a_star_in_a_spiffe_id_stays_in_its_segment(path in "[a-z./-]{1,12}") {
        let (cases, profiles) = samples();
        let pattern = cases.iter().find(|case| case.provider == "spiffe" && case.id == "pattern").unwrap();
        let mut case = pattern.clone();
        case.claims.insert("sub".to_owned(), json!(format!("spiffe://prod.example/ns/ci/sa/{path}")));
        let is_segment = !path.contains('/') && path != "." && path != "..";
        prop_assert_eq!(allows(&case, profiles), is_segment, "{}", path);
    }
}

proptest! {
    // Each input is a server of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn contract_7__the_explanation_and_the_token_always_agree(
        at in any::<usize>(),
        pick in any::<usize>(),
        mixed in any::<bool>(),
        changes in proptest::collection::vec((any::<usize>(), any_change()), 0..3),
    ) {
        let plain = plain();
        let case = &plain[at % plain.len()];
        let others: Vec<&Value> = plain.iter().filter(|other| other["provider"] == case["provider"]).collect();
        let changed = mix(case, others[pick % others.len()], mixed, &changes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(run(&changed));
        prop_assert!(outcome.is_ok(), "{}\n{changed:#}", outcome.unwrap_err());
    }
}
