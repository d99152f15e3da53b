//! The verdict on a set.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use rpki::crypto::DigestAlgorithm;
use rpki::repository::resources::{AsResources, IpResources};
use rpki::repository::x509::Time;

use crate::anchors::TrustAnchors;
use crate::certification_path;
use crate::failure::{Failure, Step};
use crate::message::{MessageProfile, SignedMessage};
use crate::octets::{Attestation, AttestedSet};
use crate::repository::RepositoryCopy;
use crate::resources::{Blocks, Resources};

/// Octets of an attestation in DER.
const MOST_OCTETS: usize = 64 * 1024;
/// Characters of a text of others in a failure.
const MOST_QUOTED: usize = 128;
/// How far the signing time may lie ahead, in seconds.
const MOST_AHEAD: i64 = 300;

/// What attestations are verified against.
#[derive(Clone, Debug)]
pub struct Verifier {
    anchors: TrustAnchors,
    repository: RepositoryCopy,
    profile: MessageProfile,
    longest: i64,
}

/// Who stands behind a set, and for how long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What the message names, as far as the path holds it.
    pub resources: Resources,
    /// The name of the trust anchor at the end of the path.
    pub trust_anchor: String,
    /// SHA-256 of the signed octets. It identifies the set; an attestation can be encoded in more than
    /// one way.
    pub digest: [u8; 32],
    /// When the message says it was signed, in seconds since 1970.
    pub signed_at: i64,
    /// When the one-time certificate ends, in seconds since 1970.
    pub not_after: i64,
    /// Until when the verdict counts without being renewed, in seconds since 1970: the earliest end of
    /// any certificate, manifest or CRL on the path.
    pub use_until: i64,
}

impl Verifier {
    /// `longest` is the longest life of a one-time certificate, in seconds.
    pub const fn new(
        anchors: TrustAnchors,
        repository: RepositoryCopy,
        profile: MessageProfile,
        longest: i64,
    ) -> Self {
        Self {
            anchors,
            repository,
            profile,
            longest,
        }
    }

    pub const fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// Verifies the attestation of a set at a time, in seconds since 1970. Reads files.
    ///
    /// `issuer` is whose set it is taken for: a set that says whose it is must agree. `trust_anchors`
    /// names the anchors that count; without it all do.
    pub fn verify(
        &self,
        set: &AttestedSet,
        issuer: Option<&str>,
        trust_anchors: Option<&[String]>,
        now: i64,
    ) -> Result<Verdict, Failure> {
        let der = decode(set.attestation())?;
        let message = SignedMessage::decode(&der, &self.profile)?;
        let digest = DigestAlgorithm::sha256().digest(set.octets().as_bytes());
        if message.digest.as_ref() != digest.as_ref() {
            return Err(Failure::new(
                Step::Digest,
                "it was made for another set, or the set was changed since",
            ));
        }
        if let (Some(expected), Some(of_the_set)) = (issuer, set.issuer())
            && expected != of_the_set
        {
            return Err(Failure::new(
                Step::Issuer,
                format!("the set is of {}, not of {expected:?}", brief(of_the_set)),
            ));
        }
        let now = DateTime::from_timestamp(now, 0)
            .map(Time::new)
            .ok_or_else(|| Failure::new(Step::Time, "the time is out of range"))?;
        self.verify_message(&message, trust_anchors, now, digest.as_ref())
    }

    fn verify_message(
        &self,
        message: &SignedMessage,
        trust_anchors: Option<&[String]>,
        now: Time,
        digest: &[u8],
    ) -> Result<Verdict, Failure> {
        let certificate = message.certificate();
        certificate.verify_validity(now).map_err(|error| {
            Failure::new(Step::Time, format!("its one-time certificate: {error}"))
        })?;
        let validity = certificate.validity();
        let life = validity
            .not_after()
            .timestamp()
            .saturating_sub(validity.not_before().timestamp());
        if life > self.longest {
            return Err(Failure::new(
                Step::Time,
                format!(
                    "its one-time certificate lives {life} seconds, more than the {} that are allowed",
                    self.longest
                ),
            ));
        }
        let signed_at = message.object.signing_time();
        if signed_at.timestamp() > now.timestamp().saturating_add(MOST_AHEAD) {
            return Err(Failure::new(
                Step::Time,
                "it says that it was signed in the future",
            ));
        }
        let own = own_resources(message)?;
        if !own.contains(&message.resources) {
            return Err(Failure::new(
                Step::Containment,
                "it names resources that its one-time certificate does not have",
            ));
        }
        let mut reading = self.repository.open().map_err(|error| {
            Failure::of_the_copy(
                Step::Path,
                format!("the copy of the repository cannot be read: {error}"),
            )
        })?;
        let path = certification_path::verify(
            &message.object,
            &self.anchors,
            trust_anchors,
            &mut reading,
            now,
        )?;
        let resources = path
            .resources
            .intersection(&message.resources)
            .to_resources();
        if resources == Resources::default() {
            return Err(Failure::new(
                Step::Containment,
                "the path holds nothing of what it names",
            ));
        }
        Ok(Verdict {
            resources,
            trust_anchor: path.trust_anchor,
            digest: digest
                .try_into()
                .map_err(|_| Failure::new(Step::Digest, "its digest has another length"))?,
            signed_at: signed_at.timestamp(),
            not_after: certificate.validity().not_after().timestamp(),
            use_until: path.use_until.timestamp(),
        })
    }
}

/// The beginning of a text of others, without what could pass for something else in a log.
fn brief(text: &str) -> String {
    let graphic = text.chars().filter(char::is_ascii_graphic);
    format!("{:?}", graphic.take(MOST_QUOTED).collect::<String>())
}

fn decode(attestation: Option<&Attestation>) -> Result<Vec<u8>, Failure> {
    let encoding = |detail: &str| Failure::new(Step::Encoding, detail);
    let text = match attestation {
        None => {
            return Err(Failure::new(
                Step::Missing,
                "the set has no member \"rpki_attestation\"",
            ));
        }
        Some(Attestation::NoText) => {
            return Err(encoding("the member \"rpki_attestation\" must be text"));
        }
        Some(Attestation::Text(text)) => text,
    };
    let der = URL_SAFE_NO_PAD.decode(text).map_err(|_| {
        encoding("the member \"rpki_attestation\" must be base64url without padding")
    })?;
    if der.is_empty() {
        return Err(encoding("the member \"rpki_attestation\" is empty"));
    }
    if der.len() > MOST_OCTETS {
        return Err(encoding("the attestation is longer than 64 KiB"));
    }
    Ok(der)
}

/// What the one-time certificate lists itself.
fn own_resources(message: &SignedMessage) -> Result<Blocks, Failure> {
    let certificate = message.certificate();
    let inherit = || {
        Failure::new(
            Step::Inherit,
            "its one-time certificate inherits resources instead of naming them",
        )
    };
    let is_inherited = certificate.as_resources().is_inherited()
        || certificate.v4_resources().is_inherited()
        || certificate.v6_resources().is_inherited();
    if is_inherited {
        return Err(inherit());
    }
    let addresses = |resources: &IpResources| resources.to_blocks().map_err(|_| inherit());
    let asns = |resources: &AsResources| resources.to_blocks().map_err(|_| inherit());
    Ok(Blocks {
        asns: asns(certificate.as_resources())?,
        ipv4: addresses(certificate.v4_resources())?,
        ipv6: addresses(certificate.v6_resources())?,
    })
}
