//! What jobs use in place of the command: the GitHub Action and the GitLab template.

use std::path::Path;
use std::process::Command;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use serde_json::json;

use super::{Ground, REGISTRY, access_token, github, now, stand_in, variables_of};
use crate::support::{Finished, TestKey, finished};

const BINARY: &str = env!("CARGO_BIN_EXE_carnet");

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("integrations")
        .join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn action(ground: &Ground, platform: &str, inputs: &[(&str, &str)]) -> (Finished, String) {
    let output = ground.write("output", "");
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations/github-action/exchange.sh");
    let mut command = Command::new("bash");
    command
        .arg(script)
        .env_clear()
        .envs(variables_of(&file("github-action/action.yml"), inputs))
        .envs([
            ("PATH", "/usr/bin:/bin"),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_OUTPUT", output.to_str().unwrap()),
            ("RUNNER_TEMP", ground.folder().to_str().unwrap()),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", platform),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ask-me"),
        ]);
    (
        finished(command.output().unwrap()),
        std::fs::read_to_string(output).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__the_github_action_runs_exchange_and_masks_the_token() {
    let ground = Ground::new().await;
    let answer = |Query(query): Query<Vec<(String, String)>>| async move {
        let audience = query
            .into_iter()
            .find(|(name, _)| name == "audience")
            .unwrap()
            .1;
        let claims = github(now())
            .with("aud", audience)
            .in_environment("release");
        axum::Json(json!({ "value": TestKey::rsa(0).sign(&claims.value()) }))
    };
    let platform = format!(
        "http://{}/?x",
        stand_in(Router::new().route("/", get(answer))).await
    );
    let server = ground.server.url.as_str();
    let inputs = [
        ("server", server),
        ("resource", REGISTRY),
        ("carnet", BINARY),
    ];
    let (run, output) = action(
        &ground,
        &platform,
        &[&inputs[..], &[("scope", "publish")]].concat(),
    );
    assert_eq!(run.code, 0, "{run:?}");
    let token = output.strip_prefix("token=").unwrap().to_owned();
    assert_eq!(
        access_token(&Finished {
            stdout: token.clone(),
            ..finished_well()
        })["scope"],
        "publish"
    );
    // In the log the token stands in the lines that mask it, and nowhere else.
    assert_eq!(
        (run.stdout, run.stderr),
        (
            format!("::add-mask::{token}"),
            format!("::add-mask::{token}")
        )
    );

    let (run, output) = action(
        &ground,
        &platform,
        &[&inputs[..], &[("scope", "yank")]].concat(),
    );
    assert!(
        run.code != 0 && output.is_empty() && run.stderr.contains("scope_not_granted"),
        "{run:?}"
    );
    let missing = [
        ("server", server),
        ("resource", REGISTRY),
        ("carnet", "no-such-program"),
    ];
    let (run, _) = action(&ground, &platform, &missing);
    assert!(
        run.code != 0 && run.stdout.starts_with("::error::the runner has no program"),
        "{run:?}"
    );
    let unchecked = [
        &inputs[..],
        &[("carnet-url", "https://registry.test/carnet")],
    ]
    .concat();
    let (run, _) = action(&ground, &platform, &unchecked);
    assert!(
        run.code != 0 && run.stdout.contains("without carnet-sha256"),
        "{run:?}"
    );
}

fn finished_well() -> Finished {
    Finished {
        code: 0,
        stdout: String::new(),
        stderr: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_2__the_gitlab_template_runs_exchange_and_sets_its_variable() {
    let ground = Ground::new().await;
    let template = file("gitlab/carnet.yml");
    assert!(template.contains("      aud: $[[ inputs.server ]]\n"));
    let steps = template.split("before_script:\n").nth(1).unwrap();
    let mut script: String = steps
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .fold("set -eo pipefail\n".to_owned(), |script, line| {
            script + line + "\n"
        });
    for (input, value) in [
        ("server", ground.server.url.as_str()),
        ("resource", REGISTRY),
        ("scope", "publish create"),
        ("principal", ""),
        ("variable", "REGISTRY_TOKEN"),
        ("program", BINARY),
    ] {
        assert!(
            template.contains(&format!("\n    {input}:\n      description: ")),
            "{input} is no input"
        );
        script = script.replace(&format!("$[[ inputs.{input} ]]"), value);
    }
    assert!(!script.contains("$[["), "{script}");
    let run = |token: &str| {
        let mut command = Command::new("bash");
        command.env_clear().envs([
            ("PATH", "/usr/bin:/bin"),
            ("GITLAB_CI", "true"),
            ("CARNET_ID_TOKEN", token),
        ]);
        finished(
            command
                .args(["-c", &format!("{script}printenv REGISTRY_TOKEN")])
                .output()
                .unwrap(),
        )
    };
    assert_eq!(
        access_token(&run(&ground.token()))["scope"],
        "create publish"
    );
    let refused = run("");
    assert!(
        refused.code == 1 && refused.stdout.is_empty() && refused.stderr.contains("id_tokens"),
        "{refused:?}"
    );
}

/// The files of a folder of the repository.
fn folder(path: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    paths
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                std::fs::read_to_string(path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn contract_2__the_exchange_commands_of_the_sample_jobs_are_valid_and_in_the_book() {
    let jobs = folder("docs/samples/jobs");
    let guides = folder("docs/src/guides");
    assert!(jobs.len() >= 15, "{}", jobs.len());
    let mut commands = 0;
    for (name, text) in &jobs {
        let shown = guides
            .iter()
            .any(|(_, page)| page.contains(&format!("<!-- shows: docs/samples/jobs/{name} -->")));
        assert!(shown, "{name} stands on no page");
        for part in text.split("$(carnet exchange ").skip(1) {
            // A shell takes the line apart; --help at its end shows that all before it is known.
            let arguments = part.split(')').next().unwrap();
            let script = format!("'{BINARY}' exchange {arguments} --help");
            let run = finished(
                Command::new("sh")
                    .args(["-c", &script])
                    .env("BUILD_TOKEN_FILE", "x")
                    .output()
                    .unwrap(),
            );
            assert_eq!(run.code, 0, "{name}: {arguments}: {run:?}");
            commands += 1;
        }
    }
    assert!(commands >= 12, "{commands}");
    for (name, page) in guides
        .iter()
        .filter(|(name, _)| name.starts_with("publish-from-"))
    {
        let of = |kind: &str| page.contains(&format!("<!-- shows: docs/samples/{kind}/"));
        assert!(
            of("jobs") && of("apply"),
            "{name} lacks the job's side or the server's"
        );
    }
}
