//! The rules that an issued token rests on.

use std::sync::Arc;

use carnet_access::{GroundKind, RestsOn};
use serde_json::{Map, Value};
use std::collections::HashSet;

use super::Candidate;
use crate::model::FederatedCredential;

/// A federated credential that a token rests on.
#[derive(Clone, Debug)]
pub struct MatchedRule {
    pub credential: Arc<FederatedCredential>,
    /// The ids to pin in the transaction that records the token.
    pub pins: Map<String, Value>,
}

impl MatchedRule {
    pub fn of(candidate: &Candidate) -> Self {
        Self {
            credential: candidate.credential.clone(),
            pins: candidate.pins.clone(),
        }
    }

    /// The rule as an entry of the token's `rests_on`.
    pub fn rests_on(&self) -> RestsOn {
        RestsOn {
            kind: GroundKind::FederatedCredential,
            id: self.credential.id.to_string(),
            revision: self.credential.revision,
        }
    }

    /// Keeps the first of several entries for the same rule.
    pub fn distinct(all: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut seen = HashSet::new();
        all.into_iter()
            .filter(|one| seen.insert(one.credential.id))
            .collect()
    }
}
