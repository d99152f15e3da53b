//! A set, and what a verifier says about it.

use std::time::{SystemTime, UNIX_EPOCH};

use carnet_rpki_attestation::{
    AttestedSet, Failure, MessageProfile, RepositoryCopy, Step, TrustAnchors, Verdict, Verifier,
};
use carnet_toy_rpki::{AUDIENCE, CONTENT_TYPE, PURPOSE, SignedMessage, ToyRpki};

pub const ISSUER: &str = "https://as64496.example";
pub const SET: &str = r#"{"issuer":"https://as64496.example","keys":[{"alg":"ES256","crv":"P-256","kid":"a","kty":"EC"}]}"#;

#[expect(
    clippy::disallowed_methods,
    reason = "openssl signs by the clock of the machine as well"
)]
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

pub fn verifier(toy: &ToyRpki) -> Verifier {
    Verifier::new(
        TrustAnchors::read(&toy.tal_dir()).unwrap(),
        RepositoryCopy::rpki_client(toy.cache()),
        MessageProfile::new(CONTENT_TYPE, AUDIENCE, PURPOSE).unwrap(),
        90 * 86400,
    )
}

/// [`SET`] with its attestation.
pub fn attested(message: &SignedMessage) -> AttestedSet {
    with_attestation(SET, &message.base64url())
}

pub fn with_attestation(set: &str, attestation: &str) -> AttestedSet {
    let document = format!("{{\"rpki_attestation\":\"{attestation}\",{}", &set[1..]);
    AttestedSet::parse(document.as_bytes()).unwrap()
}

pub fn verify(toy: &ToyRpki, message: &SignedMessage) -> Result<Verdict, Failure> {
    verifier(toy).verify(&attested(message), Some(ISSUER), None, now())
}

/// The step at which the attestation of [`SET`] fails.
pub fn step(toy: &ToyRpki, message: &SignedMessage) -> Step {
    verify(toy, message).unwrap_err().step
}
