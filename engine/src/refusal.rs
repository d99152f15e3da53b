//! Why a request was refused, and which parts of the refusal the caller may see.

use serde::Serialize;
use serde_json::Value;

use crate::ids::{CredentialId, EventId};
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
    /// Whether the client's own authentication failed: a refused assertion is then answered with
    /// `invalid_client` (RFC 7523 section 3.2).
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
}

/// A condition of a rule that the assertion does not meet.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Mismatch {
    /// Id of the federated credential whose condition is not met.
    #[schema(value_type = String)]
    pub credential: CredentialId,
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
        Self::new(Reason::Replay).with_facts(Facts {
            used_in,
            ..Facts::default()
        })
    }

    /// The request asks for more packages, or one rule permits more, than fit into a token.
    pub fn too_many(packages_that_fit: usize) -> Self {
        let facts = Facts {
            packages_that_fit: Some(packages_that_fit),
            ..Facts::default()
        };
        Self::parameter(Reason::TooManyEntries, "authorization_details").with_facts(facts)
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
    pub fn with_facts(self, facts: Facts) -> Self {
        Self {
            facts: Some(Box::new(facts)),
            ..self
        }
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

    /// Removes what only a caller may see whose assertion proves that the rule is meant for it.
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
