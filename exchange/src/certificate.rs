//! The client certificate of the job, with which it connects to the server (RFC 8705).

use std::path::Path;

use carnet_jose::{base64url, from_base64, sha256};
use reqwest::Identity;

use crate::error::ExchangeError;
use crate::possession::{private_file, read_text};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A certificate with its private key.
#[derive(Clone)]
pub struct JobCertificate {
    identity: Identity,
    thumbprint: String,
}

impl std::fmt::Debug for JobCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobCertificate")
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

impl JobCertificate {
    /// Reads the certificate, which may be followed by those of authorities, and its key.
    ///
    /// # Errors
    ///
    /// Wrong usage if a file cannot be read, others may read the key, or the two do not belong
    /// together.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, ExchangeError> {
        let wrong = |option: &str, path: &Path, why: &str| {
            ExchangeError::usage(format!("{option} {}: {why}", path.display()))
        };
        let pem = std::fs::read_to_string(certificate)
            .map_err(|error| wrong("--client-cert", certificate, &error.to_string()))?;
        let thumbprint = thumbprint(&pem).ok_or_else(|| {
            wrong(
                "--client-cert",
                certificate,
                "it must hold a certificate in PEM",
            )
        })?;
        let file = private_file("--client-key", key)?;
        let private = read_text(file).map_err(|why| wrong("--client-key", key, &why))?;
        if !private.contains("-----BEGIN PRIVATE KEY-----") {
            return Err(wrong(
                "--client-key",
                key,
                "it must hold a private key in PEM, in the form PKCS #8 and without a passphrase: \
                 `openssl pkcs8 -topk8 -nocrypt` converts others",
            ));
        }
        let identity = Identity::from_pkcs8_pem(pem.as_bytes(), private.as_bytes());
        // Only a client that is built with the pair finds out whether it is one.
        let fits = |identity: &Identity| {
            let builder = reqwest::Client::builder().identity(identity.clone());
            builder.build().is_ok()
        };
        let identity = identity.ok().filter(fits).ok_or_else(|| {
            wrong(
                "--client-key",
                key,
                "it is not the private key of the certificate",
            )
        })?;
        Ok(Self {
            identity,
            thumbprint,
        })
    }

    /// The SHA-256 hash of the certificate in base64url, which `x5t#S256` of a bound token repeats.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// What a TLS client needs.
    pub(crate) fn identity(&self) -> Identity {
        self.identity.clone()
    }
}

/// The thumbprint of the first certificate in a PEM file (RFC 7468).
fn thumbprint(pem: &str) -> Option<String> {
    let (_, rest) = pem.split_once(BEGIN)?;
    let (lines, _) = rest.split_once(END)?;
    let text: String = lines.split_ascii_whitespace().collect();
    let der = from_base64(&text).filter(|der| !der.is_empty())?;
    Some(base64url(sha256(&der)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_the_first_certificate() {
        // SHA-256 of "abc" (FIPS 180-4), in base64url.
        let hash = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";
        let pem = format!("subject\n{BEGIN}\nYW\nJj\n{END}\n{BEGIN}\nAAAA\n{END}\n");
        assert_eq!(thumbprint(&pem).as_deref(), Some(hash));
        for bad in [
            "",
            BEGIN,
            &format!("{BEGIN}{END}"),
            &format!("{BEGIN}\n?\n{END}"),
        ] {
            assert_eq!(thumbprint(bad), None, "{bad}");
        }
    }
}
