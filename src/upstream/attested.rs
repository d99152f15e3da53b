//! Key sets for which the RPKI has to vouch: they are verified when they are fetched and when they are
//! taken over from before the start, and again and again while they are used.

use std::sync::Arc;

use moka::ops::compute::Op;

use super::discovery::{self, Document, FetchedKeys, KeySetError};
use super::refresh::{CachedKeys, cached};
use super::{IssuerKeys, TIMEOUT, UpstreamKeys};
use crate::attestation::{AttestationFailure, AttestedDocument};
use crate::attested::Attested;
use crate::clock::Timestamp;
use crate::model::{AttestationTerms, TrustedIssuer};
use crate::refusal::Refusal;
use crate::store::{AttestedKeySet, StoreError};

/// After how many seconds a verification is repeated that failed because of our copy of the RPKI: a
/// validator that is at work mends that.
const AGAIN: i64 = 5;

/// A key set whose attestation held, as it was published.
#[derive(Clone, Debug)]
pub(super) struct AttestedKeys {
    pub document: Arc<Vec<u8>>,
    /// What stands behind it, or why nothing does any more.
    pub verdict: Result<Arc<Attested>, AttestationFailure>,
    /// When it is compared with the copy of the RPKI again.
    pub check_at: Timestamp,
}

impl AttestedKeys {
    /// What stands behind the keys at a time.
    pub fn at(&self, now: Timestamp) -> Result<&Arc<Attested>, AttestationFailure> {
        let attested = self.verdict.as_ref().map_err(Clone::clone)?;
        if now < attested.use_until {
            Ok(attested)
        } else {
            Err(AttestationFailure::ended())
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let has_ended = self
            .verdict
            .as_ref()
            .is_ok_and(|attested| attested.use_until <= now);
        self.check_at <= now || has_ended
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

/// The refusal of an assertion whose issuer has no attested keys. Whoever presents one is told the step
/// alone; what was found there quotes others, so it is for the log.
pub(super) fn refuse(failure: &AttestationFailure, wait_seconds: u32) -> Refusal {
    let refusal = if failure.is_temporary() {
        Refusal::later(failure.reason, wait_seconds)
    } else {
        Refusal::new(failure.reason)
    };
    let step = format!("the verification failed at the step {}", failure.step);
    refusal
        .malformed(step)
        .with_detail(format!("{}: {}", failure.step, failure.detail))
}

impl UpstreamKeys {
    /// Reads the keys of a document; if the RPKI has to vouch for them, from what was signed alone.
    /// `noted` says whether the set must not be older than one that was seen before.
    pub(super) async fn read(
        &self,
        issuer: &TrustedIssuer,
        document: Document,
        noted: bool,
    ) -> Result<FetchedKeys, KeySetError> {
        let terms = match &issuer.attestation {
            Some(terms) => terms,
            None if issuer.profile.is_attested() => {
                return Err(AttestationFailure::no_terms().into());
            }
            None => return discovery::read_document(document, issuer),
        };
        let Document {
            name,
            body,
            max_age,
        } = document;
        let body = Arc::new(body);
        let now = self.clock.now();
        let found = self.verdict(issuer, terms, &body, now).await?;
        let signed = Document {
            name,
            body: found.octets.clone().into_bytes(),
            max_age,
        };
        let keys = discovery::read_document(signed, issuer)?;
        if noted {
            self.refuse_older(issuer, &found).await?;
        }
        Ok(FetchedKeys {
            document: (*body).clone(),
            attested: Some(AttestedKeys {
                document: body,
                verdict: Ok(Arc::new(found.attested)),
                check_at: now.plus_seconds(self.recheck_seconds()),
            }),
            ..keys
        })
    }

    fn recheck_seconds(&self) -> i64 {
        let verifier = self.attestations.as_ref();
        verifier.map_or(0, |verifier| verifier.recheck_seconds())
    }

    /// What the RPKI says of a key set, as far as its issuer may speak for it. At most a few sets are
    /// verified at a time, and no one waits longer than for a fetch: the files may lie on a disk that
    /// does not answer.
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
        let turn = self.verifying.clone();
        let outcome = async move {
            let turn = turn.acquire_owned().await.ok()?;
            let outcome = tokio::task::spawn_blocking(move || {
                // The turn ends with the work, not with whoever waits for it.
                let _turn = turn;
                verifier.verify(&document, Some(&name), anchors.as_deref(), now.seconds())
            });
            outcome.await.ok()
        };
        let outcome = tokio::time::timeout(TIMEOUT, outcome).await;
        let outcome = outcome.ok().flatten();
        let outcome = outcome.unwrap_or_else(|| Err(AttestationFailure::broken_off()));
        let found = outcome.and_then(|found| limited(found, terms));
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
        match self.is_newest(issuer, found).await {
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

    async fn is_newest(
        &self,
        issuer: &TrustedIssuer,
        found: &AttestedDocument,
    ) -> Result<bool, StoreError> {
        let set = AttestedKeySet {
            source: source(issuer),
            signed_at: found.signed_at,
            digest: found.digest,
        };
        self.store.note_attested(set).await
    }

    /// The keys that this process has, after another look at the copy of the RPKI if the last one was
    /// too long ago. Nothing is fetched.
    pub(super) async fn rechecked(
        &self,
        issuer: &Arc<TrustedIssuer>,
        held: Option<Arc<CachedKeys>>,
    ) -> Option<Arc<CachedKeys>> {
        let now = self.clock.now();
        let is_due = held
            .as_ref()
            .and_then(|held| held.attested.as_ref())
            .is_some_and(|keys| keys.is_due(now));
        if !is_due {
            return held;
        }
        // In a task of its own: a caller that disconnects must not lose the verdict for the others.
        let (keys, issuer) = (self.clone(), issuer.clone());
        let recheck = tokio::spawn(async move { keys.recheck_once(&issuer, now).await });
        recheck.await.ok().flatten()
    }

    /// Lets one caller at a time verify the set of an issuer again.
    async fn recheck_once(
        &self,
        issuer: &TrustedIssuer,
        now: Timestamp,
    ) -> Option<Arc<CachedKeys>> {
        let terms = issuer.attestation.as_ref()?;
        let entry = self
            .cache
            .entry(issuer.id)
            .and_compute_with(|present| async {
                let present = present.map(moka::Entry::into_value);
                let held = present.filter(|held| held.version == issuer.version);
                let due = held.and_then(|held| {
                    let keys = held.attested.clone().filter(|keys| keys.is_due(now))?;
                    Some((held, keys))
                });
                let Some((held, keys)) = due else {
                    return Op::Nop;
                };
                let attested = self.recheck(issuer, terms, keys, now).await;
                Op::Put(Arc::new(CachedKeys {
                    attested: Some(attested),
                    ..(*held).clone()
                }))
            });
        cached(entry.await).filter(|held| held.version == issuer.version)
    }

    async fn recheck(
        &self,
        issuer: &TrustedIssuer,
        terms: &AttestationTerms,
        keys: AttestedKeys,
        now: Timestamp,
    ) -> AttestedKeys {
        let mut verdict = self.verdict(issuer, terms, &keys.document, now).await;
        // Another replica may have seen a newer set. A database that does not answer changes nothing.
        if let Ok(found) = &verdict
            && let Ok(false) = self.is_newest(issuer, found).await
        {
            verdict = Err(AttestationFailure::rolled_back());
        }
        let wait = match &verdict {
            Ok(_) => self.recheck_seconds(),
            Err(failure) => {
                tracing::warn!(trusted_issuer = issuer.name, %failure, "keys are not attested any more");
                if failure.is_temporary() {
                    AGAIN
                } else {
                    self.recheck_seconds()
                }
            }
        };
        AttestedKeys {
            verdict: verdict.map(|found| Arc::new(found.attested)),
            check_at: now.plus_seconds(wait),
            ..keys
        }
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
    pub async fn forget_newest(&self, issuer: &TrustedIssuer) -> Result<(), StoreError> {
        self.store.forget_attested(&source(issuer)).await
    }
}

/// Whose sets are compared with each other. Not by URL: whoever answers discovery chooses it.
fn source(issuer: &TrustedIssuer) -> String {
    issuer.id.to_string()
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
