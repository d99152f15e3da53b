//! The step's own type: a permit together with what it entitles to, which minting wants to see.

use super::{AccessRequest, Entitlement, entitle};
use crate::refusal::Refusal;
use crate::trust::{Denial, Permit};

/// A permit and what it entitles to. Only [`authorize`] makes one.
#[derive(Debug)]
pub struct Authorization {
    permit: Permit,
    entitlement: Entitlement,
}

/// Decides what the permit entitles to for this request.
pub fn authorize(permit: Permit, request: &AccessRequest) -> Result<Authorization, Box<Denial>> {
    let assertion = permit.assertion();
    match entitle(permit.report(), permit.snapshot(), assertion.issuer(), assertion.claims(), request) {
        Ok(entitlement) => Ok(Authorization { permit, entitlement }),
        Err(refusal) => Err(permit.deny(refusal)),
    }
}

impl Authorization {
    /// Turns the yes into a no.
    pub fn deny(self, refusal: Refusal) -> Box<Denial> {
        self.permit.deny(refusal)
    }

    /// The permit.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// What it entitles to.
    pub fn entitlement(&self) -> &Entitlement {
        &self.entitlement
    }
}
