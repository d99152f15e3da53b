//! `carnet exchange --explain` and `carnet explain`: the same sources, and the same rules about what is sent where.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::platforms::{endpoint, github_token};
use super::{
    Ground, REGISTRY, access_token, bare, fails, fails_with, free_address, github, now, stand_in,
    token_for,
};
use crate::support::{Finished, TestKey, finished};

/// Runs `carnet explain` as a job with this environment and no other.
fn explain(server: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    let mut command = bare(environment);
    command
        .args(["explain", "--server", server])
        .args(arguments);
    finished(command.output().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchange_explains_what_it_would_get_and_uses_nothing_up() {
    let ground = Ground::new().await;
    let token = ground.token();
    let environment = [("CARNET_ID_TOKEN", token.as_str())];
    let run = ground.exchange(&["--explain"], &environment);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stdout.starts_with(&format!(
            "allow: create publish at {REGISTRY} for pr_acme\n"
        )) && run.stdout.contains("  ok  "),
        "{run:?}"
    );
    // `carnet explain` takes the token from the same place and says the same.
    let same = explain(&ground.server.url, &["--resource", REGISTRY], &environment);
    assert_eq!((same.code, &same.stdout), (0, &run.stdout), "{same:?}");
    let run = ground.exchange(&["--explain", "--json"], &environment);
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answer["verdict"], "allow");
    access_token(&ground.exchange(&[], &environment));

    let claims = github(now())
        .with("aud", ground.server.url.as_str())
        .in_environment("staging");
    let token = TestKey::rsa(0).sign(&claims.value());
    let environment = [("CARNET_ID_TOKEN", token.as_str())];
    let run = ground.exchange(&["--explain"], &environment);
    assert_eq!(run.code, 1, "{run:?}");
    for says in [
        "deny: env_mismatch - ",
        "  NO  environment: expected \"release\", received \"staging\" (env_mismatch)\n",
        "the job's own token says:\n",
        "  repository_id: \"74\"\n",
    ] {
        assert!(run.stdout.contains(says), "{says} is missing: {run:?}");
    }
    assert!(
        !run.stdout.contains("eyJ") && run.stderr.is_empty(),
        "{run:?}"
    );
    // Of a request that cannot be judged, the refusal.
    let run = ground.exchange(&["--explain", "--scope", "a\"b"], &environment);
    fails(&run, &["the server refused: "]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_takes_the_token_from_the_sources_of_exchange() {
    let ground = Ground::new().await;
    let server = ground.server.url.as_str();
    let (platform, notes) =
        endpoint(|audience| axum::Json(json!({ "value": github_token(audience) })).into_response())
            .await;
    let environment = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", platform.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ask-me"),
    ];
    for arguments in [&[][..], &["--source", "github"]] {
        let run = explain(server, arguments, &environment);
        assert!(
            run.code == 0 && run.stdout.starts_with("allow: "),
            "{run:?}"
        );
    }
    assert_eq!(notes.lock().unwrap().len(), 2);
    let token = ground.token();
    let run = explain(server, &["--assertion-env", "OTHER"], &[("OTHER", &token)]);
    assert!(run.code == 0 && run.stdout.contains("pr_acme"), "{run:?}");
    // Nobody named a token, and none is found.
    let run = explain(server, &["--source", "gitlab"], &[]);
    fails(&run, &["gitlab-ci: ", "id_tokens"]);
    // The admin form shows the rules that the token reaches.
    let admin = ground.locally(&["admin-token"], &[]);
    let admin = admin.stdout.trim();
    let run = explain(server, &["--token", admin], &[("CARNET_ID_TOKEN", &token)]);
    assert!(
        run.code == 0 && run.stdout.contains("matches widgets ("),
        "{run:?}"
    );
    let run = explain(
        server,
        &[
            "--token",
            admin,
            "--scope",
            "yank",
            "--grant-type",
            "token-exchange",
        ],
        &[("CARNET_ID_TOKEN", &token)],
    );
    assert!(
        run.code == 1 && run.stdout.starts_with("deny: scope_not_granted - "),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_does_not_send_a_token_with_another_audience_or_to_another_server() {
    let ground = Ground::new().await;
    let admin = ground.locally(&["admin-token"], &[]);
    let token = token_for("sts.amazonaws.com");
    let environment = [("OTHER", token.as_str())];
    for more in [&[][..], &["--token", admin.stdout.trim()]] {
        let named = [&["--assertion-env", "OTHER"], more].concat();
        let run = explain(&ground.server.url, &named, &environment);
        fails(&run, &["so it was not sent", "--audience"]);
        // On purpose it is.
        let named = [&["--audience", "sts.amazonaws.com"], &named[..]].concat();
        let run = explain(&ground.server.url, &named, &environment);
        assert!(
            run.code == 1 && run.stdout.starts_with("deny: aud_mismatch - "),
            "{run:?}"
        );
        let run = explain(&format!("{}/", ground.server.url), &named, &environment);
        fails_with(2, &run, &["write --server http://127.0.0.1"]);
    }
    // On the database nothing leaves the machine, so the audience is explained like anything else.
    let run = ground.locally(&["explain", "--assertion-env", "OTHER"], &environment);
    assert!(
        run.code == 1
            && run.stdout.starts_with("deny: aud_mismatch - ")
            && run.stdout.contains("  aud: \"sts.amazonaws.com\"\n"),
        "{run:?}"
    );
    let run = explain("carnet.example", &[], &[]);
    fails_with(
        2,
        &run,
        &["--server carnet.example: ", "https://carnet.example"],
    );
    let nobody = format!("http://{}", free_address());
    fails_with(3, &explain(&nobody, &[], &[]), &["cannot be reached"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_asks_for_an_event_by_its_id_and_shows_what_it_holds_no_longer() {
    let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let written = asked.clone();
    let answer = move |headers: HeaderMap, body: Bytes| async move {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let held = body["event"] == "ev_kept";
        let authorization = headers["authorization"].to_str().unwrap().to_owned();
        written.lock().unwrap().push((authorization, body));
        if held {
            let explanation = json!({
                "verdict": "deny", "reason": "ref_mismatch", "error_description": "the run is for another branch or tag",
                "candidates": [{ "credential": "fc_1", "name": "octo-release", "principal": "octo", "matches": false, "conditions": [
                    { "field": "ref", "expected": "refs/heads/main", "received": "refs/heads/x", "met": false, "reason": "ref_mismatch" },
                ] }],
            });
            return axum::Json(explanation).into_response();
        }
        let problem = json!({ "title": "x", "status": 404, "detail": "the claims of this event were removed after 30 days" });
        (StatusCode::NOT_FOUND, axum::Json(problem)).into_response()
    };
    let router = Router::new()
        .route("/admin/v1/explanations", post(answer))
        .route(
            "/.well-known/oauth-authorization-server",
            get(|| async { "" }),
        );
    let server = format!("http://{}", stand_in(router).await);
    let run = explain(&server, &["--token", "secret", "--event", "ev_kept"], &[]);
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(
        run.stdout,
        "deny: ref_mismatch - the run is for another branch or tag\ndiffers octo-release (fc_1) of octo\n  \
         NO  ref: expected \"refs/heads/main\", received \"refs/heads/x\" (ref_mismatch)\n"
    );
    let run = explain(&server, &["--token", "secret", "--event", "ev_gone"], &[]);
    fails(
        &run,
        &["the claims of this event were removed after 30 days (404)"],
    );
    let expected =
        ["ev_kept", "ev_gone"].map(|event| ("Bearer secret".to_owned(), json!({ "event": event })));
    assert_eq!(*asked.lock().unwrap(), expected);
    // An event has its own assertion, and only an administrator may read it.
    let both = ["--token", "x", "--event", "ev_1", "--assertion-env", "A"];
    fails_with(2, &explain(&server, &both, &[]), &["--assertion-env"]);
    let run = explain(&server, &["--event", "ev_1"], &[]);
    fails(&run, &["--token"]);
}
