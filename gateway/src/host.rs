//! The host that a request is for, and whose it is.

use http::header::HOST;
use http::request::Parts;

/// The host that a request is for, with the port that was sent. Two different ones count as none
/// (RFC 9112 section 3.2, RFC 9113 section 8.3.1), and so do two `Host` headers.
#[must_use]
pub fn host(parts: &Parts) -> Option<&str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().ok()?),
        (Some(_), Some(_)) => return None,
    };
    match (parts.uri.authority(), named) {
        (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => None,
        (Some(authority), _) => Some(authority.as_str()),
        (None, host) => host,
    }
}

/// The one of these registries that has this host: with its port, or else without. `hosts` are those
/// of a registry.
pub fn at_host<'r, R>(
    registries: &'r [R],
    hosts: impl Fn(&R) -> &[String],
    host: &str,
) -> Option<&'r R> {
    let named = |name: &str| {
        let mut all = registries.iter();
        all.find(|registry| {
            let mut hosts = hosts(registry).iter();
            hosts.any(|host| host.eq_ignore_ascii_case(name))
        })
    };
    let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
    named(host).or_else(|| named(without_port))
}
