//! Outgoing HTTP for the server, its commands, the client of CI jobs and registries.
//!
//! It says which URLs a secret may be sent to, builds clients that follow no redirect unless told
//! to, and reads answers up to a limit. Rules about addresses and networks are up to the caller.
//!
//! Without the feature `http` only the rules about URLs are left, and reqwest is not needed.

#![warn(missing_docs)]

#[cfg(feature = "http")]
mod http;

use url::{Host, Url};

#[cfg(feature = "http")]
pub use http::{ReadError, causes, client, read};

/// Whether the host of a URL is a loopback address. Names are not resolved, so `localhost` is not
/// one.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// Whether the host of a URL is this machine: a loopback address, or `localhost`.
pub fn is_this_machine(url: &Url) -> bool {
    is_loopback(url) || url.host() == Some(Host::Domain("localhost"))
}

/// Whether a URL contains a user name or a password.
pub fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Whether a secret may be sent to a URL: it is `https`, or `http` to this machine, and contains no
/// user name or password.
pub fn is_safe(url: &Url) -> bool {
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url));
    scheme && url.host().is_some() && !has_credentials(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safe_url_is_https_or_stays_on_the_machine() {
        let is_safe = |text: &str| is_safe(&Url::parse(text).unwrap());
        for url in [
            "https://as.test",
            "https://10.0.0.1/",
            "http://127.0.0.1:8080",
            "http://[::1]/",
            "http://localhost:1",
        ] {
            assert!(is_safe(url), "{url}");
        }
        for url in [
            "http://as.test",
            "http://10.0.0.1/",
            "http://localhost.test/",
            "https://u@as.test",
            "https://u:p@as.test",
            "http://127.0.0.1@as.test/",
            "ftp://as.test",
            "unix:///run/socket",
        ] {
            assert!(!is_safe(url), "{url}");
        }
    }
}
