//! RPKI signed messages, right ones and wrong ones.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::holdings::{Holdings, Window};

/// Of the example arc, since none is allocated.
pub const CONTENT_TYPE: &str = "1.3.6.1.4.1.32473.1";
pub const AUDIENCE: &str = "1.3.6.1.4.1.32473.2";
pub const PURPOSE: &str = "1.3.6.1.4.1.32473.3";

/// What an attestation shall be like. The default is right.
#[derive(Clone, Debug)]
pub struct Attestation {
    /// Of the one-time certificate.
    pub holdings: Holdings,
    /// The AS numbers and ranges the message names.
    pub asns: Vec<String>,
    /// The IPv4 prefixes the message names, as bit strings of OpenSSL: hexadecimal octets.
    pub ipv4: Vec<String>,
    /// The same of IPv6.
    pub ipv6: Vec<String>,
    /// The address families in their order, where it is not the right one: `v4` and `v6`.
    pub families: Option<Vec<&'static str>>,
    pub content_type: String,
    pub audience: Option<String>,
    pub purpose: String,
    pub label: Option<String>,
    pub window: Window,
    /// More lines of the certificate's extensions.
    pub more_extensions: String,
    /// More arguments for `openssl cms -sign`.
    pub more_arguments: Vec<String>,
    /// In place of the message, in DER.
    pub content: Option<Vec<u8>>,
}

impl Default for Attestation {
    fn default() -> Self {
        Self {
            holdings: Holdings::new("64496-64497", &["192.0.2.0/24"], &[]),
            asns: vec!["64496".to_owned()],
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            families: None,
            content_type: CONTENT_TYPE.to_owned(),
            audience: Some(AUDIENCE.to_owned()),
            purpose: PURPOSE.to_owned(),
            label: None,
            window: Window::around_now(60, 30 * 24 * 3600),
            more_extensions: String::new(),
            more_arguments: Vec::new(),
            content: None,
        }
    }
}

impl Attestation {
    fn families(&self) -> Vec<&'static str> {
        let given = [("v4", &self.ipv4), ("v6", &self.ipv6)];
        let named = given
            .into_iter()
            .filter(|(_, prefixes)| !prefixes.is_empty());
        let right = || named.map(|(family, _)| family).collect();
        self.families.clone().unwrap_or_else(right)
    }

    /// For `openssl asn1parse -genconf`. `digest` is hexadecimal.
    pub fn structure(&self, digest: &str) -> String {
        let mut message = String::from("asn1 = SEQUENCE:message\n[message]\n");
        if let Some(audience) = &self.audience {
            let _ = writeln!(message, "audience = EXPLICIT:1,OID:{audience}");
        }
        let _ = writeln!(
            message,
            "purpose = OID:{}\nresources = SEQUENCE:resources\nalgorithm = SEQUENCE:algorithm\n\
             digest = FORMAT:HEX,OCTETSTRING:{digest}",
            self.purpose
        );
        if let Some(label) = &self.label {
            let _ = writeln!(message, "label = IA5STRING:{label}");
        }
        message.push_str("[algorithm]\nid = OID:sha256\n[resources]\n");
        if !self.asns.is_empty() {
            message.push_str("asns = EXPLICIT:0,SEQUENCE:asnum\n");
        }
        if !self.families().is_empty() {
            message.push_str("addresses = EXPLICIT:1,SEQUENCE:families\n");
        }
        message.push_str("[asnum]\nlist = EXPLICIT:0,SEQUENCE:aslist\n[aslist]\n");
        let mut ranges = String::new();
        for (index, asn) in self.asns.iter().enumerate() {
            match asn.split_once('-') {
                Some((first, last)) => {
                    let _ = writeln!(message, "a{index} = SEQUENCE:asrange{index}");
                    let _ = writeln!(
                        ranges,
                        "[asrange{index}]\nmin = INTEGER:{first}\nmax = INTEGER:{last}"
                    );
                }
                None => {
                    let _ = writeln!(message, "a{index} = INTEGER:{asn}");
                }
            }
        }
        message.push_str(&ranges);
        message.push_str("[families]\n");
        for (index, family) in self.families().into_iter().enumerate() {
            let _ = writeln!(message, "f{index} = SEQUENCE:{family}");
        }
        for (family, number, prefixes) in [("v4", "0001", &self.ipv4), ("v6", "0002", &self.ipv6)] {
            let _ = writeln!(
                message,
                "[{family}]\nfamily = FORMAT:HEX,OCTETSTRING:{number}\nlist = SEQUENCE:{family}list\n[{family}list]"
            );
            for (index, prefix) in prefixes.iter().enumerate() {
                let _ = writeln!(message, "p{index} = FORMAT:HEX,BITSTRING:{prefix}");
            }
        }
        message
    }
}

/// A message as `openssl` signed it.
#[derive(Clone, Debug)]
pub struct SignedMessage {
    pub der: Vec<u8>,
    /// Its one-time certificate, PEM.
    pub certificate: Vec<u8>,
}

impl SignedMessage {
    /// As the member `rpki_attestation` holds it.
    pub fn base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.der)
    }
}
