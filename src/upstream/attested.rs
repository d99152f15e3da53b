//! Key sets for which the RPKI has to vouch: they are verified when they are fetched and when they are
//! taken over from before the start, and again and again while they are used.

use std::sync::Arc;

use moka::ops::compute::Op;

use super::discovery::{self, FetchedKeys, KeySetError};
use super::refresh::{CachedKeys, cached};
use super::{IssuerKeys, UpstreamKeys};
use crate::attestation::{AttestationFailure, AttestedDocument};
use crate::attested::Attested;
use crate::clock::Timestamp;
use crate::model::{AttestationTerms, TrustedIssuer};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::AttestedKeySet;

/// A key set whose attestation held, as it was published.
#[derive(Clone, Debug)]
pub(super) struct AttestedKeys {
    pub document: Arc<Vec<u8>>,
    /// What stands behind it, or why nothing does any more.
    pub verdict: Result<Arc<Attested>, AttestationFailure>,
    /// When it was compared with the copy of the RPKI.
    pub checked_at: Timestamp,
}

impl AttestedKeys {
    /// What stands behind the keys at a time.
    pub fn at(&self, now: Timestamp) -> Result<&Arc<Attested>, AttestationFailure> {
        let attested = self.verdict.as_ref().map_err(Clone::clone)?;
        if now < attested.use_until {
            Ok(attested)
        } else {
            Err(AttestationFailure {
                reason: Reason::AttestationExpired,
                step: "time",
                detail: "what it rests on has ended".to_owned(),
            })
        }
    }
}

impl CachedKeys {
    /// The keys that may be used at a time, with what stands behind them; `None` if there are none.
    pub(super) fn usable(&self, now: Timestamp) -> Option<IssuerKeys> {
        let set = self.keys.clone()?;
        let attested = match &self.attested {
            None => None,
            Some(keys) => Some(keys.at(now).ok()?.clone()),
        };
        Some(IssuerKeys { set, attested })
    }

    /// Why the RPKI vouches for no keys at a time; `None` if it does, or need not.
    pub(super) fn unattested(&self, now: Timestamp) -> Option<AttestationFailure> {
        match &self.attested {
            Some(keys) if self.unattested.is_none() => keys.at(now).err(),
            _ => self.unattested.clone(),
        }
    }
}

/// The refusal of an assertion whose issuer has no attested keys.
pub(super) fn refuse(failure: &AttestationFailure, wait_seconds: u32) -> Refusal {
    let is_temporary = matches!(
        failure.reason,
        Reason::AttestationMissing | Reason::AttestationStale
    );
    let refusal = if is_temporary {
        Refusal::later(failure.reason, wait_seconds)
    } else {
        Refusal::new(failure.reason)
    };
    refusal.malformed(format!("{}: {}", failure.step, failure.detail))
}

impl UpstreamKeys {
    /// Verifies a key set that was fetched, and reads its keys from what was signed. `noted` says
    /// whether it must not be older than one that was seen before.
    pub(super) async fn attest(
        &self,
        issuer: &TrustedIssuer,
        fetched: FetchedKeys,
        noted: bool,
    ) -> Result<FetchedKeys, KeySetError> {
        let Some(terms) = &issuer.attestation else {
            return Ok(fetched);
        };
        let document = Arc::new(fetched.document.clone());
        let now = self.clock.now();
        let found = self.verdict(issuer, terms, &document, now).await?;
        if noted {
            self.refuse_older(issuer, &found).await?;
        }
        let octets = found.octets.into_bytes();
        let name = "the attested key set";
        let keys = discovery::read_document(name, octets, fetched.max_age, issuer)?;
        Ok(FetchedKeys {
            document: fetched.document,
            attested: Some(AttestedKeys {
                document,
                verdict: Ok(Arc::new(found.attested)),
                checked_at: now,
            }),
            ..keys
        })
    }

    /// What the RPKI says of a key set, as far as its issuer may speak for it.
    async fn verdict(
        &self,
        issuer: &TrustedIssuer,
        terms: &AttestationTerms,
        document: &Arc<Vec<u8>>,
        now: Timestamp,
    ) -> Result<AttestedDocument, AttestationFailure> {
        let verifier = self
            .attestations
            .clone()
            .ok_or_else(AttestationFailure::no_verifier)?;
        let (document, anchors) = (document.clone(), terms.trust_anchors.clone());
        let name = issuer.issuer.clone();
        let verified = tokio::task::spawn_blocking(move || {
            verifier.verify(&document, Some(&name), anchors.as_deref(), now.seconds())
        });
        let verified = verified.await.unwrap_or_else(|error| {
            Err(AttestationFailure {
                reason: Reason::AttestationMalformed,
                step: "cms",
                detail: format!("the verification broke off: {error}"),
            })
        });
        let found = verified.and_then(|found| limited(found, terms));
        let step = found.as_ref().map_or_else(|failure| failure.step, |_| "ok");
        metrics::counter!("carnet_attestation_checks_total", "step" => step).increment(1);
        found
    }

    /// Refuses a set that is older than one that was seen before, by this replica or another one.
    async fn refuse_older(
        &self,
        issuer: &TrustedIssuer,
        found: &AttestedDocument,
    ) -> Result<(), KeySetError> {
        let set = AttestedKeySet {
            source: issuer.issuer.clone(),
            signed_at: found.signed_at,
            digest: found.digest,
        };
        match self.store.note_attested(set).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(AttestationFailure::rolled_back().into()),
            Err(error) => Err(KeySetError::Unusable {
                url: issuer.issuer.clone(),
                why: format!(
                    "whether the key set is older than one that was seen before cannot be read: {error}"
                ),
            }),
        }
    }

    /// The keys that this process has, after another look at the copy of the RPKI if the last one was
    /// too long ago. Nothing is fetched.
    pub(super) async fn rechecked(
        &self,
        issuer: &TrustedIssuer,
        held: Option<Arc<CachedKeys>>,
    ) -> Option<Arc<CachedKeys>> {
        let (Some(terms), Some(present)) = (&issuer.attestation, &held) else {
            return held;
        };
        let every = self
            .attestations
            .as_ref()
            .map_or(0, |verifier| verifier.recheck_seconds());
        let now = self.clock.now();
        let is_due = |held: &CachedKeys| {
            held.attested
                .as_ref()
                .is_some_and(|keys| now.seconds_since(keys.checked_at) >= every)
        };
        if !is_due(present) {
            return held;
        }
        let entry = self
            .cache
            .entry(issuer.id)
            .and_compute_with(|present| async {
                let present = present.map(moka::Entry::into_value);
                let held = present.filter(|held| held.version == issuer.version && is_due(held));
                let Some((held, keys)) = held.and_then(|held| {
                    let keys = held.attested.clone()?;
                    Some((held, keys))
                }) else {
                    return Op::Nop;
                };
                let verdict = self.verdict(issuer, terms, &keys.document, now).await;
                if let Err(failure) = &verdict {
                    tracing::warn!(trusted_issuer = issuer.name, %failure, "keys are not attested any more");
                }
                Op::Put(Arc::new(CachedKeys {
                    attested: Some(AttestedKeys {
                        verdict: verdict.map(|found| Arc::new(found.attested)),
                        checked_at: now,
                        ..keys
                    }),
                    ..(*held).clone()
                }))
            });
        cached(entry.await).filter(|held| held.version == issuer.version)
    }

    /// What the RPKI attests to the keys of an issuer now; fetches them if there are none. `None` for
    /// an issuer whose keys need no attestation.
    pub async fn attested(
        &self,
        issuer: &Arc<TrustedIssuer>,
    ) -> Result<Option<Arc<Attested>>, Refusal> {
        if issuer.attestation.is_none() {
            return Ok(None);
        }
        let keys = self.keys_unless(issuer, |_| false).await?;
        Ok(keys.attested)
    }

    /// Lets the source of an issuer's keys go back to an older set.
    pub async fn forget_newest(
        &self,
        issuer: &TrustedIssuer,
    ) -> Result<(), crate::store::StoreError> {
        self.store.forget_attested(&issuer.issuer).await
    }
}

/// As far as the issuer may speak for it; nothing at all is a failure.
fn limited(
    found: AttestedDocument,
    terms: &AttestationTerms,
) -> Result<AttestedDocument, AttestationFailure> {
    let resources = found.attested.resources.intersection(&terms.speaks_for);
    if resources.is_empty() {
        return Err(AttestationFailure::of_others());
    }
    Ok(AttestedDocument {
        attested: Attested {
            resources,
            ..found.attested
        },
        ..found
    })
}
