//! A certificate for the registry that uv publishes at: it does so over https only.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};

use super::CommandError;

/// The name of the file with the authority's certificate.
pub const AUTHORITY: &str = "authority.pem";

/// Files of a certificate for 127.0.0.1 and localhost.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate of the authority that signed it, whose key exists nowhere any more.
    pub authority: PathBuf,
    pub leaf: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// Makes a certificate that is valid for a day, and writes its files into this folder.
    pub fn write(folder: &Path) -> Result<Self, CommandError> {
        let pem = make().map_err(|error| CommandError::Other(error.to_string()))?;
        let [authority, leaf, key] =
            [AUTHORITY, "certificate.pem", "key.pem"].map(|name| folder.join(name));
        for (file, text) in [&authority, &leaf, &key].into_iter().zip(pem) {
            create(file, &text)
                .map_err(|error| CommandError::File(file.display().to_string(), error))?;
        }
        Ok(Self {
            authority,
            leaf,
            key,
        })
    }
}

/// Writes a new file that only its owner can read.
pub fn create(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?
        .write_all(text)
}

/// The authority's certificate, that of the registry, and the registry's key, as PEM.
fn make() -> Result<[Vec<u8>; 3], ErrorStack> {
    let (authority_key, key) = (new_key()?, new_key()?);
    let authority_name = name("Carnet quickstart")?;

    let mut authority = begin(&authority_name, &authority_name, &authority_key)?;
    authority.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    authority.append_extension(KeyUsage::new().critical().key_cert_sign().build()?)?;
    authority.sign(&authority_key, MessageDigest::sha256())?;
    let authority = authority.build();

    // Clients like uv refuse the certificate of an authority as that of a server.
    let mut certificate = begin(&name("localhost")?, &authority_name, &key)?;
    certificate.append_extension(BasicConstraints::new().critical().build()?)?;
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .ip("127.0.0.1")
        .build(&certificate.x509v3_context(Some(&authority), None))?;
    certificate.append_extension(names)?;
    certificate.sign(&authority_key, MessageDigest::sha256())?;

    Ok([
        authority.to_pem()?,
        certificate.build().to_pem()?,
        key.private_key_to_pem_pkcs8()?,
    ])
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn name(common: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_text("CN", common)?;
    Ok(name.build())
}

fn begin(
    subject: &X509Name,
    issuer: &X509Name,
    key: &PKey<Private>,
) -> Result<X509Builder, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(120, MsbOption::MAYBE_ZERO, false)?;
    let serial = serial.to_asn1_integer()?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    let (from, until) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(1)?);
    builder.set_not_before(&from)?;
    builder.set_not_after(&until)?;
    Ok(builder)
}
