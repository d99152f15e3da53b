//! Case files for `carnet policy test` (`docs/src/reference/case-files.md`): each case has the
//! server's objects, a token, a token request and the expected verdict, and is judged offline.
//!
//! Package owners keep such files next to their release workflows. This module only translates a
//! case; all matching is done by the modules that serve token requests.

mod case;
mod judge;
mod older;

pub use case::{Case, CaseError, ExpectedVerdict, read_cases};
pub use judge::judge;
pub use older::convert;

use crate::reason::Reason;

/// The verdict on a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseVerdict {
    /// The request would succeed, and the registry would allow the operation.
    Allow,
    /// The request or the operation would be refused for this reason.
    Deny(Reason),
}

impl CaseVerdict {
    /// Whether the verdict is the expected one. The reason is not compared, since several checks
    /// may fail at once.
    pub fn agrees_with(self, expected: ExpectedVerdict) -> bool {
        matches!(
            (self, expected),
            (Self::Allow, ExpectedVerdict::Allow) | (Self::Deny(_), ExpectedVerdict::Deny)
        )
    }

    /// Whether the case has objects that saving would refuse, or is wrong itself.
    pub fn is_mistake(self) -> bool {
        self == Self::Deny(Reason::PolicyInvalid)
    }

    /// `allow` or `deny`, as in case files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
        }
    }

    /// The reason code of a refusal; `ok` for `allow`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Allow => "ok",
            Self::Deny(reason) => reason.code(),
        }
    }
}
