//! Saving front doors: what is refused, and what a registry shows of its door.

use serde_json::{Value, json};

use super::front_doors::{NPM, open, world_with};
use crate::support::{CARNET, GH, R2, TestDb, World, carnet, finished};

/// Saves a front door at the first registry; the answer.
async fn save(world: &World, door: Value) -> crate::support::Answer {
    let change = json!({ "front_door": door });
    world
        .server
        .admin("PATCH", "resource-servers/pypi", change)
        .await
}

fn policy_test(file: &std::path::Path) -> crate::support::Finished {
    let mut command = carnet();
    finished(command.args(["policy", "test"]).arg(file).output().unwrap())
}

pub fn pointers(answer: &crate::support::Answer) -> Vec<String> {
    let body = answer.json();
    let errors = body["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn contract_6__a_front_door_shows_the_audiences_that_its_tools_ask_for() {
    let world = World::new().await;
    let saved = save(&world, json!({ "kind": "npm", "hosts": ["NPM.test:8443"] }))
        .await
        .json();
    assert_eq!(
        saved["front_door"],
        json!({
            "kind": "npm", "hosts": ["npm.test:8443"], "audiences": ["npm:npm.test", "npm:npm.test:8443"],
            "trusted_issuers": null,
        })
    );
    assert_eq!(saved["token_prefix"], "cnt_npm_");
    // What is exported leaves defaults out, and reads back to the same.
    let exported = world
        .server
        .admin("GET", "resource-servers?view=export", Value::Null)
        .await
        .json();
    let door = exported["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "pypi")
        .unwrap()["front_door"]
        .clone();
    assert_eq!(door["audiences"], Value::Null, "{door:#}");
    let again = save(&world, door).await.json();
    assert_eq!(again["front_door"], saved["front_door"]);
    let gone = save(&world, Value::Null).await.json();
    assert_eq!(
        (&gone["front_door"], &gone["token_prefix"]),
        (&Value::Null, &json!("cnt_"))
    );
}

#[tokio::test]
async fn contract_6__audiences_of_a_door_and_of_the_token_endpoint_never_overlap() {
    let world = World::new().await;
    for audience in [CARNET.to_owned(), format!("{CARNET}/token")] {
        let door = json!({ "kind": "crates-io", "hosts": ["r.test"], "audiences": [audience] });
        let refused = save(&world, door).await;
        assert_eq!(
            (refused.status, pointers(&refused)),
            (422, vec!["/front_door/audiences".to_owned()]),
            "{}",
            refused.text()
        );
        assert!(
            refused.text().contains("trusted issuer github"),
            "{}",
            refused.text()
        );
    }
    open(&world, &NPM, json!({})).await;
    let nobody =
        json!({ "kind": "npm", "hosts": ["npm.test"], "trusted_issuers": ["github", "nobody"] });
    let refused = save(&world, nobody).await;
    assert_eq!(
        (refused.status, pointers(&refused)),
        (422, vec!["/front_door/trusted_issuers/1".to_owned()]),
        "{}",
        refused.text()
    );
    // Whichever of the two is saved last.
    let change = json!({ "audiences": [CARNET, NPM.audience] });
    let refused = world
        .server
        .admin("PATCH", "trusted-issuers/github", change)
        .await;
    assert_eq!(
        (refused.status, pointers(&refused)),
        (422, vec!["/audiences".to_owned()]),
        "{}",
        refused.text()
    );
    assert!(
        refused
            .text()
            .contains("front door of resource server pypi"),
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn contract_6__two_trusted_issuers_of_one_iss_are_refused_at_a_door() {
    let world = World::new().await;
    let second = || json!({ "profile": "github-actions", "issuer": GH, "audiences": ["https://second.test"] });
    world
        .server
        .put("trusted-issuers/second?validate=offline", second())
        .await;
    let refused = save(
        &world,
        json!({ "kind": "npm", "hosts": ["npm.test"], "trusted_issuers": null }),
    )
    .await;
    assert_eq!(
        (refused.status, pointers(&refused)),
        (422, vec!["/front_door/trusted_issuers".to_owned()]),
        "{}",
        refused.text()
    );
    let one = json!({ "kind": "npm", "hosts": ["npm.test"], "trusted_issuers": ["github"] });
    assert_eq!(save(&world, one).await.status, 200);
    let removed = world
        .server
        .admin("DELETE", "trusted-issuers/second", Value::Null)
        .await;
    assert_eq!(removed.status, 204);
    assert_eq!(
        save(
            &world,
            json!({ "kind": "npm", "hosts": ["npm.test"], "trusted_issuers": null })
        )
        .await
        .status,
        200
    );
    let refused = world
        .server
        .admin("PUT", "trusted-issuers/second?validate=offline", second())
        .await;
    assert_eq!(
        (refused.status, pointers(&refused)),
        (422, vec!["/issuer".to_owned()]),
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn contract_6__hosts_and_prefixes_of_doors_are_their_own() {
    let world = world_with(&NPM).await;
    let other = |door: Value| json!({ "resource": R2, "actions": ["publish"], "front_door": door });
    let put = async |document: Value| {
        world
            .server
            .admin("PUT", "resource-servers/crates", document)
            .await
    };
    let refused = put(other(
        json!({ "kind": "npm", "hosts": ["a.test", "NPM.test"] }),
    ))
    .await;
    assert_eq!(
        (refused.status, pointers(&refused)),
        (422, vec!["/front_door/hosts/1".to_owned()]),
        "{}",
        refused.text()
    );
    // Another protocol at the same host is another door.
    assert_eq!(
        put(other(json!({ "kind": "crates-io", "hosts": ["npm.test"] })))
            .await
            .status,
        200
    );
    for (prefix, status) in [
        ("npm_", 422),
        ("NPM_x", 422),
        ("ghp_", 422),
        ("rubygems_", 422),
        ("acme_", 200),
    ] {
        let mut document = other(Value::Null);
        document["token_prefix"] = json!(prefix);
        assert_eq!(put(document).await.status, status, "{prefix}");
    }
    let mut principal = other(json!({ "kind": "rubygems", "hosts": ["gems.test"] }));
    principal["require_principal"] = json!(true);
    let refused = put(principal.clone()).await;
    assert_eq!(
        (refused.status, pointers(&refused)),
        (422, vec!["/require_principal".to_owned()]),
        "{}",
        refused.text()
    );
    principal["front_door"] = json!({ "kind": "nuget", "hosts": ["nuget.test"] });
    assert_eq!(put(principal).await.status, 200);
}

#[tokio::test]
async fn a_bundle_with_a_front_door_is_linted_tested_and_applied() {
    let db = TestDb::new().await;
    let bundle = db.folder().join("carnet.toml");
    let good = r#"
[trusted_issuers.github]
profile = "github-actions"
issuer = "https://token.actions.githubusercontent.com"

[principals.joel]
kind = "user"

[resource_servers.npm]
resource = "https://npm.example/"
actions = ["publish", "create"]
front_door = { kind = "npm", hosts = ["npm.example"], trusted_issuers = ["github"] }

[federated_credentials.octo-release]
principal = "joel"
trusted_issuer = "github"
match = { repository = "octo-org/octo-repo", repository_owner_id = "65", repository_id = "74", workflow_file = "release.yml" }
permissions = [{ resource_server = "npm", actions = ["publish"], packages = ["widgets"] }]
"#;
    std::fs::write(&bundle, good).unwrap();
    let claims = crate::support::github(1_800_000_000)
        .with("iss", "https://token.actions.githubusercontent.com");
    let case = |id: &str, audience: &str, package: &str, expect: &str, reason: &str| {
        let claims = claims.clone().with("aud", audience).value();
        let mut case = json!({
            "id": id, "objects_file": "carnet.toml", "claims": claims, "expect": expect,
            "request": { "front_door": "npm", "package": package },
        });
        if !reason.is_empty() {
            case["reason"] = json!(reason);
        }
        case
    };
    let mut used = case(
        "used for this package",
        "npm:npm.example",
        "widgets",
        "deny",
        "replay",
    );
    used["context"] = json!({ "used": ["this"] });
    let jti = claims.clone().value()["jti"].clone();
    let mut used_before = case(
        "used for this package before",
        "npm:npm.example",
        "widgets",
        "deny",
        "replay",
    );
    used_before["context"] = json!({
        "used": [{ "iss": "https://token.actions.githubusercontent.com", "jti": jti }],
    });
    let cases = json!([
        used_before,
        case("good", "npm:npm.example", "widgets", "allow", ""),
        case(
            "another package",
            "npm:npm.example",
            "left-pad",
            "deny",
            "package_out_of_scope"
        ),
        case(
            "the token endpoint's audience",
            "https://carnet.example",
            "widgets",
            "deny",
            "aud_mismatch"
        ),
        used,
    ]);
    let file = db.folder().join("cases.json");
    std::fs::write(&file, cases.to_string()).unwrap();
    let tested = policy_test(&file);
    assert_eq!(tested.code, 0, "{}{}", tested.stdout, tested.stderr);
    let shown = tested.stdout;
    for line in [
        "good allow",
        "another package deny package_out_of_scope",
        "used for this package deny replay",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    std::fs::write(&bundle, good.replace("[\"github\"]", "[\"gitlab\"]")).unwrap();
    let tested = policy_test(&file);
    let shown = tested.stdout;
    assert!(shown.contains("good deny policy_invalid"), "{shown}");
}
