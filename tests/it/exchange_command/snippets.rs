//! The snippets that the server offers, run as the job runs them: on the real server, with stand-ins for platforms.

use std::path::Path;
use std::process::Command;

use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use super::platforms::{endpoint, github_token};
use super::{Ground, REGISTRY, access_token, now, objects, token_for};
use crate::support::{Finished, TestKey, finished, may_skip};

const GITLAB: &str = "https://gitlab.test";

/// The objects of the other tests, with a project of GitLab.
fn with_gitlab() -> Value {
    let mut objects = objects();
    objects["trusted_issuers"]["gitlab"] = json!({
        "profile": "gitlab-ci", "issuer": GITLAB,
        "keys": { "source": "static", "jwks": { "keys": [TestKey::rsa(2).jwk()] } },
    });
    objects["federated_credentials"]["gitlab-release"] = json!({
        "principal": "joel", "trusted_issuer": "gitlab",
        "match": {
            "namespace": "acme", "namespace_id": "72", "project": "widgets", "project_id": "9", "environment": "release",
        },
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
    });
    objects
}

fn gitlab_token(audience: &str) -> String {
    let id = uuid::Uuid::from_bytes(carnet::ids::random());
    TestKey::rsa(2).sign(&json!({
        "iss": GITLAB, "sub": "project_path:acme/widgets:ref_type:branch:ref:main", "aud": audience, "jti": id.to_string(),
        "iat": now(), "exp": now() + 300, "namespace_path": "acme", "namespace_id": "72", "project_path": "acme/widgets",
        "project_id": "9", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "environment": "release",
        "pipeline_source": "push", "sha": "0".repeat(40),
    }))
}

/// The script of each snippet for the token endpoint that a rule has: that with `carnet exchange`, and that with curl.
async fn scripts_of(ground: &Ground, rule: &str) -> Option<[String; 2]> {
    let printed = ground.locally(&["admin-token", "--scope", "admin:read"], &[]);
    assert_eq!(printed.code, 0, "{printed:?}");
    let url = format!(
        "{}/admin/v1/federated-credentials/{rule}/snippets",
        ground.server.url
    );
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = http.get(url).bearer_auth(printed.stdout.trim());
    let found: Value = asked.send().await.unwrap().json().await.unwrap();
    let snippets = found["snippets"].as_array().unwrap();
    let text = |snippet: &Value, member: &str| snippet[member].as_str().unwrap().to_owned();
    let texts: Vec<(String, String)> = snippets
        .iter()
        .filter(|snippet| snippet["client"] == "oauth")
        .map(|snippet| (text(snippet, "language"), text(snippet, "text")))
        .collect();
    assert_eq!(texts.len(), 2, "{found}");
    let scripts = crate::snippets_offered::scripts(&texts)?;
    let mut scripts = scripts
        .into_iter()
        .map(|mut scripts| scripts.pop().unwrap());
    Some([scripts.next().unwrap(), scripts.next().unwrap()])
}

/// Runs a script as a job in this environment; what it leaves in `token`.
fn run(ground: &Ground, script: &str, environment: &[(&str, &str)]) -> Finished {
    let script = format!("{script}\nprintf '%s\\n' \"$token\" > token.txt\n");
    std::fs::remove_file(ground.folder().join("token.txt")).ok();
    let programs = Path::new(env!("CARGO_BIN_EXE_carnet")).parent().unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-eo", "pipefail", "-c", &script])
        .current_dir(ground.folder())
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
        .envs(environment.iter().copied());
    let mut run = finished(bash.output().unwrap());
    run.stderr += &std::mem::take(&mut run.stdout);
    run.stdout = std::fs::read_to_string(ground.folder().join("token.txt")).unwrap_or_default();
    run
}

fn has_programs() -> bool {
    for program in ["jq", "curl"] {
        if !crate::surroundings::is_installed(program) {
            may_skip(program);
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snippets_of_github_get_a_token_that_names_the_principal() {
    let ground = Ground::new().await;
    let (platform, _notes) =
        endpoint(|audience| axum::Json(json!({ "value": github_token(audience) })).into_response())
            .await;
    let url = format!("{platform}/token?api-version=2.0");
    let job = [
        ("GITHUB_ACTIONS", "true"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "ask-me"),
    ];
    let scripts = scripts_of(&ground, "octo-release").await;
    let Some(scripts) = scripts.filter(|_| has_programs()) else {
        return;
    };
    for script in scripts {
        assert!(script.contains(REGISTRY), "{script}");
        let got = run(&ground, &script, &job);
        assert_eq!(access_token(&got)["principal"]["name"], "joel", "{script}");
        // The runner hides it.
        let token = got.stdout.trim();
        assert!(
            got.stderr.contains(&format!("::add-mask::{token}")),
            "{script}"
        );
        // Of another principal this job is refused, and the step fails and says why.
        let other = script
            .replace("principal joel", "principal acme")
            .replace("principal=joel", "principal=acme");
        assert_ne!(script, other);
        let refused = run(&ground, &other, &job);
        assert!(
            refused.code != 0 && refused.stdout.is_empty(),
            "{refused:?}"
        );
        assert!(refused.stderr.contains("principal_mismatch"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snippets_of_gitlab_and_of_any_issuer_get_a_token() {
    let ground = Ground::holding(with_gitlab()).await;
    let of_gitlab = scripts_of(&ground, "gitlab-release").await;
    let of_any = scripts_of(&ground, "widgets").await;
    let (Some(of_gitlab), Some(of_any)) = (of_gitlab, of_any) else {
        return;
    };
    if !has_programs() {
        return;
    }
    for script in of_gitlab {
        let token = gitlab_token(&ground.server.url);
        let job = [("GITLAB_CI", "true"), ("CARNET_ID_TOKEN", token.as_str())];
        let got = run(&ground, &script, &job);
        assert_eq!(access_token(&got)["principal"]["name"], "joel", "{script}");
    }
    for script in of_any {
        let path = ground.write("job.jwt", &ground.token());
        let got = run(&ground, &script, &[("TOKEN_FILE", path.to_str().unwrap())]);
        assert_eq!(access_token(&got)["principal"]["name"], "acme", "{script}");
    }
    // A token for somebody else is not sent, or refused.
    let other = token_for("https://other.test");
    let path = ground.write("job.jwt", &other);
    let scripts = scripts_of(&ground, "widgets").await.unwrap();
    for script in scripts {
        let refused = run(&ground, &script, &[("TOKEN_FILE", path.to_str().unwrap())]);
        assert!(
            refused.code != 0 && refused.stdout.is_empty(),
            "{refused:?}"
        );
    }
}
