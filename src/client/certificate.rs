//! Client certificates that came with a request (RFC 8705).

use crate::clock::Timestamp;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::tls::ClientCertificate;

/// The thumbprint of the certificate of a connection (RFC 8705 section 3.1), if it has one.
pub fn thumbprint(
    certificate: Option<&ClientCertificate>,
    now: Timestamp,
) -> Result<Option<String>, Refusal> {
    let certificate = certificate.map(|certificate| usable(certificate, now));
    let certificate = certificate.transpose()?;
    Ok(certificate.map(|certificate| certificate.thumbprint().to_owned()))
}

/// The certificate, if it may be used now.
pub(super) fn usable(
    certificate: &ClientCertificate,
    now: Timestamp,
) -> Result<&ClientCertificate, Refusal> {
    match certificate.check(now) {
        Ok(()) => Ok(certificate),
        Err(why) => Err(Refusal::from(Reason::CertificateInvalid).malformed(why.to_string())),
    }
}
