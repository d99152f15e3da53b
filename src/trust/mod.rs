//! Who may act for whom: federated credentials compiled into rules, and the verdict on each for one assertion.
//!
//! Nothing here waits for anything: rules, claims and the time go in, a [`MatchReport`] comes out. A [`Permit`] exists only
//! for a verified assertion of which at least one rule holds.

mod check;
mod compile;
mod credential;
mod hint;
mod permit;
mod report;
mod resource_server;
mod rule;
mod shards;
mod snapshot;
mod trusted_issuer;

pub use check::Verdict;
pub use compile::{Normalised, Problem, Warning, missing_ids, names_the_same, normalise};
pub use credential::{FederatedCredential, PENDING_DAYS, State, is_pending};
pub use hint::hint;
pub use permit::{Denial, Permit};
pub use report::{
    Candidate, Finding, MatchReport, Subject, match_credentials, match_some, nearest_credentials,
};
pub use resource_server::{ResourceServer, TokenFormat};
pub use rule::{PackedRule, Permission, Rule};
pub use snapshot::Snapshot;
pub use trusted_issuer::{AssertionGrant, KeySource, TrustedIssuer};

pub(crate) use check::version as version_in;
