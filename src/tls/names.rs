//! The names in a certificate, and whether they cover a host (RFC 9110 section 4.3.4, RFC 9525).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use openssl::x509::X509Ref;

/// A host as certificates name them: an IP address, or a name in lower case without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    /// Reads the host of an authority (`host`, `host:port`, `[address]:port`) or of a server name.
    pub fn of(authority: &str) -> Self {
        let bracketed = authority.strip_prefix('[');
        let host = match bracketed.and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None if authority.matches(':').count() == 1 => {
                authority.split(':').next().unwrap_or_default()
            }
            None => authority,
        };
        host.parse::<IpAddr>().map_or_else(
            |_| Self::Name(host.trim_end_matches('.').to_ascii_lowercase()),
            Self::Address,
        )
    }

    /// Whether public authorities do not certify this host: an IP address or `localhost`. Health
    /// probes and commands on the same machine name it.
    pub fn is_bare(&self) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Name(name) => name == "localhost",
        }
    }
}

/// The subject alternative names of a certificate. The common name does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    /// The names of a certificate. Those that are no host names are left out.
    pub fn of(certificate: &X509Ref) -> Self {
        let mut names = Self::default();
        for name in certificate.subject_alt_names().into_iter().flatten() {
            if let Some(host) = name.dnsname().filter(|name| is_host_name(name)) {
                names
                    .hosts
                    .push(host.trim_end_matches('.').to_ascii_lowercase());
            }
            names
                .addresses
                .extend(name.ipaddress().and_then(address_of));
        }
        names
    }

    pub const fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.addresses.is_empty()
    }

    /// The first name, by which messages and metrics call the certificate.
    pub fn first(&self) -> String {
        let address = || self.addresses.first().map(ToString::to_string);
        let host = self.hosts.first().cloned();
        host.or_else(address).unwrap_or_default()
    }

    /// Whether the certificate names exactly this host.
    pub fn name_exactly(&self, host: &Host) -> bool {
        match host {
            Host::Address(address) => self.addresses.contains(address),
            Host::Name(name) => self.hosts.contains(name),
        }
    }

    /// Whether the certificate names this host, or covers it by a wildcard, which stands for one
    /// whole label.
    pub fn cover(&self, host: &Host) -> bool {
        let by_wildcard = || match host {
            Host::Address(_) => false,
            Host::Name(name) => name.split_once('.').is_some_and(|(label, rest)| {
                let mut wildcards = self.hosts.iter().filter_map(|host| host.strip_prefix("*."));
                !label.is_empty() && wildcards.any(|parent| parent == rest)
            }),
        };
        self.name_exactly(host) || by_wildcard()
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses = self.addresses.iter().map(ToString::to_string);
        let all: Vec<String> = self.hosts.iter().cloned().chain(addresses).collect();
        f.write_str(&all.join(", "))
    }
}

/// Names are labels of metrics and stand in messages, so nothing else than the characters of host
/// names is let through.
fn is_host_name(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let host = name.strip_prefix("*.").unwrap_or(name);
    !host.is_empty() && host.bytes().all(is_usual)
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into());
    v4.or_else(|_| v6()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_authority_is_read_in_each_spelling() {
        let name = |name: &str| Host::Name(name.to_owned());
        for text in ["as.test", "AS.Test:443", "as.test.", "as.test.:8443"] {
            assert_eq!(Host::of(text), name("as.test"), "{text}");
        }
        for (text, address) in [
            ("192.0.2.1:443", "192.0.2.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
        ] {
            assert_eq!(Host::of(text), Host::Address(address.parse().unwrap()));
        }
        assert!(Host::of("[::1]:1").is_bare() && Host::of("LOCALHOST:1").is_bare());
        assert!(!Host::of("as.test").is_bare() && !Host::of("").is_bare());
    }

    #[test]
    fn a_wildcard_stands_for_one_whole_label() {
        let names = Names {
            hosts: ["as.test", "*.registry.test"].map(str::to_owned).to_vec(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
        };
        for (host, is_covered) in [
            ("as.test", true),
            ("npm.registry.test", true),
            ("registry.test", false),
            (".registry.test", false),
            ("a.npm.registry.test", false),
            ("xregistry.test", false),
            ("*.registry.test", true),
            ("x.as.test", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("", false),
        ] {
            assert_eq!(names.cover(&Host::of(host)), is_covered, "{host}");
        }
        assert!(!names.name_exactly(&Host::of("npm.registry.test")));
        assert_eq!(names.to_string(), "as.test, *.registry.test, 192.0.2.1");
    }
}
