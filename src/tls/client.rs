//! Client certificates (RFC 8705): what a request proves by the certificate of its TLS connection.
//!
//! No authority vouches for them. The thumbprint is what counts: clients register their
//! certificates, and tokens are bound to them (RFC 8705 sections 2.2 and 3).

use std::path::PathBuf;

use carnet_jose::{base64url, sha256};
use openssl::x509::{X509, X509Ref};

use super::certificate::time;
use crate::clock::Timestamp;

/// The least strength of a key, in bits: that of RSA with 2048 bits (RFC 9325 section 4.5).
const LEAST_STRENGTH: u32 = 112;
/// The most bytes of a certificate. Common ones have 1 to 2 KiB.
const MAX_BYTES: usize = 16 * 1024;

/// A client certificate. Whoever sent it proved to have its private key: to this server in the TLS
/// handshake, or to a reverse proxy that this server trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    thumbprint: String,
    not_before: Timestamp,
    not_after: Timestamp,
    is_strong: bool,
}

/// Why a certificate cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("the certificate is not valid before {0}")]
    NotYet(Timestamp),
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    #[error("the key of the certificate is weaker than RSA with 2048 bits")]
    Weak,
}

impl ClientCertificate {
    /// Reads a certificate in DER. `None` if it is none, is followed by something, or is too large.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        if der.len() > MAX_BYTES {
            return None;
        }
        let certificate = X509::from_der(der).ok()?;
        // OpenSSL ignores what follows the certificate.
        let is_whole = certificate.to_der().is_ok_and(|encoded| encoded == der);
        is_whole.then_some(())?;
        Self::of(&certificate)
    }

    /// The certificate of a connection.
    pub fn of(certificate: &X509Ref) -> Option<Self> {
        let strength = certificate.public_key().map(|key| key.security_bits());
        Some(Self {
            thumbprint: base64url(sha256(&certificate.to_der().ok()?)),
            not_before: time(certificate.not_before()).ok()?,
            not_after: time(certificate.not_after()).ok()?,
            is_strong: strength.is_ok_and(|bits| bits >= LEAST_STRENGTH),
        })
    }

    /// The SHA-256 hash of the certificate in DER, in base64url: `x5t#S256` (RFC 8705 section 3.1).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether its key is strong enough, whatever the time.
    pub fn is_strong(&self) -> bool {
        self.is_strong
    }

    /// Whether the certificate may be used at this time. A connection can outlive its certificate, so
    /// this is asked for each request.
    pub fn check(&self, now: Timestamp) -> Result<(), Unusable> {
        if !self.is_strong {
            Err(Unusable::Weak)
        } else if now < self.not_before {
            Err(Unusable::NotYet(self.not_before))
        } else if now > self.not_after {
            Err(Unusable::Expired(self.not_after))
        } else {
            Ok(())
        }
    }
}

/// The thumbprints of the certificates of reverse proxies, the first one of each of these PEM files.
/// Their times do not count: whoever pins a certificate decides how long it is good. The error is a
/// message for the operator.
pub fn proxy_thumbprints(files: &[PathBuf]) -> Result<Vec<String>, String> {
    let mut thumbprints = Vec::new();
    for file in files {
        let wrong = |what: &str| format!("server.client_cert_proxies: {}: {what}", file.display());
        let pem = std::fs::read(file).map_err(|error| wrong(&error.to_string()))?;
        let all = X509::stack_from_pem(&pem).unwrap_or_default();
        let first = all.first().and_then(|first| ClientCertificate::of(first));
        let first = first.ok_or_else(|| wrong("must hold a certificate in PEM"))?;
        if !first.is_strong() {
            return Err(wrong(
                "must hold a certificate with a key that is not weaker than RSA with 2048 bits",
            ));
        }
        thumbprints.push(first.thumbprint);
    }
    Ok(thumbprints)
}
