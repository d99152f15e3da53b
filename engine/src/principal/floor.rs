//! The registry-wide floor: `require_protected_ref_or_environment` of a resource server.

use serde_json::{Value, json};

use crate::model::{ResourceServer, Rule, Test, Text, TrustedIssuer};
use crate::profile::{Claims, Floor, Profile};
use crate::reason::Reason;
use crate::refusal::{Mismatch, Refusal};
use crate::trust::Candidate;

/// Leaves out the rules that the registry's floor excludes: for a run whose ref and environment are
/// not protected by what the platform says, those that name no environment by plain values.
pub(super) fn above_floor<'r>(
    matching: Vec<(&'r Candidate, Rule<'r>)>,
    server: &ResourceServer,
    issuer: &TrustedIssuer,
    claims: &Claims,
) -> Result<Vec<(&'r Candidate, Rule<'r>)>, Refusal> {
    const FIELD: &str = "require_protected_ref_or_environment";
    let profile = &issuer.profile;
    let Some(floor) = profile
        .floor
        .as_ref()
        .filter(|_| server.require_protected_ref_or_environment)
    else {
        return Ok(matching);
    };
    let protecting = [Some(&floor.protected), floor.environment_protected.as_ref()];
    if protecting
        .into_iter()
        .flatten()
        .any(|claim| claim.truth(claims) == Ok(true))
    {
        return Ok(matching);
    }
    let (above, below): (Vec<_>, Vec<_>) = matching
        .into_iter()
        .partition(|(_, rule)| names_environment(rule, floor, profile));
    if !above.is_empty() {
        return Ok(above);
    }
    let received = claims
        .get(&floor.protected.path)
        .cloned()
        .unwrap_or(Value::Null);
    let mismatches: Vec<Mismatch> = below
        .iter()
        .filter(|(candidate, _)| candidate.is_proved_to_be_meant(profile))
        .map(|(candidate, rule)| Mismatch {
            credential: candidate.credential.id,
            name: rule.name.to_owned(),
            field: FIELD.to_owned(),
            expected: expected(floor),
            received: received.clone(),
            reason: Reason::RefUnprotected,
            hint: None,
        })
        .collect();
    let reason = if mismatches.is_empty() {
        Reason::NoMatchingCredential
    } else {
        Reason::RefUnprotected
    };
    Err(Refusal::no_match(reason, mismatches))
}

/// Whether the rule names its environment by plain values. A pattern binds none: whoever starts a job
/// names an environment that fits, and platforms make environments that are named.
fn names_environment(rule: &Rule<'_>, floor: &Floor, profile: &Profile) -> bool {
    let named = floor
        .environment_field
        .iter()
        .flat_map(|name| profile.fields_named(name));
    let field = named.map(|(at, _)| u16::try_from(at).ok()).next().flatten();
    rule.conditions.iter().any(|condition| {
        field.is_some()
            && condition.field == field
            && matches!(condition.test, Test::Text(Text::Is(_) | Text::AnyOf(_)))
    })
}

/// What the floor asks for, as shown in explanations.
fn expected(floor: &Floor) -> Value {
    let environment = floor.environment_protected.as_ref();
    let or = environment.map(|claim| json!({ (claim.name.as_str()): "true" }));
    let or = or.unwrap_or_else(|| json!(floor.environment_field));
    json!({ (floor.protected.name.as_str()): "true", "or": or })
}
