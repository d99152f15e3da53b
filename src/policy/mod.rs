//! Cases: a token, a rule and the verdict that is expected, judged offline by the server's own engine (contract, section 8).
//!
//! Package owners keep such files beside their release workflows. A case holds the objects that would be saved and the request
//! that would be sent, in the words of `apply` and of the endpoints; nothing is matched here.

mod case;
mod judge;
mod older;

pub use case::{Case, CaseError, ExpectedVerdict, read_cases};
pub use judge::judge;
pub use older::convert;

use crate::reason::Reason;

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseVerdict {
    /// The token would do what is requested.
    Allow,
    /// It would not, and why.
    Deny(Reason),
}

impl CaseVerdict {
    /// Whether it is what the case expects. The reason does not count: two checks may fail together.
    pub fn agrees_with(self, expected: ExpectedVerdict) -> bool {
        matches!((self, expected), (Self::Allow, ExpectedVerdict::Allow) | (Self::Deny(_), ExpectedVerdict::Deny))
    }

    /// Whether the rule of the case is one that saving would refuse.
    pub fn is_mistake(self) -> bool {
        self == Self::Deny(Reason::PolicyInvalid)
    }

    /// The verdict in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
        }
    }

    /// The reason in a word; `ok` for a yes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Allow => "ok",
            Self::Deny(reason) => reason.code(),
        }
    }
}
