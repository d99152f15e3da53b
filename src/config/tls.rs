//! TLS of the listeners: the server's certificates (`server.tls`), and the listeners that take
//! certificates of clients (RFC 8705).

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

/// Listeners to which clients come with certificates of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateListeners {
    /// TCP addresses that speak TLS and ask for a client certificate in the handshake.
    pub direct: Vec<Listen>,
    /// The address for reverse proxies, which pass the certificate on in a header (RFC 9440).
    pub proxies: Option<Listen>,
}

impl CertificateListeners {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.proxies.is_none()
    }

    /// Whether any is a TCP address, which speaks TLS.
    pub fn has_tcp(&self) -> bool {
        !self.direct.is_empty() || self.proxies.as_ref().is_some_and(Listen::is_tcp)
    }
}

impl std::fmt::Display for CertificateListeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.direct.iter().map(ToString::to_string).collect();
        let proxies = self.proxies.iter().map(|one| format!("{one} (proxies)"));
        let all: Vec<String> = all.into_iter().chain(proxies).collect();
        f.write_str(if all.is_empty() { "none" } else { "" })?;
        f.write_str(&all.join(", "))
    }
}

impl TlsConfig {
    /// Checks that the list is not empty, that no file is named twice, and that TLS has an address.
    pub(super) fn new(certificates: Vec<CertificateFiles>, has_tcp: bool) -> Result<Self, String> {
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
        if !has_tcp {
            return Err(
                "must be left out, since server.listen has Unix sockets only, which speak HTTP without TLS, and nothing else listens"
                    .to_owned(),
            );
        }
        Ok(Self { certificates })
    }
}
