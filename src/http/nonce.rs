//! The nonce for the next DPoP proof, where proofs have to have one (RFC 9449 section 8).

use axum::response::Response;
use carnet_dpop::{Nonces, offer_nonce};

use crate::clock::Timestamp;
use crate::reason::{Class, Reason};

/// Adds the nonce of this moment to an answer, if nonces are asked for.
pub fn with_nonce(nonces: Option<&Nonces>, now: Timestamp, mut response: Response) -> Response {
    if let Some(nonce) = nonces.and_then(|nonces| nonces.at(now.seconds()).ok()) {
        offer_nonce(response.headers_mut(), &nonce);
    }
    response
}

/// Whether a refusal is about a proof, so that the caller needs a nonce for its next one.
pub fn is_about_proof(reason: Reason) -> bool {
    matches!(reason.class(), Class::Proof | Class::ProofNonce)
}
