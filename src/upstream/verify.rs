//! Verifies assertions: with the keys of the one trusted issuer that is meant, or by asking its
//! cluster (`TokenReview`).

use std::sync::Arc;

use super::UpstreamKeys;
use crate::assertion::{UnverifiedAssertion, VerifiedAssertion};
use crate::clock::Timestamp;
use crate::model::{KeySource, TrustedIssuer};
use crate::reason::Reason;
use crate::refusal::Refusal;

impl UpstreamKeys {
    /// Verifies an assertion as one of `issuer`.
    pub async fn verify(
        &self,
        assertion: UnverifiedAssertion<'_>,
        issuer: Arc<TrustedIssuer>,
        now: Timestamp,
    ) -> Result<VerifiedAssertion, Refusal> {
        let algorithm = assertion.algorithm(&issuer)?;
        if matches!(issuer.keys, KeySource::TokenReview { .. }) {
            // Local checks come first, so that only tokens that pass them are sent to the cluster.
            let assessed = assertion.assessed(issuer.clone(), now)?;
            let verdict = self
                .review(
                    &issuer,
                    &assessed.text(),
                    assessed.subject(),
                    assessed.audience(),
                )
                .await;
            return assessed.reviewed(verdict);
        }
        let held = self
            .keys_for(&issuer, algorithm, assertion.key_id())
            .await?;
        let key = held
            .select(algorithm, assertion.key_id())
            .map_err(|_| Reason::KeyUnknown)?;
        assertion.signed(issuer, now, |signed, signature| {
            key.verifies(signed, signature)
        })
    }
}
