//! What the platform's token says of the job: the claims that rules are about, so that the owner of
//! a rule can compare them with it.
//!
//! Which claims those are is data: the profiles of the engine name them. Of the profiles that a
//! token fits, the one with most of its claims in the token is taken.

use std::sync::Arc;

use carnet_engine::profile::{Check, ClaimSpec, Claims, Field, Profile, Profiles};
use carnet_engine::reason::Reason;
use serde_json::Value;

use crate::web::printable;

/// Claims that every token has, and that say who issued it for whom.
const COMMON: [&str; 3] = ["iss", "sub", "aud"];
/// Bytes of a value that are shown.
const MAX_VALUE_BYTES: usize = 128;

/// Lines with the claims that identify the job, in the order of the profile's fields. A claim has
/// the name that it has in the token; one inside others has their names before it.
pub fn describe(claims: &Claims) -> Vec<String> {
    let mut paths: Vec<String> = COMMON.map(str::to_owned).to_vec();
    if let Some(profile) = closest_profile(claims) {
        let specs = profile.fields.iter().flat_map(of_field);
        paths.extend(specs.map(|spec| spec.path.clone()));
    }
    let mut lines = Vec::new();
    let mut shown: Vec<&str> = Vec::new();
    for path in &paths {
        if shown.contains(&path.as_str()) {
            continue;
        }
        shown.push(path);
        lines.extend(
            claims
                .get(path)
                .map(|value| format!("  {}: {}", path.trim_start_matches('/'), brief(value))),
        );
    }
    if !lines.is_empty() {
        lines.insert(0, "the job's own token says:".to_owned());
    }
    lines
}

/// How to remove the cause of a refusal on the platform whose token has these claims.
pub fn remedy(claims: &Claims, reason: Reason) -> Option<String> {
    let profile = closest_profile(claims)?;
    profile.remedies.get(&reason).map(ToString::to_string)
}

/// The profile whose required claims the token has, and most of whose claims.
fn closest_profile(claims: &Claims) -> Option<Arc<Profile>> {
    let profiles = Profiles::load(None).ok()?;
    let has = |spec: &ClaimSpec| claims.get(&spec.path).is_some();
    let fits = |profile: &&Arc<Profile>| {
        let mut required = profile.claims.iter().filter(|spec| spec.required);
        required.all(|spec| has(spec))
    };
    let known = |profile: &&Arc<Profile>| profile.claims.iter().filter(|spec| has(spec)).count();
    profiles.iter().filter(fits).max_by_key(known).cloned()
}

/// The claims that a field of a rule is compared with.
fn of_field(field: &Field) -> Vec<&ClaimSpec> {
    match &field.check {
        Check::Equals(equals) => vec![&equals.claim],
        Check::Flag { claim, .. } | Check::Present { claim, .. } | Check::Version { claim, .. } => {
            vec![claim]
        }
        Check::File(file) => vec![&file.claim],
        Check::ReusableFile(file) => vec![&file.claim, &file.commit],
        Check::Choice { .. }
        | Check::Upstream
        | Check::Identity(_)
        | Check::MatchNames
        | Check::Attested(_) => Vec::new(),
    }
}

/// A value as JSON on one line, cut after [`MAX_VALUE_BYTES`].
fn brief(value: &Value) -> String {
    let text = printable(&value.to_string());
    match text
        .char_indices()
        .find(|(at, character)| at.saturating_add(character.len_utf8()) > MAX_VALUE_BYTES)
    {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn describe(claims: &Value) -> Vec<String> {
        super::describe(&Claims::new(claims.as_object().unwrap().clone()))
    }

    #[test]
    fn the_claims_that_rules_are_about_are_shown_in_the_words_of_each_platform() {
        let github = json!({
            "iss": "https://token.actions.githubusercontent.com", "sub": "repo:o/r", "aud": "https://as.test",
            "repository": "o/r", "repository_id": "74", "repository_owner_id": "65", "repository_owner": "o",
            "workflow": "x", "workflow_ref": "o/r/.github/workflows/release.yml@refs/heads/main",
            "job_workflow_ref": "o/r/.github/workflows/release.yml@refs/heads/main", "ref": "refs/heads/main",
            "ref_type": "branch", "sha": "1", "event_name": "push", "environment": "release", "jti": "secret-id",
        });
        let lines = describe(&github);
        for line in [
            "the job's own token says:",
            "  iss: \"https://token.actions.githubusercontent.com\"",
            "  sub: \"repo:o/r\"",
            "  aud: \"https://as.test\"",
            "  repository: \"o/r\"",
            "  repository_owner_id: \"65\"",
            "  repository_id: \"74\"",
            "  workflow_ref: \"o/r/.github/workflows/release.yml@refs/heads/main\"",
            "  job_workflow_ref: \"o/r/.github/workflows/release.yml@refs/heads/main\"",
            "  ref: \"refs/heads/main\"",
            "  environment: \"release\"",
            "  event_name: \"push\"",
        ] {
            assert_eq!(
                lines.iter().filter(|other| *other == line).count(),
                1,
                "{line} in {lines:#?}"
            );
        }
        assert!(!lines.join("\n").contains("secret-id"), "{lines:#?}");
        let gitlab = describe(&json!({
            "iss": "https://gitlab.test", "sub": "project_path:a/b", "namespace_path": "a", "namespace_id": "1",
            "project_path": "a/b", "project_id": "2", "ref": "main", "ref_type": "branch", "sha": "3",
            "ci_config_ref_uri": "gitlab.test/a/b//.gitlab-ci.yml@refs/heads/main",
        }));
        for line in [
            "  namespace_path: \"a\"",
            "  project_id: \"2\"",
            "  ci_config_ref_uri: \"gitlab.test/a/b//.gitlab-ci.yml@refs/heads/main\"",
        ] {
            assert!(
                gitlab.iter().any(|other| other == line),
                "{line} in {gitlab:#?}"
            );
        }
        let pod = describe(&json!({
            "iss": "https://cluster.test", "sub": "system:serviceaccount:ci:publisher",
            "kubernetes.io": { "namespace": "ci", "serviceaccount": { "name": "publisher", "uid": "u" } },
        }));
        assert!(
            pod.contains(&"  kubernetes.io/namespace: \"ci\"".to_owned())
                && pod.contains(&"  kubernetes.io/serviceaccount/name: \"publisher\"".to_owned()),
            "{pod:#?}"
        );
    }

    #[test]
    fn values_of_claims_are_cut_and_cannot_be_commands_to_the_runner() {
        let lines =
            describe(&json!({ "iss": "ä".repeat(500), "sub": "a\n::add-mask::b##[group]" }));
        assert!(
            lines[1].len() < 150 && lines[1].ends_with('…'),
            "{lines:#?}"
        );
        assert_eq!(lines[2], "  sub: \"a\\n::add-mask::b# # [group]\"");
        assert_eq!(describe(&json!({})), Vec::<String>::new());
    }
}
