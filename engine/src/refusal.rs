//! A no, on its way to the caller and to the log: the reason, and what each of the two may see of it.

use serde::Serialize;
use serde_json::Value;

use crate::ids::{CredentialId, EventId};
use crate::reason::Reason;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The cause.
    pub reason: Reason,
    /// The claim it is about, where it is about one. Shown to the caller.
    pub claim: Option<Box<str>>,
    /// The request parameter it is about. Shown to the caller.
    pub parameter: Option<&'static str>,
    /// The audiences that would have been accepted, for a wrong `aud`. Shown to the caller.
    pub accepted_audiences: Vec<String>,
    /// What does not hold of the rules that the caller has proved to be meant. Shown to the caller.
    pub mismatches: Vec<Mismatch>,
    /// What else there is to say to the caller. Boxed, since few refusals have it.
    pub facts: Option<Box<Facts>>,
    /// Seconds after which to try again. Shown to the caller.
    pub retry_after: Option<u32>,
    /// Whether it is the client's own authentication that failed, and not what it asked for.
    pub of_client: bool,
    /// For the log and the audit event only. Boxed, for nearly every step may return a refusal.
    pub detail: Option<Box<str>>,
}

/// What only some refusals have to say. Shown to the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The event of the use, for an assertion that was used before.
    pub used_in: Option<EventId>,
    /// How many of the packages that are asked for fit into a token.
    pub packages_that_fit: Option<usize>,
    /// What was probably meant, where only the spelling differs.
    pub nearest: Option<String>,
}

/// A condition that does not hold, shown to whoever may see it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Mismatch {
    /// The federated credential's id.
    #[schema(value_type = String)]
    pub credential: CredentialId,
    /// The field of the rule.
    pub field: String,
    /// What the rule asks for.
    pub expected: Value,
    /// What the assertion has; `null` where it has nothing.
    pub received: Value,
    /// Why it does not hold.
    #[schema(value_type = String)]
    pub reason: Reason,
    /// What tells the two apart, where they are nearly the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

impl Mismatch {
    /// With values of at most about so many bytes: a rule may hold long lists.
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
    /// A refusal that needs no further words.
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

    /// About a claim of the assertion.
    pub fn claim(reason: Reason, claim: impl Into<String>) -> Self {
        Self { claim: Some(claim.into().into_boxed_str()), ..Self::new(reason) }
    }

    /// About a parameter of the request.
    pub fn parameter(reason: Reason, parameter: &'static str) -> Self {
        Self { parameter: Some(parameter), ..Self::new(reason) }
    }

    /// An assertion that was used before.
    pub fn replay(used_in: Option<EventId>) -> Self {
        Self::new(Reason::Replay).with_facts(Facts { used_in, ..Facts::default() })
    }

    /// More than fits into a token is asked for, or permitted by one rule.
    pub fn too_many(packages_that_fit: usize) -> Self {
        let facts = Facts { packages_that_fit: Some(packages_that_fit), ..Facts::default() };
        Self::parameter(Reason::TooManyEntries, "authorization_details").with_facts(facts)
    }

    /// No rule matched.
    pub fn no_match(reason: Reason, mismatches: Vec<Mismatch>) -> Self {
        Self { mismatches, ..Self::new(reason) }
    }

    /// Passing: worth another try after this many seconds.
    pub fn later(reason: Reason, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(reason) }
    }

    /// With more to say.
    #[must_use]
    pub fn with_facts(self, facts: Facts) -> Self {
        Self { facts: Some(Box::new(facts)), ..self }
    }

    /// As a failure of client authentication.
    #[must_use]
    pub fn of_client(self) -> Self {
        Self { of_client: true, ..self }
    }

    /// With a detail for the log.
    #[must_use]
    pub fn with_detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into().into_boxed_str()), ..self }
    }

    /// Takes away what only a caller may see who has proved that the rule is meant for it.
    pub fn undisclosed(&mut self) {
        if !self.mismatches.is_empty() {
            self.mismatches.clear();
            self.reason = Reason::NoMatchingCredential;
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}
