//! `carnet audit`, and what the log and the metrics say of changes and of refused admin requests (review of newcomers, A1 to
//! A3, A15).

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Finished, Installed, ServerProcess, carnet, finished, free_address};

/// Runs a command of this installation.
fn run(installed: &Installed, arguments: &[&str]) -> Finished {
    let mut command = carnet();
    command
        .current_dir(installed.db.folder())
        .args(arguments)
        .envs(installed.settings());
    finished(command.output().unwrap())
}

fn token(installed: &Installed, scope: &str) -> String {
    let made = run(installed, &["admin-token", "--scope", scope]);
    assert_eq!(made.code, 0, "{made:?}");
    made.stdout.trim().to_owned()
}

fn log(installed: &Installed) -> String {
    std::fs::read_to_string(installed.db.folder().join("server.log")).unwrap()
}

/// The only line of the log with all of these parts.
#[track_caller]
fn line(log: &str, parts: &[&str]) -> String {
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .collect();
    assert_eq!(lines.len(), 1, "{parts:?}: {log}");
    lines[0].to_owned()
}

/// A token and a refusal; the answer to the refusal.
async fn history(installed: &Installed) -> Value {
    let (status, issued) = installed.exchange(&installed.good()).await;
    assert_eq!(status, 200, "{issued}");
    let other = installed.claims().with(
        "workflow_ref",
        "octo-org/octo-repo/.github/workflows/other.yml@refs/heads/main",
    );
    let (status, refused) = installed.exchange(&installed.sign(&other)).await;
    assert_eq!(status, 400, "{refused}");
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn carnet_audit_says_why_a_job_was_refused_over_the_database_and_over_http() {
    let installed = Installed::new(&[]).await;
    let server = installed.start().await;
    let refused = history(&installed).await;
    let id = refused["error_id"].as_str().unwrap();
    let owner = token(&installed, "admin:credentials:joel");
    let remote = ["--server", server.url.as_str(), "--token", owner.as_str()];
    for target in [&[][..], &remote[..]] {
        let ask = |options: &[&str]| run(&installed, &[&["audit"], target, options].concat());
        let told = ask(&[
            "--since",
            "1h",
            "--repository",
            "octo-org/octo-repo",
            "--outcome",
            "refused",
        ]);
        assert_eq!(told.code, 0, "{told:?}");
        let mut lines = told.stdout.lines();
        let summary = lines.next().unwrap();
        for part in [
            "refused",
            "workflow_mismatch",
            "joel:octo-release",
            "octo-org/octo-repo",
            "127.0.0.1",
            id,
        ] {
            assert!(summary.contains(part), "{part}: {summary}");
        }
        assert!(
            told.stdout
                .contains("workflow_file: expected \"release.yml\"")
                && told.stdout.contains("other.yml"),
            "{}",
            told.stdout
        );
        let told = ask(&["--error-id", id, "--json"]);
        let event: Value = serde_json::from_str(told.stdout.trim()).unwrap();
        assert_eq!(event["id"], id);
        // The latest first, and no more than asked for, which is said.
        let told = ask(&["--repository", "74", "--limit", "1"]);
        assert!(
            told.stdout.contains("refused") && !told.stdout.contains("issued"),
            "{told:?}"
        );
        assert!(
            told.stderr.contains("there may be more events before"),
            "{told:?}"
        );
        let told = ask(&["--reason", "env_mismatch"]);
        assert_eq!(
            (told.code, told.stdout.as_str(), told.stderr.as_str()),
            (0, "", "carnet: nothing found\n")
        );
        let told = ask(&["--reason", "no_such_reason"]);
        assert!(
            told.code == 1 && told.stderr.contains("reason must be a reason code"),
            "{told:?}"
        );
        let told = ask(&["--since", "yesterday"]);
        assert!(
            told.code == 2 && told.stderr.contains("how long ago"),
            "{told:?}"
        );
    }
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn carnet_audit_follow_prints_each_new_event_once_and_in_order() {
    let installed = Installed::new(&[]).await;
    let server = installed.start().await;
    history(&installed).await;
    let admin = token(&installed, "admin:read");
    let mut follower = carnet()
        .current_dir(installed.db.folder())
        .args([
            "audit",
            "--follow",
            "--json",
            "--limit",
            "1",
            "--repository",
            "74",
        ])
        .args(["--server", &server.url, "--token", &admin])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    // Of those before, the latest one.
    assert_eq!(next()["outcome"], "refused");
    let mut expected = Vec::new();
    for _ in 0..3 {
        for _ in 0..2 {
            let (status, issued) = installed.exchange(&installed.good()).await;
            assert_eq!(status, 200);
            expected.push(issued["access_token"].as_str().unwrap().to_owned());
        }
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    }
    let ids: Vec<String> = (0..expected.len())
        .map(|_| next()["token_id"].as_str().unwrap().to_owned())
        .collect();
    let wanted: Vec<String> = expected.iter().map(|token| jti(token)).collect();
    assert_eq!(ids, wanted);
    follower.kill().unwrap();
    follower.wait().unwrap();
    server.terminate();
}

fn jti(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    let bytes = carnet_jose::from_base64url(payload).unwrap();
    let claims: Value = serde_json::from_slice(&bytes).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

/// A request of the admin API; its status.
async fn send(server: &ServerProcess, method: &str, path: &str, token: &str, body: Value) -> u16 {
    reqwest::Client::new()
        .request(
            method.parse().unwrap(),
            format!("{}/admin/v1/{path}", server.url),
        )
        .bearer_auth(token)
        .json(&body)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_a1__a_change_over_the_admin_api_names_token_and_address_in_event_and_log() {
    let installed = Installed::new(&[]).await;
    let server = installed.start().await;
    let admin = token(&installed, "admin");
    let changes = [
        (
            "PUT",
            "principals/alice",
            json!({ "kind": "user" }),
            201,
            "created",
        ),
        (
            "PATCH",
            "principals/alice",
            json!({ "display_name": "A" }),
            200,
            "updated",
        ),
        ("DELETE", "principals/alice", Value::Null, 204, "deleted"),
        ("POST", "signing-keys/rotate", json!({}), 200, "updated"),
    ];
    for (method, path, body, status, outcome) in changes {
        assert_eq!(
            send(&server, method, path, &admin, body).await,
            status,
            "{path}"
        );
        let told = run(
            &installed,
            &["audit", "--outcome", outcome, "--limit", "1", "--json"],
        );
        let event: Value = serde_json::from_str(told.stdout.trim()).unwrap();
        assert_eq!(
            (&event["address"], &event["token_id"], &event["actor"]),
            (
                &json!("127.0.0.1"),
                &json!(jti(&admin)),
                &json!("carnet-cli")
            ),
            "{event}"
        );
        let line = line(&log(&installed), &[event["id"].as_str().unwrap()]);
        for part in [outcome, "127.0.0.1", &jti(&admin), "carnet-cli", "INFO"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let name = event["detail"]["name"].as_str().unwrap();
        assert!(line.contains(name) && line.contains(event["detail"]["kind"].as_str().unwrap()));
    }
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_a2__making_an_admin_token_leaves_an_event_with_its_id_and_scope() {
    let installed = Installed::new(&[]).await;
    let made = token(&installed, "admin:credentials:joel");
    let told = run(&installed, &["audit", "--token-id", &jti(&made), "--json"]);
    let event: Value = serde_json::from_str(told.stdout.trim()).unwrap();
    assert_eq!(
        (
            &event["outcome"],
            &event["client_id"],
            &event["detail"]["scope"]
        ),
        (
            &json!("issued"),
            &json!("carnet-cli"),
            &json!("admin:credentials:joel")
        ),
        "{event}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_a3__refused_admin_requests_are_logged_counted_and_limited() {
    let metrics = free_address();
    let installed = Installed::new(&[
        ("CARNET_SERVER__METRICS_LISTEN", metrics.as_str()),
        ("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "5"),
    ])
    .await;
    let server = installed.start().await;
    let weak = token(&installed, "admin:read");
    assert_eq!(
        send(&server, "GET", "principals", "nonsense", Value::Null).await,
        401
    );
    let body = json!({ "kind": "user" });
    assert_eq!(send(&server, "PUT", "principals/x", &weak, body).await, 403);
    let text = log(&installed);
    let bad = line(&text, &["admin request refused", "401"]);
    let scope = line(&text, &["admin request refused", "403"]);
    for part in ["GET", "principals", "127.0.0.1"] {
        assert!(bad.contains(part), "{part}: {bad}");
    }
    for part in [
        "PUT",
        "principals/x",
        "127.0.0.1",
        "carnet-cli",
        &jti(&weak),
        "ev_",
    ] {
        assert!(scope.contains(part), "{part}: {scope}");
    }
    assert!(!text.contains("nonsense") && !text.contains(&weak));
    let counted = reqwest::get(format!("http://{metrics}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for series in [
        "carnet_admin_refusals_total{status=\"401\"} 1",
        "carnet_admin_refusals_total{status=\"403\"} 1",
    ] {
        assert!(counted.contains(series), "{series}: {counted}");
    }
    let mut last = 0;
    for _ in 0..20 {
        last = send(&server, "GET", "principals", "nonsense", Value::Null).await;
    }
    assert_eq!(last, 429);
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn new_a15__a_repeated_revocation_counts_once() {
    let metrics = free_address();
    let installed = Installed::new(&[("CARNET_SERVER__METRICS_LISTEN", metrics.as_str())]).await;
    let server = installed.start().await;
    let (_, issued) = installed.exchange(&installed.good()).await;
    let token = issued["access_token"].as_str().unwrap();
    for _ in 0..3 {
        let answer = reqwest::Client::new()
            .post(format!("{}/revoke", server.url))
            .form(&[("token", token)])
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    let counted = reqwest::get(format!("http://{metrics}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        counted.contains("carnet_tokens_revoked_total 1"),
        "{counted}"
    );
    let text = log(&installed);
    line(&text, &["revoked", &jti(token), "127.0.0.1"]);
    server.terminate();
}
