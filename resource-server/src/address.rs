//! URLs: which are safe to rely on, and where well-known documents are.

use url::{Host, Url};

/// Whether nobody on the way can read or change what is exchanged: https, or a connection that does not leave the machine.
pub(crate) fn is_as_safe_as_https(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

/// Puts the well-known path of `name` between host and `path` (RFC 8414 section 3.1, RFC 9728 section 3.1).
pub(crate) fn well_known(name: &str, of: &Url, path: &str) -> Url {
    let mut url = of.clone();
    url.set_path(&format!("/.well-known/{name}{path}"));
    url
}
