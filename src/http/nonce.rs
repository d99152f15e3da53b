//! The nonce for the next DPoP proof, where proofs have to have one (RFC 9449 section 8).

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use carnet_dpop::Nonces;

use crate::clock::Timestamp;
use crate::reason::{Class, Reason};

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Adds the nonce of this moment to an answer, if nonces are asked for.
pub fn with_nonce(nonces: Option<&Nonces>, now: Timestamp, mut response: Response) -> Response {
    let nonce = nonces.and_then(|nonces| nonces.at(now.seconds()).ok());
    if let Some(Ok(nonce)) = nonce.map(HeaderValue::try_from) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    response
}

/// Whether a refusal is about a proof, so that the caller needs a nonce for its next one.
pub fn is_about_proof(reason: Reason) -> bool {
    matches!(reason.class(), Class::Proof | Class::ProofNonce)
}
