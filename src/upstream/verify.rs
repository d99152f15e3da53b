//! Verifies assertions: with the keys of the one trusted issuer that is meant, or by asking its
//! cluster (`TokenReview`).

use std::sync::Arc;

use carnet_jose::{Algorithm, KeySet};

use super::{IssuerKeys, UpstreamKeys};
use crate::assertion::{Recipient, SignatureCheck, UnverifiedAssertion, VerifiedAssertion};
use crate::clock::Timestamp;
use crate::documents::MAX_ASSERTION_LIFETIME_SECONDS;
use crate::model::{KeySource, TrustedIssuer};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// What an assertion is verified with.
#[derive(Debug)]
pub struct Ready {
    algorithm: Algorithm,
    /// The keys of its trusted issuer; `None` if its cluster is asked.
    keys: Option<IssuerKeys>,
}

impl UpstreamKeys {
    /// Gets what this assertion of `issuer` is verified with. Waits for the platform if its keys
    /// have to be fetched.
    pub async fn ready(
        &self,
        assertion: &UnverifiedAssertion<'_>,
        issuer: &Arc<TrustedIssuer>,
    ) -> Result<Ready, Refusal> {
        let algorithm = assertion.algorithm(issuer)?;
        let keys = match issuer.keys {
            KeySource::TokenReview { .. } => None,
            _ => Some(self.keys_for(issuer, algorithm, assertion.key_id()).await?),
        };
        Ok(Ready { algorithm, keys })
    }

    /// Verifies an assertion as one of `issuer`, presented to a recipient at a time.
    pub async fn verify(
        &self,
        assertion: UnverifiedAssertion<'_>,
        issuer: Arc<TrustedIssuer>,
        presented: (Recipient<'_>, Timestamp),
    ) -> Result<VerifiedAssertion, Refusal> {
        let ready = self.ready(&assertion, &issuer).await?;
        self.verify_with(ready, assertion, issuer, presented).await
    }

    /// The same with what [`ready`](Self::ready) got. Waits for the platform only if the signature
    /// fails, or if its cluster is asked.
    pub async fn verify_with(
        &self,
        ready: Ready,
        assertion: UnverifiedAssertion<'_>,
        issuer: Arc<TrustedIssuer>,
        presented: (Recipient<'_>, Timestamp),
    ) -> Result<VerifiedAssertion, Refusal> {
        let verified = self
            .answered_for(ready, assertion, issuer, presented)
            .await?;
        // By then every assertion of before has expired that says when it was issued.
        let restored = self.not_before.filter(|restored| {
            presented.1.seconds_since(*restored) <= MAX_ASSERTION_LIFETIME_SECONDS
        });
        match (restored, verified.issued_at()) {
            (None, _) => Ok(verified),
            (Some(restored), Some(date)) if date.seconds() >= restored.seconds() => Ok(verified),
            (Some(_), _) => Err(Refusal::claim(Reason::IssuedBeforeRestore, "iat")),
        }
    }

    /// The assertion, if a key of its issuer or its cluster answers for it.
    async fn answered_for(
        &self,
        Ready { algorithm, keys }: Ready,
        assertion: UnverifiedAssertion<'_>,
        issuer: Arc<TrustedIssuer>,
        presented: (Recipient<'_>, Timestamp),
    ) -> Result<VerifiedAssertion, Refusal> {
        let Some(keys) = keys else {
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
        };
        let assertion = match check_signature(&keys.set, algorithm, assertion, &issuer)? {
            SignatureCheck::Holds(signed) => {
                return signed.attested_by(keys.attested).verified(presented);
            }
            SignatureCheck::Fails(assertion) => assertion,
        };
        let newer = self.newer_than(&keys, &issuer).await;
        let newer = newer.ok_or(Reason::SignatureInvalid)?;
        match check_signature(&newer.set, algorithm, assertion, &issuer)? {
            SignatureCheck::Holds(signed) => signed.attested_by(newer.attested).verified(presented),
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
