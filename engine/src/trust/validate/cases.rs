//! Rules of the built-in profiles, by kinds: what is refused because it can never match, what is warned of, what is
//! saved in silence, and what is brought into another form.

mod warnings;

use serde_json::{Value, json};

use super::normalise;
use crate::profile::{Profiles, Terms};

const UUID: &str = "1e1fcfb5-09c0-487e-b051-2d0b5514c42a";

/// The stored form and the codes of the warnings, or the places and details of the errors.
fn saved(
    profile: &str,
    rule: &Value,
    issuer: Option<&str>,
) -> Result<(Value, Vec<String>), String> {
    let profiles = Profiles::load(None).unwrap();
    let terms = Terms {
        issuer: issuer.map(str::to_owned),
        ..Terms::default()
    };
    let saved = normalise(
        profiles.get(profile).unwrap(),
        &terms,
        rule.as_object().unwrap(),
    );
    saved
        .map(|saved| {
            let codes = saved.warnings.into_iter().map(|warning| warning.code);
            (Value::Object(saved.matcher), codes.collect())
        })
        .map_err(|problems| {
            let lines = problems
                .into_iter()
                .map(|one| format!("{} {}\n", one.pointer, one.detail));
            lines.collect()
        })
}

#[track_caller]
fn refused(profile: &str, rule: &Value, parts: &str) {
    let problems = saved(profile, rule, None).expect_err(&format!("{profile} {rule}"));
    for part in parts.split('|') {
        assert!(
            problems.contains(part),
            "{profile} {rule}: {part}: {problems}"
        );
    }
}

#[track_caller]
fn warned(profile: &str, rule: &Value, expected: &[&str]) {
    let (_, codes) = saved(profile, rule, None)
        .unwrap_or_else(|problems| panic!("{profile} {rule}: {problems}"));
    assert_eq!(codes, expected, "{profile} {rule}");
}

/// A rule with these members beside `rule`.
fn with(rule: &Value, members: &Value) -> Value {
    let mut rule = rule.clone();
    for (name, value) in members.as_object().unwrap() {
        rule[name] = value.clone();
    }
    rule
}

fn github(members: &Value) -> Value {
    let named = json!({ "repository": "o/r", "repository_owner_id": "65", "repository_id": "74", "workflow_file": "release.yml" });
    with(&named, members)
}

#[test]
fn cond_f9__a_top_level_claim_has_one_name_whether_it_is_written_as_a_pointer_or_not() {
    let rule = github(
        &json!({ "ref": "refs/heads/main", "claims": { "/enterprise": "acme", "/nested/claim": "x" } }),
    );
    let (stored, _) = saved("github-actions", &rule, None).unwrap();
    assert_eq!(
        stored["claims"],
        json!({ "enterprise": "acme", "/nested/claim": "x" })
    );
    for (claims, part) in [
        (
            json!({ "/ref_protected": true }),
            "/match/claims/~1ref_protected",
        ),
        (
            json!({ "/event_name": "pull_request" }),
            "must also stand in events",
        ),
        (
            json!({ "/enterprise": "acme", "enterprise": "acme" }),
            "given twice",
        ),
    ] {
        let part = part.replace("/match", "");
        refused(
            "github-actions",
            &github(&json!({ "ref": "refs/heads/main", "claims": claims })),
            &part,
        );
    }
    let by_owner = json!({ "repository_owner_id": "65", "ref": "refs/heads/main", "claims": { "/repository": "o/r" } });
    warned("github-actions", &by_owner, &["unpinned_name"]);
}

#[test]
fn cond_f9__two_conditions_on_one_claim_that_exclude_each_other_are_refused() {
    for (members, part) in [
        (
            json!({ "ref": "refs/heads/main", "claims": { "ref": "refs/heads/dev" } }),
            "/ref must agree with /claims/ref",
        ),
        (
            json!({ "ref": "refs/heads/main", "ref_template": "refs/tags/v{version}" }),
            "/ref must agree with /ref_template",
        ),
        (
            json!({ "ref": { "any_of": ["refs/tags/1", "refs/tags/2"] }, "ref_template": "refs/tags/v{version}" }),
            "must agree",
        ),
        (
            json!({ "ref": { "glob": "refs/tags/v*" }, "claims": { "ref": "refs/tags/1" } }),
            "/claims/ref must agree with /ref",
        ),
        (
            json!({ "ref_type": "branch", "ref_template": "refs/tags/v{version}" }),
            "/ref_type must agree with /ref_template",
        ),
        (
            json!({ "ref_template": "refs/pull/{version}/merge" }),
            "/ref_template must not be a ref of proposed changes",
        ),
        (
            json!({ "environment": "prod", "ref": "refs/heads/main", "claims": { "environment": { "any_of": ["a", "b"] } } }),
            "agree",
        ),
    ] {
        refused("github-actions", &github(&members), part);
    }
    for members in [
        json!({ "ref": "refs/tags/v1", "ref_template": "refs/tags/v{version}" }),
        json!({ "ref": { "glob": "refs/tags/*" }, "ref_template": "refs/tags/v{version}" }),
        json!({ "ref_type": "tag", "ref_template": "refs/tags/v{version}" }),
        json!({ "ref": { "any_of": ["refs/heads/main", "refs/heads/dev"] }, "claims": { "ref": "refs/heads/dev" } }),
        json!({ "environment": "Prod", "claims": { "environment": "prod" } }),
    ] {
        warned("github-actions", &github(&members), &[]);
    }
}

#[test]
fn cond_f9__values_that_no_platform_has_are_refused() {
    for (profile, rule, part) in [
        (
            "github-actions",
            github(&json!({ "ref": "refs/heads/main", "events": ["pull-request"] })),
            "/events",
        ),
        (
            "github-actions",
            json!({ "repository_id": "0", "ref": "refs/heads/main" }),
            "begin with 0",
        ),
        (
            "github-actions",
            json!({ "repository_id": "074", "ref": "refs/heads/main" }),
            "begin with 0",
        ),
        (
            "gitlab-ci",
            json!({ "project_id": "20", "require_ref_protected": true, "events": ["merge-request-event"] }),
            "/events",
        ),
        (
            "semaphore",
            json!({ "project_id": "a b", "ref": "refs/heads/main" }),
            "/project_id",
        ),
        (
            "semaphore",
            json!({ "project_id": UUID, "organization_id": "a/b", "ref": "refs/heads/main" }),
            "/organization_id",
        ),
        (
            "semaphore",
            json!({ "project_id": UUID, "ref": "refs/heads/a b" }),
            "/ref",
        ),
        (
            "semaphore",
            json!({ "project_id": UUID, "ref": "refs/heads/a", "repository": "o/r s" }),
            "/repository",
        ),
        (
            "semaphore",
            json!({ "project_id": UUID, "ref": "refs/tags/v1", "ref_type": "branch" }),
            "/ref_type must agree",
        ),
        (
            "buddy",
            json!({ "pipeline_id": "release", "ref": "refs/heads/main" }),
            "/pipeline_id",
        ),
        (
            "buddy",
            json!({ "pipeline_id": "12", "ref": "refs/heads/a b" }),
            "/ref",
        ),
        (
            "kubernetes",
            json!({ "namespace": "ci", "service_account": "sa", "service_account_uid": "a b" }),
            "/service_account_uid",
        ),
        (
            "circleci",
            json!({ "project_id": UUID, "deny_ssh_rerun": true, "vcs_origin": "github.com/o/r", "vcs_ref": "main" }),
            "/vcs_ref",
        ),
    ] {
        refused(profile, &rule, part);
    }
}

#[test]
fn cond_f10__characters_that_cannot_be_seen_are_refused_in_every_place() {
    for character in [
        '\u{ad}', '\u{200b}', '\u{200f}', '\u{202e}', '\u{2066}', '\u{feff}',
    ] {
        for members in [
            json!({ "environment": format!("prod{character}uction") }),
            json!({ "environment": { "any_of": ["staging", format!("{character}production")] } }),
            json!({ "environment": { "glob": format!("prod{character}*") } }),
            json!({ "ref": "refs/heads/main", "claims": { "enterprise": format!("acme{character}") } }),
        ] {
            assert!(
                saved("github-actions", &github(&members), None).is_err(),
                "{members}"
            );
        }
    }
    refused(
        "github-actions",
        &github(&json!({ "environment": "prod\u{200b}" })),
        "\\u{200b}, which cannot be seen",
    );
    // Joiners are part of names in some scripts and in emoji.
    warned(
        "github-actions",
        &github(&json!({ "environment": "\u{1f469}\u{200d}\u{1f680}" })),
        &[],
    );
}

#[test]
fn pub_k7__names_and_addresses_of_tenants_are_read_like_those_of_the_public_hosts() {
    let repository = |pasted: &str, issuer: &str| {
        let rule = json!({ "repository": pasted, "ref": "refs/heads/main" });
        saved("github-actions", &rule, Some(issuer)).map(|(stored, _)| stored["repository"].clone())
    };
    let tenant = "https://token.actions.octocorp.ghe.com";
    for (pasted, issuer, name) in [
        (
            "https://octocorp.ghe.com/octo-org/widgets/tree/main",
            tenant,
            "octo-org/widgets",
        ),
        (
            "git@octocorp.ghe.com:octo-org/widgets.git",
            tenant,
            "octo-org/widgets",
        ),
        ("octo-org/-", tenant, "octo-org/-"),
        ("https://github.com/octo-org/-", tenant, "octo-org/-"),
    ] {
        assert_eq!(repository(pasted, issuer), Ok(json!(name)), "{pasted}");
    }
    for pasted in [
        "https://evil.ghe.com/o/r",
        "https://ghe.com/o/r",
        "https://com/o/r",
    ] {
        assert!(repository(pasted, tenant).is_err(), "{pasted}");
    }
    let group = json!({ "namespace": "https://gitlab.com/groups/acme/tools/-/settings", "namespace_id": "1", "require_ref_protected": true });
    let (stored, _) = saved("gitlab-ci", &group, None).unwrap();
    assert_eq!(stored["namespace"], "acme/tools");
    let rule = json!({ "project_id": UUID, "ref": "refs/heads/main", "repository": "https://github.com/acme/widgets.git" });
    let (stored, _) = saved("semaphore", &rule, None).unwrap();
    assert_eq!(stored["repository"], "acme/widgets");
}

#[test]
fn conditions_on_claims_are_limited_and_have_the_type_that_the_platform_sends() {
    let many: serde_json::Map<String, Value> =
        (0..33).map(|n| (format!("c{n}"), json!("x"))).collect();
    let mut few = many.clone();
    few.remove("c0");
    let with_claims =
        |claims: &Value| github(&json!({ "ref": "refs/heads/main", "claims": claims }));
    refused(
        "github-actions",
        &with_claims(&Value::Object(many)),
        "at most 32 conditions; these are 33",
    );
    warned("github-actions", &with_claims(&Value::Object(few)), &[]);
    refused(
        "github-actions",
        &with_claims(&json!({ "ref_protected": "yes" })),
        "/claims/ref_protected must be true or false as a word",
    );
    let contexts = |value: Value| json!({ "project_id": UUID, "deny_ssh_rerun": true, "claims": { "oidc.circleci.com/context-ids": value } });
    refused("circleci", &contexts(json!("c-1")), "must be a list");
    refused(
        "circleci",
        &contexts(json!({ "any_of": ["c-1"] })),
        "must be a list",
    );
    assert!(saved("circleci", &contexts(json!(["c-1"])), None).is_ok());
}

#[test]
fn refs_that_git_refuses_are_refused_in_every_form() {
    for reference in [
        "a@{1}", "a.", "a.lock", ".a", "a/.b", "a//b", "a..b", "a~1", "a^", "a:b", "a\\b", "a b",
        "a/",
    ] {
        let full = format!("refs/heads/{reference}");
        refused(
            "github-actions",
            &github(&json!({ "ref": full })),
            "/ref must be a name that git allows",
        );
        let template = format!("refs/tags/{{version}}/{reference}");
        refused(
            "github-actions",
            &github(&json!({ "ref_template": template })),
            if reference.contains('{') {
                "/ref_template"
            } else {
                "/ref_template must be a name that git allows"
            },
        );
    }
    refused(
        "github-actions",
        &github(&json!({ "ref": { "glob": "refs/heads/a~*" } })),
        "/ref must be a name that git allows",
    );
    for reference in ["a@b", "a.b", "lock", "a.lock.b", "\u{e9}", "a/b@1"] {
        warned(
            "github-actions",
            &github(&json!({ "ref": format!("refs/heads/{reference}") })),
            &[],
        );
    }
    let object = |id: &str| json!({ "object_id": id });
    assert!(saved("entra", &object(UUID), None).is_ok());
    for wrong in [
        format!("{UUID}-1"),
        UUID.replace('-', ""),
        format!("{{{UUID}}}"),
    ] {
        refused("entra", &object(&wrong), "UUID");
    }
}

#[test]
fn files_and_called_workflows_are_stored_in_one_form() {
    for pasted in [
        ".github\\workflows\\release.yml",
        "./.github/workflows/release.yml",
        "/release.yml",
    ] {
        let (stored, _) = saved(
            "github-actions",
            &github(&json!({ "workflow_file": pasted, "ref": "refs/heads/main" })),
            None,
        )
        .unwrap();
        assert_eq!(stored["workflow_file"], "release.yml", "{pasted}");
    }
    let called =
        |path: &str| github(&json!({ "called_workflow": { "path": path, "sha": "A".repeat(40) } }));
    for path in [
        "o\\w\\.github\\workflows\\x.yml",
        "https://github.com/o/w/.github/workflows/x.yml",
        " o/w/.github/workflows/x.yml ",
    ] {
        let (stored, _) = saved("github-actions", &called(path), None).unwrap();
        assert_eq!(
            stored["called_workflow"],
            json!({ "path": "o/w/.github/workflows/x.yml", "sha": "a".repeat(40) }),
            "{path}"
        );
    }
    refused(
        "github-actions",
        &called("o/w/.github/workflows/x.yml@refs/heads/main"),
        "without the ref",
    );
}

#[test]
fn a_condition_narrows_by_every_one_of_its_values_and_with_what_belongs_to_it() {
    let ids = json!({ "namespace": "acme", "namespace_id": "72", "project": "widgets", "project_id": "20" });
    let gitlab = |members: Value| with(&ids, &members);
    for (members, codes) in [
        (
            json!({ "ref": { "glob": "v*" }, "ref_type": "tag" }),
            &[][..],
        ),
        (
            json!({ "ref": { "glob": "v*" }, "ref_type": "branch" }),
            &["any_ref"],
        ),
        (
            json!({ "ref": { "glob": "v*" }, "ref_type": { "any_of": ["tag", "branch"] } }),
            &["any_ref", "any_ref_type"],
        ),
        (json!({ "ref": "main", "ref_type": "branch" }), &[]),
        (
            json!({ "ci_config_path": ".gitlab-ci.yml", "claims": { "ref_protected": "true" } }),
            &[],
        ),
        (
            json!({ "ci_config_path": ".gitlab-ci.yml", "claims": { "ref_protected": "false" } }),
            &["any_ref"],
        ),
    ] {
        warned("gitlab-ci", &gitlab(members), codes);
    }
    let subjects = |second: &str| {
        github(&json!({ "subject": { "any_of": ["repo:o/r:ref:refs/heads/main", second] } }))
    };
    warned(
        "github-actions",
        &subjects("repo:o/r:environment:prod"),
        &[],
    );
    warned(
        "github-actions",
        &subjects("repo:o/r:pull_request"),
        &["any_ref", "pull_requests"],
    );
    // One id of theirs keeps strangers out.
    let one_id = |rule: Value| with(&rule, &json!({ "require_ref_protected": true }));
    warned(
        "gitlab-ci",
        &one_id(json!({ "namespace": "acme", "project": "widgets" })),
        &["open_pins"],
    );
    warned(
        "gitlab-ci",
        &one_id(json!({ "namespace": "acme", "project": "widgets", "project_id": "20" })),
        &[],
    );
    let subject =
        |glob: &str| github(&json!({ "environment": "prod", "subject": { "glob": glob } }));
    warned(
        "github-actions",
        &subject("repo:o/r:*"),
        &["star_stops_at_slash"],
    );
    warned("github-actions", &subject("repo:o/r:**"), &[]);
    warned(
        "github-actions",
        &subject("repo:o/r:environment:*"),
        &["star_stops_at_slash"],
    );
    warned(
        "github-actions",
        &subject("repo:o/r:ref:refs/tags/v*"),
        &["subject_of_no_environment"],
    );
}
