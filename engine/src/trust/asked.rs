//! Runs for which a rule has to ask: what they do is decided by whoever proposes a change
//! (`asked_events` of a profile).

use serde_json::Value;

use super::check::field;
use crate::model::{Rule, Test, Text, TrustedIssuer};
use crate::profile::Claims;

/// Whether the assertion is of such a run, by its event or by its ref.
pub(super) fn is_asked_run(issuer: &TrustedIssuer, claims: &Claims) -> bool {
    evidence(issuer, claims).is_some()
}

/// The claim that shows it, by name, and its value. A claim that cannot be read shows nothing.
pub(super) fn evidence(issuer: &TrustedIssuer, claims: &Claims) -> Option<(String, Value)> {
    let profile = &issuer.profile;
    let event = profile.event.iter().filter_map(|claim| {
        let event = claim.text(claims).ok()?;
        profile
            .asked
            .is_event(event)
            .then(|| (claim.path.clone(), Value::from(event)))
    });
    let refs = profile.asked.ref_claims.iter().filter_map(|claim| {
        let reference = claim.text(claims).ok()?;
        profile
            .asked
            .is_ref(reference)
            .then(|| (claim.path.clone(), Value::from(reference)))
    });
    event.chain(refs).next()
}

/// Whether the rule's own events name such an event. That the run has one of these events is a
/// condition of its own.
pub(super) fn names_such_events(rule: &Rule<'_>, issuer: &TrustedIssuer) -> bool {
    let profile = &issuer.profile;
    let Some(wanted) = profile.event_field() else {
        return false;
    };
    // A banned event matches nothing, so naming it asks for nothing.
    let asks =
        |event: &str| profile.asked.is_event(event) && !profile.is_banned(&issuer.terms, event);
    rule.conditions.iter().any(|condition| {
        let is_events = field(condition, profile).is_some_and(|field| field.name == wanted.name);
        is_events
            && match &condition.test {
                Test::Text(Text::Is(event)) => asks(event),
                Test::Text(Text::AnyOf(events)) => events.iter().any(|event| asks(event)),
                _ => false,
            }
    })
}
