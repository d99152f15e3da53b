//! Verifies attestations against the copy of the RPKI that a validator keeps on disk.

use carnet_rpki_attestation::{
    AttestedSet, Failure, MessageProfile, RepositoryCopy, Resources, Step, TrustAnchors, Verifier,
};

use super::{AttestationFailure, AttestedDocument, VerifyAttestation};
use crate::attested::{Attested, NumberResources};
use crate::clock::Timestamp;
use crate::config::RpkiConfig;
use crate::reason::Reason;

const SECONDS_OF_A_DAY: i64 = 86_400;

#[derive(Debug)]
pub(super) struct RpkiVerifier {
    verifier: Verifier,
    trust_anchors: Vec<String>,
    recheck_seconds: i64,
}

impl RpkiVerifier {
    /// Reads the trust anchor locators.
    pub(super) fn open(config: &RpkiConfig) -> Result<Self, String> {
        let anchors = TrustAnchors::read(&config.tal_dir)
            .map_err(|error| format!("rpki.tal_dir: {error}"))?;
        let message = &config.message;
        let profile =
            MessageProfile::new(&message.content_type, &message.audience, &message.purpose)
                .map_err(|error| format!("rpki.rsm: {error}"))?;
        let dir = &config.repository_dir;
        if !dir.is_dir() {
            return Err(format!(
                "rpki.repository.dir: {} is no folder",
                dir.display()
            ));
        }
        let copy = RepositoryCopy::rpki_client(dir);
        let longest = config.max_attestation_days.saturating_mul(SECONDS_OF_A_DAY);
        Ok(Self {
            trust_anchors: anchors.names().map(str::to_owned).collect(),
            verifier: Verifier::new(anchors, copy, profile, longest),
            recheck_seconds: config.recheck_seconds,
        })
    }
}

impl VerifyAttestation for RpkiVerifier {
    fn verify(
        &self,
        document: &[u8],
        issuer: Option<&str>,
        trust_anchors: Option<&[String]>,
        now: i64,
    ) -> Result<AttestedDocument, AttestationFailure> {
        let set = AttestedSet::parse(document).map_err(|error| AttestationFailure {
            reason: Reason::AttestationMalformed,
            step: Step::Encoding.as_str(),
            detail: error.to_string(),
        })?;
        let verdict = self.verifier.verify(&set, issuer, trust_anchors, now);
        let verdict = verdict.map_err(failure)?;
        let Resources { asns, ipv4, ipv6 } = verdict.resources;
        Ok(AttestedDocument {
            octets: set.octets().to_owned(),
            attested: Attested {
                resources: NumberResources::new(asns, ipv4, ipv6),
                trust_anchor: verdict.trust_anchor,
                use_until: Timestamp::from_seconds(verdict.use_until),
            },
            digest: verdict.digest,
            signed_at: verdict.signed_at,
            not_after: verdict.not_after,
        })
    }

    fn trust_anchors(&self) -> &[String] {
        &self.trust_anchors
    }

    fn recheck_seconds(&self) -> i64 {
        self.recheck_seconds
    }
}

fn failure(failure: Failure) -> AttestationFailure {
    AttestationFailure {
        reason: if failure.is_of_the_copy {
            Reason::AttestationStale
        } else {
            reason(failure.step)
        },
        step: failure.step.as_str(),
        detail: failure.detail,
    }
}

/// What the step means for whoever presents an assertion.
const fn reason(step: Step) -> Reason {
    match step {
        Step::Missing => Reason::AttestationMissing,
        Step::Encoding | Step::Cms | Step::Inherit => Reason::AttestationMalformed,
        Step::ContentType | Step::Audience | Step::Purpose => Reason::AttestationPurpose,
        Step::Digest | Step::Issuer => Reason::AttestationMismatch,
        Step::Time => Reason::AttestationExpired,
        Step::Anchor
        | Step::Path
        | Step::Manifest
        | Step::Crl
        | Step::Containment
        | Step::Signature => Reason::AttestationUntrusted,
        Step::Revoked => Reason::AttestationRevoked,
        Step::RolledBack => Reason::AttestationRolledBack,
    }
}
