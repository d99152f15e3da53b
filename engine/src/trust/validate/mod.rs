//! Validates and normalises the `match` of a federated credential when it is saved.
//!
//! Refuses a `match` that can never hold or that workloads of other accounts would fulfil, and
//! brings pasted values into one stored form. Claims are never normalised.

mod called;
#[cfg(test)]
mod cases;
mod claims;
mod never;
mod terms;
mod values;
mod warnings;
mod whole;

use serde::Serialize;
use serde_json::{Map, Value};

pub use whole::{missing_ids, names_the_same};

use crate::profile::{Check, Field, PinMode, Profile, Role, Terms};

/// An error in a document, and where in the document it is (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DocumentError {
    /// JSON Pointer to the member that is wrong (RFC 6901); empty for the document as a whole.
    pub pointer: String,
    /// What is wrong with the member, or what is expected of it.
    pub detail: String,
}

/// A weakness of a document that does not keep it from being saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Warning {
    /// Stable code of the warning, such as `any_ref`.
    pub code: String,
    /// What is weak, and what to do about it.
    pub detail: String,
}

/// A valid `match` in its stored form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Normalised {
    pub matcher: Map<String, Value>,
    pub warnings: Vec<Warning>,
}

impl Warning {
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            detail: detail.into(),
        }
    }

    /// A warning if its condition holds.
    pub fn when(holds: bool, code: &str, detail: impl Into<String>) -> Option<Self> {
        holds.then(|| Self::new(code, detail))
    }
}

impl DocumentError {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// Validates and normalises a `match` under the terms of its trusted issuer. Pointers in the errors
/// are relative to the `match`.
pub fn normalise(
    profile: &Profile,
    terms: &Terms,
    given: &Map<String, Value>,
) -> Result<Normalised, Vec<DocumentError>> {
    let mut problems = Vec::new();
    let mut matcher = Map::new();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let pointer = format!("/{}", escape(name));
        let stored = match name.as_str() {
            "claims" => claims::claims(profile, value),
            _ => match profile.fields_named(name).next() {
                Some((_, field)) => member(profile, field, value, terms),
                None => Err(vec![DocumentError::new("", unknown_field(profile, name))]),
            },
        };
        match stored {
            Ok(stored) => {
                matcher.insert(name.clone(), stored);
            }
            Err(found) => {
                problems.extend(
                    found
                        .into_iter()
                        .map(|p| DocumentError::new(format!("{pointer}{}", p.pointer), p.detail)),
                );
            }
        }
    }
    problems.extend(whole::whole(profile, &matcher, &problems));
    problems.extend(terms::terms(profile, terms, &matcher));
    problems.extend(never::never(profile, &matcher));
    if problems.is_empty() {
        Ok(Normalised {
            warnings: warnings::warnings(profile, terms, &matcher),
            matcher,
        })
    } else {
        Err(problems)
    }
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn unknown_field(profile: &Profile, name: &str) -> String {
    let mut known: Vec<&str> = profile
        .fields
        .iter()
        .map(|field| field.name.as_str())
        .collect();
    known.sort_unstable();
    known.dedup();
    let (profile, known) = (&profile.name, known.join(", "));
    format!(
        "must be left out: profile {profile} has no field `{name}`; its fields are {known} and claims"
    )
}

fn member(
    profile: &Profile,
    field: &Field,
    value: &Value,
    terms: &Terms,
) -> Result<Value, Vec<DocumentError>> {
    let one = |result: Result<Value, String>| {
        result.map_err(|detail| vec![DocumentError::new("", detail)])
    };
    match &field.check {
        Check::Equals(equals) => {
            let plain_only = field.role == Role::Name && profile.pins != PinMode::Never;
            one(values::equal(
                equals,
                value,
                plain_only,
                terms.issuer.as_deref(),
            ))
        }
        Check::Flag { .. } | Check::Present { .. } | Check::MatchNames => one(match value {
            Value::Bool(_) => Ok(value.clone()),
            _ => Err("must be true or false".to_owned()),
        }),
        Check::Choice { values, .. } => one(match value {
            Value::String(text) if values.contains(text) => Ok(value.clone()),
            _ => Err(format!("must be one of {}", values.join(", "))),
        }),
        Check::File(check) => one(values::file(check, value)),
        Check::Version { starts_with, .. } => one(values::version(starts_with, value)),
        Check::ReusableFile(_) => called::called(value),
        Check::Identity(_) => one(values::text(value).map(Value::String)),
        Check::Upstream => terms::upstream(value, terms),
        Check::Attested(check) => one(values::attested(check.resource, value)),
    }
}

/// Whether a rule is pending until its first match: the profile requires pins, and an id of an
/// object that the rule names is neither given nor pinned.
pub fn is_pending(
    profile: &Profile,
    matcher: &Map<String, Value>,
    pins: &Map<String, Value>,
) -> bool {
    profile.pins == PinMode::Required
        && missing_ids(profile, matcher)
            .iter()
            .any(|name| !pins.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::Profiles;

    fn github(value: Value) -> Result<Normalised, Vec<DocumentError>> {
        let profiles = Profiles::load(None).unwrap();
        let mut given = json!({ "repository": "o/r", "workflow_file": "release.yml" });
        for (name, value) in value.as_object().unwrap() {
            given[name] = value.clone();
        }
        normalise(
            profiles.get("github-actions").unwrap(),
            &Terms::default(),
            given.as_object().unwrap(),
        )
    }

    fn stored(name: &str, value: Value) -> Value {
        github(json!({ name: value })).unwrap().matcher[name].clone()
    }

    fn refused(name: &str, value: Value) -> String {
        let problems =
            github(json!({ name: value.clone() })).expect_err(&format!("{name} {value}"));
        let at = format!("/{name}");
        problems
            .iter()
            .find(|p| p.pointer.starts_with(&at))
            .unwrap_or_else(|| panic!("{problems:?}"))
            .detail
            .clone()
    }

    #[test]
    fn pasted_urls_paths_and_ids_are_brought_into_one_form() {
        for pasted in [
            "https://github.com/O/r",
            "https://github.com/O/r/",
            "https://github.com/O/r.git",
            "git@github.com:O/r.git",
            " O/r ",
        ] {
            assert_eq!(stored("repository", json!(pasted)), "O/r", "{pasted}");
        }
        for pasted in [
            ".github/workflows/x.yml",
            "/.github/workflows/x.yml",
            "x.yml",
        ] {
            assert_eq!(stored("workflow_file", json!(pasted)), "x.yml", "{pasted}");
        }
        assert_eq!(stored("repository_id", json!(74)), "74");
        assert_eq!(stored("repository_id", json!("74")), "74");
        let sha = "A".repeat(40);
        let called = json!({"path": "o/r/.github/workflows/p.yml", "sha": sha});
        assert_eq!(stored("called_workflow", called)["sha"], "a".repeat(40));
    }

    #[test]
    fn nuget_pol_3__repository_names_beyond_ascii_or_of_another_form_are_refused() {
        assert!(refused("repository", json!("oсto/r")).contains("never match"));
        assert!(refused("repository", json!("widgets")).contains("owner/name"));
        assert!(refused("repository", json!("a/b/c")).contains("owner/name"));
    }

    #[test]
    fn atk_134__unknown_fields_are_refused_with_the_known_ones() {
        assert!(refused("ref_regex", json!("a|b")).contains("require_ref_protected"));
        assert!(refused("Repository", json!("o/r")).contains("no field"));
        let problems = github(json!({"a/b~": "x"})).unwrap_err();
        assert_eq!(problems[0].pointer, "/a~1b~0");
    }

    #[test]
    fn invalid_match_values_are_refused() {
        for (name, value) in [
            ("repository", json!("")),
            ("repository", json!(["o/r"])),
            ("repository", json!({"any_of": ["o/r"]})),
            ("repository", json!({"glob": "o/*"})),
            ("repository_owner_id", json!("")),
            ("repository_owner_id", json!("abc")),
            ("repository_owner_id", json!(-1)),
            ("repository_owner_id", json!(1.5)),
            ("workflow_file", json!("release")),
            ("workflow_file", json!(".yml")),
            ("workflow_file", json!("ci/release.yml")),
            ("workflow_file", json!(7)),
            ("workflow_binding", json!("both")),
            ("environment", json!("")),
            ("environment", json!({"glob": "*"})),
            ("environment", json!({"glob": "**"})),
            ("environment", json!({"any_of": []})),
            ("environment", json!({"any_of": [""]})),
            ("environment", json!({"any_of": ["a"], "glob": "b"})),
            ("environment", json!({"regex": "a"})),
            ("environment", json!(["a"])),
            ("environment", json!(true)),
            ("ref", json!("main")),
            ("ref", json!("refs/")),
            ("ref", json!({"glob": "**"})),
            ("ref", json!({"glob": "refs/*"})),
            ("ref", json!({"glob": "refs/**"})),
            ("ref", json!({"glob": "*refs/heads/x"})),
            (
                "ref",
                json!({"glob": format!("refs/heads/{}", "a".repeat(256))}),
            ),
            (
                "ref",
                json!({"glob": format!("refs/heads/{}", "a*".repeat(9))}),
            ),
            ("ref", json!("refs/heads/\u{0}")),
            ("ref", json!(format!("refs/heads/{}", "a".repeat(1024)))),
            ("ref_type", json!("commit")),
            ("ref_type", json!({"glob": "t*"})),
            ("ref_template", json!("refs/tags/release")),
            ("ref_template", json!("refs/tags/{version}{version}")),
            ("ref_template", json!("v{version}")),
            ("ref_template", json!("refs/tags/*{version}")),
            ("ref_template", json!("refs/tags/{version}-{other}")),
            ("require_ref_protected", json!("true")),
            ("match_names", json!("false")),
            ("events", json!([])),
            ("events", json!({"glob": "p*"})),
            ("called_workflow", json!("other")),
            ("called_workflow", json!({})),
            (
                "called_workflow",
                json!({"path": "o/r/.github/workflows/p.yml"}),
            ),
            (
                "called_workflow",
                json!({"path": "o/r/.github/workflows/p.yml", "ref": "refs/tags/v1", "sha": "a".repeat(40)}),
            ),
            (
                "called_workflow",
                json!({"path": "o/r", "ref": "refs/tags/v1"}),
            ),
            (
                "called_workflow",
                json!({"path": "o//p.yml", "ref": "refs/tags/v1"}),
            ),
            ("called_workflow", json!({"path": "o/r/p.yml", "ref": "v1"})),
            (
                "called_workflow",
                json!({"path": "o/r/p.yml", "sha": "abc"}),
            ),
            (
                "called_workflow",
                json!({"path": "o/r/p.yml", "sha": "g".repeat(40)}),
            ),
            (
                "called_workflow",
                json!({"path": "o/r/p.yml", "ref": "refs/tags/v1", "x": 1}),
            ),
            ("claims", json!("x")),
            ("claims", json!({"a": {"glob": "x*"}})),
            ("claims", json!({"a": []})),
            ("claims", json!({"a": [[]]})),
            ("claims", json!({"a": null})),
            ("claims", json!({"a": ""})),
            ("claims", json!({"a": 1.5})),
            ("claims", json!({"a": 9_007_199_254_740_993_u64})),
            ("claims", json!({"": "x"})),
            ("claims", json!({"a": {"any_of": []}})),
            ("claims", json!({"a": {"any_of": ["x"], "y": 1}})),
        ] {
            refused(name, value);
        }
    }

    #[test]
    fn valid_match_values_are_kept_unchanged() {
        for (name, value) in [
            ("environment", json!({"glob": "prod-*"})),
            ("environment", json!({"any_of": ["a", "b"]})),
            ("environment", json!("prod/eu ü")),
            ("ref", json!({"glob": "refs/heads/**"})),
            (
                "ref",
                json!({"glob": format!("refs/heads/{}", "a**".repeat(8))}),
            ),
            ("ref", json!({"any_of": ["refs/heads/a", "refs/heads/b"]})),
            ("ref_type", json!("tag")),
            ("ref_template", json!("refs/tags/v{version}")),
            ("events", json!(["push", "release"])),
            ("events", json!("push")),
            ("called_workflow", json!("any")),
            (
                "called_workflow",
                json!({"path": "o/r/.github/workflows/p.yml", "ref": {"glob": "refs/tags/v*"}}),
            ),
            (
                "claims",
                json!({"a": "x", "/b/c": true, "d": 7, "e": ["x"], "f": {"any_of": [1, "2"]}}),
            ),
            ("workflow_file", json!("release%pypi.yml")),
            ("match_names", json!(true)),
        ] {
            assert_eq!(stored(name, value.clone()), value);
        }
        // `null` means the same as leaving the member out.
        assert!(
            !github(json!({"environment": null}))
                .unwrap()
                .matcher
                .contains_key("environment")
        );
    }

    #[test]
    fn nuget_pol_1__a_rule_that_would_admit_anybodys_jobs_is_refused() {
        let missing = |value: Value| {
            github(value)
                .unwrap_err()
                .iter()
                .map(|p| p.detail.clone())
                .collect::<String>()
        };
        assert!(
            missing(json!({"repository": null}))
                .contains("repository, repository_id, repository_owner_id")
        );
        assert!(missing(json!({"workflow_file": null})).contains("ref_template, subject"));
        assert!(
            missing(json!({"workflow_file": null, "called_workflow": "any"}))
                .contains("called_workflow.path")
        );
        assert!(
            missing(json!({"repository": null, "subject": {"glob": "repo:o/*"}}))
                .contains("anybody's jobs")
        );
        assert!(github(json!({"repository": null, "repository_owner_id": "65"})).is_ok());
        let called = json!({"path": "o/r/p.yml", "sha": "a".repeat(40)});
        assert!(github(json!({"workflow_file": null, "called_workflow": called})).is_ok());
        // An invalid member is reported as invalid, not as missing.
        assert_eq!(github(json!({"workflow_file": ""})).unwrap_err().len(), 1);
    }

    #[test]
    fn nuget_pol_1__an_empty_rule_is_refused_even_when_the_profile_requires_nothing() {
        let text = r#"
            title = "X"
            defaults = { algorithms = ["RS256"], types = ["JWT"], max_assertion_lifetime_seconds = 60, replay = "off" }
            workload = { id = "{sub}" }
            fields = [
                { name = "subject", check = { equals = { claim = "sub" } } },
                { name = "protected", check = { flag = { claim = "sub" } } },
                { name = "binding", check = { choice = { values = ["a", "b"], default = "a" } } },
                { name = "match_names", check = "match_names" },
            ]
        "#;
        let profile = Profile::parse("x", text).unwrap();
        let refused = |given: Value| {
            normalise(&profile, &Terms::default(), given.as_object().unwrap()).is_err()
        };
        for nothing in [
            json!({}),
            json!({ "protected": false }),
            json!({ "binding": "b" }),
            json!({ "match_names": true }),
            json!({ "claims": {} }),
            json!({ "claims": { "iss": "https://x.test" } }),
        ] {
            assert!(refused(nothing.clone()), "{nothing}");
        }
        for something in [
            json!({ "subject": "s" }),
            json!({ "protected": true }),
            json!({ "claims": { "a": "b" } }),
        ] {
            assert!(!refused(something.clone()), "{something}");
        }
    }

    #[test]
    fn match_names_false_needs_both_ids() {
        let ids = json!({"match_names": false, "repository_owner_id": "65"});
        assert!(github(ids).unwrap_err()[0].detail.contains("repository_id"));
        assert!(
            github(
                json!({"match_names": false, "repository_owner_id": "65", "repository_id": "74"})
            )
            .is_ok()
        );
        assert!(github(json!({"match_names": true})).is_ok());
    }

    #[test]
    fn weak_rules_are_warned_about() {
        let codes = |value| {
            github(value)
                .unwrap()
                .warnings
                .into_iter()
                .map(|w| w.code)
                .collect::<Vec<_>>()
        };
        assert_eq!(codes(json!({})), ["any_ref"]);
        assert_eq!(codes(json!({"require_ref_protected": false})), ["any_ref"]);
        for strong in [
            json!({"environment": "e"}),
            json!({"ref": "refs/heads/main"}),
            json!({"require_ref_protected": true}),
        ] {
            assert!(codes(strong).is_empty());
        }
    }
}
