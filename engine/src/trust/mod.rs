//! Who may act for whom: federated credentials compiled into rules, and the verdict on each for one assertion.
//!
//! Nothing here waits for anything: rules, claims and the time go in, a [`MatchReport`] comes out. A [`Permit`] exists only
//! for an assertion that at least one rule matches; a token can be minted of one for an accepted assertion alone.

mod candidate;
mod check;
mod consent;
mod hint;
mod matched;
mod permit;
mod report;
mod validate;

pub use candidate::{Candidate, Finding, Rank, Topic};
pub use check::{Verdict, visit_claims_read};
pub use consent::{Consent, Door};
pub use hint::hint;
pub use matched::MatchedRule;
pub use permit::{Denial, Permit};
pub use report::{MatchReport, match_credentials, nearest_credentials};
pub use validate::{DocumentError, Normalised, Warning, is_pending, missing_ids, names_the_same, normalise};

pub(crate) use check::version as version_in;
