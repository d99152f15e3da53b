//! What a job reads when it is refused: the rule, its own claims, and an annotation on the page of its run.

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde_json::json;

use super::hostile::{answering, exchange_in};
use super::{Ground, fails, github, now};
use crate::support::TestKey;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_job_reads_the_claims_of_its_own_token_and_is_annotated_on_github() {
    let ground = Ground::new().await;
    let claims = github(now())
        .with("aud", ground.server.url.as_str())
        .in_environment("staging");
    let token = TestKey::rsa(0).sign(&claims.value());
    let path = ground.write("assertion.jwt", &token);
    let arguments = ["--assertion-file", path.to_str().unwrap()];
    let run = ground.exchange(&arguments, &[("GITHUB_ACTIONS", "true")]);
    let repository = claims.value()["repository"].as_str().unwrap().to_owned();
    let workflow = claims.value()["workflow_ref"].as_str().unwrap().to_owned();
    fails(
        &run,
        &[
            "::error title=No registry token%3A env_mismatch::the server refused: env_mismatch - ",
            "%0A  environment: expected \"release\", received \"staging\"",
            &format!(
                "\nthe job's own token says:\n  iss: \"{}\"\n",
                crate::support::GH
            ),
            &format!("\n  repository: \"{repository}\"\n"),
            &format!("\n  workflow_ref: \"{workflow}\"\n"),
            "\n  repository_id: \"74\"\n",
            "\n  environment: \"staging\"\n",
        ],
    );
    let commands: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("::"))
        .collect();
    assert_eq!(commands.len(), 1, "{run:?}");
    // Elsewhere there is no runner that reads commands, and what the platform lacks is annotated too.
    let run = ground.exchange(&arguments, &[]);
    assert!(!run.stderr.contains("::error"), "{run:?}");
    let run = ground.exchange(&[], &[("GITHUB_ACTIONS", "true")]);
    fails(
        &run,
        &[
            "::error title=No registry token%3A refused::github-actions: ",
            "%0A  permissions:%0A",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_of_a_server_are_never_commands_to_the_runner() {
    let hostile = "x\r\n::stop-commands::y\n##[group]z%0A::add-mask::q";
    let body = json!({
        "error": "invalid_grant", "error_description": hostile, "reason": hostile, "error_id": hostile, "error_uri": hostile,
        "claim": hostile, "parameter": hostile, "detail": hostile, "nearest": hostile, "received": hostile, "permitted": [hostile],
        "limit": 7, "accepted_audiences": [hostile], "new_member\n::x": hostile,
        "mismatches": [{ "credential": hostile, "name": hostile, "field": hostile, "expected": hostile, "received": hostile,
                         "hint": hostile, "reason": hostile }],
    });
    let (url, _) =
        answering(move |_| (StatusCode::BAD_REQUEST, axum::Json(body.clone())).into_response())
            .await;
    let run = exchange_in(&url, &[("GITHUB_ACTIONS", "true")]);
    fails(
        &run,
        &[
            "  limit: 7\n",
            "  did you mean: x",
            "  detail: x",
            "  permitted: [\"x",
        ],
    );
    for line in run.stderr.lines() {
        let line = line.trim_start();
        assert!(
            !line.starts_with("::") || line.starts_with("::error title="),
            "{line}"
        );
        assert!(!line.contains("##[") && !line.contains('\r'), "{line}");
    }
}
