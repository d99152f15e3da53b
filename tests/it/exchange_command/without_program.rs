//! The GitHub Action that needs no program of ours: bash, curl and jq, on a real server with a stand-in for the runner.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::json;

use super::{Ground, REGISTRY, access_token, github, now, stand_in, variables_of};
use crate::support::{Finished, TestKey, finished, may_skip};

fn action_file() -> String {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations/github-action-curl/action.yml");
    std::fs::read_to_string(path).unwrap()
}

/// Runs the step as the runner does; what it put out beside.
fn step(ground: &Ground, runner: Option<&str>, inputs: &[(&str, &str)]) -> (Finished, String) {
    let output = ground.write("output", "");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations/github-action-curl");
    // The last line of the action is what the runner runs.
    let action = action_file();
    let script = action
        .lines()
        .last()
        .unwrap()
        .trim()
        .strip_prefix("run: ")
        .unwrap()
        .to_owned();
    let mut bash = Command::new("bash");
    bash.args(["-eo", "pipefail", "-c", &script])
        .env_clear()
        .envs(variables_of(&action, inputs))
        .envs([
            ("PATH", "/usr/bin:/bin"),
            ("GITHUB_ACTION_PATH", folder.to_str().unwrap()),
            ("GITHUB_OUTPUT", output.to_str().unwrap()),
        ]);
    if let Some(runner) = runner {
        bash.env("ACTIONS_ID_TOKEN_REQUEST_URL", runner)
            .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ask-me");
    }
    (
        finished(bash.output().unwrap()),
        std::fs::read_to_string(output).unwrap(),
    )
}

/// A stand-in for the runner's endpoint: a job in this environment.
async fn runner(environment: &'static str) -> String {
    let answer = move |headers: HeaderMap, Query(query): Query<Vec<(String, String)>>| async move {
        if headers
            .get("authorization")
            .is_none_or(|value| value != "bearer ask-me")
        {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let audience = query
            .into_iter()
            .find(|(name, _)| name == "audience")
            .unwrap()
            .1;
        let claims = github(now())
            .with("aud", audience)
            .in_environment(environment);
        axum::Json(json!({ "value": TestKey::rsa(0).sign(&claims.value()) })).into_response()
    };
    format!(
        "http://{}/?x",
        stand_in(Router::new().route("/", get(answer))).await
    )
}

fn token_of(run: &Finished, output: &str) -> serde_json::Value {
    assert_eq!(run.code, 0, "{run:?}");
    let token = output.strip_prefix("token=").unwrap();
    let masked = format!("::add-mask::{}\n", token.trim_end());
    assert!(run.stdout.ends_with(&masked), "{run:?}");
    // Nothing but the lines that mask is in the log.
    assert!(
        run.stderr.is_empty()
            && run
                .stdout
                .lines()
                .all(|line| line.starts_with("::add-mask::")),
        "{run:?}"
    );
    access_token(&Finished {
        code: 0,
        stdout: token.to_owned(),
        stderr: String::new(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_action_with_curl_gets_a_token_that_is_as_narrow_as_its_inputs() {
    if !crate::surroundings::is_installed("jq") {
        may_skip("jq");
        return;
    }
    let ground = Ground::new().await;
    let runner = runner("release").await;
    let inputs = [
        ("server", ground.server.url.as_str()),
        ("resource", REGISTRY),
        ("principal", "joel"),
    ];
    let (run, output) = step(&ground, Some(&runner), &inputs);
    assert_eq!(token_of(&run, &output)["scope"], "create publish");
    // What a shell would take apart comes through whole.
    let details = r#"[{"type":"package","actions":["publish"],"packages":["widgets"],"version":"1.0 & $(false)"}]"#;
    let narrow = [
        &inputs[..],
        &[("scope", "publish"), ("authorization-details", details)],
    ]
    .concat();
    let (run, output) = step(&ground, Some(&runner), &narrow);
    let claims = token_of(&run, &output);
    assert_eq!(
        (
            &claims["scope"],
            &claims["authorization_details"][0]["version"]
        ),
        (&json!("publish"), &json!("1.0 & $(false)"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_action_with_curl_says_why_there_is_no_token() {
    if !crate::surroundings::is_installed("jq") {
        may_skip("jq");
        return;
    }
    let ground = Ground::new().await;
    let server = ground.server.url.as_str();
    let (released, staged) = (runner("release").await, runner("staging").await);
    let inputs = [
        ("server", server),
        ("resource", REGISTRY),
        ("principal", "joel"),
    ];
    let slash = format!("{server}/");
    let nobody = format!("http://{}/?x", stand_in(Router::new()).await);
    for (runner, inputs, parts) in [
        (
            Some(&staged),
            inputs,
            &[
                "env_mismatch",
                "expected \"release\"",
                "received \"staging\"",
                "/reasons/env_mismatch",
                "error_id ev_",
            ][..],
        ),
        (
            Some(&released),
            [
                ("server", server),
                ("resource", REGISTRY),
                ("principal", "acme"),
            ],
            &["principal_mismatch"],
        ),
        (
            Some(&released),
            [
                ("server", slash.as_str()),
                ("resource", REGISTRY),
                ("principal", "joel"),
            ],
            &["without the slash at its end"],
        ),
        (
            Some(&released),
            [
                ("server", "http://carnet.example"),
                ("resource", REGISTRY),
                ("principal", "joel"),
            ],
            &["no https URL"],
        ),
        (
            Some(&nobody),
            inputs,
            &["GitHub did not give an identity token"],
        ),
        (None, inputs, &["id-token: write"]),
    ] {
        let (run, output) = step(&ground, runner.map(String::as_str), &inputs);
        assert!(run.code == 1 && output.is_empty(), "{run:?}");
        let error = run.stdout.lines().last().unwrap();
        assert!(error.starts_with("::error::"), "{run:?}");
        for part in parts {
            assert!(error.contains(part), "{part}: {run:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_action_with_curl_asks_again_where_an_answer_passes() {
    if !crate::surroundings::is_installed("jq") {
        may_skip("jq");
        return;
    }
    let ground = Ground::new().await;
    let runner = runner("release").await;
    let asked = Arc::new(AtomicUsize::new(0));
    // A proxy that answers 503 once while the server behind it restarts.
    let (count, server) = (asked.clone(), ground.server.url.clone());
    let proxy = move |body: String| async move {
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            return (StatusCode::SERVICE_UNAVAILABLE, "restarting".to_owned());
        }
        let request = reqwest::Client::new().post(format!("{server}/token"));
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let answer = request.send().await.unwrap();
        (
            StatusCode::from_u16(answer.status().as_u16()).unwrap(),
            answer.text().await.unwrap(),
        )
    };
    let proxy = stand_in(Router::new().route("/token", axum::routing::post(proxy))).await;
    let proxy = format!("http://{proxy}");
    let inputs = [
        ("server", proxy.as_str()),
        ("resource", REGISTRY),
        ("audience", ground.server.url.as_str()),
    ];
    let (run, output) = step(&ground, Some(&runner), &inputs);
    token_of(&run, &output);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}
