//! The registry-wide floor: `require_protected_ref_or_environment` of a resource server.

use serde_json::{Value, json};

use crate::model::{ResourceServer, Rule, TrustedIssuer};
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::{Mismatch, Refusal};
use crate::trust::Candidate;

/// Leaves out the rules that the registry's floor excludes: for a run whose ref is not protected,
/// those that bind no environment.
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
    if floor.protected.truth(claims) == Ok(true) {
        return Ok(matching);
    }
    let binds = |rule: &Rule<'_>| {
        let named = floor
            .environment_field
            .iter()
            .flat_map(|name| profile.fields_named(name));
        let field = named.map(|(at, _)| u16::try_from(at).ok()).next().flatten();
        rule.conditions
            .iter()
            .any(|condition| field.is_some() && condition.field == field)
    };
    let (above, below): (Vec<_>, Vec<_>) = matching.into_iter().partition(|(_, rule)| binds(rule));
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
        .map(|(candidate, _)| Mismatch {
            credential: candidate.credential.id,
            field: FIELD.to_owned(),
            expected: json!({ (floor.protected.name.as_str()): "true", "or": floor.environment_field }),
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
