//! Proofs of possession: what a request proved, and what registries and permissions ask for.
//!
//! A *level* says how strongly the workload proved that what it presents is its own. It is never
//! raised: a token that is bound to a key because the request brought a proof still rests on an
//! assertion that anybody could have copied (draft-ietf-wimse-workload-identity-practices).

use carnet_access::{Confirmation, ProofLevel};
use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// What a request proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Possession {
    /// The weaker level of subject and actor. How a client authenticates does not lower it.
    pub level: ProofLevel,
    /// The key that the request proved to have. What is issued is bound to it.
    pub key: Option<Confirmation>,
}

/// What a resource server, or a permission at one, asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofDemand {
    /// The least level of what is presented.
    pub min_proof: ProofLevel,
    /// Whether the token has to be bound to a key.
    pub sender_constraint: bool,
}

impl ProofDemand {
    /// Why a request does not meet the demand.
    pub fn unmet_by(self, possession: &Possession) -> Option<Reason> {
        if possession.level < self.min_proof {
            Some(Reason::ProofTooWeak)
        } else if self.sender_constraint && possession.key.is_none() {
            Some(Reason::SenderConstraintRequired)
        } else {
            None
        }
    }

    /// Whether nothing is asked for.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Checks that the key to which something is bound is the one that the request proved. Without a
/// proof the refusal is `missing`, with a proof of another key `mismatch`.
pub fn check(
    bound_to: Option<&Confirmation>,
    proved: Option<&Confirmation>,
    (missing, mismatch): (Reason, Reason),
) -> Result<ProofLevel, Reason> {
    match (bound_to, proved) {
        (None, _) => Ok(ProofLevel::Bearer),
        (Some(_), None) => Err(missing),
        (Some(key), Some(proved)) if key == proved => Ok(ProofLevel::Key),
        (Some(_), Some(_)) => Err(mismatch),
    }
}
