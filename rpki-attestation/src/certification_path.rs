//! From the certificate of a message to a trust anchor, and down again.

use bytes::Bytes;
use rpki::repository::cert::{Cert, ResourceCert};
use rpki::repository::crl::Crl;
use rpki::repository::manifest::{Manifest, ManifestContent};
use rpki::repository::sigobj::SignedObject;
use rpki::repository::tal::{Tal, TalUri};
use rpki::repository::x509::Time;
use rpki::uri::Rsync;

use crate::anchors::TrustAnchors;
use crate::failure::{Failure, Step};
use crate::repository::{ReadError, Reading};
use crate::resources::Blocks;

/// Certificates of CAs between a message and its anchor.
const MOST_DEPTH: usize = 12;

/// What a valid path gives.
pub(crate) struct Verified {
    /// Of the certificate, as far as every certificate above holds them.
    pub(crate) resources: Blocks,
    pub(crate) trust_anchor: String,
    /// The earliest end of anything on the path.
    pub(crate) use_until: Time,
}

/// A certificate of a CA as it lies in the copy.
struct Issuer {
    certificate: Cert,
    uri: Rsync,
    octets: Bytes,
}

#[derive(Clone)]
struct Anchor<'a> {
    certificate: Cert,
    tal: &'a Tal,
}

/// Verifies the signature of a message and the path of its certificate at a time. `allowed` names the trust
/// anchors that count; without it all do.
pub(crate) fn verify(
    message: &SignedObject,
    anchors: &TrustAnchors,
    allowed: Option<&[String]>,
    reading: &mut Reading,
    now: Time,
) -> Result<Verified, Failure> {
    let leaf = message.cert();
    let (anchor, issuers) = climb(leaf, anchors, reading)?;
    let name = anchor.tal.info().name().to_owned();
    if allowed.is_some_and(|allowed| !allowed.contains(&name)) {
        return Err(Failure::new(
            Step::Anchor,
            format!("the trust anchor {name:?} does not count here"),
        ));
    }
    let mut use_until = anchor.certificate.validity().not_after();
    let mut issuer = anchor
        .certificate
        .validate_ta_at(anchor.tal.info().clone(), false, now)
        .map_err(|error| {
            Failure::new(
                Step::Anchor,
                format!("the certificate of the trust anchor {name:?} is not valid: {error}"),
            )
        })?;
    for child in issuers.into_iter().rev() {
        let point = PublicationPoint::read(&issuer, reading, now)?;
        point.refuse_unlisted(&child)?;
        use_until = use_until
            .min(point.use_until)
            .min(child.certificate.validity().not_after());
        let what = format!("the certificate {}", child.uri);
        point.check_certificate(&child.certificate, &what, now)?;
        issuer = child
            .certificate
            .validate_ca_at(&issuer, false, now)
            .map_err(|error| Failure::new(Step::Containment, format!("{what}: {error}")))?;
    }
    let point = PublicationPoint::read(&issuer, reading, now)?;
    let what = "the certificate of the message";
    point.check_certificate(leaf, what, now)?;
    let use_until = use_until
        .min(point.use_until)
        .min(leaf.validity().not_after());
    let leaf = leaf
        .clone()
        .validate_detached_ee_at(&issuer, true, now)
        .map_err(|error| Failure::new(Step::Containment, format!("{what}: {error}")))?;
    message
        .clone()
        .validate_detached_at(&issuer, true, now)
        .map_err(|error| Failure::new(Step::Signature, format!("the message: {error}")))?;
    Ok(Verified {
        resources: Blocks {
            asns: leaf.as_resources().clone(),
            ipv4: leaf.v4_resources().clone(),
            ipv6: leaf.v6_resources().clone(),
        },
        trust_anchor: name,
        use_until,
    })
}

/// The anchor at the end and the certificates in between, the lowest first.
fn climb<'a>(
    leaf: &Cert,
    anchors: &'a TrustAnchors,
    reading: &mut Reading,
) -> Result<(Anchor<'a>, Vec<Issuer>), Failure> {
    let anchors = read_anchors(anchors, reading);
    let mut issuers: Vec<Issuer> = Vec::new();
    loop {
        let below = issuers.last().map_or(leaf, |issuer| &issuer.certificate);
        let signer = below.authority_key_identifier();
        let has_signed =
            |anchor: &&Anchor<'a>| signer == Some(anchor.certificate.subject_key_identifier());
        if let Some(anchor) = anchors.iter().find(has_signed) {
            anchor.check_key()?;
            return Ok((anchor.clone(), issuers));
        }
        if issuers.len() == MOST_DEPTH {
            return Err(Failure::new(
                Step::Path,
                format!("more than {MOST_DEPTH} certificates lead to a trust anchor"),
            ));
        }
        let issuer = read_issuer(below, reading)?;
        issuers.push(issuer);
    }
}

/// The certificate that `below` says has signed it.
fn read_issuer(below: &Cert, reading: &mut Reading) -> Result<Issuer, Failure> {
    let failure = |detail: String| Failure::new(Step::Path, detail);
    let uri = below
        .ca_issuer()
        .ok_or_else(|| failure("a certificate does not say who issued it".to_owned()))?
        .clone();
    let octets = reading
        .object(&uri)
        .map_err(|error| not_read(Step::Path, "certificate", &uri, error))?;
    let certificate = Cert::decode(octets.as_ref())
        .map_err(|error| failure(format!("{uri} is no certificate of the RPKI: {error}")))?;
    if below.authority_key_identifier() != Some(certificate.subject_key_identifier()) {
        return Err(failure(format!(
            "the certificate {uri} has another key than the one that signed"
        )));
    }
    if certificate.is_self_signed() {
        return Err(Failure::new(
            Step::Anchor,
            format!("the path ends at {uri}, which is no trust anchor that is configured"),
        ));
    }
    Ok(Issuer {
        certificate,
        uri,
        octets,
    })
}

/// The certificates of trust anchors that are in the copy.
fn read_anchors<'a>(anchors: &'a TrustAnchors, reading: &mut Reading) -> Vec<Anchor<'a>> {
    let mut found = Vec::new();
    for tal in anchors.tals() {
        for file in tal.uris().filter_map(file_name) {
            let octets = reading.anchor(tal.info().name(), file).ok();
            let certificate = octets.and_then(|octets| Cert::decode(octets).ok());
            found.extend(certificate.map(|certificate| Anchor { certificate, tal }));
        }
    }
    found
}

impl Anchor<'_> {
    /// That the certificate has the key of the locator.
    fn check_key(&self) -> Result<(), Failure> {
        if self.certificate.subject_public_key_info() == self.tal.key_info() {
            return Ok(());
        }
        let name = self.tal.info().name();
        Err(Failure::new(
            Step::Anchor,
            format!(
                "the certificate of the trust anchor {name:?} has another key than its locator"
            ),
        ))
    }
}

fn file_name(uri: &TalUri) -> Option<&str> {
    uri.as_str()
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty())
}

/// The current manifest and CRL of a CA.
struct PublicationPoint<'a> {
    issuer: &'a ResourceCert,
    manifest_uri: Rsync,
    manifest: ManifestContent,
    crl_uri: Rsync,
    crl: Crl,
    /// The earliest end of manifest, its certificate and CRL.
    use_until: Time,
}

impl<'a> PublicationPoint<'a> {
    fn read(issuer: &'a ResourceCert, reading: &mut Reading, now: Time) -> Result<Self, Failure> {
        let Some(manifest_uri) = issuer.as_cert().rpki_manifest().cloned() else {
            return Err(Failure::new(
                Step::Manifest,
                "a certificate of a CA names no manifest",
            ));
        };
        let (certificate, manifest) = read_manifest(issuer, &manifest_uri, reading, now)?;
        let crl_uri = certificate.crl_uri().cloned().ok_or_else(|| {
            Failure::new(
                Step::Manifest,
                format!("the certificate of the manifest {manifest_uri} names no CRL"),
            )
        })?;
        let octets = reading
            .object(&crl_uri)
            .map_err(|error| not_read(Step::Crl, "CRL", &crl_uri, error))?;
        require_listed(&manifest, &manifest_uri, &crl_uri, &octets)?;
        let crl = read_crl(issuer, &crl_uri, octets, now)?;
        if crl.contains(certificate.serial_number()) {
            return Err(Failure::new(
                Step::Revoked,
                format!("the certificate of the manifest {manifest_uri} was revoked"),
            ));
        }
        let use_until = manifest
            .next_update()
            .min(certificate.validity().not_after())
            .min(crl.next_update());
        Ok(Self {
            issuer,
            manifest_uri,
            manifest,
            crl_uri,
            crl,
            use_until,
        })
    }

    fn refuse_unlisted(&self, child: &Issuer) -> Result<(), Failure> {
        require_listed(
            &self.manifest,
            &self.manifest_uri,
            &child.uri,
            &child.octets,
        )
    }

    /// Everything that is not the matter of the crate's own validation, or that it gives no step.
    fn check_certificate(&self, certificate: &Cert, what: &str, now: Time) -> Result<(), Failure> {
        if certificate.crl_uri() != Some(&self.crl_uri) {
            return Err(Failure::new(
                Step::Crl,
                format!("{what} names another CRL than {}", self.crl_uri),
            ));
        }
        certificate
            .verify_validity(now)
            .map_err(|error| Failure::new(Step::Time, format!("{what}: {error}")))?;
        certificate
            .verify_signature(self.issuer.as_cert(), true)
            .map_err(|error| Failure::new(Step::Signature, format!("{what}: {error}")))?;
        if self.crl.contains(certificate.serial_number()) {
            return Err(Failure::new(Step::Revoked, format!("{what} was revoked")));
        }
        Ok(())
    }
}

fn read_manifest(
    issuer: &ResourceCert,
    uri: &Rsync,
    reading: &mut Reading,
    now: Time,
) -> Result<(Cert, ManifestContent), Failure> {
    let failure = |detail: String| {
        Failure::of_the_copy(Step::Manifest, format!("the manifest {uri} {detail}"))
    };
    let octets = reading
        .object(uri)
        .map_err(|error| not_read(Step::Manifest, "manifest", uri, error))?;
    let manifest =
        Manifest::decode(octets, false).map_err(|error| failure(format!("is none: {error}")))?;
    let certificate = manifest.cert().clone();
    let (_, manifest) = manifest
        .validate_at(issuer, false, now)
        .map_err(|error| failure(format!("is not valid: {error}")))?;
    if now < manifest.this_update() {
        return Err(failure("is of the future".to_owned()));
    }
    if now > manifest.next_update() {
        return Err(failure("should have been replaced by now".to_owned()));
    }
    Ok((certificate, manifest))
}

fn read_crl(issuer: &ResourceCert, uri: &Rsync, octets: Bytes, now: Time) -> Result<Crl, Failure> {
    let failure =
        |detail: String| Failure::of_the_copy(Step::Crl, format!("the CRL {uri} {detail}"));
    let crl = Crl::decode(octets).map_err(|error| failure(format!("is none: {error}")))?;
    crl.verify_issuer_claim(issuer, true)
        .and_then(|()| crl.verify_signature(issuer.as_cert().subject_public_key_info()))
        .map_err(|error| failure(format!("is not valid: {error}")))?;
    if now < crl.this_update() {
        return Err(failure("is of the future".to_owned()));
    }
    if now > crl.next_update() {
        return Err(failure("should have been replaced by now".to_owned()));
    }
    Ok(crl)
}

/// That a manifest lists an object with these octets.
fn require_listed(
    manifest: &ManifestContent,
    manifest_uri: &Rsync,
    uri: &Rsync,
    octets: &[u8],
) -> Result<(), Failure> {
    let failure = |detail: &str| {
        Failure::of_the_copy(
            Step::Manifest,
            format!("the manifest {manifest_uri} {detail} {uri}"),
        )
    };
    let listed = manifest_uri
        .parent()
        .and_then(|folder| uri.relative_to(&folder).map(str::to_owned))
        .and_then(|name| {
            manifest
                .iter()
                .find(|listed| listed.file().as_ref() == name.as_bytes())
        })
        .ok_or_else(|| failure("does not list"))?;
    let digest = manifest.file_hash_alg().digest(octets);
    if listed.hash().as_ref() != digest.as_ref() {
        return Err(failure("lists other octets of"));
    }
    Ok(())
}

fn not_read(step: Step, kind: &str, uri: &Rsync, error: ReadError) -> Failure {
    let detail = format!("the {kind} {uri} {error}");
    match error {
        ReadError::NotThere => Failure::of_the_copy(step, detail),
        ReadError::Outside | ReadError::TooLong => Failure::new(step, detail),
    }
}
