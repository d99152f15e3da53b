//! Attestations of key sets by the RPKI. Experimental.
//!
//! What verifies them is compiled in with the feature `rpki` only: it brings a second C library for
//! cryptography. Everything else works with the trait [`VerifyAttestation`].

#[cfg(feature = "rpki")]
mod rpki;

use std::fmt::Debug;
use std::sync::Arc;

use crate::attested::Attested;
use crate::config::Config;
use crate::documents::Attestations;
use crate::reason::Reason;

/// Why no attestation is verified here.
pub const NO_FEATURE: &str = "this build has no feature rpki, which verifies attestations";
/// The same for a build that could.
pub const NO_SECTION: &str =
    "this server's configuration has no section rpki, by which attestations are verified";

/// Verifies attestations of key sets.
pub trait VerifyAttestation: Debug + Send + Sync {
    /// Verifies the attestation of a key set of `issuer` at a time, in seconds since 1970. Reads files
    /// and computes signatures, so it must not run where others wait.
    fn verify(
        &self,
        document: &[u8],
        issuer: Option<&str>,
        trust_anchors: Option<&[String]>,
        now: i64,
    ) -> Result<AttestedDocument, AttestationFailure>;

    /// The names of the trust anchors that there are.
    fn trust_anchors(&self) -> &[String];

    /// How long a verdict may be held without another look at the copy of the RPKI, in seconds.
    fn recheck_seconds(&self) -> i64;
}

/// A key set whose attestation holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedDocument {
    /// What was signed: the keys are read from these octets alone.
    pub octets: String,
    pub attested: Attested,
    /// SHA-256 of the octets, which identifies the set.
    pub digest: [u8; 32],
    /// When it says it was signed, in seconds since 1970.
    pub signed_at: i64,
    /// When its certificate ends, in seconds since 1970.
    pub not_after: i64,
}

/// Why an attestation does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attestation: {step}: {detail}")]
pub struct AttestationFailure {
    pub reason: Reason,
    /// At which step of the verification it failed.
    pub step: &'static str,
    pub detail: String,
}

impl AttestationFailure {
    /// The set is older than one that was seen before.
    pub fn rolled_back() -> Self {
        Self {
            reason: Reason::AttestationRolledBack,
            step: "rolled_back",
            detail: "a set that was signed later was seen before, or another one of the same time"
                .to_owned(),
        }
    }

    /// Nothing of what the issuer speaks for is attested to it.
    pub fn of_others() -> Self {
        Self {
            reason: Reason::AttestationUntrusted,
            step: "containment",
            detail: "it attests nothing of what the trusted issuer speaks for".to_owned(),
        }
    }

    /// Something on its path has ended, and our copy of the RPKI has nothing newer.
    pub fn ended() -> Self {
        Self {
            reason: Reason::AttestationStale,
            step: "time",
            detail: "what it rests on has ended".to_owned(),
        }
    }

    /// The verification took too long, or ended without a verdict.
    pub fn broken_off() -> Self {
        Self {
            reason: Reason::AttestationStale,
            step: "path",
            detail: "the verification took too long or broke off".to_owned(),
        }
    }

    /// The profile of the issuer asks for an attestation, and the issuer says nothing of one.
    pub fn no_terms() -> Self {
        Self {
            reason: Reason::AttestationMissing,
            step: "missing",
            detail: "the profile asks for an attestation, and the trusted issuer has no member attestation"
                .to_owned(),
        }
    }

    /// Whether it may count later without the network that runs the issuer doing anything, or because
    /// that network was not ready.
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self.reason,
            Reason::AttestationMissing | Reason::AttestationStale
        )
    }

    /// There is nothing here that could verify it.
    pub fn no_verifier() -> Self {
        Self {
            reason: Reason::AttestationStale,
            step: "path",
            detail: no_verifier().to_owned(),
        }
    }
}

/// Why this server verifies no attestations.
pub const fn no_verifier() -> &'static str {
    if cfg!(feature = "rpki") {
        NO_SECTION
    } else {
        NO_FEATURE
    }
}

/// What verifies attestations by this configuration; `None` if nothing does.
///
/// # Errors
///
/// A sentence, if locators or object identifiers cannot be used.
#[cfg(feature = "rpki")]
pub fn verifier(config: &Config) -> Result<Option<Arc<dyn VerifyAttestation>>, String> {
    let rpki = config.rpki.as_ref().map(rpki::RpkiVerifier::open);
    Ok(rpki.transpose()?.map(|verifier| Arc::new(verifier) as _))
}

/// What verifies attestations by this configuration: nothing, in this build.
///
/// # Errors
///
/// None: the configuration has no section for it in this build.
#[cfg(not(feature = "rpki"))]
pub fn verifier(_config: &Config) -> Result<Option<Arc<dyn VerifyAttestation>>, String> {
    Ok(None)
}

/// How documents about attestations are read where this verifies them.
pub fn of_documents(verifier: Option<&dyn VerifyAttestation>) -> Attestations<'_> {
    match verifier {
        Some(verifier) => Attestations::UpTo(verifier.trust_anchors()),
        None => Attestations::Never(no_verifier()),
    }
}
