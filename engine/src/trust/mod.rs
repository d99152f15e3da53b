//! Matching: which rules (federated credentials) admit an assertion, with a verdict on each.
//!
//! Everything here is pure computation: rules, claims and the time go in, a [`MatchReport`] comes
//! out. A [`Permit`] exists only for an assertion that at least one rule matches, and a token is
//! minted only from the permit of an accepted assertion. Storage, network and rate limits are left
//! to the caller.

mod asked;
mod candidate;
mod check;
mod consent;
mod hint;
mod matched;
mod permit;
mod report;
mod validate;

pub use candidate::{Candidate, Finding, Rank, ShownFinding, Topic};
pub use check::{Verdict, visit_claims_read};
pub use consent::{Consent, Door};
pub use matched::MatchedRule;
pub use permit::{Denial, Permit};
pub use report::{MatchReport, match_credentials, match_memberships, nearest_credentials};
pub use validate::{
    DocumentError, Normalised, Warning, is_pending, missing_ids, names_the_same, normalise,
};

pub(crate) use check::version as version_in;
