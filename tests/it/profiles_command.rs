//! `carnet profiles` and `carnet completions`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{TestDb, carnet_in, may_skip};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/samples/profiles");

fn json(arguments: &[&str]) -> Value {
    let shown = carnet_in(&std::env::temp_dir(), arguments);
    assert_eq!(shown.code, 0, "{shown:?}");
    serde_json::from_str(&shown.stdout).unwrap()
}

#[test]
fn profiles_list_has_the_built_in_profiles_and_those_of_the_folder() {
    let listed = json(&["profiles", "list", "--profiles-dir", SAMPLES, "--json"]);
    let built_in = |name: &str| {
        let items = listed["items"].as_array().unwrap().iter();
        let found = items.filter(|item| item["name"] == name);
        found
            .map(|item| item["built_in"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(built_in("github-actions"), [true]);
    assert_eq!(built_in("acme-ci"), [false]);
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/engine/profiles"));
    let without = json(&["profiles", "list", "--json"]);
    assert_eq!(
        without["items"].as_array().unwrap().len(),
        files.unwrap().count()
    );
}

/// The page of profiles is written by hand; the command prints the data. Both name the same fields.
#[test]
fn profiles_show_has_the_fields_that_the_page_of_profiles_names() {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/src/reference/profiles.md"
    ))
    .unwrap();
    let listed = json(&["profiles", "list", "--json"]);
    for item in listed["items"].as_array().unwrap() {
        let name = item["name"].as_str().unwrap();
        let shown = json(&["profiles", "show", name, "--json"]);
        let section = page
            .split(&format!("\n## `{name}`\n"))
            .nth(1)
            .unwrap_or_else(|| panic!("{name} has no section"))
            .split("\n## ")
            .next()
            .unwrap();
        for field in shown["fields"].as_array().unwrap() {
            let field = field["name"].as_str().unwrap();
            assert!(section.contains(&format!("`{field}`")), "{name}: {field}");
        }
    }
}

#[test]
fn profiles_show_tells_what_a_rule_needs_and_what_is_pinned() {
    let shown = json(&["profiles", "show", "github-actions", "--json"]);
    assert_eq!(shown["pins"], "required");
    assert_eq!(
        shown["immutable_ids"],
        serde_json::json!(["repository_owner_id", "repository_id"])
    );
    let environment = shown["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|field| field["name"] == "environment")
        .unwrap();
    assert_eq!(environment["takes"], "a text, or a glob");
    assert_eq!(environment["reason"], "env_mismatch");
    let text = carnet_in(
        &std::env::temp_dir(),
        &["profiles", "show", "github-actions"],
    )
    .stdout;
    for part in [
        "  workflow_file, called_workflow.path, environment,",
        "required claims: event_name",
        "immutable ids: repository_owner_id, repository_id; pinned at the first match",
        "banned_events",
        "pull_request_target, workflow_run",
        "audiences never accepted: https://github.com/*",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let unknown = carnet_in(&std::env::temp_dir(), &["profiles", "show", "github"]);
    assert!(
        unknown.code == 1 && unknown.stderr.contains("github-actions"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn completions_are_scripts_that_the_shells_accept() {
    let db = TestDb::new().await;
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = carnet_in(db.folder(), &["completions", shell]);
        assert!(
            script.code == 0 && script.stdout.contains("quickstart"),
            "{shell}: {script:?}"
        );
        if !["bash", "zsh", "fish"].contains(&shell) {
            continue;
        }
        let checking = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn();
        let Ok(mut checking) = checking else {
            may_skip(shell);
            continue;
        };
        let mut input = checking.stdin.take().unwrap();
        input.write_all(script.stdout.as_bytes()).unwrap();
        drop(input);
        assert!(checking.wait().unwrap().success(), "{shell}");
    }
    assert_eq!(carnet_in(db.folder(), &["completions", "tcsh"]).code, 2);
}
