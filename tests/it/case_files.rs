//! Case files: their form, the states and surroundings that they give, mistakes in them, and the form that they had before.

use std::path::Path;

use carnet::policy::{CaseError, CaseVerdict, convert, judge, read_cases};
use carnet::profile::Profiles;
use serde_json::{Value, json};

use crate::support::{TestDb, TestServer, carnet_in};

const NOW: i64 = 1_790_000_000;

/// A case that is allowed, of a rule that pins ids unless it names them.
fn good() -> Value {
    json!({
        "id": "x", "expect": "allow",
        "objects": {
            "principals": { "joel": { "kind": "user" }, "eve": { "kind": "user" } },
            "resource_servers": { "pypi": { "resource": "https://pypi.test/", "actions": ["create", "publish"] } },
            "trusted_issuers": {
                "gh": { "profile": "github-actions", "issuer": "https://ci.test", "audiences": ["https://as.test"] },
            },
            "federated_credentials": { "release": {
                "principal": "joel", "trusted_issuer": "gh",
                "match": { "repository": "octo-org/octo-repo", "workflow_file": "release.yml" },
                "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
            } },
        },
        "claims": crate::support::github(NOW).with("iss", "https://ci.test").with("aud", "https://as.test").value(),
        "context": { "now": NOW, "registry": { "action": "publish", "package": "widgets" } },
    })
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut case = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    case.pointer_mut(parent).unwrap()[name] = value;
    case
}

fn verdict(case: &Value) -> (&'static str, Option<String>) {
    let cases = read_cases(&json!([case]).to_string(), |_| Err("no file".to_owned())).unwrap();
    let (verdict, detail) = judge(&cases[0], &Profiles::load(None).unwrap());
    (verdict.reason(), detail)
}

fn mistake(case: &Value) -> String {
    let error = read_cases(&json!([case]).to_string(), |_| Err("no file".to_owned())).unwrap_err();
    assert!(
        matches!(&error, CaseError::Case(id, _) if id == "x"),
        "{error}"
    );
    error.to_string()
}

#[test]
fn contract_8__policy_cases_use_objects_of_apply_and_token_request_parameters() {
    for (pointer, value, reason) in [
        ("/request", json!({}), "ok"),
        (
            "/request",
            json!({ "resource": "https://pypi.test/", "scope": "publish", "principal": "JOEL" }),
            "ok",
        ),
        (
            "/request",
            json!({ "resource": ["https://pypi.test/", "https://other.test/"] }),
            "target_unknown",
        ),
        (
            "/request",
            json!({ "resource": "https://other.test/" }),
            "target_unknown",
        ),
        (
            "/request",
            json!({ "scope": "unlist" }),
            "scope_not_granted",
        ),
        ("/request", json!({ "scope": "\u{1}" }), "scope_malformed"),
        (
            "/request",
            json!({ "principal": "eve" }),
            "principal_mismatch",
        ),
        (
            "/request",
            json!({ "authorization_details": [] }),
            "details_malformed",
        ),
        (
            "/request",
            json!({ "authorization_details": "[{}]" }),
            "details_malformed",
        ),
        (
            "/request",
            json!({ "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "audience": "pypi" }),
            "ok",
        ),
        (
            "/request",
            json!({ "grant_type": "password" }),
            "grant_type_unsupported",
        ),
        (
            "/objects/trusted_issuers/gh/grants",
            json!(["token-exchange"]),
            "grant_not_taken",
        ),
        (
            "/objects/trusted_issuers/gh/enabled",
            json!(false),
            "iss_unknown",
        ),
        (
            "/objects/federated_credentials/release/enabled",
            json!(false),
            "credential_disabled",
        ),
        (
            "/objects/federated_credentials/release/expires_at",
            json!("2026-01-01T00:00:00Z"),
            "credential_expired",
        ),
        (
            "/objects/federated_credentials/release/vouched",
            json!(false),
            "principal_required",
        ),
        (
            "/objects/resource_servers/pypi/require_principal",
            json!(true),
            "principal_required",
        ),
        ("/header", json!({ "alg": "none" }), "alg_denied"),
        ("/header", json!({ "alg": "RS256", "kid": "k1" }), "ok"),
        ("/context/keys", json!(["k1"]), "ok"),
        ("/context/used", json!(["this"]), "replay"),
        (
            "/context/used",
            json!([{ "iss": "https://ci.test", "jti": "another" }]),
            "ok",
        ),
        ("/context/registry", json!({}), "ok"),
        (
            "/context/registry/action",
            json!("create"),
            "action_out_of_scope",
        ),
        (
            "/context/registry/package",
            json!(["widgets", "gadgets"]),
            "package_out_of_scope",
        ),
        ("/context/registry/owner", json!("eve"), "owner_lost"),
        (
            "/context/registry/owned_packages",
            json!(["gadgets"]),
            "owner_lost",
        ),
        ("/context/registry/exists", json!(false), "create_denied"),
        ("/context/now", json!(NOW + 100_000), "expired"),
    ] {
        let (given, detail) = verdict(&changed(pointer, value.clone()));
        assert_eq!(given, reason, "{pointer} {value}: {detail:?}");
    }
    let mut unknown_key = changed("/header", json!({ "alg": "RS256", "kid": "k2" }));
    unknown_key["context"]["keys"] = json!(["k1"]);
    assert_eq!(verdict(&unknown_key).0, "key_unknown");
    // The id of the token itself.
    let mut used = good();
    used["context"]["used"] = json!([{ "iss": "https://ci.test", "jti": used["claims"]["jti"] }]);
    assert_eq!(verdict(&used).0, "replay");
    // Without a clock it is the moment at which the token was issued.
    let mut timeless = good();
    timeless["context"]
        .as_object_mut()
        .unwrap()
        .shift_remove("now");
    assert_eq!(verdict(&timeless).0, "ok");
    timeless["claims"]
        .as_object_mut()
        .unwrap()
        .shift_remove("iat");
    assert_eq!(verdict(&timeless).0, "policy_invalid");
}

#[test]
fn contract_8__a_policy_case_can_set_the_states_of_its_rules() {
    let state = |state: Value| verdict(&changed("/context/states", json!({ "release": state })));
    for (given, reason) in [
        (json!({}), "ok"),
        (json!({ "state": "pending" }), "ok"),
        (
            json!({ "state": "pending", "pending_until": "2026-01-01T00:00:00Z" }),
            "credential_expired",
        ),
        (json!({ "state": "disabled" }), "credential_disabled"),
        (json!({ "state": "expired" }), "credential_expired"),
        (
            json!({ "pinned": { "repository_id": "74", "repository_owner_id": "65" } }),
            "ok",
        ),
        (
            json!({ "pinned": { "repository_id": "75", "repository_owner_id": "65" } }),
            "repo_id_mismatch",
        ),
        (json!({ "vouched": false }), "principal_required"),
        // What cannot be is told with the rule's name.
        (json!({ "state": "asleep" }), "policy_invalid"),
        (
            json!({ "pinned": { "repository_id": "74", "repository_owner_id": "65" }, "state": "pending" }),
            "policy_invalid",
        ),
    ] {
        let (told, detail) = state(given.clone());
        assert_eq!(told, reason, "{given}: {detail:?}");
        assert!(reason != "policy_invalid" || detail.unwrap().contains("states.release"));
    }
    assert_eq!(
        verdict(&changed("/context/states", json!({ "other": {} }))).0,
        "policy_invalid"
    );
    // A self-service rule counts for whoever asks for its principal.
    let mut asked = changed(
        "/context/states",
        json!({ "release": { "vouched": false } }),
    );
    asked["request"] = json!({ "principal": "joel" });
    assert_eq!(verdict(&asked).0, "ok");
}

/// Objects that a server would not save, one at a time.
fn refused_objects() -> Vec<(&'static str, &'static str, Value)> {
    let other_server = json!({ "resource": "https://pypi.test/", "actions": ["publish"] });
    let other_issuer = json!({ "profile": "github-actions", "issuer": "https://ci.test", "audiences": ["https://as.test"] });
    let rule = good()["objects"]["federated_credentials"]["release"].clone();
    let with = |name: &str, value: Value| {
        let mut rule = rule.clone();
        rule[name] = value;
        rule
    };
    let permission = |value: Value| json!([value]);
    vec![
        (
            "principals",
            "org",
            json!({ "kind": "user", "acts_for": ["nobody"] }),
        ),
        ("principals", "org", json!({ "kind": "robot" })),
        ("resource_servers", "other", other_server),
        ("trusted_issuers", "other", other_issuer),
        (
            "trusted_issuers",
            "gh",
            json!({ "profile": "github-actions", "issuer": "https://ci.test", "owner": "nobody" }),
        ),
        (
            "trusted_issuers",
            "gh",
            json!({ "profile": "github-actions", "issuer": "https://ci.test", "owner": "eve" }),
        ),
        (
            "trusted_issuers",
            "gh",
            json!({ "profile": "github-actions", "issuer": "http://ci.test" }),
        ),
        (
            "federated_credentials",
            "release",
            with("principal", json!("nobody")),
        ),
        (
            "federated_credentials",
            "release",
            with("trusted_issuer", json!("nobody")),
        ),
        (
            "federated_credentials",
            "release",
            with("match", json!({ "repository": "octo-org/octo-repo" })),
        ),
        (
            "federated_credentials",
            "release",
            with("match", json!({ "repositry": "octo-org/octo-repo" })),
        ),
        (
            "federated_credentials",
            "release",
            with("actors", json!(["nobody"])),
        ),
        (
            "federated_credentials",
            "release",
            with(
                "permissions",
                permission(
                    json!({ "resource_server": "npm", "actions": ["publish"], "packages": ["a"] }),
                ),
            ),
        ),
        (
            "federated_credentials",
            "release",
            with(
                "permissions",
                permission(
                    json!({ "resource_server": "pypi", "actions": ["unlist"], "packages": ["a"] }),
                ),
            ),
        ),
        (
            "federated_credentials",
            "release",
            with(
                "permissions",
                permission(
                    json!({ "resource_server": "pypi", "actions": ["publish"], "packages": ["a"], "owner": "nobody" }),
                ),
            ),
        ),
    ]
}

#[tokio::test]
async fn contract_8__policy_case_objects_that_a_server_would_not_save_are_policy_invalid() {
    assert_eq!(verdict(&good()).0, "ok");
    for (table, name, document) in refused_objects() {
        let mut case = good();
        case["objects"][table][name] = document.clone();
        let (reason, detail) = verdict(&case);
        let detail = detail.unwrap_or_default();
        let is_named = detail.contains(&format!("{table}."))
            || detail.contains("federated_credentials.release");
        assert!(
            reason == "policy_invalid" && is_named,
            "{table} {document}: {reason} {detail}"
        );
        // The server itself would not have it either.
        let server = TestServer::start().await;
        let mut refused = 0;
        for (table, segment) in [
            ("principals", "principals"),
            ("resource_servers", "resource-servers"),
            ("trusted_issuers", "trusted-issuers"),
            ("federated_credentials", "federated-credentials"),
        ] {
            for (name, document) in case["objects"][table].as_object().unwrap() {
                let path = format!("{segment}/{name}?validate=offline");
                let status = server.admin("PUT", &path, document.clone()).await.status;
                assert!(matches!(status, 201 | 422), "{table} {name}: {status}");
                refused += u32::from(status == 422);
            }
        }
        assert!(refused > 0, "{table} {document}: saved by the server");
    }
}

#[test]
fn contract_8__mistakes_in_a_policy_case_are_reported_with_its_id() {
    for (pointer, value, told) in [
        (
            "/expectation",
            json!("allow"),
            "unknown field `expectation`",
        ),
        ("/context/nwo", json!(1), "unknown field `nwo`"),
        (
            "/context/registry/packages",
            json!(["a"]),
            "unknown field `packages`",
        ),
        ("/context/used", json!(["that"]), "\"this\""),
        ("/expect", json!("maybe"), "unknown variant `maybe`"),
        (
            "/objects/policies",
            json!({}),
            "`policies` is not a kind of object",
        ),
        (
            "/objects_file",
            json!("objects.toml"),
            "one of objects and objects_file",
        ),
        (
            "/assertion",
            json!("a.b.c"),
            "one of claims, payload_text and assertion",
        ),
        (
            "/payload_text",
            json!("{}"),
            "one of claims, payload_text and assertion",
        ),
        (
            "/request",
            json!({ "assertion": "x" }),
            "the case's own token",
        ),
        (
            "/request",
            json!({ "client_id": "x" }),
            "request.client_id must be left out; the parameters of a case are",
        ),
        (
            "/request",
            json!({ "front_door": ["pypi"] }),
            "request.front_door must be a text",
        ),
        (
            "/request",
            json!({ "scope": 1 }),
            "request.scope must be a text",
        ),
        (
            "/context/registry",
            json!({ "action": "publish" }),
            "both of action and package",
        ),
    ] {
        let told_of = mistake(&changed(pointer, value));
        assert!(told_of.contains(told), "{pointer}: {told_of}");
    }
    let mut filed = good();
    filed.as_object_mut().unwrap().shift_remove("objects");
    filed["objects_file"] = json!("objects.toml");
    assert_eq!(mistake(&filed), "case x: no file");
    for text in ["", "1", "{}", "[1", "cases = 1", "[[cases]]\nid = "] {
        assert!(read_cases(text, |_| unreachable!()).is_err(), "{text}");
    }
}

#[test]
fn contract_8__a_policy_case_can_hold_an_assertion_instead_of_claims() {
    let payload = carnet_jose::base64url(good()["claims"].to_string());
    let header = carnet_jose::base64url(r#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#);
    let mut case = good();
    case.as_object_mut().unwrap().shift_remove("claims");
    case["assertion"] = json!(format!(
        "{header}.{payload}.{}",
        carnet_jose::base64url("x")
    ));
    assert_eq!(verdict(&case).0, "ok");
    case["context"]["keys"] = json!(["k2"]);
    assert_eq!(verdict(&case).0, "key_unknown");
    case["assertion"] = json!("a.b");
    assert_eq!(verdict(&case).0, "assertion_malformed");
}

#[tokio::test]
async fn contract_8__files_of_the_older_form_are_converted() {
    let db = TestDb::new().await;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let older = data.join("older-cases.json");
    let refused = carnet_in(db.folder(), &["policy", "test", older.to_str().unwrap()]);
    assert!(
        refused.code == 1 && refused.stdout.is_empty(),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("carnet policy convert OLD > NEW"),
        "{refused:?}"
    );
    let converted = carnet_in(db.folder(), &["policy", "convert", older.to_str().unwrap()]);
    assert_eq!(converted.code, 0, "{converted:?}");
    // What comes out stands among the cases that all tests use, and so does every verdict that it expects.
    let parsed: Vec<Value> = serde_json::from_str(&converted.stdout).unwrap();
    let all = std::fs::read_to_string(data.join("policy-cases.json")).unwrap();
    let all: Vec<Value> = serde_json::from_str(&all).unwrap();
    assert!(parsed.len() > 40);
    for case in &parsed {
        assert_eq!(
            Some(case),
            all.iter().find(|other| other["id"] == case["id"]),
            "{}",
            case["id"]
        );
    }
    std::fs::write(db.folder().join("new.json"), &converted.stdout).unwrap();
    assert_eq!(
        carnet_in(db.folder(), &["policy", "test", "new.json"]).code,
        0
    );
    // Twice is a mistake, not a change.
    let twice = carnet_in(db.folder(), &["policy", "convert", "new.json"]);
    assert!(
        twice.code == 1 && twice.stderr.contains("in the present form already"),
        "{twice:?}"
    );
}

#[test]
fn contract_8__mistakes_in_older_policy_cases_stay_mistakes_after_conversion() {
    let profiles = Profiles::load(None).unwrap();
    let case = |fields: Value| {
        json!([{
            "id": "x", "provider": "github", "expect": "deny", "claims": good()["claims"],
            "policy": { "fields": fields, "context": { "now": NOW } },
        }])
    };
    let fields = |more: Value| {
        let mut fields = json!({
            "issuer": "https://ci.test", "audience": "https://as.test", "repository": "octo-org/octo-repo",
            "workflow_file": "release.yml", "packages": ["widgets"], "actions": ["publish"],
        });
        for (name, value) in more.as_object().unwrap() {
            fields[name] = value.clone();
        }
        fields
    };
    let judged = |fields: Value| {
        let converted = convert(&case(fields).to_string(), &profiles).unwrap();
        judge(
            &read_cases(&converted.to_string(), |_| unreachable!()).unwrap()[0],
            &profiles,
        )
        .0
    };
    assert_eq!(judged(fields(json!({}))), CaseVerdict::Allow);
    for more in [
        json!({ "issuer": "" }),
        json!({ "repository": "" }),
        json!({ "ref": "refs/heads/main", "ref_glob": "refs/heads/*" }),
        json!({ "ref_regex": "x" }),
        json!({ "issuer_glob": "https://*" }),
        json!({ "packages": [] }),
    ] {
        assert!(judged(fields(more.clone())).is_mistake(), "{more}");
    }
    for wrong in [
        json!([{}]),
        json!([{ "id": "x", "provider": "no-such", "policy": {}, "claims": {}, "expect": "deny" }]),
    ] {
        assert!(convert(&wrong.to_string(), &profiles).is_err(), "{wrong}");
    }
}
