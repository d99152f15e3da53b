//! Why a request was refused, and which parts of the refusal the caller may see.

mod details;
mod text;

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

pub use details::RefusalDetails;

use crate::ids::{CredentialId, EventId};
use crate::profile::Profile;
use crate::reason::Reason;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub reason: Reason,
    /// The claim that the reason is about. Shown to the caller.
    pub claim: Option<Box<str>>,
    /// The request parameter that the reason is about. Shown to the caller.
    pub parameter: Option<&'static str>,
    /// The accepted audiences, for a wrong `aud`. Shown to the caller.
    pub accepted_audiences: Vec<String>,
    /// Failed conditions of the rules that the caller's assertion proves to be meant for it. Shown
    /// to the caller.
    pub mismatches: Vec<Mismatch>,
    /// Further facts for the caller. Boxed, because few refusals have any.
    pub facts: Option<Box<Facts>>,
    /// Seconds after which to try again (`Retry-After`). Shown to the caller.
    pub retry_after: Option<u32>,
    /// Whether the client's own authentication failed: a refused assertion or certificate is then
    /// answered with `invalid_client` (RFC 7523 section 3.2, RFC 8705 section 2).
    pub of_client: bool,
    /// For the log and the audit event only. Boxed to keep this type small, because nearly every
    /// step may return a refusal.
    pub detail: Option<Box<str>>,
}

/// Facts that only some refusals have. Shown to the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The audit event of the earlier use, for a used assertion.
    pub used_in: Option<EventId>,
    /// How many of the requested packages fit into a token.
    pub packages_that_fit: Option<usize>,
    /// What the caller probably meant, where only the spelling differs.
    pub nearest: Option<String>,
    /// The value of the request or the assertion that was refused.
    pub received: Option<Value>,
    /// The values that would be accepted in its place. Only what the caller could learn from a
    /// granted request, or from the documentation of the server.
    pub permitted: Option<Value>,
    /// The limit that the value exceeds, in seconds.
    pub limit: Option<i64>,
    /// What is malformed in the caller's own input, or in what its issuer publishes.
    pub malformed: Option<String>,
    /// How to remove the cause on the platform of the assertion, where its profile says so.
    pub remedy: Option<Arc<str>>,
}

/// A condition of a rule that the assertion does not meet.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Mismatch {
    /// Id of the federated credential whose condition is not met.
    #[schema(value_type = String)]
    pub credential: CredentialId,
    /// Name of that federated credential.
    pub name: String,
    /// Name of the field in `match`, or of another requirement such as `state` or `principal`.
    pub field: String,
    /// The value that the rule asks for.
    pub expected: Value,
    /// The value in the assertion; `null` if it has none.
    pub received: Value,
    /// Reason code of this mismatch.
    #[schema(value_type = String)]
    pub reason: Reason,
    /// How the two values differ, if they are nearly equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

impl Mismatch {
    /// Cuts each value to about `bytes` bytes, because a rule may hold long lists.
    #[must_use]
    pub fn brief(mut self, bytes: usize) -> Self {
        for value in [&mut self.expected, &mut self.received] {
            let text = value.to_string();
            if text.len() > bytes {
                let kept: String = text
                    .chars()
                    .scan(0, |used: &mut usize, character| {
                        *used = used.saturating_add(character.len_utf8());
                        (*used <= bytes).then_some(character)
                    })
                    .collect();
                *value = Value::String(format!("{kept}… ({} bytes)", text.len()));
            }
        }
        self
    }
}

impl Refusal {
    /// A refusal with nothing but its reason.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            claim: None,
            parameter: None,
            accepted_audiences: Vec::new(),
            mismatches: Vec::new(),
            facts: None,
            retry_after: None,
            of_client: false,
            detail: None,
        }
    }

    /// The refusal of an authorization code that was used before, with the audit event of its first
    /// use.
    pub fn of_used_code(used_in: Option<EventId>) -> Self {
        Self::new(Reason::CodeUsed).noting(|facts| facts.used_in = used_in)
    }

    /// A refusal about a claim of the assertion.
    pub fn claim(reason: Reason, claim: impl Into<String>) -> Self {
        Self {
            claim: Some(claim.into().into_boxed_str()),
            ..Self::new(reason)
        }
    }

    /// A refusal about a parameter of the request.
    pub fn parameter(reason: Reason, parameter: &'static str) -> Self {
        Self {
            parameter: Some(parameter),
            ..Self::new(reason)
        }
    }

    /// The refusal of a used assertion.
    pub fn replay(used_in: Option<EventId>) -> Self {
        Self::new(Reason::Replay).noting(|facts| facts.used_in = used_in)
    }

    /// The request asks for more packages, or one rule permits more, than fit into a token.
    pub fn too_many(packages_that_fit: usize) -> Self {
        Self::parameter(Reason::TooManyEntries, "authorization_details")
            .noting(|facts| facts.packages_that_fit = Some(packages_that_fit))
    }

    /// The refusal of an assertion that no rule matches, with the mismatches that the caller may
    /// see.
    pub fn no_match(reason: Reason, mismatches: Vec<Mismatch>) -> Self {
        Self {
            mismatches,
            ..Self::new(reason)
        }
    }

    /// A temporary refusal: worth another try after `seconds`.
    pub fn later(reason: Reason, seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(reason)
        }
    }

    /// Adds facts for the caller.
    #[must_use]
    pub fn noting(mut self, note: impl FnOnce(&mut Facts)) -> Self {
        note(self.facts.get_or_insert_default());
        self
    }

    /// Adds the value of the request or the assertion that was refused.
    #[must_use]
    pub fn received(self, value: impl Into<Value>) -> Self {
        let value = text::shortened(value.into());
        self.noting(|facts| facts.received = Some(value))
    }

    /// Adds the values that would be accepted in place of the received one.
    #[must_use]
    pub fn permitted(self, value: impl Into<Value>) -> Self {
        let value = text::shortened(value.into());
        self.noting(|facts| facts.permitted = Some(value))
    }

    /// Adds what is malformed in the caller's own input, for the caller and for the log.
    #[must_use]
    pub fn malformed(self, what: impl Into<String>) -> Self {
        let what = what.into();
        self.with_detail(what.clone())
            .noting(|facts| facts.malformed = Some(what))
    }

    /// Adds the remedy for assertions of this platform, if its profile has one for the reason.
    #[must_use]
    pub fn on_platform(self, profile: &Profile) -> Self {
        match profile.remedies.get(&self.reason).cloned() {
            Some(remedy) => self.noting(|facts| facts.remedy = Some(remedy)),
            None => self,
        }
    }

    /// Replaces the remedy.
    #[must_use]
    pub fn mended_by(self, remedy: &str) -> Self {
        self.noting(|facts| facts.remedy = Some(remedy.into()))
    }

    /// Replaces the reason by a more exact one, and the remedy by the one for it on this platform.
    pub fn refine(&mut self, reason: Reason, profile: &Profile) {
        self.reason = reason;
        let remedy = profile.remedies.get(&reason).cloned();
        if self.facts.is_some() || remedy.is_some() {
            self.facts.get_or_insert_default().remedy = remedy;
        }
    }

    /// The text for the caller (`error_description`, RFC 6749 section 5.2): the sentence of the
    /// reason, followed by the values that explain it.
    pub fn description(&self) -> String {
        text::description(self)
    }

    /// How to remove the cause.
    pub fn remedy(&self) -> &str {
        let of_platform = self
            .facts
            .as_ref()
            .and_then(|facts| facts.remedy.as_deref());
        of_platform.unwrap_or(self.reason.remedy())
    }

    /// Marks the refusal as a failure of client authentication.
    #[must_use]
    pub fn of_client(self) -> Self {
        Self {
            of_client: true,
            ..self
        }
    }

    /// Adds a detail for the log and the audit event.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into().into_boxed_str()),
            ..self
        }
    }

    /// Whether the refusal shows what rules ask for or permit.
    pub fn tells_of_rules(&self) -> bool {
        let permitted =
            |facts: &Facts| facts.permitted.is_some() || facts.packages_that_fit.is_some();
        // Only of a request that a rule matches is a proof asked for.
        let asks_for_proof = matches!(
            self.reason,
            Reason::ProofTooWeak | Reason::SenderConstraintRequired
        );
        !self.mismatches.is_empty()
            || asks_for_proof
            || self.facts.as_deref().is_some_and(permitted)
    }

    /// What the holder of a used assertion may know of this refusal: that no rule matches, or
    /// otherwise that the assertion was used, in this event.
    #[must_use]
    pub fn undisclosed(self, used_in: Option<EventId>) -> Self {
        if !self.tells_of_rules() {
            self
        } else if self.mismatches.is_empty() {
            Self::replay(used_in)
        } else {
            Self::from(Reason::NoMatchingCredential)
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::profile::Profiles;

    fn mismatch(expected: &str) -> Mismatch {
        Mismatch {
            credential: CredentialId::new(Timestamp::from_seconds(0)),
            name: "release".to_owned(),
            field: "environment".to_owned(),
            expected: json!(expected),
            received: Value::Null,
            reason: Reason::EnvMissing,
            hint: None,
        }
    }

    #[test]
    fn the_holder_of_a_used_assertion_learns_no_value_of_a_rule() {
        let plain = Refusal::new(Reason::EventDenied).received("push");
        assert!(!plain.tells_of_rules());
        assert_eq!(plain.clone().undisclosed(None), plain);
        let of_rule = Refusal::no_match(Reason::EnvMissing, vec![mismatch("production")]);
        assert!(of_rule.tells_of_rules());
        assert_eq!(
            of_rule.undisclosed(None),
            Refusal::from(Reason::NoMatchingCredential)
        );
        let event = EventId::new(Timestamp::from_seconds(0));
        for of_permissions in [
            Refusal::parameter(Reason::ScopeNotGranted, "scope").permitted(json!(["publish"])),
            Refusal::too_many(7),
        ] {
            assert!(of_permissions.tells_of_rules());
            assert_eq!(
                of_permissions.undisclosed(Some(event)),
                Refusal::replay(Some(event))
            );
        }
    }

    #[test]
    fn long_values_of_a_mismatch_are_cut_and_say_how_long_they_were() {
        let short = mismatch("production").brief(16);
        assert_eq!(short.expected, json!("production"));
        let long = mismatch(&"é".repeat(100)).brief(16);
        let cut = long
            .expected
            .as_str()
            .map(str::to_owned)
            .unwrap_or_default();
        assert!(cut.len() < 40 && cut.ends_with("(202 bytes)"), "{cut}");
    }

    #[test]
    fn the_remedy_is_that_of_the_platform_and_of_the_last_reason() {
        let profiles = Profiles::load(None).unwrap();
        let profile = profiles.get("gitlab-ci").unwrap();
        let mut refusal = Refusal::new(Reason::EnvMissing).on_platform(profile);
        assert!(refusal.remedy().contains(".gitlab-ci.yml"));
        refusal.refine(Reason::PrincipalRequired, profile);
        assert_eq!(refusal.remedy(), Reason::PrincipalRequired.remedy());
        assert_eq!(refusal.clone().mended_by("x").remedy(), "x");
        let of = |reason: Reason| RefusalDetails::from(&Refusal::new(reason)).remedy;
        assert_eq!(of(Reason::Replay).as_deref(), Some(Reason::Replay.remedy()));
        assert_eq!(of(Reason::PathUnknown), None);
    }

    #[test]
    fn values_of_callers_are_shortened_wherever_they_are_added() {
        let long = json!(vec!["a"; 100]);
        let refusal = Refusal::parameter(Reason::ScopeNotGranted, "scope")
            .received(long.clone())
            .permitted(long);
        let details = RefusalDetails::from(&refusal);
        for value in [details.received, details.permitted] {
            let elements = value.and_then(|value| value.as_array().map(Vec::len));
            assert_eq!(elements, Some(21));
        }
    }
}
