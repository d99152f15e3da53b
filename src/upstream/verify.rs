//! Verifies assertions: with the keys of the one trusted issuer that is meant, or by asking its
//! cluster (`TokenReview`).

use std::sync::Arc;

use carnet_jose::{Algorithm, KeySet};

use super::UpstreamKeys;
use crate::assertion::{Recipient, SignatureCheck, UnverifiedAssertion, VerifiedAssertion};
use crate::clock::Timestamp;
use crate::model::{KeySource, TrustedIssuer};
use crate::reason::Reason;
use crate::refusal::Refusal;

impl UpstreamKeys {
    /// Verifies an assertion as one of `issuer`, presented to a recipient at a time.
    pub async fn verify(
        &self,
        assertion: UnverifiedAssertion<'_>,
        issuer: Arc<TrustedIssuer>,
        presented: (Recipient<'_>, Timestamp),
    ) -> Result<VerifiedAssertion, Refusal> {
        let algorithm = assertion.algorithm(&issuer)?;
        if matches!(issuer.keys, KeySource::TokenReview { .. }) {
            // Local checks come first, so that only tokens that pass them are sent to the cluster.
            let assessed = assertion.assessed(issuer.clone(), presented)?;
            let verdict = self
                .review(
                    &issuer,
                    &assessed.text(),
                    assessed.subject(),
                    assessed.audience(presented.0),
                )
                .await;
            return assessed.reviewed(verdict);
        }
        let keys = self
            .keys_for(&issuer, algorithm, assertion.key_id())
            .await?;
        let assertion = match check_signature(&keys, algorithm, assertion, &issuer)? {
            SignatureCheck::Holds(signed) => return signed.verified(presented),
            SignatureCheck::Fails(assertion) => assertion,
        };
        let newer = self.newer_than(&keys, &issuer).await;
        let newer = newer.ok_or(Reason::SignatureInvalid)?;
        match check_signature(&newer, algorithm, assertion, &issuer)? {
            SignatureCheck::Holds(signed) => signed.verified(presented),
            SignatureCheck::Fails(_) => Err(Reason::SignatureInvalid.into()),
        }
    }
}

/// Checks the signature with the one key that the assertion means.
fn check_signature<'a>(
    keys: &KeySet,
    algorithm: Algorithm,
    assertion: UnverifiedAssertion<'a>,
    issuer: &Arc<TrustedIssuer>,
) -> Result<SignatureCheck<'a>, Refusal> {
    let key = keys
        .select(algorithm, assertion.key_id())
        .map_err(|_| Reason::KeyUnknown)?;
    Ok(assertion.signed(issuer, |signed, signature| key.verifies(signed, signature)))
}
