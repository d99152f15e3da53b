//! Reads the `match` of a federated credential when it is saved: refuses what cannot be right or is open to strangers, and
//! brings what people paste into one stored form. Claims are never brought into any form.

use serde::Serialize;
use serde_json::{Map, Value};

use super::glob::MAX_PATTERN_BYTES;
use super::rule::scalar;
use crate::profile::{Case, Check, ClaimKind, Equals, Field, FileCheck, Paste, PinMode, Profile, Role};

const MAX_TEXT_BYTES: usize = 1024;
const PLACEHOLDER: &str = "{version}";

/// Something wrong with a document, at a place in it (RFC 9457; RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Where: a JSON Pointer.
    pub pointer: String,
    /// What.
    pub detail: String,
}

/// Something that is merely weak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Warning {
    /// A stable code.
    pub code: String,
    /// What, and what to do about it.
    pub detail: String,
}

/// A `match` in its stored form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Normalised {
    /// The members.
    pub matcher: Map<String, Value>,
    /// What is weak about it.
    pub warnings: Vec<Warning>,
}

impl Problem {
    /// A problem at a JSON Pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Reads a `match`; pointers in the problems are relative to it.
pub fn normalise(profile: &Profile, given: &Map<String, Value>) -> Result<Normalised, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut matcher = Map::new();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let pointer = format!("/{}", escape(name));
        let stored = match name.as_str() {
            "claims" => claims(value),
            _ => match profile.fields_named(name).next() {
                Some((_, field)) => member(profile, field, value),
                None => Err(vec![Problem::new("", unknown_field(profile, name))]),
            },
        };
        match stored {
            Ok(stored) => {
                matcher.insert(name.clone(), stored);
            }
            Err(found) => {
                problems.extend(found.into_iter().map(|p| Problem::new(format!("{pointer}{}", p.pointer), p.detail)));
            }
        }
    }
    problems.extend(whole(profile, &matcher, &problems));
    if problems.is_empty() { Ok(Normalised { warnings: warnings(profile, &matcher), matcher }) } else { Err(problems) }
}

/// The id fields that still have to be pinned: those that tell what the rule names, and that it does not give.
pub fn missing_ids<'p>(profile: &'p Profile, matcher: &Map<String, Value>) -> Vec<&'p str> {
    profile
        .fields
        .iter()
        .filter(|field| field.role == Role::Name && matcher.contains_key(&field.name))
        .flat_map(|field| &field.ids)
        .filter_map(|at| profile.fields.get(*at))
        .map(|field| field.name.as_str())
        .filter(|name| !matcher.contains_key(*name))
        .collect()
}

/// Whether two rules name the same thing, so that pins of one hold for the other.
pub fn names_the_same(profile: &Profile, left: &Map<String, Value>, right: &Map<String, Value>) -> bool {
    profile.fields.iter().filter(|field| field.role == Role::Name).all(|field| {
        let case = match &field.check {
            Check::Equals(equals) => equals.claim.case,
            _ => Case::Exact,
        };
        match (left.get(&field.name), right.get(&field.name)) {
            (Some(Value::String(left)), Some(Value::String(right))) => case.same(left, right),
            (left, right) => left == right,
        }
    })
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn unknown_field(profile: &Profile, name: &str) -> String {
    let mut known: Vec<&str> = profile.fields.iter().map(|field| field.name.as_str()).collect();
    known.sort_unstable();
    known.dedup();
    format!("profile {} has no field `{name}`; its fields are {} and claims", profile.name, known.join(", "))
}

fn member(profile: &Profile, field: &Field, value: &Value) -> Result<Value, Vec<Problem>> {
    let one = |result: Result<Value, String>| result.map_err(|detail| vec![Problem::new("", detail)]);
    match &field.check {
        Check::Equals(equals) => {
            let plain_only = field.role == Role::Name && profile.pins != PinMode::Never;
            one(equal(equals, value, plain_only))
        }
        Check::Flag(_) | Check::MatchNames => one(match value {
            Value::Bool(_) => Ok(value.clone()),
            _ => Err("is true or false".to_owned()),
        }),
        Check::Choice { values, .. } => one(match value {
            Value::String(text) if values.contains(text) => Ok(value.clone()),
            _ => Err(format!("is one of {}", values.join(", "))),
        }),
        Check::File(check) => one(file(check, value)),
        Check::Version { starts_with, .. } => one(version(starts_with, value)),
        Check::ReusableFile(_) => called(value),
    }
}

fn equal(equals: &Equals, value: &Value, plain_only: bool) -> Result<Value, String> {
    let plain = |value: &Value| plain(equals, value).map(Value::String);
    let list = |values: &[Value]| match values {
        [] => Err("an empty list equals nothing".to_owned()),
        values => values.iter().map(plain).collect::<Result<Vec<_>, _>>().map(Value::Array),
    };
    match value {
        Value::Object(_) | Value::Array(_) if plain_only => Err("takes one plain value".to_owned()),
        Value::Array(values) if equals.list || equals.claim.kind == ClaimKind::List => list(values),
        Value::Array(_) => Err("is one value; for several write {\"any_of\": […]}".to_owned()),
        Value::Object(matcher) => match (matcher.get("glob"), matcher.get("any_of"), matcher.len()) {
            (Some(Value::String(pattern)), None, 1) if equals.glob => {
                glob(equals, pattern).map(|()| Value::Object(matcher.clone()))
            }
            (Some(_), None, 1) if !equals.glob => Err("takes no glob".to_owned()),
            (None, Some(Value::Array(values)), 1) => {
                Ok(Value::Object(Map::from_iter([("any_of".to_owned(), list(values)?)])))
            }
            _ => Err("is a plain value, {\"glob\": \"…\"} or {\"any_of\": […]}".to_owned()),
        },
        value => plain(value),
    }
}

fn plain(equals: &Equals, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => paste(&equals.paste, text),
        Value::Number(number) if equals.digits && number.is_u64() => number.to_string(),
        _ => return Err("is a string".to_owned()),
    };
    check_text(&text)?;
    let claim = &equals.claim;
    if claim.case == Case::Name && !text.is_ascii() {
        return Err("holds a character that no such name has; such a rule would never match".to_owned());
    }
    if equals.digits && !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is the number that the platform shows as the id, in digits".to_owned());
    }
    if let Some(format) = claim.format.filter(|format| !format.fits(&text)) {
        return Err(match format {
            crate::profile::Format::OwnerAndName => "is of the form owner/name".to_owned(),
        });
    }
    if !claim.one_of.is_empty() && !claim.one_of.contains(&text) {
        return Err(format!("is one of {}", claim.one_of.join(", ").trim_end_matches(", ")));
    }
    match &equals.starts_with {
        Some(beginning) if !text.starts_with(beginning.as_str()) || text == *beginning => {
            Err(format!("begins with {beginning}"))
        }
        _ => Ok(text),
    }
}

fn check_text(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty; an empty condition is not a wildcard, leave the member out".to_owned());
    }
    if text.len() > MAX_TEXT_BYTES || text.contains(char::is_control) {
        return Err("is longer than 1024 bytes or holds control characters".to_owned());
    }
    if text.trim() != text {
        return Err("begins or ends with white space".to_owned());
    }
    Ok(())
}

fn paste(paste: &Paste, text: &str) -> String {
    let mut text = text.trim();
    let taken_off = |text: &str| -> Option<usize> {
        let prefix = paste.prefixes.iter().find(|prefix| text.starts_with(prefix.as_str()));
        prefix.map(String::len)
    };
    while let Some(rest) = taken_off(text).and_then(|length| text.get(length..)) {
        text = rest;
    }
    while let Some(rest) = paste.suffixes.iter().find_map(|suffix| text.strip_suffix(suffix.as_str())) {
        text = rest;
    }
    text.to_owned()
}

fn glob(equals: &Equals, pattern: &str) -> Result<(), String> {
    check_text(pattern)?;
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(format!("a pattern has at most {MAX_PATTERN_BYTES} bytes"));
    }
    let literal = pattern.split('*').next().unwrap_or_default();
    match &equals.starts_with {
        Some(beginning) if !literal.starts_with(beginning.as_str()) || literal == beginning => Err(format!(
            "begins with {beginning} and at least one more character before the first *; it has to exclude something"
        )),
        None if pattern.chars().all(|character| matches!(character, '*' | '/')) => {
            Err("excludes nothing: leave the member out if every value is meant".to_owned())
        }
        _ => Ok(()),
    }
}

fn file(check: &FileCheck, value: &Value) -> Result<Value, String> {
    let Value::String(text) = value else {
        return Err("is a string".to_owned());
    };
    let text = paste(&check.paste, text);
    check_text(&text)?;
    if text.contains('/') {
        return Err("is the file's name, without folders".to_owned());
    }
    let has_ending = |ending: &String| text.len() > ending.len() && text.ends_with(ending.as_str());
    if !check.endings.is_empty() && !check.endings.iter().any(has_ending) {
        return Err(format!("ends with {}", check.endings.join(" or ")));
    }
    Ok(Value::String(text))
}

fn version(starts_with: &str, value: &Value) -> Result<Value, String> {
    let Value::String(text) = value else {
        return Err("is a string".to_owned());
    };
    check_text(text)?;
    if text.matches(PLACEHOLDER).count() != 1 || text.replace(PLACEHOLDER, "").contains(['{', '}', '*']) {
        return Err(format!("holds {PLACEHOLDER} exactly once and no other placeholder"));
    }
    if !text.starts_with(starts_with) {
        return Err(format!("begins with {starts_with}, for example refs/tags/v{PLACEHOLDER}"));
    }
    Ok(value.clone())
}

fn called(value: &Value) -> Result<Value, Vec<Problem>> {
    const FORM: &str = "is \"same-repo\", \"any\", or an object of path and either ref or sha";
    let wrong = |pointer: &str, detail: &str| Problem::new(pointer, detail);
    let called = match value {
        Value::String(word) if word == "same-repo" || word == "any" => return Ok(value.clone()),
        Value::Object(called) => called,
        _ => return Err(vec![wrong("", FORM)]),
    };
    let given = |name: &str| called.get(name).filter(|value| !value.is_null());
    let mut problems = Vec::new();
    if called.keys().any(|name| !matches!(name.as_str(), "path" | "ref" | "sha"))
        || given("ref").is_some() == given("sha").is_some()
    {
        problems.push(wrong("", FORM));
    }
    let mut stored = Map::new();
    match given("path") {
        Some(Value::String(path)) if is_workflow_path(path) => {
            stored.insert("path".to_owned(), path.clone().into());
        }
        _ => problems.push(wrong("/path", "is owner/repository/.github/workflows/file")),
    }
    match given("sha") {
        None => {}
        Some(Value::String(sha)) if is_commit(sha) => {
            stored.insert("sha".to_owned(), sha.to_ascii_lowercase().into());
        }
        Some(_) => problems.push(wrong("/sha", "is a full commit id of 40 or 64 hexadecimal digits")),
    }
    if let Some(reference) = given("ref") {
        match called_ref(reference) {
            Ok(reference) => {
                stored.insert("ref".to_owned(), reference);
            }
            Err(detail) => problems.push(wrong("/ref", &detail)),
        }
    }
    if problems.is_empty() { Ok(Value::Object(stored)) } else { Err(problems) }
}

/// A ref or a glob of refs, by the rules of any ref.
fn called_ref(value: &Value) -> Result<Value, String> {
    let claim = crate::profile::ClaimSpec::text_claim("ref");
    let equals = Equals {
        claim: claim.into(),
        glob: true,
        list: false,
        starts_with: Some("refs/".to_owned()),
        digits: false,
        paste: Paste::default(),
    };
    equal(&equals, value, false)
}

fn is_workflow_path(path: &str) -> bool {
    let mut segments = path.split('/');
    let names = segments.by_ref().take(2).all(|name| !name.is_empty() && name.is_ascii());
    names && check_text(path).is_ok() && segments.clone().count() >= 1 && segments.all(|segment| !segment.is_empty())
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn claims(value: &Value) -> Result<Value, Vec<Problem>> {
    let Value::Object(claims) = value else {
        return Err(vec![Problem::new("", "is an object of claim names and values")]);
    };
    let mut problems = Vec::new();
    for (name, value) in claims {
        let scalars = |values: &[Value]| !values.is_empty() && values.iter().all(is_scalar);
        let usable = match value {
            Value::Array(values) => scalars(values),
            Value::Object(matcher) => {
                matcher.len() == 1 && matches!(matcher.get("any_of"), Some(Value::Array(values)) if scalars(values))
            }
            plain => is_scalar(plain),
        };
        if name.is_empty() || !usable {
            let detail =
                "is a string, a boolean, an integer, {\"any_of\": […]} or a list of them; there are no globs here";
            problems.push(Problem::new(format!("/{}", escape(name)), detail));
        }
    }
    if problems.is_empty() { Ok(value.clone()) } else { Err(problems) }
}

fn is_scalar(value: &Value) -> bool {
    scalar(value).is_some() && value.as_str().is_none_or(|text| check_text(text).is_ok())
}

/// What only the whole rule shows.
fn whole(profile: &Profile, matcher: &Map<String, Value>, found: &[Problem]) -> Vec<Problem> {
    // A member that is wrong is there all the same: saying that it is missing would mislead.
    let given = |name: &String| {
        let (field, member) =
            name.split_once('.').map_or((name.as_str(), None), |(field, member)| (field, Some(member)));
        let wrong = found.iter().any(|problem| problem.pointer.split('/').nth(1) == Some(field));
        wrong
            || matcher.get(field).is_some_and(|value| match (member, value) {
                (Some(member), value) => value.get(member).is_some(),
                (None, Value::Object(members)) => !members.is_empty(),
                (None, value) => *value != Value::Bool(false),
            })
    };
    let mut problems: Vec<Problem> = profile
        .at_least
        .iter()
        .filter(|rule| !rule.any_of.iter().any(given))
        .map(|rule| Problem::new("", format!("at least one of {} is needed: {}", rule.any_of.join(", "), rule.detail)))
        .collect();
    let ids = profile.fields.iter().filter(|field| field.role == Role::Id).map(|field| &field.name);
    if matcher.get("match_names") == Some(&Value::Bool(false)) {
        let missing: Vec<&str> = ids.filter(|name| !given(name)).map(String::as_str).collect();
        if !missing.is_empty() {
            problems
                .push(Problem::new("/match_names", format!("comparing ids only needs {} as well", missing.join(", "))));
        }
    }
    problems
}

fn warnings(profile: &Profile, matcher: &Map<String, Value>) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = profile
        .warnings
        .iter()
        .filter(|rule| {
            !rule.unless.iter().any(|name| matcher.get(name).is_some_and(|value| *value != Value::Bool(false)))
        })
        .map(|rule| Warning { code: rule.code.clone(), detail: rule.detail.clone() })
        .collect();
    if profile.pins == PinMode::WhenSent && !missing_ids(profile, matcher).is_empty() {
        warnings.push(Warning {
            code: "no_immutable_id".to_owned(),
            detail: "names can be taken over by others: give the ids as well, where the platform sends them".to_owned(),
        });
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::Profiles;

    fn github(value: Value) -> Result<Normalised, Vec<Problem>> {
        let profiles = Profiles::load(None).unwrap();
        let mut given = json!({ "repository": "o/r", "workflow_file": "release.yml" });
        for (name, value) in value.as_object().unwrap() {
            given[name] = value.clone();
        }
        normalise(profiles.get("github-actions").unwrap(), given.as_object().unwrap())
    }

    fn stored(name: &str, value: Value) -> Value {
        github(json!({ name: value })).unwrap().matcher[name].clone()
    }

    fn refused(name: &str, value: Value) -> String {
        let problems = github(json!({ name: value.clone() })).expect_err(&format!("{name} {value}"));
        let at = format!("/{name}");
        problems.iter().find(|p| p.pointer.starts_with(&at)).unwrap_or_else(|| panic!("{problems:?}")).detail.clone()
    }

    #[test]
    fn what_people_paste_is_brought_into_one_form() {
        for pasted in [
            "https://github.com/O/r",
            "https://github.com/O/r/",
            "https://github.com/O/r.git",
            "git@github.com:O/r.git",
            " O/r ",
        ] {
            assert_eq!(stored("repository", json!(pasted)), "O/r", "{pasted}");
        }
        for pasted in [".github/workflows/x.yml", "/.github/workflows/x.yml", "x.yml"] {
            assert_eq!(stored("workflow_file", json!(pasted)), "x.yml", "{pasted}");
        }
        assert_eq!(stored("repository_id", json!(74)), "74");
        assert_eq!(stored("repository_id", json!("74")), "74");
        let sha = "A".repeat(40);
        let called = json!({"path": "o/r/.github/workflows/p.yml", "sha": sha});
        assert_eq!(stored("called_workflow", called)["sha"], "a".repeat(40));
    }

    #[test]
    fn nuget_pol_3__names_with_a_byte_beyond_ascii_are_refused() {
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
    fn values_that_cannot_be_meant_are_refused() {
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
            ("ref", json!({"glob": format!("refs/heads/{}", "a".repeat(256))})),
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
            ("called_workflow", json!({"path": "o/r/.github/workflows/p.yml"})),
            (
                "called_workflow",
                json!({"path": "o/r/.github/workflows/p.yml", "ref": "refs/tags/v1", "sha": "a".repeat(40)}),
            ),
            ("called_workflow", json!({"path": "o/r", "ref": "refs/tags/v1"})),
            ("called_workflow", json!({"path": "o//p.yml", "ref": "refs/tags/v1"})),
            ("called_workflow", json!({"path": "o/r/p.yml", "ref": "v1"})),
            ("called_workflow", json!({"path": "o/r/p.yml", "sha": "abc"})),
            ("called_workflow", json!({"path": "o/r/p.yml", "sha": "g".repeat(40)})),
            ("called_workflow", json!({"path": "o/r/p.yml", "ref": "refs/tags/v1", "x": 1})),
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
    fn values_that_can_be_meant_are_kept() {
        for (name, value) in [
            ("environment", json!({"glob": "prod-*"})),
            ("environment", json!({"any_of": ["a", "b"]})),
            ("environment", json!("prod/eu ü")),
            ("ref", json!({"glob": "refs/heads/**"})),
            ("ref", json!({"any_of": ["refs/heads/a", "refs/heads/b"]})),
            ("ref_type", json!("tag")),
            ("ref_template", json!("refs/tags/v{version}")),
            ("events", json!(["push", "release"])),
            ("events", json!("push")),
            ("called_workflow", json!("any")),
            ("called_workflow", json!({"path": "o/r/.github/workflows/p.yml", "ref": {"glob": "refs/tags/v*"}})),
            ("claims", json!({"a": "x", "/b/c": true, "d": 7, "e": ["x"], "f": {"any_of": [1, "2"]}})),
            ("workflow_file", json!("release%pypi.yml")),
            ("match_names", json!(true)),
        ] {
            assert_eq!(stored(name, value.clone()), value);
        }
        // `null` is the same as leaving it out.
        assert!(!github(json!({"environment": null})).unwrap().matcher.contains_key("environment"));
    }

    #[test]
    fn nuget_pol_1__a_rule_that_is_open_to_strangers_is_refused() {
        let missing = |value: Value| github(value).unwrap_err().iter().map(|p| p.detail.clone()).collect::<String>();
        assert!(missing(json!({"repository": null})).contains("repository, repository_owner_id"));
        assert!(missing(json!({"workflow_file": null})).contains("ref_template, subject"));
        assert!(missing(json!({"workflow_file": null, "called_workflow": "any"})).contains("called_workflow.path"));
        assert!(missing(json!({"repository": null, "subject": {"glob": "repo:o/*"}})).contains("anybody's jobs"));
        assert!(github(json!({"repository": null, "repository_owner_id": "65"})).is_ok());
        let called = json!({"path": "o/r/p.yml", "sha": "a".repeat(40)});
        assert!(github(json!({"workflow_file": null, "called_workflow": called})).is_ok());
        // A member that is wrong is reported for what it is, not as missing.
        assert_eq!(github(json!({"workflow_file": ""})).unwrap_err().len(), 1);
    }

    #[test]
    fn comparing_ids_only_needs_both() {
        let ids = json!({"match_names": false, "repository_owner_id": "65"});
        assert!(github(ids).unwrap_err()[0].detail.contains("repository_id"));
        assert!(github(json!({"match_names": false, "repository_owner_id": "65", "repository_id": "74"})).is_ok());
        assert!(github(json!({"match_names": true})).is_ok());
    }

    #[test]
    fn weak_rules_are_warned_about() {
        let codes = |value| github(value).unwrap().warnings.into_iter().map(|w| w.code).collect::<Vec<_>>();
        assert_eq!(codes(json!({})), ["any_ref"]);
        assert_eq!(codes(json!({"require_ref_protected": false})), ["any_ref"]);
        for strong in
            [json!({"environment": "e"}), json!({"ref": "refs/heads/main"}), json!({"require_ref_protected": true})]
        {
            assert!(codes(strong).is_empty());
        }
    }

    #[test]
    fn ids_are_missing_for_what_is_named() {
        let profiles = Profiles::load(None).unwrap();
        let profile = profiles.get("github-actions").unwrap();
        let missing = |value: Value| missing_ids(profile, value.as_object().unwrap()).join(",");
        assert_eq!(missing(json!({"repository": "o/r"})), "repository_owner_id,repository_id");
        assert_eq!(missing(json!({"repository": "o/r", "repository_id": "1"})), "repository_owner_id");
        assert_eq!(missing(json!({"repository_owner_id": "1"})), "");
        let same = |l: Value, r: Value| names_the_same(profile, l.as_object().unwrap(), r.as_object().unwrap());
        assert!(same(json!({"repository": "O/r", "ref": "x"}), json!({"repository": "o/R"})));
        assert!(!same(json!({"repository": "o/r"}), json!({"repository": "o/s"})));
        assert!(!same(json!({"repository": "o/r"}), json!({})));
    }
}
