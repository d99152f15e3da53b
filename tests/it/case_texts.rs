//! Mistakes in case files and in the objects of cases are told in sentences and JSON, never in the debug form of Rust.

use carnet::policy::{convert, judge, read_cases};
use carnet::profile::Profiles;
use serde_json::{Map, Value, json};

use crate::support::{TestDb, TestKey, carnet_in, github};

const NOW: i64 = 1_790_000_000;

/// A case that has every kind of object, and every member that a case may have.
fn case() -> Value {
    let keys = json!({ "source": "static", "jwks": { "keys": [TestKey::rsa(0).jwk(), TestKey::rsa(1).jwk()] } });
    json!({
        "id": "x", "expect": "allow", "reason": "ok", "description": "a release",
        "objects": {
            "principals": { "joel": { "kind": "user", "external_id": "1", "acts_for": ["eve"] }, "eve": { "kind": "user" } },
            "resource_servers": { "pypi": {
                "resource": "https://pypi.test/", "actions": ["create", "publish"], "package_names": "pep503",
                "token_lifetime_seconds": 600,
            } },
            "trusted_issuers": { "gh": {
                "profile": "github-actions", "issuer": "https://ci.test", "audiences": ["https://as.test"], "keys": keys,
                "algorithms": ["RS256"], "banned_events": ["x"], "allow_private": ["10.0.0.0/8"],
            } },
            "federated_credentials": { "release": {
                "principal": "joel", "trusted_issuer": "gh", "expires_at": "2030-01-01T00:00:00Z", "actors": [],
                "match": {
                    "repository": "octo-org/octo-repo", "workflow_file": "release.yml", "ref": { "glob": "refs/tags/**" },
                    "environment": { "any_of": ["pypi"] }, "claims": { "run_attempt": "1" },
                },
                "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"], "owner": "joel" }],
            } },
            "clients": { "bot": { "auth_method": "federated", "federated_credentials": ["release"] } },
        },
        "claims": github(NOW).with("iss", "https://ci.test").with("aud", "https://as.test").value(),
        "header": { "alg": "RS256", "typ": "JWT", "kid": "a" },
        "request": {
            "resource": "https://pypi.test/", "scope": "publish", "principal": "joel",
            "authorization_details": [{ "type": "package", "actions": ["publish"], "packages": ["widgets"] }],
        },
        "context": {
            "now": NOW, "issuer": "https://as.test", "keys": ["a"], "used": [{ "iss": "https://ci.test", "jti": "1" }],
            "states": { "release": { "state": "active", "pinned": { "repository_id": "74" }, "vouched": true } },
            "registry": { "exists": true, "owner": "joel", "action": "publish", "package": "widgets", "owned_packages": ["widgets"] },
            "profiles": { "own": own_profile() },
        },
    })
}

/// A profile that an operator wrote.
fn own_profile() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/samples/profiles/acme-ci.toml"
    );
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What may stand in the place of a right value.
fn wrong_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-1.5),
        json!(""),
        json!("a \"b\" \\ *é\u{1}"),
        json!([]),
        json!([1, null]),
        json!({}),
        json!({ "no such member": [{ "x": 1 }] }),
    ]
}

/// The places of all values in a document.
fn places(at: &str, value: &Value, found: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(n, value)| (n.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (name, value) in members {
        let pointer = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        places(&pointer, value, found);
        found.push(pointer);
    }
}

/// The first part of a text that looks like Rust's debug form: `Some("x")`, `Problem { pointer: ""`, `[Error`, `None`.
fn debug_text(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split(' ').collect();
    let is_type = |word: &str| {
        let word = word.trim_start_matches(['[', '(', '{', '&', '"']);
        let name: String = word
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == ':')
            .collect();
        let rest = &word[name.len()..];
        let is_capital = name.chars().next().is_some_and(|c| c.is_ascii_uppercase());
        (is_capital && name.len() > 1, name, rest.to_owned())
    };
    for (at, word) in words.iter().enumerate() {
        let (is_capital, name, rest) = is_type(word);
        let next = words.get(at + 1).copied().unwrap_or_default();
        if is_capital
            && (rest.starts_with('(')
                || (rest.is_empty() && next == "{")
                || ["None", "Null"].contains(&name.trim_end_matches(':')))
        {
            return Some(format!("{word} {next}"));
        }
    }
    None
}

#[test]
fn the_debug_form_of_rust_is_recognised() {
    for text in [
        "x: [Problem { pointer: \"\", detail: \"a\" }]",
        "key Some(\"a\"): is weak",
        "key None: is weak",
        "got [String(\"a\")]",
        "Custom { kind: Other }",
    ] {
        assert!(debug_text(text).is_some(), "{text}");
    }
    for text in [
        "must be RFC 3339 (a time)",
        "JSON {\"a\": \"B\"} and TOML",
        "profile x (see the Reference) says no",
        "iss [{\"A\":1}]",
    ] {
        assert_eq!(debug_text(text), None, "{text}");
    }
}

#[test]
fn new_a19__no_mistake_in_a_case_is_told_in_debug_text() {
    let (profiles, good) = (Profiles::load(None).unwrap(), case());
    let read = read_cases(&json!([good]).to_string(), |_| Err("no file".to_owned())).unwrap();
    let (verdict, detail) = judge(&read[0], &profiles);
    assert!(!verdict.is_mistake(), "{detail:?}");
    let mut all = Vec::new();
    places("", &good, &mut all);
    assert!(all.len() > 100, "{}", all.len());
    let mut told = 0;
    for pointer in all {
        for wrong in wrong_values() {
            let mut changed = good.clone();
            *changed.pointer_mut(&pointer).unwrap() = wrong.clone();
            let text =
                match read_cases(&json!([changed]).to_string(), |_| Err("no file".to_owned())) {
                    Err(error) => error.to_string(),
                    Ok(cases) => judge(&cases[0], &profiles).1.unwrap_or_default(),
                };
            told += usize::from(!text.is_empty());
            assert_eq!(debug_text(&text), None, "{pointer} {wrong}: {text}");
        }
    }
    assert!(told > 500, "{told}");
    for text in [
        "",
        "[",
        "1",
        "[1]",
        "{}",
        "[[cases]]\nx",
        "[[cases]]\nid = 1",
        "cases = 1",
        "a = 'b",
        "{\"cases\": [], \"x\": 1}",
        "[{}]",
    ] {
        if let Err(error) = read_cases(text, |_| Err("no file".to_owned())) {
            assert_eq!(debug_text(&error.to_string()), None, "{text}: {error}");
        }
    }
}

#[test]
fn new_a19__no_mistake_in_an_older_case_is_told_in_debug_text() {
    let profiles = Profiles::load(None).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/older-cases.json");
    let older: Vec<Map<String, Value>> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    // One case of each platform, and one with a template of its own.
    let mut seen = std::collections::BTreeSet::new();
    for case in older {
        let is_template = Value::Object(case.clone())
            .pointer("/policy/fields/template")
            .is_some();
        if !seen.insert((case["provider"].to_string(), is_template)) {
            continue;
        }
        let good = Value::Object(case);
        let mut all = Vec::new();
        places("", &good["policy"], &mut all);
        for pointer in all {
            for wrong in wrong_values() {
                let mut changed = good.clone();
                *changed["policy"].pointer_mut(&pointer).unwrap() = wrong.clone();
                if let Err(error) = convert(&json!([changed]).to_string(), &profiles) {
                    assert_eq!(
                        debug_text(&error.to_string()),
                        None,
                        "{pointer} {wrong}: {error}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn new_a19__policy_test_prints_mistakes_in_sentences() {
    let db = TestDb::new().await;
    let folder = db.folder();
    let mut no_condition = case();
    no_condition["objects"]["federated_credentials"]["release"]["match"] = json!({});
    let mut weak_key = case();
    weak_key["objects"]["trusted_issuers"]["gh"]["keys"]["jwks"]["keys"] =
        json!([{ "kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB" }, { "kty": "oct" }]);
    let mut no_key = case();
    no_key["objects"]["trusted_issuers"]["gh"]["keys"]["jwks"]["keys"] = json!([]);
    for (case, expected) in [
        (no_key, "must hold a usable key, and holds none"),
        (
            no_condition,
            "federated_credentials.release/match must have at least one of",
        ),
        (weak_key, "must hold a usable key: key `a`: "),
    ] {
        std::fs::write(folder.join("cases.json"), json!([case]).to_string()).unwrap();
        for arguments in [
            &["policy", "test", "cases.json"][..],
            &["--json", "policy", "test", "cases.json"],
        ] {
            let tested = carnet_in(folder, arguments);
            let all = format!("{}{}", tested.stdout, tested.stderr);
            assert!(tested.code == 1 && all.contains(expected), "{tested:?}");
            assert_eq!(debug_text(&all), None, "{tested:?}");
        }
    }
}
