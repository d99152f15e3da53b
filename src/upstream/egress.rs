//! Which URLs outgoing requests may go to, and which addresses they may connect to (decision D-27).

use std::net::IpAddr;

use carnet_outbound::{has_credentials, is_loopback};
use ipnet::IpNet;
use url::{Host, Url};

use super::addresses::may_connect;
use super::fetch::FetchError;

/// The egress rules of one trusted issuer, identity provider or webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Egress {
    /// Certificate authorities trusted in addition to the system's, as PEM.
    pub ca_pem: Option<String>,
    /// Networks that may be connected to although their addresses are private.
    pub allow_private: Vec<IpNet>,
    /// Whether plain http is allowed on a loopback address.
    pub allow_http_loopback: bool,
}

impl Egress {
    /// Checks everything about a URL that can be checked before its name is resolved.
    pub fn check(&self, url: &Url) -> Result<(), FetchError> {
        let refused = |why| FetchError::Refused(url.to_string(), why);
        if has_credentials(url) {
            return Err(refused("it holds a user name"));
        }
        if self.is_http_loopback(url) {
            return Ok(());
        }
        if url.scheme() != "https" {
            return Err(refused("it is not https"));
        }
        let address = match url.host() {
            None => return Err(refused("it has no host")),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        };
        if may_connect(address, &self.allow_private) {
            Ok(())
        } else {
            Err(refused("its address is private"))
        }
    }

    pub(super) fn is_http_loopback(&self, url: &Url) -> bool {
        self.allow_http_loopback && is_loopback(url) && url.scheme() == "http"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atk_107__urls_that_may_not_be_fetched_are_refused_before_anything_is_sent() {
        let check = |url: &str, egress: &Egress| egress.check(&Url::parse(url).unwrap());
        let strict = Egress::default();
        for url in [
            "http://ci.test/",
            "http://127.0.0.1/",
            "ftp://ci.test/",
            "data:application/json,{}",
            "file:///etc/passwd",
            "https://u@ci.test/",
            "https://u:p@ci.test/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://169.254.169.254/latest",
            "https://0x7f.1/",
            "https://2130706433/",
        ] {
            assert!(check(url, &strict).is_err(), "{url}");
        }
        assert!(check("https://ci.test/", &strict).is_ok());
        let loopback = Egress {
            allow_http_loopback: true,
            ..Egress::default()
        };
        assert!(check("http://127.0.0.1:8080/", &loopback).is_ok());
        assert!(check("http://[::1]:8080/", &loopback).is_ok());
        assert!(check("https://127.0.0.1/", &loopback).is_err());
        for url in [
            "http://localhost/",
            "http://10.0.0.1/",
            "http://u@127.0.0.1/",
        ] {
            assert!(check(url, &loopback).is_err(), "{url}");
        }
        let cluster = Egress {
            allow_private: vec!["10.0.0.0/8".parse().unwrap()],
            ..Egress::default()
        };
        assert!(check("https://10.0.0.1/", &cluster).is_ok());
        assert!(check("http://10.0.0.1/", &cluster).is_err());
    }
}
