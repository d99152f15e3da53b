//! What holds for the rules of every platform. The sample cases of the book are where each property starts from.

use std::sync::OnceLock;

use carnet::policy::{CaseVerdict, judge, read_cases};
use carnet::profile::{Check, ClaimSpec, Profile, Profiles};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::cases_over_http::{all_cases, run};

/// Every sample case with its objects, and the profiles it is judged by.
fn samples() -> &'static (Vec<Value>, Profiles) {
    static SAMPLES: OnceLock<(Vec<Value>, Profiles)> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/samples/profiles");
        let of_book = all_cases()
            .into_iter()
            .filter(|(id, _)| !id.starts_with("policy-cases/"));
        let cases: Vec<Value> = of_book
            .map(|(_, case)| case)
            .filter(|case| case.get("claims").is_some())
            .collect();
        let cases: Vec<Value> = cases
            .into_iter()
            .filter(|case| case.get("objects").is_some())
            .collect();
        assert!(cases.len() > 150, "{}", cases.len());
        (cases, Profiles::load(Some(&root)).unwrap())
    })
}

fn verdict(case: &Value, profiles: &Profiles) -> CaseVerdict {
    judge(
        &read_cases(&json!([case]).to_string(), |_| unreachable!()).unwrap()[0],
        profiles,
    )
    .0
}

fn is_expected(case: &Value) -> bool {
    case["expect"] == "allow"
}

/// The cases that are refused although their rule can be saved: what others lack may be the very condition.
fn refused() -> &'static [&'static Value] {
    static REFUSED: OnceLock<Vec<&Value>> = OnceLock::new();
    let (cases, profiles) = samples();
    let is_refused = |case: &&Value| matches!(verdict(case, profiles), CaseVerdict::Deny(reason) if reason.code() != "policy_invalid");
    REFUSED.get_or_init(|| cases.iter().filter(is_refused).collect())
}

fn allows(case: &Value, profiles: &Profiles) -> bool {
    verdict(case, profiles) == CaseVerdict::Allow
}

fn issuer_of(case: &Value) -> &Value {
    case["objects"]["trusted_issuers"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap()
}

fn profile_of<'p>(case: &Value, profiles: &'p Profiles) -> &'p Profile {
    profiles
        .get(issuer_of(case)["profile"].as_str().unwrap())
        .unwrap()
}

fn rules_of(case: &Value) -> &Map<String, Value> {
    case["objects"]["federated_credentials"]
        .as_object()
        .unwrap()
}

fn match_of(case: &Value) -> &Map<String, Value> {
    rules_of(case).values().next().unwrap()["match"]
        .as_object()
        .unwrap()
}

fn match_mut(case: &mut Value) -> &mut Map<String, Value> {
    let rules = case["objects"]["federated_credentials"]
        .as_object_mut()
        .unwrap();
    rules.values_mut().next().unwrap()["match"]
        .as_object_mut()
        .unwrap()
}

fn claims_of(case: &Value) -> &Map<String, Value> {
    case["claims"].as_object().unwrap()
}

fn has_one_plain_rule(case: &Value) -> bool {
    rules_of(case).len() == 1 && case["context"].get("profiles").is_none()
}

/// The claims that a field of a rule reads.
fn read_by(check: &Check) -> Vec<&ClaimSpec> {
    match check {
        Check::Equals(equals) => vec![&*equals.claim],
        Check::Flag { claim, .. } | Check::Present { claim, .. } | Check::Version { claim, .. } => {
            vec![&**claim]
        }
        Check::File(file) => vec![&*file.claim],
        Check::ReusableFile(file) => vec![&*file.claim],
        Check::Identity(identity) => identity.claims().map(|claim| &**claim).collect(),
        Check::Choice { .. } | Check::Upstream | Check::MatchNames | Check::Attested(_) => {
            Vec::new()
        }
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
    for case in cases
        .iter()
        .filter(|case| is_expected(case) && has_one_plain_rule(case))
    {
        let profile = profile_of(case, profiles);
        for field in profile
            .fields
            .iter()
            .filter(|field| match_of(case).contains_key(&field.name))
        {
            if match_of(case).get(&field.name) == Some(&json!(false))
                || field
                    .when
                    .as_ref()
                    .is_some_and(|(_, value)| value != "caller")
            {
                continue;
            }
            for claim in read_by(&field.check) {
                let mut changed = case.clone();
                changed["claims"] = without(claims_of(case), &claim.path).into();
                assert!(
                    !allows(&changed, profiles),
                    "{} {} without {}",
                    profile.name,
                    case["id"],
                    claim.path
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn an_empty_claim_equals_nothing() {
    let (cases, profiles) = samples();
    let mut tried = 0;
    for case in cases
        .iter()
        .filter(|case| is_expected(case) && has_one_plain_rule(case))
    {
        let profile = profile_of(case, profiles);
        for field in &profile.fields {
            let plain = match_of(case)
                .get(&field.name)
                .is_some_and(|value| value.get("glob").is_none());
            for claim in read_by(&field.check)
                .into_iter()
                .filter(|claim| plain && !claim.path.starts_with('/'))
            {
                if claims_of(case)
                    .get(&claim.path)
                    .is_some_and(Value::is_string)
                    && field.when.is_none()
                {
                    let mut changed = case.clone();
                    changed["claims"][&claim.path] = json!("");
                    assert!(
                        !allows(&changed, profiles),
                        "{} {} with an empty {}",
                        profile.name,
                        case["id"],
                        claim.path
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

/// What is compared with a pattern, in every case that is allowed by one: the case, the field and the text.
fn patterns() -> Vec<(&'static Value, String, String)> {
    let (cases, profiles) = samples();
    let mut found = Vec::new();
    for case in cases
        .iter()
        .filter(|case| is_expected(case) && has_one_plain_rule(case))
    {
        for (name, _) in match_of(case)
            .iter()
            .filter(|(_, value)| value.get("glob").is_some())
        {
            for (_, field) in profile_of(case, profiles).fields_named(name) {
                let Check::Equals(equals) = &field.check else {
                    continue;
                };
                let text = claims_of(case)
                    .get(&equals.claim.path)
                    .and_then(Value::as_str);
                found.extend(text.map(|text| (case, name.clone(), text.to_owned())));
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
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from)
        ]
        .prop_map(Change::Into),
        Just(Change::Into(json!([]))),
    ]
}

/// A case with the rule of another one under its own trusted issuer, if `mixed`, and with changed claims.
fn mix(case: &Value, other: &Value, mixed: bool, changes: &[(usize, Change)]) -> Value {
    let mut case = case.clone();
    if mixed {
        for table in ["principals", "federated_credentials"] {
            case["objects"][table] = other["objects"][table].clone();
        }
        let of_rules = |context: &Value| context.get("states").cloned();
        match of_rules(&other["context"]) {
            Some(states) => case["context"]["states"] = states,
            None => drop(
                case["context"]
                    .as_object_mut()
                    .unwrap()
                    .shift_remove("states"),
            ),
        }
    }
    let claims = case["claims"].as_object_mut().unwrap();
    for (at, change) in changes {
        let names: Vec<String> = claims.keys().cloned().collect();
        let Some(name) = names.get(at % names.len().max(1)) else {
            continue;
        };
        match change {
            Change::Gone => drop(claims.shift_remove(name)),
            Change::Into(value) => drop(claims.insert(name.clone(), value.clone())),
            Change::OfOther => drop(
                other["claims"]
                    .get(name)
                    .map(|value| claims.insert(name.clone(), value.clone())),
            ),
        }
    }
    case
}

/// The cases that others can be made of: of one rule, with nothing used up before and a header of the platform's own.
fn plain() -> &'static [Value] {
    static PLAIN: OnceLock<Vec<Value>> = OnceLock::new();
    PLAIN.get_or_init(|| {
        let is_plain = |case: &Value| {
            let lacks = |object: &Value, names: &[&str]| {
                names.iter().all(|name| object.get(name).is_none())
            };
            lacks(case, &["header", "payload_text", "objects_file"])
                && lacks(&case["context"], &["used"])
                && has_one_plain_rule(case)
        };
        all_cases()
            .into_iter()
            .map(|(_, case)| case)
            .filter(is_plain)
            .collect()
    })
}

/// A further condition: an entry of `claims`, or a field that another case of the platform has.
fn add_condition(case: &Value, cases: &[Value], pick: usize, value: &Value) -> Value {
    /// Fields that loosen others.
    const LOOSENING: [&str; 4] = [
        "called_workflow",
        "match_names",
        "require_pod_binding",
        "workflow_binding",
    ];
    let mut changed = case.clone();
    let own = match_of(case);
    let others: Vec<(&String, &Value)> = cases
        .iter()
        .filter(|other| issuer_of(other)["profile"] == issuer_of(case)["profile"])
        .flat_map(match_of)
        .filter(|(name, _)| !own.contains_key(*name) && !LOOSENING.contains(&name.as_str()))
        .collect();
    if let Some((name, value)) = others.get(pick % (others.len() + 1)) {
        match_mut(&mut changed).insert((*name).clone(), (*value).clone());
    } else {
        let mut claims = own
            .get("claims")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        claims.insert("sub".to_owned(), value.clone());
        match_mut(&mut changed).insert("claims".to_owned(), Value::Object(claims));
    }
    changed
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_further_condition_never_turns_a_no_into_a_yes(at in any::<usize>(), pick in any::<usize>(), value in "[a-z:/.]{1,20}") {
        let (cases, profiles) = samples();
        let refused = refused();
        let case = refused[at % refused.len()];
        let changed = add_condition(case, cases, pick, &json!(value));
        prop_assert!(!allows(&changed, profiles), "{}: {:?}", case["id"], match_of(&changed));
    }

    #[test]
    fn the_order_of_rules_does_not_matter(at in any::<usize>(), shift in 1..4usize, picks in proptest::collection::vec(any::<usize>(), 1..4)) {
        let (cases, profiles) = samples();
        let case = &cases[at % cases.len()];
        if !has_one_plain_rule(case) {
            return Ok(());
        }
        // Two trusted issuers of one name and audience cannot be: all rules are about the case's own.
        let same: Vec<&Value> = cases.iter().filter(|other| has_one_plain_rule(other) && issuer_of(other) == issuer_of(case)).collect();
        let mut rules: Vec<Value> = vec![rules_of(case).values().next().unwrap().clone()];
        rules.extend(picks.iter().map(|pick| rules_of(same[pick % same.len()]).values().next().unwrap().clone()));
        let verdict = |rules: &[Value]| {
            let mut changed = case.clone();
            let named = rules.iter().enumerate().map(|(at, rule)| (format!("rule-{at}"), rule.clone()));
            changed["objects"]["federated_credentials"] = named.collect::<Map<_, _>>().into();
            changed["context"].as_object_mut().unwrap().shift_remove("states");
            allows(&changed, profiles)
        };
        let before = verdict(&rules);
        let length = rules.len();
        rules.rotate_left(shift % length);
        prop_assert_eq!(verdict(&rules), before, "{}", &case["id"]);
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
        let pattern = format!("{}{star}{}", &text[..from], &text[to..]);
        match_mut(&mut changed).insert(name.clone(), json!({ "glob": pattern }));
        let verdict = verdict(&changed, profiles);
        // Some fields want a beginning that no star stands in.
        prop_assume!(!verdict.is_mistake());
        let is_inside = double || !text[from..to].contains('/');
        prop_assert_eq!(verdict == CaseVerdict::Allow, is_inside, "{}: {:?}", &case["id"], match_of(&changed));
    }

    #[test]
    fn a_star_in_a_spiffe_id_stays_in_its_segment(path in "[a-z./-]{1,12}") {
        let (cases, profiles) = samples();
        let is_pattern = |case: &&Value| issuer_of(case)["profile"] == "spiffe" && case["id"] == "pattern";
        let mut case = cases.iter().find(is_pattern).unwrap().clone();
        case["claims"]["sub"] = json!(format!("spiffe://prod.example/ns/ci/sa/{path}"));
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
        let others: Vec<&Value> = plain.iter().filter(|other| issuer_of(other)["profile"] == issuer_of(case)["profile"]).collect();
        let changed = mix(case, others[pick % others.len()], mixed, &changes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(run(&changed));
        prop_assert!(outcome.is_ok(), "{}\n{changed:#}", outcome.unwrap_err());
    }
}
