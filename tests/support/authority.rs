//! A certificate authority of a test, and what can be wrong with its certificates.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509NameBuilder, X509NameRef};

/// A certificate authority of a test.
#[derive(Debug)]
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    Expired,
    OtherHost,
    SelfSigned,
}

fn new_key() -> PKey<Private> {
    PKey::from_ec_key(
        EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap(),
    )
    .unwrap()
}

/// The time of this machine, in seconds since 1970.
pub fn machine_time() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

fn builder(subject: &str, issuer: &X509NameRef, key: &PKey<Private>, until: i64) -> X509Builder {
    let now = machine_time();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&named(subject)).unwrap();
    builder.set_issuer_name(issuer).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(now.min(now + until) - 60).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_unix(now + until).unwrap())
        .unwrap();
    let mut serial = BigNum::new().unwrap();
    serial
        .rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false)
        .unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    let identifier = SubjectKeyIdentifier::new()
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(identifier).unwrap();
    builder
}

impl Authority {
    pub fn new() -> Self {
        let key = new_key();
        let mut builder = builder(
            "test authority",
            &named("test authority"),
            &key,
            400 * 86_400,
        );
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
        builder
            .append_extension(KeyUsage::new().critical().key_cert_sign().build().unwrap())
            .unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self {
            certificate: builder.build(),
            key,
        }
    }

    pub fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    /// A certificate for the loopback interface.
    pub fn issue(&self, flaw: Flaw) -> (X509, PKey<Private>) {
        let key = new_key();
        let until = if flaw == Flaw::Expired { -30 } else { 3600 };
        let self_signed = flaw == Flaw::SelfSigned;
        let own_name = named("localhost");
        let issuer = if self_signed {
            &own_name
        } else {
            self.certificate.subject_name()
        };
        let mut builder = builder("localhost", issuer, &key, until);
        let mut names = SubjectAlternativeName::new();
        match flaw {
            Flaw::OtherHost => names.dns("elsewhere.test"),
            _ => names.dns("localhost").ip("127.0.0.1"),
        };
        builder
            .append_extension(names.build(&builder.x509v3_context(None, None)).unwrap())
            .unwrap();
        if self_signed {
            builder.sign(&key, MessageDigest::sha256()).unwrap();
        } else {
            self.sign(&mut builder);
        }
        (builder.build(), key)
    }

    /// A certificate of a server with these host names and addresses, which ends after so many seconds from
    /// now, with a new key on P-256.
    pub fn certify(&self, names: &[&str], until: i64) -> (X509, PKey<Private>) {
        let key = new_key();
        (self.certify_key(names, until, &key), key)
    }

    /// The same for a key that there is.
    pub fn certify_key(&self, names: &[&str], until: i64, key: &PKey<Private>) -> X509 {
        let issuer = self.certificate.subject_name();
        let mut builder = builder(names.first().unwrap_or(&"nameless"), issuer, key, until);
        let mut alternative = SubjectAlternativeName::new();
        for name in names {
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => alternative.ip(name),
                Err(_) => alternative.dns(name),
            };
        }
        if !names.is_empty() {
            let context = builder.x509v3_context(None, None);
            let alternative = alternative.build(&context).unwrap();
            builder.append_extension(alternative).unwrap();
        }
        self.sign(&mut builder);
        builder.build()
    }

    fn sign(&self, builder: &mut X509Builder) {
        // Some clients refuse a chain that does not name its keys (RFC 5280 section 4.2.1.1).
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let identifier = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&context)
            .unwrap();
        builder.append_extension(identifier).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
    }
}

fn named(subject: &str) -> openssl::x509::X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", subject).unwrap();
    name.build()
}
