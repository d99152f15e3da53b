//! What this process knows of DPoP proofs (RFC 9449): the nonces that it asks for, and the proofs
//! that were used at its own APIs. Those of token requests are in the ledger, which all replicas
//! share.

use carnet_dpop::{Nonces, SingleProcess};
use carnet_jose::{MacError, SealingKey};

/// Nonces and the memory of used proofs.
#[derive(Debug)]
pub struct Proofs {
    server: Nonces,
    admin: Nonces,
    gateway: Nonces,
    requires_nonce: bool,
    /// The proofs that were used at the admin API of this process.
    pub spent: SingleProcess,
}

impl Proofs {
    /// Derives the nonces from the encryption key, so that all replicas agree on them.
    /// `requires_nonce` is `dpop.require_nonce` of the configuration.
    pub fn new(key: &SealingKey, requires_nonce: bool) -> Result<Self, MacError> {
        let secret = key.derive("dpop nonces")?;
        Ok(Self {
            server: Nonces::new(&secret, "token requests")?,
            admin: Nonces::new(&secret, "admin API")?,
            gateway: Nonces::new(&secret, "gateway")?,
            requires_nonce,
            spent: SingleProcess::new(),
        })
    }

    /// The nonces that proofs of token requests must have; `None` if none is asked for.
    pub fn required_nonces(&self) -> Option<&Nonces> {
        self.requires_nonce.then_some(&self.server)
    }

    /// The nonces that proofs at the admin API must have; `None` if none is asked for. A nonce of
    /// the token endpoint is none of these (RFC 9449 section 9).
    pub fn required_admin_nonces(&self) -> Option<&Nonces> {
        self.requires_nonce.then_some(&self.admin)
    }

    /// The nonces that proofs at the gateway must have, for publications through it; `None` if none
    /// is asked for.
    pub fn required_gateway_nonces(&self) -> Option<&Nonces> {
        self.requires_nonce.then_some(&self.gateway)
    }
}
