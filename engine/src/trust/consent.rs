//! Consent: a rule counts for a workload that somebody vouches for, or that asks for its principal (contract, section 4).
//!
//! Anybody may write a rule for anybody's workload, since the ids of repositories are public. Without consent such a rule would
//! decide what the workload's token is.

use super::candidate::Rank;
use crate::model::{FederatedCredential, TrustedIssuer, Wanted};

/// Where a request comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// An endpoint whose requests can name a principal.
    #[default]
    Token,
    /// A registry's own dialect, which cannot. Self-service rules count there for existing packages alone.
    Nameless,
}

/// By what rules count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent<'a> {
    /// Somebody named them: as actors, or as those that admit a client.
    Named,
    /// Somebody vouches for them, or the workload asks for their principal.
    Workload {
        /// The principal it asks for.
        principal: Option<&'a str>,
        /// Where it asks.
        door: Door,
        /// How many rules are looked for that count by neither, so that the closest can be shown.
        others: usize,
    },
}

impl Consent<'_> {
    /// How near a rule is to what is asked for.
    pub(super) fn rank(&self, credential: &FederatedCredential, issuer: &TrustedIssuer) -> Rank {
        let vouched = credential.is_vouched_under(issuer);
        match self {
            Self::Named => Rank::Named,
            Self::Workload { principal: Some(name), .. } if name.eq_ignore_ascii_case(&credential.principal) => {
                Rank::Named
            }
            Self::Workload { .. } if vouched => Rank::Vouched,
            Self::Workload { principal: None, door: Door::Nameless, .. } => Rank::Visiting,
            Self::Workload { .. } => Rank::Other,
        }
    }

    /// Which rules of this trusted issuer are looked for beside those that somebody vouches for.
    pub(super) fn wanted<'a>(&self, issuer: &TrustedIssuer, folded: Option<&'a str>) -> Wanted<'a> {
        match self {
            // An issuer of one's own vouches for one's rules, and is open to no others.
            _ if issuer.owner.is_some() => Wanted::ALL,
            Self::Named | Self::Workload { principal: None, door: Door::Nameless, .. } => Wanted::ALL,
            Self::Workload { others, .. } => Wanted { principal: folded, others: *others },
        }
    }

    /// The name of the principal that the request asks for, as principals are found by it.
    pub(super) fn folded(&self) -> Option<String> {
        match self {
            Self::Workload { principal, .. } => principal.map(str::to_ascii_lowercase),
            Self::Named => None,
        }
    }

    /// Whether the request names a principal.
    pub(super) fn names_principal(&self) -> bool {
        matches!(self, Self::Workload { principal: Some(_), .. })
    }
}
