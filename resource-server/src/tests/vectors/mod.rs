//! `docs/decision-vectors.json`: what a registry in any language has to answer, as cases.
//!
//! The expected answers are written by hand in the tables of this module, and the crate has to give
//! them. The file is written from the tables, so it says what the crate does:
//!
//! ```console
//! $ CARNET_WRITE_VECTORS=1 cargo test -p carnet-resource-server vectors
//! ```

mod conditions;
mod decisions;
mod entries;
mod names;
mod packages;
mod token_cases;
mod tokens;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::DenialReason;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/decision-vectors.json");

/// The value with the members of each object in alphabetical order, so that the file and the signed
/// tokens are the same whatever features `serde_json` is built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let names: BTreeSet<&String> = members.keys().collect();
            let members = names
                .into_iter()
                .map(|name| (name.clone(), sorted(&members[name])));
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(elements) => elements.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// A list with each element on a line of its own.
fn lines(cases: &[Value]) -> String {
    let lines: Vec<String> = cases.iter().map(|case| sorted(case).to_string()).collect();
    format!("[\n{}\n]", lines.join(",\n"))
}

/// What the words of the file mean.
fn definitions() -> Value {
    let reasons = [
        DenialReason::PackageOutOfScope,
        DenialReason::ActionOutOfScope,
        DenialReason::CreateDenied,
        DenialReason::VersionMismatch,
        DenialReason::DigestMismatch,
        DenialReason::OwnerLost,
        DenialReason::OwnerAmbiguous,
    ]
    .map(DenialReason::code);
    json!({
        "package_names": {
            "exact": "nothing is folded",
            "ascii_case_insensitive": "A to Z become a to z",
            "pep503": "A to Z become a to z, and each run of `-`, `_` and `.` becomes one `-`",
            "cargo": "A to Z become a to z, and each `-` becomes `_`",
        },
        "name": "1 to 256 bytes of UTF-8 without `*`, white space (Unicode White_Space) and control characters (Unicode Cc), with no `.` at either end",
        "pattern": "like a name, but may hold `*`, each of which stands for any run of characters, empty or not",
        "covers": "the name is well formed, the pattern is well formed, and the folded pattern matches all of the folded name",
        "expect": "accept or reject (tokens), allow or deny (decisions)",
        "usable_entries": "the indexes of those elements of `authorization_details` that may allow something",
        "entry": "the index of the element of `authorization_details` that allows the operation",
        "reasons": reasons,
    })
}

fn file() -> String {
    let about = "What a registry answers to access tokens of Carnet; docs/src/reference/registry-decision.md describes it. Written by the tests of resource-server.";
    let (head, token_cases) = tokens::all();
    format!(
        "{{\n\"about\": {},\n\"definitions\": {},\n\"names\": {},\n\"token_setting\": {},\n\"tokens\": {},\n\"decisions\": {}\n}}\n",
        json!(about),
        serde_json::to_string_pretty(&sorted(&definitions())).unwrap(),
        lines(&names::all()),
        serde_json::to_string_pretty(&sorted(&head)).unwrap(),
        lines(&token_cases),
        lines(&decisions::all()),
    )
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a variable of the environment asks for the file to be written"
)]
fn the_file_of_vectors_is_what_the_tables_and_the_crate_say() {
    let wanted = file();
    if std::env::var_os("CARNET_WRITE_VECTORS").is_some() {
        std::fs::write(FILE, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(FILE).unwrap();
    assert!(
        found == wanted,
        "docs/decision-vectors.json is not what the tables say: write it with CARNET_WRITE_VECTORS=1"
    );
}

#[test]
fn the_vectors_are_distinct_and_give_each_answer() {
    let whole: Value = serde_json::from_str(&file()).unwrap();
    let cases = |list: &str| whole[list].as_array().unwrap().clone();
    let all = [cases("names"), cases("tokens"), cases("decisions")].concat();
    // The page says so.
    assert!(all.len() > 400, "{}", all.len());
    let ids: BTreeSet<&str> = all
        .iter()
        .map(|case| case["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), all.len());
    // No two cases ask the same.
    let questions: BTreeSet<String> = all
        .iter()
        .map(|case| {
            let mut question = sorted(case);
            let members = question.as_object_mut().unwrap();
            members.retain(|name, _| !matches!(name.as_str(), "id" | "says"));
            question.to_string()
        })
        .collect();
    assert_eq!(questions.len(), all.len());
    for mode in ["exact", "ascii_case_insensitive", "pep503", "cargo"] {
        for list in ["names", "decisions"] {
            let of_mode = cases(list)
                .iter()
                .filter(|case| case["package_names"] == mode)
                .count();
            assert!(of_mode >= 10, "{list} {mode}: {of_mode}");
        }
    }
    let decisions = cases("decisions");
    let reasons = whole["definitions"]["reasons"].as_array().unwrap();
    for reason in reasons {
        let of_reason = decisions
            .iter()
            .filter(|case| case["reason"] == *reason)
            .count();
        assert!(of_reason >= 8, "{reason}: {of_reason}");
    }
    for (list, answer, least) in [
        ("decisions", "allow", 60),
        ("tokens", "accept", 12),
        ("tokens", "reject", 35),
    ] {
        let count = cases(list)
            .iter()
            .filter(|case| case["expect"] == answer)
            .count();
        assert!(count >= least, "{list} {answer}: {count}");
    }
}
