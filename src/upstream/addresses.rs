//! Which addresses may be connected to (decision D-27), and the resolver that asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::fetch::Answer;

/// Name resolution, which tests replace.
pub trait Lookup: Send + Sync + std::fmt::Debug {
    fn addresses<'a>(&'a self, name: &'a str) -> Answer<'a, std::io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses<'a>(&'a self, name: &'a str) -> Answer<'a, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// Resolves names to the addresses that may be connected to. The client connects to these very
/// addresses, so that a name cannot resolve differently after the check (DNS rebinding).
#[derive(Debug)]
pub(super) struct CheckedResolver {
    pub lookup: Arc<dyn Lookup>,
    pub allow_private: Vec<IpNet>,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, allow_private) = (self.lookup.clone(), self.allow_private.clone());
        Box::pin(async move {
            let resolved = lookup.addresses(name.as_str()).await?;
            let allowed: Vec<SocketAddr> = resolved
                .into_iter()
                .filter(|address| may_connect(address.ip(), &allow_private))
                .collect();
            if allowed.is_empty() {
                return Err(format!("{} has no public address", name.as_str()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Resolves the name of the operator's proxy, which may have any address.
#[derive(Debug)]
pub(super) struct ProxyResolver(pub Arc<dyn Lookup>);

impl Resolve for ProxyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.0.clone();
        Box::pin(async move {
            let addresses = lookup.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Whether a name is one of those that no public host has (RFC 6761, RFC 6762, RFC 8375, and services
/// of Kubernetes): a proxy would resolve it to an address of its own network.
pub(super) fn is_local_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    !name.contains('.')
        || ["localhost", "local", "internal", "lan", "svc"]
            .iter()
            .any(|local| last.eq_ignore_ascii_case(local))
        || name.to_ascii_lowercase().ends_with(".home.arpa")
}

/// Whether an address is public, or in one of the allowed private networks.
pub fn may_connect(address: IpAddr, allow_private: &[IpNet]) -> bool {
    let address = match address {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
    };
    allow_private
        .iter()
        .any(|network| network.contains(&address))
        || match address {
            IpAddr::V4(v4) => is_public_v4(v4),
            IpAddr::V6(v6) => is_public_v6(v6),
        }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19)))
}

/// The IPv4 address inside an address of a translator or a tunnel: NAT64 (RFC 6052) or 6to4 (RFC
/// 3056).
fn v4_behind(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        _ => None,
    }
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(v4) = v4_behind(ip) {
        return is_public_v4(v4);
    }
    let [a, b, c, d, ..] = ip.segments();
    !(ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || (a & 0xfe00) == 0xfc00
        || (a & 0xffc0) == 0xfe80
        || (a & 0xffc0) == 0xfec0
        || (a, b) == (0x64, 0xff9b)
        || (a == 0x2001 && b < 0x200)
        || (a, b) == (0x2001, 0xdb8)
        || matches!(ip.segments(), [0, 0, 0, 0, 0 | 0xffff, 0, ..])
        || (a, b, c, d) == (0x100, 0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atk_104__private_addresses_are_not_connected_to_in_any_spelling() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "::ffff:0:10.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.1",
            "198.18.0.1",
            "198.19.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "203.0.113.1",
            "::1",
            "::",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "fd00::8",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:0a00:0001::",
            "2001::1",
            "2001:db8::1",
            "::127.0.0.1",
            "100::1",
        ] {
            assert!(!may_connect(address.parse().unwrap(), &[]), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.1.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "239.1.1.1",
            "2606:4700::1111",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "::ffff:1.1.1.1",
            "2001:200::1",
        ] {
            let multicast = address == "239.1.1.1";
            assert_eq!(
                may_connect(address.parse().unwrap(), &[]),
                !multicast,
                "{address}"
            );
        }
        let allowed = ["10.0.0.0/8".parse().unwrap()];
        assert!(may_connect("10.1.2.3".parse().unwrap(), &allowed));
        assert!(may_connect("::ffff:10.1.2.3".parse().unwrap(), &allowed));
        assert!(!may_connect("192.168.0.1".parse().unwrap(), &allowed));
    }

    #[test]
    fn names_that_no_public_host_has_are_local() {
        for name in [
            "localhost",
            "LOCALHOST.",
            "kubernetes",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "metadata.google.internal",
            "printer.lan",
            "x.home.arpa",
            "a.localhost",
        ] {
            assert!(is_local_name(name), "{name}");
        }
        for name in [
            "ci.test",
            "local.example",
            "internal.example.",
            "xlocal.example",
        ] {
            assert!(!is_local_name(name), "{name}");
        }
    }
}
