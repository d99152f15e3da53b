//! Reading a certificate with its key from two PEM files.

use std::path::Path;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::names::Names;
use crate::clock::Timestamp;
use crate::config::CertificateFiles;

/// Bytes of a file that are read at most.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Why a certificate cannot be served. The text names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server.tls.certificates: {0}")]
pub struct CertificateError(String);

impl CertificateError {
    pub(super) fn new(file: &Path, what: impl std::fmt::Display) -> Self {
        Self(format!("{}: {what}", file.display()))
    }
}

/// A certificate with its key, as read from its files.
#[derive(Debug)]
pub struct Certificate {
    pub names: Names,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The serial number in hexadecimal, for the log.
    pub serial: String,
    pub(super) leaf: X509,
    /// Certificates of intermediate authorities, in the order of the file.
    pub(super) chain: Vec<X509>,
    pub(super) key: PKey<Private>,
}

impl Certificate {
    pub(super) fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let (file, key_file) = (&files.certificate_file, &files.key_file);
        let of_certificate = |what: &dyn std::fmt::Display| CertificateError::new(file, what);
        let mut chain = X509::stack_from_pem(&content(file)?)
            .map_err(|error| of_certificate(&format!("must hold certificates in PEM: {error}")))?
            .into_iter();
        let leaf = chain
            .next()
            .ok_or_else(|| of_certificate(&"must hold a certificate in PEM"))?;
        let key = private_key(key_file)?;
        let fits = leaf.public_key().is_ok_and(|public| public.public_eq(&key));
        if !fits {
            return Err(of_certificate(&format!(
                "its first certificate does not belong to the key in {}",
                key_file.display()
            )));
        }
        let names = Names::of(&leaf);
        if names.is_empty() {
            return Err(of_certificate(
                &"must have subject alternative names: clients do not read the common name",
            ));
        }
        let unreadable = |error| of_certificate(&format!("must be readable: {error}"));
        Ok(Self {
            names,
            not_before: time(leaf.not_before()).map_err(unreadable)?,
            not_after: time(leaf.not_after()).map_err(unreadable)?,
            serial: serial(&leaf).map_err(unreadable)?,
            leaf,
            chain: chain.collect(),
            key,
        })
    }

    /// Whether clients refuse the certificate because its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.not_after <= now
    }
}

/// The content of a file, without that of endless ones such as devices.
fn content(file: &Path) -> Result<Vec<u8>, CertificateError> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| CertificateError::new(file, error);
    let mut content = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut content))
        .map_err(failed)?;
    Ok(content)
}

fn private_key(file: &Path) -> Result<PKey<Private>, CertificateError> {
    let pem = content(file)?;
    let mut is_encrypted = false;
    // Without a callback, OpenSSL would ask for the passphrase at the terminal.
    let key = PKey::private_key_from_pem_callback(&pem, |_| {
        is_encrypted = true;
        Err(ErrorStack::get())
    });
    key.map_err(|_| {
        let what = if is_encrypted {
            "must hold a private key that is not encrypted by a passphrase"
        } else {
            "must hold a private key in PEM"
        };
        CertificateError::new(file, what)
    })
}

pub(super) fn time(time: &Asn1TimeRef) -> Result<Timestamp, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    let seconds = i64::from(since.days)
        .saturating_mul(86_400)
        .saturating_add(since.secs.into());
    Ok(Timestamp::from_seconds(seconds))
}

fn serial(leaf: &X509) -> Result<String, ErrorStack> {
    Ok(leaf.serial_number().to_bn()?.to_hex_str()?.to_lowercase())
}
