//! Client certificates that came with a request (RFC 8705).

use crate::clock::Timestamp;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::tls::ClientCertificate;

/// The certificate, if it may be used now.
pub fn usable(
    certificate: &ClientCertificate,
    now: Timestamp,
) -> Result<&ClientCertificate, Refusal> {
    match certificate.check(now) {
        Ok(()) => Ok(certificate),
        Err(why) => Err(Refusal::from(Reason::CertificateInvalid).malformed(why.to_string())),
    }
}
