//! The mistakes that people make on their way to the first token, on three platforms: what `carnet
//! exchange` prints names what to change and where, in the words of the job's platform.

use serde_json::{Value, json};

use super::{Ground, REGISTRY, now};
use crate::support::{GH, TestKey};

const GITLAB: &str = "https://gitlab.test";
const CLUSTER: &str = "https://cluster.test";

/// A change of the claims of a job that would be let in.
type Change = fn(&mut Value);

/// What was done wrong, what the job's claims are then, what the tool is asked beside them, and texts of its output that
/// say what to change and where.
type Mistake = (
    &'static str,
    Change,
    &'static [&'static str],
    &'static [&'static str],
);

const SAME: Change = |_| {};

/// The key with which the platform with this `iss` signs, or the one whose name it is.
fn key_of(platform: &str) -> TestKey {
    TestKey::rsa(match platform {
        GH | "github" => 0,
        GITLAB | "gitlab" => 1,
        _ => 2,
    })
}

fn objects() -> Value {
    let issuer = |profile: &str, issuer: &str| {
        let jwks = json!({ "keys": [key_of(issuer).jwk()] });
        json!({ "profile": profile, "issuer": issuer, "keys": { "source": "static", "jwks": jwks } })
    };
    let rule = |issuer: &str, matcher: Value| {
        json!({
            "principal": "joel", "trusted_issuer": issuer, "match": matcher,
            "permissions": [{ "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["widgets*"] }],
        })
    };
    json!({
        "principals": { "joel": { "id": "pr_joel", "kind": "user" } },
        "trusted_issuers": {
            "github": issuer("github-actions", GH),
            "gitlab": issuer("gitlab-ci", GITLAB),
            "cluster": issuer("kubernetes", CLUSTER),
        },
        "resource_servers": { "pypi": { "resource": REGISTRY, "actions": ["create", "publish", "unlist"] } },
        "federated_credentials": {
            "octo-release": rule("github", json!({
                "repository": "octo-org/octo-repo", "repository_owner_id": "65", "repository_id": "74",
                "workflow_file": "release.yml", "environment": "release", "ref": "refs/heads/main",
            })),
            "tools-release": rule("gitlab", json!({
                "namespace": "acme/tools", "namespace_id": "72", "project": "widgets", "project_id": "20",
                "ci_config_path": ".gitlab-ci.yml", "environment": "release", "ref": "main", "ref_type": "branch",
            })),
            "publisher": rule("cluster", json!({ "namespace": "ci", "service_account": "publisher" })),
        },
    })
}

/// The claims of a job that the rule of its platform lets in.
fn claims(platform: &str, audience: &str) -> Value {
    let now = now();
    let mut claims = match platform {
        "github" => super::github(now).in_environment("release").value(),
        "gitlab" => json!({
            "iss": GITLAB, "sub": "project_path:acme/tools/widgets:ref_type:branch:ref:main",
            "namespace_id": "72", "namespace_path": "acme/tools", "project_id": "20", "project_path": "acme/tools/widgets",
            "job_project_id": "20", "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true",
            "sha": "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e", "pipeline_source": "push", "job_id": "302",
            "runner_environment": "gitlab-hosted", "environment": "release", "environment_protected": "true",
            "ci_config_ref_uri": "gitlab.test/acme/tools/widgets//.gitlab-ci.yml@refs/heads/main",
        }),
        _ => json!({
            "iss": CLUSTER, "sub": "system:serviceaccount:ci:publisher",
            "kubernetes.io": {
                "namespace": "ci",
                "serviceaccount": { "name": "publisher", "uid": "f5720c1d-e152-4356-a897-11b07aff165d" },
                "pod": { "name": "publish-x7", "uid": "49ad3572-b3dd-43a6-8d77-5858d3660275" },
            },
        }),
    };
    claims["aud"] = json!(audience);
    claims["jti"] = json!(uuid::Uuid::now_v7().to_string());
    claims["iat"] = json!(now - 10);
    claims["nbf"] = json!(now - 10);
    claims["exp"] = json!(now + 290);
    claims
}

fn set(claims: &mut Value, pointer: &str, value: &str) {
    *claims.pointer_mut(pointer).unwrap() = json!(value);
}

/// A run for another branch, tag or pull request, whose references go with it.
fn on(claims: &mut Value, reference: &str, kind: &str, event: &str) {
    let workflow = format!("octo-org/octo-repo/.github/workflows/release.yml@{reference}");
    for (name, value) in [
        ("/ref", reference),
        ("/ref_type", kind),
        ("/event_name", event),
        ("/workflow_ref", &workflow),
        ("/job_workflow_ref", &workflow),
    ] {
        set(claims, name, value);
    }
}

fn in_file(claims: &mut Value, file: &str) {
    let path = format!("octo-org/octo-repo/.github/workflows/{file}@refs/heads/main");
    set(claims, "/workflow_ref", &path);
    set(claims, "/job_workflow_ref", &path);
}

const GITHUB: [Mistake; 20] = [
    (
        "a run for another branch",
        |claims| on(claims, "refs/heads/fix", "branch", "push"),
        &[],
        &[
            "ref_mismatch",
            "ref: expected \"refs/heads/main\", received \"refs/heads/fix\" (rule octo-release, fc_",
        ],
    ),
    (
        "a tag with the name of the branch",
        |claims| on(claims, "refs/tags/main", "tag", "push"),
        &[],
        &["ref_mismatch", "a tag has"],
    ),
    (
        "another environment",
        |claims| claims["environment"] = json!("staging"),
        &[],
        &[
            "environment: expected \"release\", received \"staging\"",
            "Correct the rule's environment, or environment: of the job in the workflow file.",
        ],
    ),
    (
        "a workflow file in other letter case",
        |claims| in_file(claims, "Release.yml"),
        &[],
        &["workflow_file: expected \"release.yml\"", "letter case"],
    ),
    (
        "no environment",
        |claims| drop(claims.as_object_mut().unwrap().remove("environment")),
        &[],
        &[
            "env_missing",
            "Add environment: NAME to the job in the workflow file.",
        ],
    ),
    (
        "a workflow file with the other ending",
        |claims| in_file(claims, "release.yaml"),
        &[],
        &[
            "workflow_file: expected \"release.yml\"",
            "release.yaml",
            ".yml",
            ".github/workflows",
        ],
    ),
    (
        "another workflow file",
        |claims| in_file(claims, "publish.yml"),
        &[],
        &["workflow_file: expected \"release.yml\"", "publish.yml"],
    ),
    (
        "another repository than the rule's",
        |claims| {
            in_file(claims, "release.yml");
            for (name, value) in [
                ("/repository", "octo-org/octo-rope"),
                ("/repository_id", "75"),
                ("/sub", "repo:octo-org/octo-rope:ref:refs/heads/main"),
                (
                    "/workflow_ref",
                    "octo-org/octo-rope/.github/workflows/release.yml@refs/heads/main",
                ),
                (
                    "/job_workflow_ref",
                    "octo-org/octo-rope/.github/workflows/release.yml@refs/heads/main",
                ),
            ] {
                set(claims, name, value);
            }
        },
        &[],
        &[
            "no_matching_credential",
            "the job's own token says:",
            "  repository: \"octo-org/octo-rope\"",
            "in this order: repository, the ids",
        ],
    ),
    (
        "a repository that was made anew",
        |claims| set(claims, "/repository_id", "99"),
        &[],
        &[
            "no_matching_credential",
            "  repository_id: \"99\"",
            "made anew (then delete the rule",
        ],
    ),
    (
        "a repository that was renamed",
        |claims| {
            for (name, value) in [
                ("/repository", "octo-org/new-name"),
                ("/sub", "repo:octo-org/new-name:ref:refs/heads/main"),
                (
                    "/workflow_ref",
                    "octo-org/new-name/.github/workflows/release.yml@refs/heads/main",
                ),
                (
                    "/job_workflow_ref",
                    "octo-org/new-name/.github/workflows/release.yml@refs/heads/main",
                ),
            ] {
                set(claims, name, value);
            }
        },
        &[],
        &[
            "renamed",
            "octo-org/octo-repo",
            "octo-org/new-name",
            "Put the new name into the rule's repository",
        ],
    ),
    (
        "an event that whoever opens a pull request causes",
        |claims| set(claims, "/event_name", "pull_request_target"),
        &[],
        &[
            "event_denied",
            "pull_request_target",
            "Publish from push, release or workflow_dispatch.",
        ],
    ),
    (
        "a reusable workflow that the rule does not name",
        |claims| {
            set(
                claims,
                "/job_workflow_ref",
                "other/tools/.github/workflows/x.yml@refs/heads/main",
            );
        },
        &[],
        &["called_workflow", "other/tools/.github/workflows/x.yml"],
    ),
    (
        "the default audience",
        |claims| claims["aud"] = json!("https://github.com/octo-org"),
        &[],
        &[
            "the token is for `https://github.com/octo-org`, not for `http://",
            "add &audience=AUDIENCE to ACTIONS_ID_TOKEN_REQUEST_URL",
        ],
    ),
    (
        "an audience that was made up",
        |claims| claims["aud"] = json!("pypi"),
        &["--audience", "pypi"],
        &[
            "aud_mismatch",
            "received: \"pypi\"",
            "accepted audience: http://",
            "add &audience=AUDIENCE to ACTIONS_ID_TOKEN_REQUEST_URL",
        ],
    ),
    (
        "a resource without its slash",
        SAME,
        &["--resource", "https://registry.test/pypi"],
        &[
            "target_unknown",
            "received: \"https://registry.test/pypi\"",
            "did you mean: https://registry.test/pypi/",
        ],
    ),
    (
        "a package that the rule does not name",
        SAME,
        &[
            "--authorization-details",
            r#"[{"type":"package","actions":["publish"],"packages":["gadgets"]}]"#,
        ],
        &[
            "package_out_of_scope",
            "received: [\"gadgets\"]",
            "permitted: [\"widgets*\"]",
        ],
    ),
    (
        "an action that the rule does not permit",
        SAME,
        &["--scope", "unlist"],
        &[
            "scope_not_granted",
            "received: [\"unlist\"]",
            "permitted: [\"create\",\"publish\"]",
        ],
    ),
    (
        "authorization details with a misspelt member",
        SAME,
        &[
            "--authorization-details",
            r#"[{"type":"package","actions":["publish"],"package":"widgets"}]"#,
        ],
        &["authorization_details", "package"],
    ),
    (
        "another principal than the rule's",
        SAME,
        &["--principal", "joelle"],
        &[
            "principal_mismatch",
            "received \"joelle\"",
            "Correct principal in the request",
        ],
    ),
    (
        "a token that is used a second time",
        |claims| claims["jti"] = json!("used"),
        &[],
        &["replay", "used in the audit event: ev_"],
    ),
];

const GITLAB_CI: [Mistake; 5] = [
    (
        "a pipeline of another branch",
        |claims| {
            for (name, value) in [
                ("/ref", "fix"),
                ("/ref_path", "refs/heads/fix"),
                (
                    "/sub",
                    "project_path:acme/tools/widgets:ref_type:branch:ref:fix",
                ),
                (
                    "/ci_config_ref_uri",
                    "gitlab.test/acme/tools/widgets//.gitlab-ci.yml@refs/heads/fix",
                ),
            ] {
                set(claims, name, value);
            }
        },
        &[],
        &[
            "ref: expected \"main\", received \"fix\" (rule tools-release",
            "Run the pipeline for the right branch or tag",
        ],
    ),
    (
        "another configuration file",
        |claims| {
            set(
                claims,
                "/ci_config_ref_uri",
                "gitlab.test/acme/tools/widgets//ci/release.yml@refs/heads/main",
            );
        },
        &[],
        &[
            "ci_config_path: expected \".gitlab-ci.yml\"",
            "ci/release.yml",
            "Correct ci_config_path",
        ],
    ),
    (
        "a group that was renamed",
        |claims| {
            for (name, value) in [
                ("/namespace_path", "acme/new"),
                ("/project_path", "acme/new/widgets"),
                (
                    "/sub",
                    "project_path:acme/new/widgets:ref_type:branch:ref:main",
                ),
                (
                    "/ci_config_ref_uri",
                    "gitlab.test/acme/new/widgets//.gitlab-ci.yml@refs/heads/main",
                ),
            ] {
                set(claims, name, value);
            }
        },
        &[],
        &["renamed", "acme/new", "namespace_id and project_id instead"],
    ),
    (
        "another aud in id_tokens",
        |claims| claims["aud"] = json!(GITLAB),
        &[],
        &[
            "the token is for `https://gitlab.test`",
            "(id_tokens: CARNET_ID_TOKEN: aud: AUDIENCE)",
        ],
    ),
    (
        "a GitLab that is registered with a slash too few or too many",
        |claims| claims["iss"] = json!("https://gitlab.test/"),
        &[],
        &[
            "iss_unknown",
            "received: \"https://gitlab.test/\"",
            "did you mean: https://gitlab.test\n",
        ],
    ),
];

const KUBERNETES: [Mistake; 5] = [
    (
        "a pod in another namespace",
        |claims| {
            set(claims, "/sub", "system:serviceaccount:default:publisher");
            set(claims, "/kubernetes.io/namespace", "default");
        },
        &[],
        &[
            "  kubernetes.io/namespace: \"default\"",
            "Compare namespace and service_account of the rule with the pod's",
        ],
    ),
    (
        "the namespace's default service account",
        |claims| {
            set(claims, "/sub", "system:serviceaccount:ci:default");
            set(claims, "/kubernetes.io/serviceaccount/name", "default");
        },
        &[],
        &[
            "  kubernetes.io/serviceaccount/name: \"default\"",
            "service_account",
        ],
    ),
    (
        "the token that every pod has",
        |claims| claims["aud"] = json!("https://kubernetes.default.svc"),
        &[],
        &[
            "the token is for `https://kubernetes.default.svc`",
            "Set audience of the projected serviceAccountToken volume",
        ],
    ),
    (
        "a token of kubectl create token",
        |claims| {
            drop(
                claims["kubernetes.io"]
                    .as_object_mut()
                    .unwrap()
                    .remove("pod"),
            );
        },
        &[],
        &["bound to no pod", "require_pod_binding = false"],
    ),
    (
        "a lifetime of a day",
        |claims| claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 86_400),
        &[],
        &[
            "lifetime_too_long",
            "received: 86400",
            "limit: 3600",
            "expirationSeconds",
        ],
    ),
];

/// Words that only this platform has, which help nobody on another.
const WORDS: [(&str, &[&str]); 3] = [
    (
        "github",
        &[".github/workflows", "GitHub", "workflow_dispatch"],
    ),
    ("gitlab", &["GitLab", ".gitlab-ci.yml", "id_tokens"]),
    ("cluster", &["projected", "kubelet", "Kubernetes"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_tells_what_to_change_and_where_after_each_of_the_usual_mistakes() {
    let ground = Ground::holding(objects()).await;
    let audience = ground.server.url.clone();
    let mut wrong = Vec::new();
    let all = [
        ("github", &GITHUB[..]),
        ("gitlab", &GITLAB_CI),
        ("cluster", &KUBERNETES),
    ];
    for (platform, mistakes) in all {
        let good = key_of(platform).sign(&claims(platform, &audience));
        let run = ground.exchange_file(&good, &[]);
        assert_eq!(run.code, 0, "{platform}: {run:?}");
        for (what, change, arguments, says) in mistakes {
            let mut claims = claims(platform, &audience);
            change(&mut claims);
            let token = key_of(platform).sign(&claims);
            let mut run = ground.exchange_file(&token, arguments);
            if run.code == 0 {
                run = ground.exchange_file(&token, arguments);
            }
            if run.code == 0 {
                wrong.push(format!("{platform}, {what}: is let in"));
            }
            for text in *says {
                if !run.stderr.contains(text) {
                    wrong.push(format!(
                        "{platform}, {what}: {text:?} is missing in\n{}",
                        run.stderr
                    ));
                }
            }
            for (other, words) in WORDS {
                for word in words
                    .iter()
                    .filter(|word| other != platform && run.stderr.contains(**word))
                {
                    wrong.push(format!(
                        "{platform}, {what}: speaks of {word:?}\n{}",
                        run.stderr
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_a_token_is_told_which_line_of_its_platform_gives_it_one() {
    let ground = Ground::holding(objects()).await;
    for (environment, says) in [
        (
            ("GITHUB_ACTIONS", "true"),
            &["permissions:", "id-token: write"][..],
        ),
        (("GITLAB_CI", "true"), &["id_tokens:", "aud:"]),
        (
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            &["serviceAccountToken", "audience"],
        ),
    ] {
        let run = ground.exchange(&[], &[environment]);
        assert_ne!(run.code, 0);
        for text in says {
            assert!(
                run.stderr.contains(text),
                "{environment:?}: {text}\n{}",
                run.stderr
            );
        }
    }
}
