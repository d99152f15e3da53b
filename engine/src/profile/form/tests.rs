use serde_json::{Map, Value, json};

use super::*;
use crate::profile::{Profile, Profiles};

fn profile(name: &str) -> std::sync::Arc<Profile> {
    Profiles::load(None).unwrap().get(name).unwrap().clone()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn sent(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn read(profile_name: &str, pairs: &[(&str, &str)]) -> ReadForm {
    profile(profile_name).form().read(&sent(pairs))
}

#[test]
fn every_bundled_profile_for_workloads_has_a_form_with_all_its_fields() {
    for (name, text) in crate::profile::profiles::BUNDLED {
        let profile = profile(name);
        if profile.people.is_some() {
            continue;
        }
        assert!(text.contains("[form]"), "{name}");
        let form = profile.form();
        assert!(!form.main.is_empty(), "{name}");
        for field in &profile.fields {
            let is_shown = form.entries().any(|entry| entry.field == field.name);
            assert!(is_shown, "{name}: {}", field.name);
        }
        assert!(form.entries().any(|entry| entry.field == CLAIMS), "{name}");
    }
}

#[test]
fn a_form_is_read_as_the_rule_that_it_shows() {
    let read = read(
        "github-actions",
        &[
            ("match.repository", " https://github.com/octo-org/widgets "),
            ("match.ref.branch.on", "on"),
            ("match.ref.branch", "main\r\n\r\n refs/heads/next \r\nmain"),
            ("match.ref.tag", "v*"),
            ("match.environment", "release"),
            ("match.workflow_file.on", "on"),
            ("match.workflow_file", "release.yml"),
            ("match.workflow_binding", "caller"),
            ("match.require_ref_protected", "on"),
            ("match.match_names", "on"),
            ("match.events", "push\nrelease"),
            ("match.actor_id", ""),
            (
                "match.claims",
                "a = x\n/b/c=true\nd = 7\ne = \"7\"\nf = {\"any_of\": [\"x\", 1]}",
            ),
            (
                "match.called_workflow",
                "o/r/.github/workflows/p.yml@refs/tags/v*",
            ),
            ("principal", "octo-org"),
        ],
    );
    assert_eq!(read.problems, []);
    assert_eq!(
        Value::Object(read.matched),
        json!({
            "repository": "https://github.com/octo-org/widgets",
            "ref": { "any_of": ["refs/heads/main", "refs/heads/next"] },
            "workflow_file": "release.yml",
            "require_ref_protected": true,
            "match_names": false,
            "events": ["push", "release"],
            "called_workflow": { "path": "o/r/.github/workflows/p.yml", "ref": { "glob": "refs/tags/v*" } },
            "claims": { "a": "x", "/b/c": true, "d": 7, "e": "7", "f": { "any_of": ["x", 1] } },
        })
    );
}

#[test]
fn values_without_their_tick_do_not_count_and_ticks_without_value_are_mistakes() {
    let read = read(
        "github-actions",
        &[
            ("match.ref.branch", "main"),
            ("match.environment.on", ""),
            ("match.environment", " "),
        ],
    );
    assert_eq!(Value::Object(read.matched), json!({}));
    let keys: Vec<&str> = read.problems.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, ["match.environment"]);
}

#[test]
fn what_no_rule_can_say_is_a_mistake_at_its_entry() {
    for (profile, pairs, key, part) in [
        (
            "github-actions",
            &[
                ("match.ref.branch.on", "on"),
                ("match.ref.branch", "refs/tags/v1"),
            ][..],
            "match.ref.branch",
            "a field of its own: Tag",
        ),
        (
            "github-actions",
            &[
                ("match.ref.branch.on", "on"),
                ("match.ref.branch", "main"),
                ("match.ref.tag.on", "on"),
                ("match.ref.tag", "v*"),
            ],
            "match.ref.tag",
            "a pattern beside other values",
        ),
        (
            "gitlab-ci",
            &[
                ("match.ref.branch.on", "on"),
                ("match.ref.branch", "main"),
                ("match.ref.tag.on", "on"),
                ("match.ref.tag", "v1"),
            ],
            "match.ref.tag",
            "beside Branch",
        ),
        (
            "gitlab-ci",
            &[
                ("match.ref.branch.on", "on"),
                ("match.ref.branch", "main"),
                ("match.ref_type", "tag"),
            ],
            "match.ref.branch",
            "another ref_type than branch",
        ),
        (
            "github-actions",
            &[("match.runner_environment", "mine")],
            "match.runner_environment",
            "github-hosted",
        ),
        (
            "github-actions",
            &[("match.called_workflow", "o/r/.github/workflows/p.yml@v1")],
            "match.called_workflow",
            "begins with refs/",
        ),
        (
            "github-actions",
            &[("match.claims", "just text")],
            "match.claims",
            "just text",
        ),
        (
            "github-actions",
            &[("match.claims", "a = 1\na = 2")],
            "match.claims",
            "once",
        ),
        (
            "github-actions",
            &[(
                "match.claims",
                "a = {\"any_of\": [\"x\"], \"any_of\": [\"y\"]}",
            )],
            "match.claims",
            "in one way",
        ),
    ] {
        let problems = read(profile, pairs).problems;
        assert!(
            matches!(problems.as_slice(), [one] if one.key == key && one.text.contains(part)),
            "{pairs:?}: {problems:?}"
        );
    }
}

#[test]
fn a_stored_rule_is_shown_by_the_entries_that_people_filled_in() {
    let github = profile("github-actions");
    let filled = github.form().fill(&map(json!({
        "repository": "o/r", "ref": { "any_of": ["refs/heads/main", "refs/tags/v1", "refs/pull/1/merge"] },
        "events": "push", "require_ref_protected": false, "match_names": false,
        "environment": { "glob": "prod-*" }, "later": 1,
        "called_workflow": { "path": "a/b/c.yml", "ref": { "any_of": ["refs/heads/x"] } },
    })));
    let shown: Vec<(&str, &str)> = filled
        .sent
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("match.repository", "o/r"),
            ("match.ref.branch.on", "on"),
            ("match.ref.branch", "main"),
            ("match.ref.tag.on", "on"),
            ("match.ref.tag", "v1"),
            ("match.ref", "refs/pull/1/merge"),
            ("match.events", "push"),
            ("match.match_names", "on"),
            ("match.environment.on", "on"),
            ("match.environment", "prod-*"),
        ]
    );
    let rest: Vec<&String> = filled.rest.keys().collect();
    assert_eq!(rest, ["later", "called_workflow"]);
    let gitlab = profile("gitlab-ci");
    let branch = gitlab
        .form()
        .fill(&map(json!({ "ref": "main", "ref_type": "branch" })));
    assert_eq!(
        branch.sent,
        sent(&[("match.ref.branch.on", "on"), ("match.ref.branch", "main")])
    );
}

#[test]
fn what_is_not_touched_in_a_form_stays_as_it_is_stored() {
    let github = profile("github-actions");
    let form = github.form();
    let stored = map(json!({
        "repository": "o/r", "events": { "any_of": ["push"] }, "ref": ["odd"], "require_ref_protected": false,
        "environment": "a", "workflow_binding": "caller", "claims": { "a=b": "c" }, "runner_environment": "self-hosted",
    }));
    let mut shown = form.fill(&stored).sent;
    assert_eq!(
        form.edited(&stored, &shown),
        ReadForm {
            matched: stored.clone(),
            problems: Vec::new()
        }
    );
    for (name, value) in &mut shown {
        if name == "match.environment" {
            *value = "b\nc".to_owned();
        }
    }
    let edited = form.edited(&stored, &shown);
    let mut wanted = stored.clone();
    wanted["environment"] = json!({ "any_of": ["b", "c"] });
    assert_eq!((edited.problems, edited.matched), (Vec::new(), wanted));
    // A field of which the form shows nothing cannot be filled in without losing what is stored.
    shown.extend(sent(&[
        ("match.ref.branch.on", "on"),
        ("match.ref.branch", "main"),
    ]));
    let edited = form.edited(&stored, &shown);
    assert_eq!(edited.matched["ref"], json!(["odd"]));
    assert!(
        matches!(edited.problems.as_slice(), [one] if one.key == "match.ref.branch" && one.text.contains("[\"odd\"]")),
        "{:?}",
        edited.problems
    );
}

#[test]
fn a_problem_of_a_document_has_the_entry_that_was_filled_in() {
    let github = profile("github-actions");
    let form = github.form();
    let tag = sent(&[("match.ref.tag.on", "on"), ("match.ref.tag", "x y")]);
    assert_eq!(form.key_of("/match/ref", &tag), Some("match.ref.tag"));
    assert_eq!(form.key_of("/match/ref", &[]), Some("match.ref.branch"));
    assert_eq!(form.key_of("/match/claims/a~1b", &[]), Some("match.claims"));
    assert_eq!(form.key_of("/match", &tag), None);
    assert_eq!(form.key_of("/permissions/0", &tag), None);
    let gitlab = profile("gitlab-ci");
    let tag = sent(&[("match.ref.tag.on", "on"), ("match.ref.tag", "v1")]);
    assert_eq!(
        gitlab.form().key_of("/match/ref_type", &tag),
        Some("match.ref.tag")
    );
}

#[test]
fn a_form_says_why_it_needs_a_filter() {
    let needed = |name: &str| profile(name).form().filters_needed.clone();
    assert!(needed("github-actions").unwrap().contains("which jobs"));
    assert!(needed("gitlab-ci").unwrap().contains("which jobs"));
    assert_eq!(needed("kubernetes"), None);
    assert_eq!(needed("circleci"), None);
}

#[test]
fn a_workflow_of_any_repository_is_not_told_as_one_of_that_name() {
    let github = profile("github-actions");
    let said = |called: &str| {
        let matched =
            json!({ "repository": "o/r", "workflow_file": "r.yml", "called_workflow": called });
        github.form().admits(&map(matched))
    };
    let any = said("any");
    assert!(
        any.contains("also where a workflow of any other repository defines the job"),
        "{any}"
    );
    let own = said("same-repo");
    assert!(
        own.contains("also where a workflow of its own repository defines the job"),
        "{own}"
    );
}

#[test]
fn the_preview_tells_what_a_rule_admits() {
    for (name, matched, said) in [
        (
            "github-actions",
            json!({ "repository": "octo-org/octo-repo", "workflow_file": "release.yml" }),
            "any run of “release.yml” in “octo-org/octo-repo”, from any branch or tag, in any environment",
        ),
        (
            "github-actions",
            json!({ "repository_owner_id": "65", "ref": { "any_of": ["refs/heads/main", "refs/heads/next", "refs/tags/v1"] } }),
            "any run of any workflow in any repository (owner id “65”), from the branch “main” or “next” or from the tag “v1”, in any environment",
        ),
        (
            "github-actions",
            json!({
                "repository_id": "74", "ref": { "glob": "refs/tags/v*" }, "environment": "release", "match_names": true,
                "workflow_binding": "caller", "runner_environment": "github-hosted", "claims": { "a": "x", "b": true },
            }),
            "any run of any workflow (repository id “74”), from tags that fit “v*”, in the environment “release”, on “github-hosted” runners, if the claims “a” is “x” and “b” is true",
        ),
        (
            "github-actions",
            json!({ "repository": "o/r", "require_ref_protected": true, "later": [1] }),
            "any run of any workflow in “o/r”, in any environment, from protected branches and tags only, with later [1]",
        ),
        (
            "gitlab-ci",
            json!({ "namespace": "octo-org", "project": "widgets", "ref": "main", "ref_type": "branch" }),
            "any job of any configuration file in the project “widgets” of the group “octo-org”, from the branch “main”, in any environment",
        ),
        (
            "kubernetes",
            json!({ "namespace": "release", "service_account": { "any_of": ["a", "b", "c"] }, "require_pod_binding": false }),
            "any pod with the service account “a”, “b” or “c” in the namespace “release”, also with tokens that are bound to no pod",
        ),
        (
            "circleci",
            json!({ "project_id": "p" }),
            "any job in the project “p”, built from any repository, forks too, at any branch or tag, with any contexts, also when rerun with SSH",
        ),
        (
            "spiffe",
            json!({ "spiffe_id": { "glob": "spiffe://d/ci/*" } }),
            "any workload with SPIFFE IDs that fit “spiffe://d/ci/*”",
        ),
    ] {
        assert_eq!(profile(name).form().admits(&map(matched)), said);
    }
}

#[test]
fn an_operators_profile_without_a_form_gets_one_of_its_fields() {
    const TEXT: &str = r#"
        title = "Acme CI"
        [defaults]
        algorithms = ["RS256"]
        types = ["JWT"]
        max_assertion_lifetime_seconds = 60
        replay = "off"
        [workload]
        id = "{sub}"
        [claims]
        project = {}
        branch = {}
        bound = {}
        [[fields]]
        name = "project"
        role = "name"
        check.equals = { claim = "project" }
        [[fields]]
        name = "branch"
        check.equals = { claim = "branch", glob = true }
        [[fields]]
        name = "require_bound"
        check.present = { claim = "bound", default = true }
        [[at_least]]
        any_of = ["project"]
        detail = "d"
        [[at_least]]
        any_of = ["branch"]
        detail = "say which branch"
    "#;
    let profile = Profile::parse("acme", TEXT).unwrap();
    let form = profile.form();
    let labels = |entries: &[Entry]| -> Vec<String> {
        entries.iter().map(|entry| entry.label.clone()).collect()
    };
    assert_eq!(labels(&form.main), ["project"]);
    assert_eq!(labels(&form.filters), ["branch"]);
    assert_eq!(
        labels(&form.more),
        ["require_bound = false", "Other claims"]
    );
    assert_eq!(form.filters_needed.as_deref(), Some("say which branch"));
    let matched = json!({ "project": "p", "branch": { "glob": "v*" }, "require_bound": false });
    assert_eq!(
        form.admits(&map(matched)),
        "any workload, with project “p”, with branch like “v*”, with require_bound = false"
    );
    for (wrong, part) in [
        (
            "main = [{ field = \"nope\", label = \"L\" }]",
            "no field `nope`",
        ),
        (
            "main = [{ field = \"branch\", label = \"L\", unless = [\"nope\"] }]",
            "no field `nope`",
        ),
        (
            "main = [{ field = \"branch\", label = \"L\", with = { nope = \"x\" } }]",
            "no field `nope`",
        ),
        (
            "main = [{ field = \"branch\", label = \"L\", says = \"x\" }]",
            "must hold {value}",
        ),
        (
            "main = [{ field = \"require_bound\", label = \"L\", says = \"{value}\" }]",
            "must hold {value}",
        ),
        (
            "main = [{ field = \"project\", label = \"L\", says_of_patterns = \"{value}\" }]",
            "take patterns",
        ),
        (
            "main = [{ field = \"require_bound\", label = \"L\", shorthand = \"x\" }]",
            "fields of texts",
        ),
        (
            "main = [{ field = \"branch\", label = \"A\" }, { field = \"branch\", label = \"B\" }]",
            "same `name`",
        ),
        ("sentence = \"any {nope}\"", "no field `nope`"),
        ("sentence = \"any {branch\"", "close every brace"),
        ("color = \"red\"", "color"),
    ] {
        let errors = Profile::parse("acme", &format!("{TEXT}\n[form]\n{wrong}")).unwrap_err();
        assert!(format!("{errors:?}").contains(part), "{wrong}: {errors:?}");
    }
}
