//! What is saved with a warning.

use serde_json::{Value, json};

use super::{UUID, github, refused, warned, with};

#[test]
fn cond_f9__quotation_marks_variables_and_events_in_capitals_are_warned_of() {
    let events = |events: Value| github(&json!({ "ref": "refs/heads/main", "events": events }));
    warned("github-actions", &events(json!(["Push"])), &["event_case"]);
    warned(
        "github-actions",
        &events(json!(["push", "Workflow_Run"])),
        &["banned_event"],
    );
    for value in [
        "\"production\"",
        "'production'",
        "`production`",
        "\u{201c}production\u{201d}",
        "${{ inputs.environment }}",
        "$${x}",
    ] {
        warned(
            "github-actions",
            &github(&json!({ "environment": value })),
            &["literal_pattern"],
        );
    }
    for value in ["octo's", "production \"eu\"", "a$b", "'"] {
        warned(
            "github-actions",
            &github(&json!({ "environment": value })),
            &[],
        );
    }
}

#[test]
fn cond_f2__a_kind_of_ref_or_a_pattern_is_no_ref_on_the_newer_platforms_either() {
    let semaphore = |members: Value| {
        with(
            &json!({ "project_id": UUID, "project": "widgets" }),
            &members,
        )
    };
    for (members, codes) in [
        (json!({ "ref_type": "branch" }), &["any_ref"][..]),
        (json!({ "ref_type": "tag" }), &["any_ref"]),
        (json!({ "ref": { "glob": "refs/heads/**" } }), &["any_ref"]),
        (json!({ "ref": { "glob": "refs/tags/*" } }), &["any_ref"]),
        (json!({ "ref": "refs/pull/7/merge" }), &["any_ref"]),
        (json!({ "ref": "refs/heads/main" }), &[]),
        (
            json!({ "ref": { "glob": "refs/tags/v*" }, "ref_type": "tag" }),
            &[],
        ),
    ] {
        warned("semaphore", &semaphore(members), codes);
    }
    for (reference, codes) in [
        (json!({ "glob": "refs/heads/**" }), &["any_ref"][..]),
        (json!({ "glob": "**a" }), &["any_ref"]),
        (json!({ "glob": "refs/tags/v*" }), &[]),
        (json!("refs/heads/main"), &[]),
    ] {
        warned(
            "buddy",
            &json!({ "pipeline_id": "12", "ref": reference }),
            codes,
        );
    }
}

#[test]
fn cond_f3__patterns_of_jobs_and_identities_that_many_share_are_warned_of() {
    let job = "https://jenkins.example/job/acme/job/widgets/";
    for (rule, codes) in [
        (json!(job), &[][..]),
        (
            json!({ "any_of": [job, "https://jenkins.example/job/acme/job/gadgets/"] }),
            &[],
        ),
        (
            json!({ "glob": "https://jenkins.example/job/acme/job/w**" }),
            &["any_job"],
        ),
        (
            json!({ "glob": "https://jenkins.example/job/acme/job/widgets/job/*/" }),
            &["any_job"],
        ),
        (
            json!("https://jenkins.example/job/acme/job/widgets/job/PR-7/"),
            &["pull_requests"],
        ),
        (
            json!("https://jenkins.example/job/acme/job/widgets"),
            &["no_job_url"],
        ),
        (
            json!("https://jenkins.example/blue/organizations/jenkins/acme/activity"),
            &["no_job_url"],
        ),
    ] {
        warned("jenkins", &json!({ "job": rule }), codes);
    }
    warned(
        "kubernetes",
        &json!({ "namespace": "ci", "service_account": "default" }),
        &["default_service_account"],
    );
    warned(
        "kubernetes",
        &json!({ "namespace": "ci", "service_account": "publisher" }),
        &[],
    );
    for (email, codes) in [
        (
            "1@cloudbuild.gserviceaccount.com",
            &["default_service_account"][..],
        ),
        (
            "1@cloudservices.gserviceaccount.com",
            &["default_service_account"],
        ),
        ("publisher@acme.iam.gserviceaccount.com", &[]),
    ] {
        warned("google", &json!({ "email": email, "sub": "1" }), codes);
    }
    let pattern = json!({ "glob": "build:acme:*" });
    warned(
        "generic",
        &json!({ "subject": pattern, "claims": { "iss": "https://idp.example" } }),
        &["any_subject"],
    );
    warned(
        "generic",
        &json!({ "subject": pattern, "claims": { "tenant": "acme" } }),
        &[],
    );
}

#[test]
fn cond_f9__a_full_ref_where_the_claim_is_short_and_a_ref_subject_beside_an_environment_are_warned_of()
 {
    for (profile, rule, codes) in [
        (
            "buildkite",
            json!({ "organization_slug": "a", "organization_id": "1", "pipeline_slug": "w", "pipeline_id": "2", "build_branch": "refs/heads/main" }),
            &["full_ref"][..],
        ),
        (
            "buildkite",
            json!({ "organization_slug": "a", "organization_id": "1", "pipeline_slug": "w", "pipeline_id": "2", "build_tag": "refs/tags/v1" }),
            &["full_ref"],
        ),
        (
            "buildkite",
            json!({ "organization_slug": "a", "organization_id": "1", "pipeline_slug": "w", "pipeline_id": "2", "build_branch": "main" }),
            &[],
        ),
        (
            "bitbucket",
            json!({ "repository_uuid": "{1}", "branch": "refs/heads/main" }),
            &["full_ref"],
        ),
        (
            "codefresh",
            json!({ "account_id": "a", "pipeline_id": "b", "scm_ref": "refs/heads/main" }),
            &["full_ref"],
        ),
        (
            "github-actions",
            github(&json!({ "environment": "prod", "subject": "repo:o/r:ref:refs/heads/main" })),
            &["subject_of_no_environment"],
        ),
        (
            "github-actions",
            github(&json!({ "environment": "prod", "subject": "repo:o/r:environment:prod" })),
            &[],
        ),
    ] {
        warned(profile, &rule, codes);
    }
}

#[test]
fn what_only_looks_like_a_pattern_is_not_warned_of() {
    let claims = |claims: Value| github(&json!({ "ref": "refs/heads/main", "claims": claims }));
    warned(
        "github-actions",
        &claims(json!({ "actor": "dependabot[bot]" })),
        &[],
    );
    warned(
        "github-actions",
        &claims(json!({ "actor": "[a-z]" })),
        &["literal_pattern"],
    );
    warned(
        "github-actions",
        &claims(json!({ "enterprise": format!("{{{UUID}}}") })),
        &[],
    );
    let upstream = |equals: &str| json!({ "email": "a@b.example", "upstream": { "claim": "idp", "equals": equals } });
    warned("email", &upstream("google*"), &["literal_star"]);
    warned("email", &upstream("google"), &[]);
    refused(
        "email",
        &json!({ "email_domain": "GMail.com" }),
        "anybody can have",
    );
}
