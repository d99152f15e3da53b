//! The public URLs of this server, all derived from the configured issuer identifier.

use std::net::SocketAddr;

use url::{Host, Url};

/// The one path of an issuer below which the token endpoint would be where a front door is.
const TAKEN_PATH: &str = "/api/v2";

/// Our own public URLs, all of them below the issuer identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnUrls {
    issuer: String,
    host: String,
    port: u16,
    /// Whether the scheme implies the port.
    port_is_implied: bool,
    path: String,
    mtls: Option<MtlsOrigin>,
}

/// Where the server asks for client certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MtlsOrigin {
    /// Scheme, host and port.
    origin: String,
    host: String,
}

impl OwnUrls {
    /// Checks an issuer identifier: an https URL without query and fragment (RFC 8414 section 2)
    /// and without user name. http is accepted for a loopback host if the server listens on the
    /// loopback interface only. The error is a message for the operator.
    pub fn new(issuer: &str, listen: SocketAddr) -> Result<Self, String> {
        let url =
            Url::parse(issuer).map_err(|error| format!("`{issuer}` must be a URL: {error}"))?;
        let loopback = match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback && listen.ip().is_loopback() => {}
            "http" => {
                return Err(format!(
                    "`{issuer}` must be https; http is allowed for a loopback host on a loopback listener only"
                ));
            }
            _ => return Err(format!("`{issuer}` must be an https URL")),
        }
        if issuer.contains(['?', '#']) || !url.username().is_empty() || url.password().is_some() {
            return Err(format!(
                "`{issuer}` must have no query, fragment, user name or password"
            ));
        }
        // Clients and registries compare the issuer byte for byte, so only the canonical spelling
        // of the URL is accepted.
        let canonical = url.as_str();
        if issuer != canonical && format!("{issuer}/") != canonical {
            return Err(format!(
                "`{issuer}` must be spelled as URLs are: write `{}`",
                canonical.trim_end_matches('/')
            ));
        }
        let path = url.path().trim_end_matches('/');
        if path == TAKEN_PATH {
            return Err(format!(
                "`{issuer}` must have another path: {TAKEN_PATH}/token is where NuGet's tools ask registries for keys"
            ));
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
            port: url.port_or_known_default().unwrap_or_default(),
            port_is_implied: url.port().is_none(),
            path: path.to_owned(),
            mtls: None,
        })
    }

    /// Adds the https URL at which the server asks for client certificates (RFC 8705 section 5). It
    /// has the issuer's path. The error is a message for the operator.
    pub fn with_mtls(self, url: &str) -> Result<Self, String> {
        let parsed = Url::parse(url).map_err(|error| format!("`{url}` must be a URL: {error}"))?;
        let is_bare = !url.contains(['?', '#'])
            && parsed.username().is_empty()
            && parsed.password().is_none();
        if parsed.scheme() != "https" || !is_bare {
            return Err(format!(
                "`{url}` must be an https URL without query, fragment, user name and password"
            ));
        }
        if parsed.path().trim_end_matches('/') != self.path {
            return Err(format!(
                "`{url}` must have the path of the issuer, which is `{}`",
                if self.path.is_empty() {
                    "/"
                } else {
                    &self.path
                }
            ));
        }
        let mtls = MtlsOrigin {
            origin: parsed.origin().ascii_serialization(),
            host: parsed.host_str().unwrap_or_default().to_owned(),
        };
        Ok(Self {
            mtls: Some(mtls),
            ..self
        })
    }

    /// Whether any client can send a request with a client certificate.
    pub fn takes_certificates(&self) -> bool {
        self.mtls.is_some()
    }

    /// The host at which the server asks for client certificates, without a port; an IPv6 address in
    /// brackets.
    pub fn mtls_host(&self) -> Option<&str> {
        self.mtls.as_ref().map(|mtls| mtls.host.as_str())
    }

    /// The URL of `path`, which begins with a slash, below the issuer, where the server asks for
    /// client certificates.
    pub fn mtls_at(&self, path: &str) -> Option<String> {
        let mtls = self.mtls.as_ref()?;
        Some(format!("{}{}{path}", mtls.origin, self.path))
    }

    /// The URLs at which the whole path is reached: on the issuer's origin, and where the server asks
    /// for client certificates.
    pub fn on_origins(&self, path: &str) -> impl Iterator<Item = String> {
        let with_certificate = self.mtls.as_ref();
        let with_certificate = with_certificate.map(|mtls| format!("{}{path}", mtls.origin));
        [self.on_origin(path)].into_iter().chain(with_certificate)
    }

    /// The issuer identifier, exactly as configured.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The issuer's host, without a port; an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the issuer is an https URL; http is for loopback hosts only.
    pub fn is_https(&self) -> bool {
        self.issuer.starts_with("https:")
    }

    /// Whether this is the issuer's host with its port, as requests name it. A port that the scheme
    /// implies may be left out.
    pub fn is_host(&self, host: &str) -> bool {
        let Some((name, port)) = host.split_at_checked(self.host.len()) else {
            return false;
        };
        let is_port = match port.strip_prefix(':') {
            None => port.is_empty() && self.port_is_implied,
            Some(port) => port == self.port.to_string(),
        };
        is_port && name.eq_ignore_ascii_case(&self.host)
    }

    /// The issuer's path without a slash at the end; empty at the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The URL of `path`, which begins with a slash, below the issuer.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.issuer.trim_end_matches('/'))
    }

    pub fn token_endpoint(&self) -> String {
        self.at("/token")
    }

    /// The resource URI of our own admin API: the `aud` of admin tokens.
    pub fn admin_resource(&self) -> String {
        self.at("/admin")
    }

    /// Our own userinfo endpoint, which is also the `aud` of its tokens.
    pub fn userinfo(&self) -> String {
        self.at("/userinfo")
    }

    /// The path of the admin API's protected resource metadata. The well-known segment goes between
    /// host and path (RFC 9728 section 3).
    pub fn admin_metadata_path(&self) -> String {
        format!("/.well-known/oauth-protected-resource{}/admin", self.path)
    }

    /// The URL of the admin API's protected resource metadata.
    pub fn admin_metadata(&self) -> String {
        self.on_origin(&self.admin_metadata_path())
    }

    /// The URL of `path`, which begins with a slash, on the issuer's scheme, host and port.
    pub fn on_origin(&self, path: &str) -> String {
        let origin = self
            .issuer
            .trim_end_matches('/')
            .strip_suffix(&self.path)
            .unwrap_or(&self.issuer);
        format!("{origin}{path}")
    }

    /// The accepted values of `aud` in assertions, unless the trusted issuer configures others
    /// (decision D-08).
    pub fn default_audiences(&self) -> Vec<String> {
        vec![self.issuer.clone(), self.token_endpoint()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(issuer: &str, listen: &str) -> Result<OwnUrls, String> {
        OwnUrls::new(issuer, listen.parse().unwrap())
    }

    #[test]
    fn rfc8414_2_1__the_issuer_is_an_https_url_without_query_and_fragment() {
        for issuer in [
            "https://as.test?x",
            "https://as.test#",
            "https://as.test/#x",
            "ftp://as.test",
            "as.test",
            "https://u@as.test",
            "HTTPS://as.test",
            "https://AS.test",
            "https://as.test:443",
            "https://as.test/a/../b",
            // Its token endpoint would be where NuGet's tools ask registries for keys.
            "https://as.test/api/v2",
            "https://as.test/api/v2/",
        ] {
            assert!(urls(issuer, "127.0.0.1:1").is_err(), "{issuer}");
        }
        for issuer in [
            "https://as.test",
            "https://as.test/",
            "https://as.test/t",
            "https://as.test/t/",
            "https://as.test:8443",
        ] {
            assert!(urls(issuer, "0.0.0.0:1").is_ok(), "{issuer}");
        }
    }

    #[test]
    fn rfc6749_3_2_1__http_is_for_loopback_listeners_only() {
        assert!(urls("http://127.0.0.1:8080", "127.0.0.1:8080").is_ok());
        assert!(urls("http://localhost:8080", "[::1]:8080").is_ok());
        assert!(urls("http://127.0.0.1:8080", "0.0.0.0:8080").is_err());
        assert!(urls("http://as.test", "127.0.0.1:8080").is_err());
    }

    #[test]
    fn a_host_is_the_issuers_with_its_port() {
        for (issuer, hosts, others) in [
            (
                "https://as.test/t",
                &["as.test", "AS.test", "as.test:443"][..],
                &["as.test:80", "as.test:", "as.test:0443", "as.test.", ""][..],
            ),
            (
                "https://as.test:8443",
                &["as.test:8443"],
                &["as.test", "as.test:443", "as.testé:8443", "xas.test:8443"],
            ),
            (
                "http://[::1]",
                &["[::1]", "[::1]:80"],
                &["::1", "[::1]:443"],
            ),
        ] {
            let own = urls(issuer, "127.0.0.1:1").unwrap();
            assert_eq!(own.is_https(), issuer.starts_with("https://"));
            for host in hosts {
                assert!(own.is_host(host), "{issuer} {host}");
            }
            for host in others {
                assert!(!own.is_host(host), "{issuer} {host}");
            }
        }
    }

    #[test]
    fn our_urls_lie_below_the_issuer() {
        let root = urls("https://as.test", "127.0.0.1:1").unwrap();
        assert_eq!(
            (root.path(), root.token_endpoint().as_str()),
            ("", "https://as.test/token")
        );
        let tenant = urls("https://as.test/t/", "127.0.0.1:1").unwrap();
        assert_eq!(
            (tenant.path(), tenant.issuer()),
            ("/t", "https://as.test/t/")
        );
        assert_eq!(tenant.admin_resource(), "https://as.test/t/admin");
        assert_eq!(
            tenant.admin_metadata(),
            "https://as.test/.well-known/oauth-protected-resource/t/admin"
        );
        assert_eq!(
            root.admin_metadata(),
            "https://as.test/.well-known/oauth-protected-resource/admin"
        );
        assert_eq!(
            tenant.default_audiences(),
            ["https://as.test/t/", "https://as.test/t/token"]
        );
    }
}
