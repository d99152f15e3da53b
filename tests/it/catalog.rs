//! What a rule may name, and the forms in which people write it.

use carnet::profile::{Form, Profile, Profiles};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::support::World;

fn names(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_catalog_of_a_principal_holds_what_its_rules_may_name() {
    let world = World::new().await;
    let server = &world.server;
    for name in ["mallory", "octo-org", "gone"] {
        server
            .put(
                &format!("principals/{name}"),
                json!({ "kind": "organization" }),
            )
            .await;
    }
    server
        .put(
            "principals/gone",
            json!({ "kind": "organization", "enabled": false }),
        )
        .await;
    let acting = json!({ "acts_for": ["OCTO-ORG", "gone"] });
    assert_eq!(
        server
            .admin("PATCH", "principals/joel", acting)
            .await
            .status,
        200
    );
    let issuer = |host: &str, more: Value| {
        let mut document = json!({
            "profile": "generic", "issuer": format!("https://{host}.example"),
        });
        document
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        document
    };
    for (name, more) in [
        ("joels", json!({ "owner": "joel" })),
        ("mallorys", json!({ "owner": "mallory" })),
        ("off", json!({ "enabled": false })),
    ] {
        let path = format!("trusted-issuers/{name}?validate=offline");
        server.put(&path, issuer(name, more)).await;
    }
    let disabled = json!({ "enabled": false });
    let r2 = server
        .admin("GET", "resource-servers", Value::Null)
        .await
        .json();
    let all = names(&r2["items"])
        .iter()
        .map(|name| (*name).to_owned())
        .collect::<Vec<_>>();
    assert!(all.len() > 1, "{all:?}");
    let path = format!("resource-servers/{}", all[1]);
    assert_eq!(server.admin("PATCH", &path, disabled).await.status, 200);

    let path = "catalog?principal=JOEL";
    let answer = server.admin("GET", path, Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let catalog = answer.json();
    assert_eq!(catalog["principal"]["name"], "joel");
    assert_eq!(names(&catalog["trusted_issuers"]), ["joels", "github"]);
    let joels = &catalog["trusted_issuers"][0];
    assert_eq!(
        (&joels["owned"], &joels["profile"], &joels["display"]),
        (
            &json!(true),
            &json!("generic"),
            &json!("Generic JWT issuer")
        )
    );
    assert_eq!(catalog["owners"], json!(["joel", "octo-org"]));
    let enabled: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .filter(|name| *name != all[1])
        .collect();
    assert_eq!(names(&catalog["resource_servers"]), enabled);
    let actions = catalog["resource_servers"][0]["actions"]
        .as_array()
        .unwrap();
    assert!(actions.contains(&json!("publish")), "{actions:?}");
    let forms = catalog["forms"].as_array().unwrap();
    let of_github = forms
        .iter()
        .find(|form| form["profile"] == "github-actions")
        .unwrap();
    let filters = of_github["filters"].as_array().unwrap();
    let labels: Vec<&str> = filters
        .iter()
        .map(|entry| entry["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["Branch", "Tag", "Environment", "Workflow"]);
    let branch = json!({
        "key": "match.ref.branch", "tick": "match.ref.branch.on", "field": "ref", "label": "Branch",
        "help": "A * stands for any characters but /.", "example": "main",
        "input": { "kind": "text", "many": true, "globs": true }, "shorthand": "refs/heads/", "with": {},
    });
    assert_eq!(filters[0], branch);
    assert!(of_github["filters_needed"].is_string());
    assert_eq!(forms.len(), 2);

    // Whoever may read one principal's rules reads its catalog and no other, and changes nothing.
    for scope in [
        "admin:credentials:joel",
        "admin:read:joel",
        "admin:read:JOEL",
    ] {
        let own = server.admin_as(scope, "GET", path, Value::Null).await;
        assert_eq!((own.status, own.json()), (200, catalog.clone()), "{scope}");
        let other = server
            .admin_as(scope, "GET", "catalog?principal=mallory", Value::Null)
            .await;
        assert_eq!(other.status, 403, "{scope}");
    }
    let rule = World::rule_document(json!({}));
    let dry = "federated-credentials/octo-release?dry_run=true";
    for path in ["federated-credentials/octo-release", dry] {
        let refused = server
            .admin_as("admin:read:joel", "PUT", path, rule.clone())
            .await;
        assert_eq!(refused.status, 403, "{path}");
    }
    // A token for both reads both, and changes the rules of the one alone.
    let both = "admin:read:joel admin:credentials:mallory";
    let read = server.admin_as(both, "GET", path, Value::Null).await;
    assert_eq!(read.status, 200);
    let refused = server
        .admin_as(both, "PUT", "federated-credentials/joel:octo-release", rule)
        .await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    for query in ["", "?principal=joel&limit=3", "?limit=3"] {
        let bad = server
            .admin("GET", &format!("catalog{query}"), Value::Null)
            .await;
        assert_eq!(bad.status, 400, "{query}");
    }
}

/// A form of GitHub filled in at random: valid and invalid values, with and without ticks.
fn drafts() -> impl Strategy<Value = Vec<(Index, String, bool)>> {
    let texts = [
        "main",
        "v*",
        "release/*",
        "refs/heads/main",
        "refs/tags/v1",
        "release.yml",
        "release",
        "https://github.com/octo-org/x",
        "prod\nstaging",
        "74",
        "push",
        "release\npush",
        "a = b",
        "tag",
        "called",
        "github-hosted",
        "on",
        "x y",
        "octo-org/ci/.github/workflows/p.yml@refs/heads/main",
        "refs/tags/v{version}",
    ];
    vec(
        (
            any::<Index>(),
            select(texts.to_vec()).prop_map(str::to_owned),
            any::<bool>(),
        ),
        0..5,
    )
}

fn sent(form: &Form, draft: Vec<(Index, String, bool)>) -> Vec<(String, String)> {
    let entries: Vec<_> = form.entries().collect();
    let mut sent = vec![
        (
            "match.repository".to_owned(),
            "octo-org/octo-repo".to_owned(),
        ),
        ("match.workflow_file.on".to_owned(), "on".to_owned()),
        ("match.workflow_file".to_owned(), "release.yml".to_owned()),
    ];
    for (at, text, ticked) in draft {
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

fn github() -> std::sync::Arc<Profile> {
    Profiles::load(None)
        .unwrap()
        .get("github-actions")
        .unwrap()
        .clone()
}

#[tokio::test]
async fn people_one_1__what_a_form_says_is_what_the_admin_api_stores() {
    let world = World::new().await;
    let profile = github();
    let form = profile.form();
    let mut runner = TestRunner::new(Config::default());
    let (mut stored_drafts, mut refused_drafts) = (0, 0);
    for _ in 0..150 {
        let draft = drafts().new_tree(&mut runner).unwrap().current();
        let sent = sent(form, draft);
        let read = form.read(&sent);
        if !read.problems.is_empty() {
            continue;
        }
        let mut document = World::rule_document(json!({}));
        document["match"] = Value::Object(read.matched.clone());
        let path = "federated-credentials/draft?validate=offline";
        let tried = world
            .server
            .admin("PUT", &format!("{path}&dry_run=true"), document.clone())
            .await
            .json();
        let answer = world.server.admin("PUT", path, document).await;
        if answer.status == 422 {
            refused_drafts += 1;
            assert_eq!(tried["stored"], Value::Null);
            assert_eq!(tried["errors"], answer.json()["errors"]);
            for error in answer.json()["errors"].as_array().unwrap() {
                let pointer = error["pointer"].as_str().unwrap();
                let key = form.key_of(pointer, &sent);
                assert_eq!(key.is_some(), pointer != "/match", "{error}");
            }
            continue;
        }
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        stored_drafts += 1;
        let saved = answer.json();
        assert_eq!(saved["match"], tried["stored"]["match"]);
        assert_eq!(saved["warnings"], tried["warnings"]);
        let stored: Map<String, Value> = saved["match"].as_object().unwrap().clone();
        // The stored rule is shown by the same form, and saving that changes nothing.
        let shown = form.fill(&stored);
        assert_eq!(shown.rest, Map::new());
        assert_eq!(form.edited(&stored, &shown.sent).matched, stored);
        let admits = form.admits(&stored);
        assert_eq!(tried["preview"][0], format!("Admits {admits}."));
    }
    assert!(
        stored_drafts > 15 && refused_drafts > 5,
        "{stored_drafts} {refused_drafts}"
    );
}
