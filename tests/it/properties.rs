//! What holds for every input, not only for those somebody thought of.

use carnet::form::TokenForm;
use carnet::grant::PARAMETERS;
use carnet::policy::{CaseVerdict, judge, read_cases};
use carnet::profile::Profiles;
use carnet::reason::Reason;
use carnet_jose::json::{self, Limits};
use carnet_jose::{Compact, base64url};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::github;

/// JSON of bounded size without numbers that floating point would change.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            btree_map("\\PC{0,10}", inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The claims that the rule below compares, or that decide with it.
const COMPARED: [&str; 9] = [
    "repository",
    "repository_id",
    "repository_owner_id",
    "workflow_ref",
    "job_workflow_ref",
    "environment",
    "ref",
    "ref_type",
    "aud",
];

fn verdict(claims: &Value) -> CaseVerdict {
    let case = json!([{
        "id": "x", "expect": "deny", "claims": claims, "context": { "now": 1_800_000_000 },
        "request": { "authorization_details": [{ "type": "package", "packages": ["widgets"], "actions": ["publish"] }] },
        "objects": {
            "principals": { "joel": { "kind": "user" } },
            "resource_servers": { "pypi": { "resource": "https://pypi.test/", "actions": ["publish"] } },
            "trusted_issuers": {
                "gh": { "profile": "github-actions", "issuer": "https://ci.test", "audiences": ["https://as.test"] },
            },
            "federated_credentials": { "release": {
                "principal": "joel", "trusted_issuer": "gh",
                "match": {
                    "repository": "octo-org/octo-repo", "repository_id": "74", "repository_owner_id": "65",
                    "workflow_file": "release.yml", "environment": "prod", "ref": "refs/heads/main",
                },
                "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
            } },
        },
    }]);
    judge(
        &read_cases(&case.to_string(), |_| unreachable!()).unwrap()[0],
        &Profiles::load(None).unwrap(),
    )
    .0
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn strict_json_reads_valid_objects_like_serde_json(value in btree_map("\\PC{0,10}", any_json(), 0..8)) {
        let value: Map<String, Value> = value.into_iter().collect();
        let text = Value::Object(value.clone()).to_string();
        prop_assert_eq!(json::object(text.as_bytes(), Limits::TOKEN).unwrap(), value);
    }

    #[test]
    fn strict_json_accepts_nothing_that_serde_json_refuses(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(object) = json::object(&bytes, Limits::TOKEN) {
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), Value::Object(object));
        }
    }

    #[test]
    fn compact_tokens_have_one_spelling(header in vec(any::<u8>(), 0..60), payload in vec(any::<u8>(), 0..60), text in "\\PC{0,80}") {
        let token = format!("{}.{}.{}", base64url(&header), base64url(&payload), base64url(b"x"));
        for token in [token, text] {
            if let Ok(compact) = Compact::parse(&token) {
                prop_assert!(token.starts_with(compact.signing_input));
                prop_assert_eq!(format!("{}.{}", compact.signing_input, base64url(&compact.signature)), token);
            }
        }
    }

    #[test]
    fn forms_are_read_as_they_were_written(scope in "\\PC{1,40}", assertion in "\\PC{1,40}", unknown in "[a-z]{1,5}x") {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("scope", &scope).append_pair(&unknown, "1").append_pair("assertion", &assertion).finish();
        let form = TokenForm::parse(body.as_bytes(), &PARAMETERS).unwrap();
        prop_assert_eq!((form.get("scope"), form.get("assertion")), (Some(scope.as_str()), Some(assertion.as_str())));
    }

    #[test]
    fn any_other_value_of_a_compared_claim_is_refused(at in 0..COMPARED.len(), value in any_json()) {
        let good = github(1_800_000_000).in_environment("prod").value();
        let mut claims = good.clone();
        let same = match (&value, &good[COMPARED[at]]) {
            (Value::String(given), Value::String(own)) => given.eq_ignore_ascii_case(own),
            _ => false,
        };
        prop_assume!(!same);
        claims[COMPARED[at]] = value;
        let verdict = verdict(&claims);
        prop_assert!(matches!(verdict, CaseVerdict::Deny(reason) if reason != Reason::PolicyInvalid), "{claims}: {verdict:?}");
    }

    #[test]
    fn claims_that_no_rule_reads_change_nothing(name in "x_[a-z]{1,10}", value in any_json()) {
        let mut claims = github(1_800_000_000).in_environment("prod").value();
        claims[name] = value;
        prop_assert_eq!(verdict(&claims), CaseVerdict::Allow);
    }
}
