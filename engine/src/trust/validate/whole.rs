//! Validates a rule as a whole: whether workloads of other accounts would match it, and which ids it
//! leaves open.

use serde_json::{Map, Value};

use super::DocumentError;
use crate::model::MAX_KEYS;
use crate::profile::{Check, LetterCase, Profile, Role, is_of_the_workload};

/// Errors that concern several members, or members that are missing.
pub(super) fn whole(
    profile: &Profile,
    matcher: &Map<String, Value>,
    found: &[DocumentError],
) -> Vec<DocumentError> {
    let given = |name: &String| is_given(name, matcher, found);
    let mut problems: Vec<DocumentError> = profile
        .at_least
        .iter()
        .filter(|rule| !rule.any_of.iter().any(given))
        .map(|rule| {
            DocumentError::new(
                "",
                format!(
                    "must have at least one of {}; {}",
                    rule.any_of.join(", "),
                    rule.detail
                ),
            )
        })
        .collect();
    problems.extend(without_condition(profile, matcher, found));
    for field in profile
        .fields
        .iter()
        .filter(|field| matcher.contains_key(&field.name))
    {
        for name in field.needs.iter().filter(|name| !given(name)) {
            let detail = format!("must be given together with {name}");
            problems.push(DocumentError::new(format!("/{}", field.name), detail));
        }
    }
    problems.extend(
        profile
            .index
            .iter()
            .flatten()
            .filter_map(|key| too_many_keys(profile, key, matcher)),
    );
    let ids = profile
        .fields
        .iter()
        .filter(|field| field.role == Role::Id)
        .map(|field| &field.name);
    let missing: Vec<&str> = ids
        .filter(|name| !given(name))
        .map(String::as_str)
        .collect();
    if matcher.get("match_names") == Some(&Value::Bool(false)) && !missing.is_empty() {
        let detail = format!(
            "must not be false without {}, which are compared instead",
            missing.join(", ")
        );
        problems.push(DocumentError::new("/match_names", detail));
    }
    problems
}

/// Whether the rule has the member `name`, or `field.member`. An invalid member counts as present,
/// so that it is not reported as missing as well.
fn is_given(name: &str, matcher: &Map<String, Value>, found: &[DocumentError]) -> bool {
    let (field, member) = name
        .split_once('.')
        .map_or((name, None), |(field, member)| (field, Some(member)));
    let wrong = found
        .iter()
        .any(|problem| problem.pointer.split('/').nth(1) == Some(field));
    wrong
        || matcher
            .get(field)
            .is_some_and(|value| match (member, value) {
                (Some(member), value) => value.get(member).is_some(),
                (None, Value::Object(claims)) if field == "claims" => {
                    claims.keys().any(|path| is_of_the_workload(path))
                }
                (None, Value::Object(members)) => !members.is_empty(),
                (None, value) => *value != Value::Bool(false),
            })
}

/// The error for a rule without any condition, in a profile whose author did not say what a rule
/// needs at least.
fn without_condition(
    profile: &Profile,
    matcher: &Map<String, Value>,
    found: &[DocumentError],
) -> Option<DocumentError> {
    let settles = |check: &Check| {
        matches!(
            check,
            Check::Choice { .. } | Check::MatchNames | Check::ReusableFile(_)
        )
    };
    let is_condition = |name: &String| {
        is_given(name, matcher, found)
            && !profile
                .fields_named(name)
                .any(|(_, field)| settles(&field.check))
    };
    let is_open =
        profile.at_least.is_empty() && found.is_empty() && !matcher.keys().any(is_condition);
    let detail = "must hold a condition; without one every token of the issuer would match";
    is_open.then(|| DocumentError::new("", detail))
}

/// The error for a rule with too many index keys. The alternatives of the fields of one key
/// multiply, and a rule without index keys would be judged for every assertion of the issuer.
fn too_many_keys(
    profile: &Profile,
    key: &[usize],
    matcher: &Map<String, Value>,
) -> Option<DocumentError> {
    let names: Vec<&str> = key
        .iter()
        .filter_map(|at| profile.fields.get(*at))
        .map(|field| field.name.as_str())
        .collect();
    let alternatives = |name: &&str| {
        let value = matcher.get(*name)?;
        Some(
            value
                .get("any_of")
                .unwrap_or(value)
                .as_array()
                .map_or(1, Vec::len),
        )
    };
    let keys = names.iter().try_fold(1_usize, |keys, name| {
        Some(keys.saturating_mul(alternatives(name)?))
    })?;
    (keys > MAX_KEYS).then(|| {
        let detail = format!(
            "must have at most {MAX_KEYS} combinations of {}; write several rules for more",
            names.join(", ")
        );
        DocumentError::new(
            format!("/{}", names.first().copied().unwrap_or_default()),
            detail,
        )
    })
}

/// The id fields that still have to be pinned: ids of the objects that the rule names and that
/// `match` does not give.
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

/// Whether two rules name the same objects, so that the pins of one hold for the other.
pub fn names_the_same(
    profile: &Profile,
    left: &Map<String, Value>,
    right: &Map<String, Value>,
) -> bool {
    profile
        .fields
        .iter()
        .filter(|field| field.role == Role::Name)
        .all(|field| {
            let case = match &field.check {
                Check::Equals(equals) => equals.claim.case,
                _ => LetterCase::Exact,
            };
            match (left.get(&field.name), right.get(&field.name)) {
                (Some(Value::String(left)), Some(Value::String(right))) => case.same(left, right),
                (left, right) => left == right,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::Profiles;

    #[test]
    fn a_rule_that_names_a_repository_without_ids_lists_the_missing_ids() {
        let profiles = Profiles::load(None).unwrap();
        let profile = profiles.get("github-actions").unwrap();
        let missing = |value: Value| missing_ids(profile, value.as_object().unwrap()).join(",");
        assert_eq!(
            missing(json!({"repository": "o/r"})),
            "repository_owner_id,repository_id"
        );
        assert_eq!(
            missing(json!({"repository": "o/r", "repository_id": "1"})),
            "repository_owner_id"
        );
        assert_eq!(missing(json!({"repository_owner_id": "1"})), "");
        let same = |l: Value, r: Value| {
            names_the_same(profile, l.as_object().unwrap(), r.as_object().unwrap())
        };
        assert!(same(
            json!({"repository": "O/r", "ref": "x"}),
            json!({"repository": "o/R"})
        ));
        assert!(!same(
            json!({"repository": "o/r"}),
            json!({"repository": "o/s"})
        ));
        assert!(!same(json!({"repository": "o/r"}), json!({})));
    }
}
