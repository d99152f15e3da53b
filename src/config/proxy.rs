//! The proxy through which the server sends its own requests (`upstream.proxy`).

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// The URL of an HTTP proxy. It may hold a user name and a password, so `Debug` and
/// [`ProxyUrl::shown`] leave them out.
#[derive(Clone)]
pub struct ProxyUrl {
    url: SecretString,
    shown: String,
}

impl ProxyUrl {
    /// The URL with user name and password.
    pub fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    /// The URL without user name and password.
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

impl std::str::FromStr for ProxyUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const MUST: &str =
            "must be the URL of an HTTP proxy without a path, such as http://proxy.example:3128";
        let mut url = Url::parse(text).map_err(|_| MUST)?;
        let is_bare =
            matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !is_bare {
            return Err(MUST);
        }
        let full = SecretString::from(url.to_string());
        url.set_username("")
            .and_then(|()| url.set_password(None))
            .map_err(|()| MUST)?;
        Ok(Self {
            url: full,
            shown: url.to_string(),
        })
    }
}

impl PartialEq for ProxyUrl {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for ProxyUrl {}

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_by_scheme_host_and_port_and_its_password_is_never_shown() {
        let proxy: ProxyUrl = "http://joel:hunter2@proxy.test:3128".parse().unwrap();
        assert_eq!(proxy.expose(), "http://joel:hunter2@proxy.test:3128/");
        assert_eq!(proxy.shown(), "http://proxy.test:3128/");
        assert_eq!(format!("{proxy:?}"), "http://proxy.test:3128/");
        for good in [
            "http://10.0.0.1:3128/",
            "https://proxy.test",
            "http://[::1]:1",
        ] {
            assert!(good.parse::<ProxyUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "proxy.test:3128",
            "socks5://proxy.test",
            "http://proxy.test/path",
            "http://proxy.test?x",
            "http://",
        ] {
            assert!(bad.parse::<ProxyUrl>().is_err(), "{bad}");
        }
    }
}
