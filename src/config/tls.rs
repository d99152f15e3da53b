//! `server.tls`: the certificates with which the TCP addresses of `server.listen` speak TLS.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Listen;

/// TLS of the listeners for requests. There is at least one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The first one is served to clients that name no host, or a host that no certificate names.
    pub certificates: Vec<CertificateFiles>,
}

/// The files of one certificate, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The certificate, followed by the certificates of intermediate authorities.
    pub certificate_file: PathBuf,
    /// The private key, not encrypted.
    pub key_file: PathBuf,
}

impl TlsConfig {
    /// Checks that the list is not empty, that no file is named twice, and that TLS has an address.
    pub(super) fn new(
        certificates: Vec<CertificateFiles>,
        listen: &[Listen],
    ) -> Result<Self, String> {
        if certificates.is_empty() {
            return Err(
                "must name at least one certificate; leave the key out for a server without TLS"
                    .to_owned(),
            );
        }
        let mut earlier: Vec<&PathBuf> = Vec::with_capacity(certificates.len());
        for CertificateFiles {
            certificate_file, ..
        } in &certificates
        {
            if earlier.contains(&certificate_file) {
                return Err(format!("must name {} once", certificate_file.display()));
            }
            earlier.push(certificate_file);
        }
        if !listen.iter().any(Listen::is_tcp) {
            return Err(
                "must be left out, since server.listen has Unix sockets only, which speak HTTP without TLS"
                    .to_owned(),
            );
        }
        Ok(Self { certificates })
    }
}
