//! Why a person was not signed in.

use super::ReturnTo;
use super::attempt::Attempt;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::upstream::ProviderUnavailable;

/// The most of a provider's text that a detail quotes, in bytes.
const MOST_QUOTED: usize = 256;

/// Why a person was not signed in. No session comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInRefusal {
    pub reason: Reason,
    /// The check that failed and its values, for the log and the operator. It holds no code, token
    /// or secret.
    pub detail: Box<str>,
    /// Seconds after which to try again (`Retry-After`).
    pub retry_after: Option<u32>,
    /// Where the person wanted to go. Boxed to keep this type small.
    pub return_to: Option<Box<ReturnTo>>,
    /// The cookie of the attempt, which is over, by name.
    pub attempt: Option<Box<str>>,
    /// The `sub` of the person, once the ID token proved it.
    pub sub: Option<Box<str>>,
    /// Whether a session asked for a new proof of presence. It goes on as it was.
    pub is_step_up: bool,
}

impl SignInRefusal {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into().into_boxed_str(),
            retry_after: None,
            return_to: None,
            attempt: None,
            sub: None,
            is_step_up: false,
        }
    }

    /// A check of the ID token that failed: the claim or header parameter, and what is wrong.
    pub(super) fn id_token(check: &str, why: &str) -> Self {
        Self::new(Reason::IdTokenInvalid, format!("{check}: {}", quoted(why)))
    }

    #[must_use]
    pub(super) fn of_person(self, sub: &str) -> Self {
        Self {
            sub: Some(sub.into()),
            ..self
        }
    }

    #[must_use]
    pub(super) fn of_attempt(self, name: &str, attempt: &Attempt) -> Self {
        Self {
            attempt: Some(name.into()),
            return_to: Some(Box::new(attempt.return_to.clone())),
            is_step_up: attempt.step_up.is_some(),
            ..self
        }
    }
}

impl From<Refusal> for SignInRefusal {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.detail.as_deref().unwrap_or_default();
        Self {
            retry_after: refusal.retry_after,
            ..Self::new(refusal.reason, detail)
        }
    }
}

impl From<ProviderUnavailable> for SignInRefusal {
    fn from(error: ProviderUnavailable) -> Self {
        Self {
            retry_after: Some(error.retry_after),
            ..Self::new(Reason::ProviderUnavailable, quoted(&error.why))
        }
    }
}

impl std::fmt::Display for SignInRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for SignInRefusal {}

/// The beginning of a text of the provider, without hidden characters.
pub(super) fn quoted(text: &str) -> String {
    let mut used = 0_usize;
    text.chars()
        .take_while(|character| {
            used = used.saturating_add(character.len_utf8());
            used <= MOST_QUOTED
        })
        .map(|character| if is_hidden(character) { ' ' } else { character })
        .collect()
}

/// Whether a character is none that a reader sees, but changes what they see around it: a control
/// character, or one that changes the direction of the text.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}
