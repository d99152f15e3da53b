//! Proofs of possession: what a request proved (a DPoP key, RFC 9449, or the key of a client
//! certificate, RFC 8705), and what registries and permissions ask for.
//!
//! A *level* says how strongly the workload proved that what it presents is its own. It is never
//! raised: a token that is bound to a key because the request brought a proof still rests on an
//! assertion that anybody could have copied (draft-ietf-wimse-workload-identity-practices).

use carnet_access::{Confirmation, ProofLevel};
use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// The keys that a request proved to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvedKeys {
    /// The JWK thumbprint of the key of its DPoP proof.
    pub dpop: Option<String>,
    /// The thumbprint of the certificate with which its TLS connection was made.
    pub certificate: Option<String>,
}

impl ProvedKeys {
    /// The DPoP key, if there is one.
    pub fn dpop(&self) -> Option<Confirmation> {
        self.dpop.clone().map(Confirmation::Key)
    }

    /// The client certificate, if there is one.
    pub fn certificate(&self) -> Option<Confirmation> {
        self.certificate.clone().map(Confirmation::Certificate)
    }
}

impl From<Option<Confirmation>> for ProvedKeys {
    fn from(one: Option<Confirmation>) -> Self {
        match one {
            None => Self::default(),
            Some(Confirmation::Key(dpop)) => Self {
                dpop: Some(dpop),
                ..Self::default()
            },
            Some(Confirmation::Certificate(certificate)) => Self {
                certificate: Some(certificate),
                ..Self::default()
            },
        }
    }
}

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

/// Checks that the key to which something is bound is among those that the request proved. Without a
/// proof of this kind the refusal is `missing`, with a proof of another key `mismatch`.
pub fn check(
    bound_to: Option<&Confirmation>,
    proved: &ProvedKeys,
    (missing, mismatch): (Reason, Reason),
) -> Result<ProofLevel, Reason> {
    let (key, proved) = match bound_to {
        None => return Ok(ProofLevel::Bearer),
        Some(Confirmation::Key(key)) => (key, &proved.dpop),
        Some(Confirmation::Certificate(thumbprint)) => (thumbprint, &proved.certificate),
    };
    match proved {
        None => Err(missing),
        Some(proved) if proved == key => Ok(ProofLevel::Key),
        Some(_) => Err(mismatch),
    }
}
