//! The job files that the server offers for a rule: `engine/snippets/`, and the route of the admin API.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use carnet::profile::Profiles;
use carnet::snippets::{Publisher, Snippet, Snippets, offered};
use serde_json::{Value, json};

use super::documents::read;
use crate::support::{World, finished, may_skip};

/// Prints the scripts of snippets: what the platform gives to a shell.
const SCRIPTS: &str = r#"
import json, sys, yaml

def scripts(node, key=None):
    if isinstance(node, dict):
        for name, value in node.items():
            yield from scripts(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from scripts(value, key)
    elif key in ("run", "bash", "script", "commands", "args"):
        assert isinstance(node, str), node
        yield node

def of(language, text):
    if language == "sh":
        return [text]
    if language == "groovy":
        return [text.split("'''")[1]]
    assert language == "yaml", language
    documents = list(yaml.safe_load_all(text))
    assert documents and all(isinstance(one, (dict, list)) for one in documents), text
    return list(scripts(documents))

print(json.dumps([of(*snippet) for snippet in json.load(sys.stdin)]))
"#;

/// The scripts of each snippet, given by language and text, as Python's YAML reads them. `None` where that is missing and may be.
pub fn scripts(snippets: &[(String, String)]) -> Option<Vec<Vec<String>>> {
    let has_yaml = Command::new("python3").args(["-c", "import yaml"]).output();
    if !has_yaml.is_ok_and(|output| output.status.success()) {
        may_skip("PyYAML");
        return None;
    }
    let mut python = Command::new("python3");
    let run = fed(python.args(["-c", SCRIPTS]), &json!(snippets).to_string());
    assert_eq!(run.code, 0, "{run:?}");
    Some(serde_json::from_str(&run.stdout).unwrap())
}

/// Runs a command with this input.
fn fed(command: &mut Command, input: &str) -> crate::support::Finished {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    finished(child.wait_with_output().unwrap())
}

/// Saves a registry for each protocol, and one without a front door.
async fn save_registries(world: &World) {
    for kind in ["pypi", "npm", "crates-io", "nuget", "rubygems"] {
        let host = format!("{kind}.example");
        let document = json!({
            "resource": format!("https://{host}/"), "actions": ["create", "publish"],
            "front_door": { "kind": kind, "hosts": [host] },
        });
        let path = format!("resource-servers/door-{kind}");
        world.server.put(&path, document).await;
    }
}

/// What is offered for every profile at every registry.
async fn all_snippets() -> Vec<(String, Snippets)> {
    let world = World::new().await;
    save_registries(&world).await;
    let rules = world.server.app.rules();
    let matcher = json!({ "environment": "release", "workflow_file": "release.yml", "step_key": "publish", "email": "a@b.test" });
    let mut issuer = (**rules.issuer_named("github").unwrap()).clone();
    let mut all = Vec::new();
    for profile in Profiles::load(None).unwrap().iter() {
        if profile.people.is_some() {
            continue;
        }
        issuer.profile = profile.clone();
        for vouched in [false, true] {
            let publisher = Publisher {
                issuer: &issuer,
                principal: "joel",
                matcher: matcher.as_object().unwrap(),
                registries: rules
                    .resource_servers()
                    .map(|server| (&**server, server.demand))
                    .collect(),
                vouched,
            };
            let found = offered(&world.server.app.config.own, &publisher);
            all.push((profile.name.clone(), found));
        }
    }
    all
}

#[tokio::test]
async fn every_snippet_is_a_file_of_its_platform_with_scripts_that_a_shell_reads() {
    let all = all_snippets().await;
    let snippets: Vec<(&str, &Snippet)> = all
        .iter()
        .flat_map(|(profile, found)| found.snippets.iter().map(|one| (profile.as_str(), one)))
        .collect();
    // 23 platforms, 6 clients of front doors and the token endpoint.
    let profiles: BTreeSet<&str> = snippets.iter().map(|(profile, _)| *profile).collect();
    assert_eq!(profiles.len(), 23);
    let clients: BTreeSet<(&str, &str)> = snippets
        .iter()
        .map(|(profile, snippet)| (*profile, snippet.client))
        .collect();
    assert_eq!(clients.len(), 23 * 7, "{clients:?}");
    let texts: BTreeSet<(String, String)> = snippets
        .iter()
        .map(|(_, snippet)| (snippet.language.clone(), snippet.text.clone()))
        .collect();
    let texts: Vec<(String, String)> = texts.into_iter().collect();
    for (_, text) in &texts {
        assert!(!text.contains("@[") && !text.contains("\n\n"), "{text}");
    }
    let Some(scripts) = scripts(&texts) else {
        return;
    };
    let mut checked = BTreeSet::new();
    for ((_, text), scripts) in texts.iter().zip(scripts) {
        assert!(!scripts.is_empty(), "{text}");
        for script in scripts {
            for shell in ["bash", "sh"] {
                if checked.insert((shell, script.clone())) {
                    let run = fed(Command::new(shell).arg("-n"), &script);
                    assert!(run.code == 0 && run.stderr.is_empty(), "{script}{run:?}");
                }
            }
        }
    }
    assert!(checked.len() > 100, "{}", checked.len());
}

#[tokio::test]
async fn the_snippets_of_registry_tools_use_the_options_that_their_tests_use() {
    let all = all_snippets().await;
    for (client, source, options) in [
        (
            "uv",
            "pypi",
            &["UV_PUBLISH_URL", "UV_PUBLISH_TOKEN", "--trusted-publishing"][..],
        ),
        (
            "twine",
            "pypi",
            &["TWINE_USERNAME", "TWINE_PASSWORD", "--non-interactive"],
        ),
        (
            "npm",
            "npm",
            &["npm_config_", ":_authToken", "publish", "NPM_ID_TOKEN"],
        ),
        (
            "cargo",
            "crates_io",
            &["CARGO_REGISTRIES_OURS_INDEX", "CARGO_REGISTRIES_OURS_TOKEN"],
        ),
        ("gem", "rubygems", &["GEM_HOST_API_KEY", "--host"]),
    ] {
        let tested = read(&format!("tests/it/publishing_tools/{source}.rs"));
        let texts = all.iter().flat_map(|(_, found)| &found.snippets);
        let texts: Vec<&str> = texts
            .filter(|snippet| snippet.client == client)
            .map(|snippet| snippet.text.as_str())
            .collect();
        for option in options {
            let shown = option.replace("OURS", "OCTO");
            assert!(
                tested.contains(option) || tested.contains(&shown),
                "{source}: {option}"
            );
            assert!(
                texts.iter().any(|text| text.contains(option)),
                "{client}: {option}"
            );
        }
    }
}

#[tokio::test]
async fn whoever_may_read_a_rule_gets_its_snippets_and_nobody_else() {
    let world = World::new().await;
    save_registries(&world).await;
    let mut rule = World::rule_document(json!({ "environment": "release" }));
    rule["permissions"] = json!([
        { "resource_server": "door-npm", "actions": ["create", "publish"], "packages": ["@octo/*"] },
    ]);
    rule["vouched"] = json!(false);
    world
        .server
        .put("federated-credentials/octo-npm", rule)
        .await;
    let path = "federated-credentials/octo-npm/snippets";
    let get = async |scope: &str| world.server.admin_as(scope, "GET", path, Value::Null).await;
    world
        .server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    for (scope, status) in [
        ("admin", 200),
        ("admin:read", 200),
        ("admin:credentials", 200),
        ("admin:credentials:joel", 200),
        ("admin:credentials:mallory", 404),
    ] {
        let answer = get(scope).await;
        assert_eq!(answer.status, status, "{scope}: {}", answer.text());
    }
    let unknown = "federated-credentials/nothing/snippets";
    let answer = world.server.admin("GET", unknown, Value::Null).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(
        world.server.get(&format!("/admin/v1/{path}")).await.status,
        401
    );

    let found = get("admin:credentials:joel").await.json();
    let snippets = found["snippets"].as_array().unwrap();
    let ways: Vec<(&str, &str)> = snippets
        .iter()
        .map(|one| {
            (
                one["client"].as_str().unwrap(),
                one["packages"].as_str().unwrap(),
            )
        })
        .collect();
    let new = "new_and_existing";
    assert_eq!(
        ways,
        [
            ("npm", new),
            ("npm", "existing"),
            ("oauth", new),
            ("oauth", new)
        ]
    );
    for snippet in snippets {
        let text = snippet["text"].as_str().unwrap();
        assert_eq!(snippet["file_name"], ".github/workflows/release.yml");
        assert_eq!(snippet["platform"], "GitHub Actions");
        assert!(text.contains("\n    environment: release\n"), "{text}");
    }
    let own = &world.server.app.config.own;
    let named = snippets[0]["text"].as_str().unwrap();
    for part in [
        &format!("curl -sS {} ", own.token_endpoint()),
        "resource=https://npm.example/ ",
        "principal=joel)",
        "npm_config_registry=https://npm.example/ ",
    ] {
        assert!(named.contains(part), "{part}: {named}");
    }
    assert!(
        snippets[0]["note"]
            .as_str()
            .unwrap()
            .contains("names the principal")
    );

    // The document of the API describes what it answers.
    let document = world.server.get("/admin/v1/openapi.json").await.json();
    let schemas = &document["components"]["schemas"];
    for (schema, value) in [("Snippets", &found), ("Snippet", &snippets[0])] {
        let names = |members: &Value| {
            let members = members.as_object().unwrap();
            members.keys().cloned().collect::<BTreeSet<String>>()
        };
        assert_eq!(names(value), names(&schemas[schema]["properties"]));
    }
    // With somebody who vouches, the tool needs no token with a name.
    let vouch = json!({ "vouched": true });
    let answer = world
        .server
        .admin("PATCH", "federated-credentials/octo-npm", vouch)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = get("admin").await.json();
    assert_eq!(found["snippets"].as_array().unwrap().len(), 3, "{found}");
}
