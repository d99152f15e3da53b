use std::sync::Arc;

use carnet_access::{GroundKind, RestsOn};
use serde_json::{Map, Value};
use std::collections::HashSet;

use super::Candidate;
use crate::model::FederatedCredential;

/// A federated credential that a token rests on.
#[derive(Clone, Debug)]
pub struct MatchedRule {
    /// The credential.
    pub credential: Arc<FederatedCredential>,
    /// The ids that the token's transaction pins.
    pub pins: Map<String, Value>,
}

impl MatchedRule {
    /// A rule that matched.
    pub fn of(candidate: &Candidate) -> Self {
        Self { credential: candidate.credential.clone(), pins: candidate.pins.clone() }
    }

    /// It as something that a token rests on.
    pub fn rests_on(&self) -> RestsOn {
        RestsOn {
            kind: GroundKind::FederatedCredential,
            id: self.credential.id.to_string(),
            revision: self.credential.revision,
        }
    }

    /// Each rule once.
    pub fn distinct(all: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut seen = HashSet::new();
        all.into_iter().filter(|one| seen.insert(one.credential.id)).collect()
    }
}
