//! The foreign suite of trust conditions (`COND-F1` to `COND-F13`): what is refused, warned of and left in silence
//! when a rule is saved, in tables over profiles.

use serde_json::{Value, json};

use crate::platforms::Platform;
use crate::support::{Answer, TestKey, World};

const UUID: &str = "0f2d1c5e-0000-4000-8000-000000000001";

/// A server that trusts a platform of this profile.
async fn platform(profile: &str) -> Platform {
    let issuer = match profile {
        "bitbucket" => {
            "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc"
        }
        "circleci" => "https://oidc.circleci.com/org/0f2d1c5e-0000-4000-8000-000000000001",
        "azure-devops" => "https://vstoken.dev.azure.com/0f2d1c5e-0000-4000-8000-000000000001",
        "forgejo" => "https://forge.test/api/actions",
        _ => "https://platform.test",
    };
    let members = match profile {
        "spiffe" => json!({ "trust_domain": "any.test", "issuer": null, "keys": keys() }),
        _ => json!({}),
    };
    Platform::new(profile, issuer, members).await
}

/// A bundle of SPIFFE keys that the server takes as it is.
fn keys() -> Value {
    let mut key = TestKey::rsa(0).jwk();
    key["use"] = json!("jwt-svid");
    json!({ "source": "static", "jwks": { "keys": [key] } })
}

async fn save(platform: &Platform, matcher: &Value) -> Answer {
    let rule = json!({
        "principal": "joel", "trusted_issuer": "platform", "match": matcher,
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
    });
    platform
        .server
        .admin("PUT", "federated-credentials/rule", rule)
        .await
}

fn codes(saved: &Answer) -> Vec<String> {
    let body = saved.json();
    let warnings = body["warnings"].as_array().unwrap().iter();
    warnings
        .map(|warning| warning["code"].as_str().unwrap().to_owned())
        .collect()
}

/// Checks the warnings of rules: exactly these codes.
async fn warned(profile: &str, table: &[(Value, &[&str])]) {
    let platform = platform(profile).await;
    for (matcher, expected) in table {
        let saved = save(&platform, matcher).await;
        assert!(saved.status < 300, "{profile} {matcher}: {}", saved.text());
        let mut codes = codes(&saved);
        codes.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(codes, expected, "{profile} {matcher}: {}", saved.text());
    }
}

/// Checks that rules are refused at these places, with a word of the reason.
async fn refused(profile: &str, table: &[(Value, &str, &str)]) {
    let platform = platform(profile).await;
    for (matcher, pointer, word) in table {
        let answer = save(&platform, matcher).await;
        assert_eq!(answer.status, 422, "{profile} {matcher}: {}", answer.text());
        let body = answer.json();
        let is_there = body["errors"].as_array().unwrap().iter().any(|error| {
            error["pointer"] == *pointer && error["detail"].as_str().unwrap().contains(word)
        });
        assert!(is_there, "{profile} {matcher}: {body}");
    }
}

/// A rule of GitHub that names one repository by its ids, with these members.
fn github(members: Value) -> Value {
    with(
        json!({ "repository": "octo-org/widgets", "repository_owner_id": "65", "repository_id": "74" }),
        &members,
    )
}

fn gitlab(members: Value) -> Value {
    with(
        json!({ "namespace": "acme", "namespace_id": "72", "project": "widgets", "project_id": "20" }),
        &members,
    )
}

fn with(mut rule: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        rule[name] = value.clone();
    }
    rule
}

#[tokio::test]
async fn cond_f1__an_environment_pattern_does_not_satisfy_the_floor() {
    let world = World::new().await;
    let floor = json!({ "require_protected_ref_or_environment": true });
    let answer = world
        .server
        .admin("PATCH", "resource-servers/pypi", floor)
        .await;
    assert_eq!(answer.status, 200);
    for (environment, admitted) in [
        (json!("prod-x"), true),
        (json!({ "any_of": ["prod-x", "prod-y"] }), true),
        (json!({ "glob": "prod*" }), false),
        (json!({ "glob": "**o**" }), false),
        (json!({ "glob": "prod-x" }), false),
    ] {
        world
            .rule("octo-release", json!({ "environment": environment }))
            .await;
        let open = world
            .claims()
            .with("ref_protected", "false")
            .in_environment("prod-x");
        let answer = world.exchange_claims(&open).await;
        if admitted {
            answer.token();
        } else {
            assert_eq!(answer.reason(), "ref_unprotected", "{environment}");
        }
        let protected = world
            .claims()
            .with("ref_protected", "true")
            .in_environment("prod-x");
        world.exchange_claims(&protected).await.token();
    }
}

#[tokio::test]
async fn cond_f1__the_token_of_gitlab_says_whether_its_environment_is_protected() {
    let platform = Platform::new("gitlab-ci", "https://gitlab.test", json!({})).await;
    let floor = json!({ "require_protected_ref_or_environment": true });
    let answer = platform
        .server
        .admin("PATCH", "resource-servers/pypi", floor)
        .await;
    assert_eq!(answer.status, 200);
    let job = |environment: Option<&str>, reference: &str| {
        let mut claims = platform.claims(json!({
            "sub": "project_path:acme/widgets:ref_type:branch:ref:main", "namespace_id": "72", "namespace_path": "acme",
            "project_id": "20", "project_path": "acme/widgets", "ref": "main", "ref_type": "branch",
            "ref_protected": reference, "pipeline_source": "push", "environment": "production",
        }));
        if let Some(environment) = environment {
            claims["environment_protected"] = json!(environment);
        }
        claims
    };
    for rule in [
        gitlab(json!({ "environment": "production" })),
        gitlab(json!({ "environment": { "glob": "prod*" } })),
        gitlab(json!({ "ref": "main", "ref_type": "branch" })),
    ] {
        assert!(save(&platform, &rule).await.status < 300);
        platform.accepts(&job(Some("true"), "false")).await;
        platform.accepts(&job(Some("false"), "true")).await;
        platform
            .refuses(&job(Some("false"), "false"), "ref_unprotected")
            .await;
        platform
            .refuses(&job(None, "false"), "ref_unprotected")
            .await;
    }
}

#[tokio::test]
async fn below_the_floor_a_rule_without_ids_is_not_shown_to_its_caller() {
    let issuer = "https://forge.test/api/actions";
    let platform = Platform::new("forgejo", issuer, json!({})).await;
    let floor = json!({ "require_protected_ref_or_environment": true });
    let answer = platform
        .server
        .admin("PATCH", "resource-servers/pypi", floor)
        .await;
    assert_eq!(answer.status, 200);
    platform
        .rule(json!({ "repository": "acme/widgets", "ref": "refs/heads/main" }))
        .await;
    let job = |protected: &str| {
        platform.claims(json!({
            "sub": "repo:acme/widgets:ref:refs/heads/main", "repository": "acme/widgets", "event_name": "push",
            "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": protected,
        }))
    };
    let refused = platform.present(&job("false")).await;
    refused.refused(400, "invalid_grant", "no_matching_credential");
    assert!(
        refused.json().get("mismatches").is_none(),
        "{}",
        refused.text()
    );
    platform.accepts(&job("true")).await;
}

#[tokio::test]
async fn cond_f2__any_branch_and_any_environment_are_warned_of_and_exact_values_are_not() {
    let mut table: Vec<(Value, &[&str])> = Vec::new();
    for pattern in [
        "refs/heads/**",
        "refs/heads/*",
        "refs/h**",
        "refs/heads/release/*",
        "refs/tags/*",
    ] {
        table.push((github(json!({ "ref": { "glob": pattern } })), &["any_ref"]));
    }
    for pattern in ["Production*", "**e**", "prod-?"] {
        let expected: &[&str] = if pattern.contains('?') {
            &["any_ref", "any_environment", "literal_pattern"]
        } else {
            &["any_ref", "any_environment"]
        };
        table.push((
            github(json!({ "environment": { "glob": pattern } })),
            expected,
        ));
    }
    table.push((
        github(json!({ "ref_template": "refs/heads/{version}" })),
        &["any_ref"],
    ));
    table.push((
        github(json!({ "workflow_file": "release.yml" })),
        &["any_ref"],
    ));
    for members in [
        json!({ "ref": "refs/heads/main" }),
        json!({ "ref": { "any_of": ["refs/heads/main", "refs/heads/next"] } }),
        json!({ "ref": { "glob": "refs/tags/v*" } }),
        json!({ "ref": { "glob": "refs/heads/release/*" }, "require_ref_protected": true }),
        json!({ "ref_template": "refs/tags/v{version}" }),
        json!({ "environment": "production" }),
        json!({ "environment": { "any_of": ["production", "staging"] } }),
        json!({ "environment": { "glob": "prod-*" }, "ref": "refs/heads/main" }),
        json!({ "require_ref_protected": true }),
    ] {
        table.push((github(members), &[]));
    }
    warned("github-actions", &table).await;
    for profile in ["gitea", "forgejo"] {
        warned(
            profile,
            &[
                (
                    github(json!({ "ref": { "glob": "refs/heads/*" } })),
                    &["any_ref"],
                ),
                (
                    github(json!({ "ref": { "glob": "refs/h**" } })),
                    &["any_ref"],
                ),
                (
                    github(json!({ "ref_template": "refs/heads/{version}" })),
                    &["any_ref"],
                ),
                (github(json!({ "ref": "refs/heads/main" })), &[]),
                (github(json!({ "ref": { "glob": "refs/tags/v*" } })), &[]),
            ],
        )
        .await;
    }
    warned(
        "gitlab-ci",
        &[
            (
                gitlab(json!({ "ref": { "glob": "**a**" }, "ref_type": "branch" })),
                &["any_ref"],
            ),
            (
                gitlab(json!({ "ref": { "glob": "v*" }, "ref_type": "branch" })),
                &["any_ref"],
            ),
            (gitlab(json!({ "environment": "production" })), &["any_ref"]),
            (
                gitlab(json!({ "environment": { "glob": "prod*" } })),
                &["any_ref"],
            ),
            (
                gitlab(
                    json!({ "environment": "production", "require_environment_protected": true }),
                ),
                &[],
            ),
            (gitlab(json!({ "ref": "main", "ref_type": "branch" })), &[]),
            (
                gitlab(json!({ "ref": { "glob": "v*" }, "ref_type": "tag" })),
                &[],
            ),
            (gitlab(json!({ "require_ref_protected": true })), &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn cond_f3__width_is_warned_of_on_every_axis_of_every_profile() {
    let owner = |members: Value| with(json!({ "repository_owner_id": "65" }), &members);
    warned(
        "github-actions",
        &[
            (owner(json!({ "ref": "refs/heads/main" })), &["any_repository"]),
            (owner(json!({ "environment": "release" })), &["any_repository"]),
            (owner(json!({ "workflow_file": "release.yml" })), &["any_repository", "any_ref"]),
            (json!({ "repository_owner_id": { "any_of": ["65", "66"] }, "ref": "refs/heads/main" }), &["any_repository"]),
            (owner(json!({ "ref": { "glob": "refs/heads/**" } })), &["any_repository", "any_ref"]),
            (owner(json!({ "subject": { "glob": "repo:octo-org*/widgets*:ref:refs/heads/main" } })), &["any_repository", "any_ref"]),
            (owner(json!({ "subject": { "any_of": ["repo:o/a:ref:refs/heads/main", "repo:o/b:ref:refs/heads/main"] } })), &[]),
            (json!({ "repository_id": "74", "ref": "refs/heads/main" }), &[]),
        ],
    )
    .await;
    for profile in ["gitea", "forgejo"] {
        warned(
            profile,
            &[
                (
                    owner(json!({ "ref": "refs/heads/main" })),
                    &["any_repository"],
                ),
                (
                    owner(json!({ "ref": { "glob": "refs/heads/**" } })),
                    &["any_repository", "any_ref"],
                ),
                (
                    json!({ "repository_id": "74", "ref": "refs/heads/main" }),
                    &[],
                ),
            ],
        )
        .await;
    }
    warned(
        "gitlab-ci",
        &[
            (
                json!({ "namespace_id": "72", "ref": "main", "ref_type": "branch" }),
                &["any_project"],
            ),
            (
                json!({ "namespace_id": "72", "require_ref_protected": true }),
                &["any_project"],
            ),
            (
                json!({ "project_id": "20", "ref": "main", "ref_type": "branch" }),
                &[],
            ),
        ],
    )
    .await;
    warned(
        "terraform-cloud",
        &[
            (
                json!({ "organization_id": "org-1", "run_phase": "apply" }),
                &["any_workspace"],
            ),
            (
                json!({ "project_id": "prj-1", "run_phase": "apply" }),
                &["any_workspace"],
            ),
            (
                json!({ "workspace_id": "ws-1", "run_phase": "plan" }),
                &["any_phase"],
            ),
            (
                json!({ "workspace_id": "ws-1", "run_phase": { "any_of": ["plan", "apply"] } }),
                &["any_phase"],
            ),
            (json!({ "workspace_id": "ws-1" }), &["any_phase"]),
            (json!({ "workspace_id": "ws-1", "run_phase": "apply" }), &[]),
        ],
    )
    .await;
    warned(
        "circleci",
        &[
            (json!({ "org_id": UUID, "deny_ssh_rerun": true, "vcs_origin": "github.com/acme/widgets" }), &["any_project"]),
            (json!({ "org_id": UUID, "deny_ssh_rerun": true, "context_ids": [UUID] }), &["any_project"]),
            (json!({ "project_id": UUID, "deny_ssh_rerun": true, "context_ids": [UUID] }), &[]),
            (json!({ "project_id": UUID }), &["ssh_rerun", "any_source"]),
        ],
    )
    .await;
    warned(
        "spiffe",
        &[
            (
                json!({ "spiffe_id": { "glob": "spiffe://any.test/ns/ci/*" } }),
                &["any_workload"],
            ),
            (
                json!({ "spiffe_id": "spiffe://any.test/ns/ci/sa/publisher" }),
                &[],
            ),
        ],
    )
    .await;
    let uses = |members: Value| {
        with(
            json!({ "path": "octo-org/ci/.github/workflows/x.yml" }),
            &members,
        )
    };
    warned(
        "github-actions",
        &[
            (
                owner(json!({ "called_workflow": uses(json!({ "ref": "refs/heads/main" })) })),
                &["any_repository", "any_ref"],
            ),
            (
                owner(json!({ "called_workflow": uses(json!({ "sha": "a".repeat(40) })) })),
                &[],
            ),
            (
                github(json!({ "called_workflow": "any", "environment": "release" })),
                &["mutable_called_workflow"],
            ),
        ],
    )
    .await;
    warned(
        "aws",
        &[
            (
                json!({ "subject": { "glob": "arn:aws:iam::123456789012:role/*" } }),
                &["any_role"],
            ),
            (
                json!({ "subject": "arn:aws:iam::123456789012:role/Publisher" }),
                &[],
            ),
        ],
    )
    .await;
    warned(
        "generic",
        &[
            (
                json!({ "subject": { "glob": "project:*" } }),
                &["any_subject"],
            ),
            (json!({ "subject": "project:1" }), &[]),
            (json!({ "claims": { "project": "1" } }), &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn cond_f4__runs_of_pull_requests_have_to_be_asked_for() {
    let world = World::new().await;
    let pull = |event: &str, reference: &str| {
        world
            .claims()
            .on_ref(
                reference,
                if reference.starts_with("refs/heads/") {
                    "branch"
                } else {
                    ""
                },
            )
            .with("event_name", event)
            .in_environment("release")
    };
    let proposed = [
        ("pull_request", "refs/pull/7/merge"),
        ("pull_request", "refs/heads/main"),
        ("Pull_Request", "refs/pull/7/merge"),
        ("pull_request_review", "refs/pull/7/merge"),
        ("workflow_dispatch", "refs/pull/7/merge"),
    ];
    for members in [
        json!({ "environment": "release" }),
        json!({}),
        json!({ "events": ["push", "workflow_dispatch"] }),
    ] {
        world.rule("octo-release", members.clone()).await;
        for (event, reference) in proposed {
            let answer = world.exchange_claims(&pull(event, reference)).await;
            assert_eq!(
                answer.reason(),
                "event_denied",
                "{members} {event} {reference}"
            );
        }
    }
    let saved = world
        .rule(
            "octo-release",
            json!({ "environment": "release", "events": ["pull_request"] }),
        )
        .await;
    assert!(
        saved["warnings"].to_string().contains("pull_requests"),
        "{saved}"
    );
    world
        .exchange_claims(&pull("pull_request", "refs/pull/7/merge"))
        .await
        .token();
    let banned = world
        .exchange_claims(&pull("pull_request_target", "refs/heads/main"))
        .await;
    assert_eq!(banned.reason(), "event_denied");
    for never in [
        json!({ "ref": { "glob": "refs/pull/**" } }),
        json!({ "ref": "refs/pull/7/merge" }),
        json!({ "claims": { "event_name": "pull_request" } }),
    ] {
        let answer = world
            .server
            .admin(
                "PUT",
                "federated-credentials/bad",
                World::rule_document(never.clone()),
            )
            .await;
        assert_eq!(answer.status, 422, "{never}: {}", answer.text());
    }
}

#[tokio::test]
async fn cond_f4__merge_requests_of_gitlab_can_be_asked_for() {
    let platform = Platform::new("gitlab-ci", "https://gitlab.test", json!({})).await;
    let job = |source: &str, path: &str| {
        platform.claims(json!({
            "sub": "project_path:acme/widgets:ref_type:branch:ref:main", "namespace_id": "72", "namespace_path": "acme",
            "project_id": "20", "project_path": "acme/widgets", "ref": "main", "ref_type": "branch", "ref_path": path,
            "ref_protected": "true", "pipeline_source": source,
        }))
    };
    let rule = gitlab(json!({ "ref": "main", "ref_type": "branch" }));
    assert!(codes(&save(&platform, &rule).await).is_empty());
    platform.accepts(&job("push", "refs/heads/main")).await;
    for (source, path) in [
        ("merge_request_event", "refs/heads/main"),
        ("external_pull_request_event", "refs/heads/main"),
        ("parent_pipeline", "refs/merge-requests/7/head"),
    ] {
        platform.refuses(&job(source, path), "event_denied").await;
    }
    let rule =
        gitlab(json!({ "ref": "main", "ref_type": "branch", "events": ["merge_request_event"] }));
    assert_eq!(codes(&save(&platform, &rule).await), ["pull_requests"]);
    platform
        .accepts(&job("merge_request_event", "refs/merge-requests/7/head"))
        .await;
    refused(
        "gitlab-ci",
        &[(gitlab(json!({ "ref": "main", "ref_type": "branch", "claims": { "pipeline_source": "merge_request_event" } })), "/match/claims/pipeline_source", "events")],
    )
    .await;
}

#[tokio::test]
async fn cond_f5__the_generic_profile_is_refused_for_the_issuers_of_known_platforms() {
    let world = World::new().await;
    let issuers = [
        (
            "https://token.actions.githubusercontent.com",
            "github-actions",
        ),
        (
            "https://token.actions.githubusercontent.com/octo",
            "github-actions",
        ),
        ("https://token.actions.acme.ghe.com", "github-actions"),
        (
            "https://github.corp.example/_services/token",
            "github-actions",
        ),
        ("https://gitlab.com", "gitlab-ci"),
        ("https://accounts.google.com", "google"),
        ("https://oidc.circleci.com", "circleci"),
        (
            "https://oidc.circleci.com/org/0f2d1c5e-0000-4000-8000-000000000001",
            "circleci",
        ),
        ("https://agent.buildkite.com", "buildkite"),
        ("https://agent.buildkite.com/", "buildkite"),
        ("https://oidc.codefresh.io", "codefresh"),
        ("https://app.terraform.io", "terraform-cloud"),
        (
            "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc",
            "bitbucket",
        ),
        (
            "https://vstoken.dev.azure.com/0f2d1c5e-0000-4000-8000-000000000001",
            "azure-devops",
        ),
        (
            "https://login.microsoftonline.com/0f2d1c5e-0000-4000-8000-000000000001/v2.0",
            "entra",
        ),
        (
            "https://sts.windows.net/0f2d1c5e-0000-4000-8000-000000000001/",
            "entra",
        ),
        ("https://abc.tokens.sts.global.api.aws", "aws"),
        ("https://codeberg.org/api/actions", "forgejo"),
        ("https://git.corp.example/api/actions/oidc", "gitea"),
        (
            "https://oidc.eks.eu-west-1.amazonaws.com/id/ABC",
            "kubernetes",
        ),
    ];
    for (issuer, profile) in issuers {
        let document = json!({ "profile": "generic", "issuer": issuer });
        let answer = world
            .server
            .admin("PUT", "trusted-issuers/other", document)
            .await;
        assert_eq!(answer.status, 422, "{issuer}: {}", answer.text());
        let error = &answer.json()["errors"][0];
        assert_eq!(error["pointer"], "/profile", "{issuer}");
        assert!(
            error["detail"].as_str().unwrap().contains(profile),
            "{issuer}: {error}"
        );
    }
    // So is the profile of another platform. One that names no issuers may be for people.
    let other =
        json!({ "profile": "forgejo", "issuer": "https://token.actions.githubusercontent.com" });
    let answer = world
        .server
        .admin("PUT", "trusted-issuers/other", other)
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(
        answer.text().contains("must be github-actions"),
        "{}",
        answer.text()
    );
    let people = json!({ "profile": "email", "issuer": "https://accounts.google.com" });
    world
        .server
        .put("trusted-issuers/people?validate=offline", people)
        .await;
    let forced =
        json!({ "profile": "generic", "issuer": "https://gitlab.com", "profile_forced": true });
    let saved = world
        .server
        .put("trusted-issuers/other?validate=offline", forced)
        .await;
    assert!(
        saved["warnings"].to_string().contains("forced_profile"),
        "{saved}"
    );
    let own = json!({ "profile": "generic", "issuer": "https://builds.example" });
    let saved = world
        .server
        .put("trusted-issuers/own?validate=offline", own)
        .await;
    assert_eq!(saved["warnings"], json!([]), "{saved}");
}

#[tokio::test]
async fn cond_f6__audiences_that_jobs_get_unasked_are_refused() {
    for (profile, issuer, audience) in [
        (
            "circleci",
            "https://oidc.circleci.com/org/0f2d1c5e-0000-4000-8000-000000000001",
            UUID,
        ),
        ("circleci", "https://oidc.circleci.com", UUID),
        (
            "forgejo",
            "https://codeberg.org/api/actions",
            "https://codeberg.org/acme",
        ),
        (
            "forgejo",
            "https://forge.test/sub/api/actions",
            "https://forge.test/sub/acme",
        ),
        (
            "github-actions",
            "https://token.actions.githubusercontent.com",
            "https://github.com/acme",
        ),
        (
            "buildkite",
            "https://agent.buildkite.com",
            "https://buildkite.com/acme",
        ),
        (
            "codefresh",
            "https://oidc.codefresh.io",
            "https://g.codefresh.io",
        ),
    ] {
        let world = World::new().await;
        let document = json!({ "profile": profile, "issuer": issuer, "audiences": [audience] });
        let answer = world
            .server
            .admin("PUT", "trusted-issuers/github", document)
            .await;
        assert_eq!(
            answer.status,
            422,
            "{profile} {audience}: {}",
            answer.text()
        );
        assert!(answer.text().contains("/audiences"), "{}", answer.text());
    }
    // Another UUID is the default of no job of this issuer.
    let world = World::new().await;
    let document = json!({
        "profile": "circleci", "issuer": format!("https://oidc.circleci.com/org/{UUID}"),
        "audiences": ["0f2d1c5e-0000-4000-8000-000000000002"],
    });
    let path = "trusted-issuers/circleci?validate=offline";
    let answer = world.server.admin("PUT", path, document).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let forge = Platform::new("forgejo", "https://forge.test/api/actions", json!({})).await;
    forge
        .cannot_trust(
            json!({ "extra_audiences": ["https://forge.test/acme"] }),
            "/extra_audiences",
        )
        .await;
}

#[tokio::test]
async fn cond_f7__a_star_in_a_subject_that_stops_too_early_is_warned_of() {
    warned(
        "github-actions",
        &[
            (
                github(json!({ "subject": { "glob": "repo:octo-org/widgets:*" } })),
                &["any_ref", "star_stops_at_slash"],
            ),
            (
                github(json!({ "subject": { "glob": "repo:octo-org/*" } })),
                &["any_ref", "star_stops_at_slash"],
            ),
            (
                github(json!({ "subject": { "glob": "repo:octo-org/widgets:**" } })),
                &["any_ref"],
            ),
            (
                github(json!({ "subject": { "glob": "repo:octo-org/widgets:ref:refs/tags/v*" } })),
                &[],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn cond_f8__exact_subjects_and_claims_are_saved_in_silence() {
    let mut table: Vec<(Value, &[&str])> = Vec::new();
    for members in [
        json!({ "subject": "repo:octo-org/widgets:ref:refs/heads/main" }),
        json!({ "subject": "repo:octo-org@65/widgets@74:ref:refs/heads/main" }),
        json!({ "subject": "repo:octo-org/widgets:environment:release" }),
        json!({
            "subject": "repo:octo-org/widgets:environment:prod:job_workflow_ref:o/r/.github/workflows/x.yml@refs/heads/main",
            "called_workflow": { "path": "o/r/.github/workflows/x.yml", "ref": "refs/heads/main" },
        }),
        json!({ "subject": { "any_of": ["repo:octo-org/widgets:ref:refs/heads/main", "repo:octo-org/widgets:ref:refs/tags/v1"] } }),
        json!({ "workflow_file": "release.yml", "claims": { "environment": "release" } }),
        json!({ "workflow_file": "release.yml", "claims": { "ref": "refs/heads/main" } }),
        json!({ "workflow_file": "release.yml", "claims": { "ref_protected": "true" } }),
        json!({ "called_workflow": { "path": "o/ci/.github/workflows/x.yml", "sha": "a".repeat(40) } }),
    ] {
        table.push((github(members), &[]));
    }
    for (members, codes) in [
        (
            json!({ "subject": "repo:octo-org/widgets" }),
            ["any_ref"].as_slice(),
        ),
        (
            json!({ "subject": "repo:octo-org/widgets:pull_request" }),
            &["any_ref", "pull_requests"],
        ),
        (
            json!({ "subject": { "any_of": ["repo:octo-org/widgets:ref:refs/heads/main", "repo:octo-org/widgets"] } }),
            &["any_ref"],
        ),
        (
            json!({ "subject": "repo:octo-org/widgets:environment:a%3Ab" }),
            &["encoded_subject"],
        ),
        // Without called_workflow it could match no job that calls this file.
        (
            json!({ "subject": "repo:octo-org/widgets:environment:prod:job_workflow_ref:o/r/.github/workflows/x.yml@refs/heads/main" }),
            &["unnamed_called_workflow"],
        ),
        (
            json!({ "workflow_file": "release.yml", "claims": { "ref_protected": "false" } }),
            &["any_ref"],
        ),
        (
            json!({ "workflow_file": "release.yml", "claims": { "enterprise": "acme" } }),
            &["any_ref"],
        ),
    ] {
        table.push((github(members), codes));
    }
    warned("github-actions", &table).await;
}

#[tokio::test]
async fn cond_f9__what_can_never_match_is_refused_when_it_is_saved() {
    let mut table: Vec<(Value, &str, &str)> = Vec::new();
    for (members, pointer, word) in [
        (
            json!({ "claims": { "ref_protected": true } }),
            "/match/claims/ref_protected",
            "string",
        ),
        (
            json!({ "claims": { "repository_id": 74 } }),
            "/match/claims/repository_id",
            "string",
        ),
        (
            json!({ "claims": { "repository_visibility": "pubic" } }),
            "/match/claims/repository_visibility",
            "one of",
        ),
        (
            json!({ "claims": { "ref": ["refs/heads/main"] } }),
            "/match/claims/ref",
            "list",
        ),
        (
            json!({ "repository_visibility": "pubic" }),
            "/match/repository_visibility",
            "public",
        ),
        (
            json!({ "runner_environment": "github_hosted" }),
            "/match/runner_environment",
            "github-hosted",
        ),
        (
            json!({ "ref": { "glob": "refs/heads/*" }, "ref_type": "tag" }),
            "/match/ref_type",
            "agree",
        ),
        (
            json!({ "ref": "refs/tags/v1", "ref_type": "branch" }),
            "/match/ref_type",
            "agree",
        ),
        (
            json!({ "ref": { "any_of": ["refs/heads/a", "refs/heads/b"] }, "claims": { "ref_type": "tag" } }),
            "/match/claims/ref_type",
            "agree",
        ),
        (json!({ "ref": "refs/heads/a b" }), "/match/ref", "git"),
        (json!({ "ref": "refs/heads//a" }), "/match/ref", "git"),
        (
            json!({ "ref": { "glob": "refs/heads/a..b*" } }),
            "/match/ref",
            "git",
        ),
        (
            json!({ "called_workflow": { "path": "o/r/.github/workflows/x.yml@refs/heads/main", "ref": "refs/heads/main" } }),
            "/match/called_workflow/path",
            "ref",
        ),
        (
            json!({ "called_workflow": { "path": "o*/r/.github/workflows/x.yml", "ref": "refs/heads/main" } }),
            "/match/called_workflow/path",
            "owner",
        ),
    ] {
        let members = with(json!({ "workflow_file": "release.yml" }), &members);
        table.push((github(members), pointer, word));
    }
    refused("github-actions", &table).await;
    refused(
        "gitlab-ci",
        &[
            (gitlab(json!({ "require_ref_protected": true, "claims": { "project_id": 20 } })), "/match/claims/project_id", "string"),
            (gitlab(json!({ "ref": "main", "ref_type": "branch", "runner_environment": "github-hosted" })), "/match/runner_environment", "gitlab-hosted"),
        ],
    )
    .await;
    refused(
        "terraform-cloud",
        &[(
            json!({ "workspace_id": "ws-1", "run_phase": "aply" }),
            "/match/run_phase",
            "apply",
        )],
    )
    .await;
    refused(
        "terraform-cloud",
        &[(
            json!({ "workspace_id": "production", "run_phase": "apply" }),
            "/match/workspace_id",
            "ws-",
        )],
    )
    .await;
    refused(
        "entra",
        &[(
            json!({ "object_id": "publisher" }),
            "/match/object_id",
            "UUID",
        )],
    )
    .await;
    refused(
        "aws",
        &[(json!({ "subject": "Publisher" }), "/match/subject", "arn:")],
    )
    .await;
    refused(
        "buildkite",
        &[
            (json!({ "organization_slug": "acme/x", "pipeline_slug": "r" }), "/match/organization_slug", "id"),
            (json!({ "organization_slug": "acme", "pipeline_slug": "r", "claims": { "build_number": "7" } }), "/match/claims/build_number", "number"),
        ],
    )
    .await;
}

#[tokio::test]
async fn cond_f9__signs_of_other_pattern_languages_are_warned_of_in_every_place() {
    let star: &[&str] = &["literal_star"];
    let sign: &[&str] = &["literal_pattern"];
    let banned: &[&str] = &["banned_event"];
    let table: Vec<(Value, &[&str])> = [
        (json!({ "events": ["pull_request_target"], "environment": "x" }), banned),
        (json!({ "events": ["push", "Workflow_Run"], "environment": "x" }), banned),
        (json!({ "claims": { "event_name": "workflow_run" }, "environment": "x" }), banned),
        (json!({ "environment": { "any_of": ["prod-*"] } }), star),
        (json!({ "environment": "prod-*" }), star),
        (json!({ "ref": "refs/tags/v*" }), star),
        (json!({ "ref": { "any_of": ["refs/heads/*"] } }), star),
        (json!({ "claims": { "enterprise": "acme-*" }, "environment": "x" }), star),
        (json!({ "claims": { "enterprise": { "any_of": ["acme-*"] } }, "environment": "x" }), star),
        (json!({ "workflow_file": "release*.yml", "environment": "x" }), star),
        (json!({ "called_workflow": { "path": "acme/ci/.github/workflows/*", "sha": "a".repeat(40) } }), star),
        (json!({ "environment": "prod-?" }), sign),
        (json!({ "ref": { "glob": "refs/tags/v[0-9]*" } }), sign),
        (json!({ "environment": "prod|staging" }), sign),
        (json!({ "environment": "^prod$" }), sign),
        (json!({ "environment": "prod\\d" }), sign),
        (json!({ "environment": "{prod,staging}" }), sign),
        (json!({ "environment": "(prod|staging)" }), sign),
        (json!({ "environment": "prod (eu)" }), &[]),
    ]
    .into_iter()
    .map(|(members, codes)| (github(members), codes))
    .collect();
    warned("github-actions", &table).await;
    warned(
        "google",
        &[
            (json!({ "email": { "any_of": ["1-compute@developer.gserviceaccount.com", "a@b.iam.gserviceaccount.com"] } }), &["no_immutable_id", "default_service_account"]),
        ],
    )
    .await;
    warned(
        "gitlab-ci",
        &[
            (
                gitlab(json!({ "ref": { "glob": "refs/tags/v*" }, "ref_type": "tag" })),
                &["full_ref"],
            ),
            (
                gitlab(json!({ "ref": { "any_of": ["refs/heads/a"] }, "ref_type": "branch" })),
                &["full_ref"],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn cond_f10__white_space_at_the_ends_is_removed_from_plain_values_and_refused_elsewhere() {
    let platform = platform("github-actions").await;
    for pasted in ["refs/heads/main ", "\trefs/heads/main\r\n"] {
        let saved = save(&platform, &github(json!({ "ref": pasted }))).await;
        assert_eq!(saved.json()["match"]["ref"], "refs/heads/main");
    }
    for kept in [
        json!({ "ref": { "glob": "refs/tags/v* " } }),
        json!({ "ref": "refs/heads/a\nb" }),
        json!({ "environment": "x", "claims": { "enterprise": "acme " } }),
    ] {
        assert_eq!(
            save(&platform, &github(kept.clone())).await.status,
            422,
            "{kept}"
        );
    }
}

#[test]
fn new_a23__the_page_of_profiles_says_that_white_space_at_the_ends_is_removed() {
    let page = std::fs::read_to_string("docs/src/reference/profiles.md").unwrap();
    assert!(
        page.contains(
            "White space and line ends around a plain value are removed when it is saved"
        )
    );
}

#[tokio::test]
async fn cond_f11__an_id_with_a_ref_and_protected_refs_alone_are_enough() {
    warned(
        "github-actions",
        &[
            (
                json!({ "repository_id": "74", "ref": "refs/heads/main" }),
                &[],
            ),
            (
                json!({ "repository_id": "74", "require_ref_protected": true }),
                &[],
            ),
            (github(json!({ "require_ref_protected": true })), &[]),
        ],
    )
    .await;
    warned(
        "gitlab-ci",
        &[
            (
                json!({ "project_id": "20", "require_ref_protected": true }),
                &[],
            ),
            (
                json!({ "namespace_id": "72", "require_ref_protected": true }),
                &["any_project"],
            ),
        ],
    )
    .await;
    warned(
        "forgejo",
        &[(github(json!({ "require_ref_protected": true })), &[])],
    )
    .await;
    refused(
        "github-actions",
        &[
            (json!({ "repository_id": "74" }), "/match", "which jobs"),
            (
                json!({ "repository_id": "74", "require_ref_protected": false }),
                "/match",
                "which jobs",
            ),
            (
                json!({ "ref": "refs/heads/main" }),
                "/match",
                "repository_id",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn cond_f12__a_ref_that_may_be_a_branch_or_a_tag_is_warned_of() {
    warned(
        "gitlab-ci",
        &[
            (
                gitlab(json!({ "ref": "main", "ref_type": { "any_of": ["branch", "tag"] } })),
                &["any_ref", "any_ref_type"],
            ),
            (gitlab(json!({ "ref": "main", "ref_type": "branch" })), &[]),
            (
                gitlab(json!({ "ref": "main", "ref_type": { "any_of": ["branch"] } })),
                &[],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn cond_f13__names_in_claims_are_warned_of_since_no_id_is_pinned_for_them() {
    let owner = json!({ "repository_owner_id": "65", "ref": "refs/heads/main", "claims": { "repository": "octo-org/widgets" } });
    warned("github-actions", &[(owner, &["unpinned_name"])]).await;
    let group = json!({ "namespace_id": "72", "ref": "main", "ref_type": "branch", "claims": { "project_path": "acme/widgets" } });
    warned("gitlab-ci", &[(group, &["unpinned_name"])]).await;
    let names =
        json!({ "namespace": "acme", "project": "widgets", "ref": "main", "ref_type": "branch" });
    warned("gitlab-ci", &[(names, &["open_pins"])]).await;
}

#[tokio::test]
async fn pub_k7__pasted_repositories_files_and_groups_are_stored_in_one_form() {
    let github_com = Platform::new(
        "github-actions",
        "https://token.actions.githubusercontent.com",
        json!({}),
    )
    .await;
    for pasted in [
        "octo-org/widgets",
        "github:octo-org/widgets",
        "octo-org/widgets#readme",
        "git+https://github.com/octo-org/widgets.git",
        "git+ssh://git@github.com/octo-org/widgets.git",
        "git@github.com:octo-org/widgets.git",
        "https://github.com/octo-org/widgets/tree/main/packages/a",
        "https://www.github.com/octo-org/widgets#readme",
    ] {
        let saved = save(
            &github_com,
            &json!({ "repository": pasted, "ref": "refs/heads/main" }),
        )
        .await;
        assert_eq!(
            saved.json()["match"]["repository"],
            "octo-org/widgets",
            "{pasted}: {}",
            saved.text()
        );
    }
    for pasted in [
        ".github\\workflows\\release.yml",
        "\\.github\\workflows\\release.yml",
        "./.github/workflows/release.yml",
    ] {
        let saved = save(&github_com, &github(json!({ "workflow_file": pasted }))).await;
        assert_eq!(
            saved.json()["match"]["workflow_file"],
            "release.yml",
            "{pasted}"
        );
    }
    for never in [
        "https://gitlab.com/octo-org/widgets",
        "octo.org/widgets",
        "octo-org/wid gets",
        "octo-org/widgets@v1",
        "octo-org/wid*gets",
        "gitlab:octo-org/widgets",
    ] {
        let answer = save(
            &github_com,
            &json!({ "repository": never, "ref": "refs/heads/main" }),
        )
        .await;
        assert_eq!(answer.status, 422, "{never}: {}", answer.text());
        assert!(answer.text().contains("/match/repository"), "{never}");
    }
    let own = Platform::new("gitlab-ci", "https://git.corp.example", json!({})).await;
    for pasted in [
        "https://git.corp.example/acme/tools",
        "https://git.corp.example/acme/tools/-/settings",
        "git@git.corp.example:acme/tools.git",
        "/acme/tools/",
    ] {
        let rule = json!({ "namespace": pasted, "require_ref_protected": true });
        let saved = save(&own, &rule).await;
        assert_eq!(
            saved.json()["match"]["namespace"],
            "acme/tools",
            "{pasted}: {}",
            saved.text()
        );
    }
    let circleci = platform("circleci").await;
    for pasted in [
        "https://github.com/acme/widgets",
        "git@github.com:acme/widgets.git",
        "github.com/acme/widgets/",
    ] {
        let saved = save(
            &circleci,
            &json!({ "project_id": UUID, "vcs_origin": pasted }),
        )
        .await;
        assert_eq!(
            saved.json()["match"]["vcs_origin"],
            "github.com/acme/widgets",
            "{pasted}: {}",
            saved.text()
        );
    }
}

#[tokio::test]
async fn pub_k10__builds_of_forks_and_of_any_branch_are_warned_of() {
    let slugs = |members: Value| {
        with(
            json!({ "organization_slug": "acme", "organization_id": "o-1", "pipeline_slug": "r", "pipeline_id": "p-1" }),
            &members,
        )
    };
    warned(
        "buildkite",
        &[
            (slugs(json!({})), &["any_source"]),
            (slugs(json!({ "step_key": "publish" })), &["any_source"]),
            (slugs(json!({ "build_branch": "main" })), &[]),
            (slugs(json!({ "claims": { "build_branch": "main" } })), &[]),
            (slugs(json!({ "build_tag": "v1" })), &[]),
        ],
    )
    .await;
    warned(
        "azure-devops",
        &[
            (
                json!({ "org_id": UUID }),
                &["any_pipeline", "any_project", "any_ref"],
            ),
            (json!({ "project_id": UUID }), &["any_pipeline", "any_ref"]),
            (json!({ "definition_id": "12" }), &["any_ref"]),
            (
                json!({ "definition_id": "12", "ref": "refs/heads/main" }),
                &[],
            ),
            (
                json!({ "definition_id": "12", "claims": { "rpo_ref": "refs/heads/main" } }),
                &[],
            ),
            (
                json!({ "definition_id": "12", "ref": { "glob": "refs/heads/*" } }),
                &["any_ref"],
            ),
        ],
    )
    .await;
    refused(
        "azure-devops",
        &[(
            json!({ "repository_id": "acme/widgets", "ref": "refs/heads/main" }),
            "/match",
            "given away",
        )],
    )
    .await;
    warned(
        "bitbucket",
        &[
            (
                json!({ "workspace_uuid": "{7d3c-1}" }),
                &["any_step", "any_repository"],
            ),
            (json!({ "repository_uuid": "{7d3c-1}" }), &["any_step"]),
            (
                json!({ "repository_uuid": "{7d3c-1}", "branch": "main" }),
                &[],
            ),
            (
                json!({ "repository_uuid": "{7d3c-1}", "claims": { "branchName": "main" } }),
                &[],
            ),
            (json!({ "deployment_environment_uuid": "{c001-1}" }), &[]),
        ],
    )
    .await;
}

#[tokio::test]
async fn new_a13__a_trusted_issuer_without_single_use_gives_a_warning_by_default_too() {
    let world = World::new().await;
    for (profile, off) in [
        ("kubernetes", true),
        ("google", true),
        ("entra", true),
        ("gitlab-ci", false),
        ("generic", false),
    ] {
        let document = json!({ "profile": profile, "issuer": format!("https://{profile}.test") });
        let answer = world
            .server
            .admin(
                "PUT",
                &format!("trusted-issuers/{profile}?validate=offline"),
                document,
            )
            .await;
        assert_eq!(
            answer.text().contains("no_single_use"),
            off,
            "{profile}: {}",
            answer.text()
        );
    }
}
