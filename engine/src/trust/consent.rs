//! Consent: a rule counts for a workload if it is vouched for, or if the request names the rule's
//! principal (`docs/src/explanation/consent.md`).
//!
//! The ids of repositories are public, so any principal can write a rule that matches another
//! principal's workload. Without consent such a rule would decide what that workload's token is.

use super::candidate::Rank;
use crate::model::{FederatedCredential, TrustedIssuer, Wanted};

/// Whether requests at an endpoint can name a principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// An endpoint whose requests can name a principal, such as the token endpoint.
    #[default]
    Token,
    /// An endpoint in a registry's own protocol, whose requests cannot name a principal.
    /// Self-service rules count there, but only for existing packages.
    Nameless,
}

/// Which rules count for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent<'a> {
    /// Rules that another object names: a rule in its `actors`, or a client in
    /// `federated_credentials`.
    Named,
    /// Rules that are vouched for, and rules of the principal that the request names.
    Workload {
        /// The principal that the request names.
        principal: Option<&'a str>,
        door: Door,
        /// How many rules without consent to look up under each index key, to show the closest of
        /// them.
        others: usize,
    },
}

impl Consent<'_> {
    /// Which consent a rule has for this request.
    pub(super) fn rank(&self, credential: &FederatedCredential, issuer: &TrustedIssuer) -> Rank {
        let vouched = credential.is_vouched_under(issuer);
        match self {
            Self::Named => Rank::Named,
            Self::Workload {
                principal: Some(name),
                ..
            } if name.eq_ignore_ascii_case(&credential.principal) => Rank::Named,
            Self::Workload { .. } if vouched => Rank::Vouched,
            Self::Workload {
                principal: None,
                door: Door::Nameless,
                ..
            } => Rank::Visiting,
            Self::Workload { .. } => Rank::Other,
        }
    }

    /// Which self-service rules of this trusted issuer to look up beside the rules that are vouched
    /// for.
    pub(super) fn wanted<'a>(&self, issuer: &TrustedIssuer, folded: Option<&'a str>) -> Wanted<'a> {
        match self {
            // An issuer with an owner vouches for the owner's rules, and no other principal may use
            // it.
            _ if issuer.owner.is_some() => Wanted::ALL,
            Self::Named
            | Self::Workload {
                principal: None,
                door: Door::Nameless,
                ..
            } => Wanted::ALL,
            Self::Workload { others, .. } => Wanted {
                principal: folded,
                others: *others,
            },
        }
    }

    /// The name of the requested principal as the index holds it: in ASCII lower case.
    pub(super) fn folded(&self) -> Option<String> {
        self.asked().map(str::to_ascii_lowercase)
    }

    /// The principal that the request names.
    pub(super) fn asked(&self) -> Option<&str> {
        match self {
            Self::Workload { principal, .. } => *principal,
            Self::Named => None,
        }
    }
}
