//! Client certificates at the registry (RFC 8705 section 3).

use carnet_jose::{base64url, sha256};

/// The certificate of a client: that of its TLS connection, or one that a reverse proxy which the
/// registry trusts received from it (RFC 9440). Make one only of a certificate whose private key the
/// client proved to have, as it does in a TLS handshake. Who issued the certificate does not matter.
///
/// Put it into the extensions of the request, where [`RequireToken`](crate::RequireToken) and
/// [`Sent::by`](crate::Sent::by) find it, or give it to
/// [`Sent::with_certificate`](crate::Sent::with_certificate).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    thumbprint: String,
}

impl ClientCertificate {
    /// The certificate with this DER encoding.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Self {
        Self {
            thumbprint: base64url(sha256(der)),
        }
    }

    /// The SHA-256 hash of the DER encoding in base64url, as in `x5t#S256` (RFC 8705 section 3.1).
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }
}
