//! Outgoing requests for trusted issuers: which URLs may be fetched, which addresses may be
//! connected to, and how much is read (decision D-27).

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use carnet_outbound::{ReadError, causes, has_credentials, is_loopback};
use ipnet::IpNet;
use moka::future::Cache;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::{Host, Url};

/// For one request, from name resolution to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 2;
/// How many HTTP clients are kept for questions, and for how long after their last use.
const MOST_ASKING: u64 = 100;
const ASKING_FOR: Duration = Duration::from_mins(5);

/// The egress rules of one trusted issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Egress {
    /// Certificate authorities trusted in addition to the system's, as PEM.
    pub ca_pem: Option<String>,
    /// Networks that may be connected to although their addresses are private.
    pub allow_private: Vec<IpNet>,
    /// Whether plain http is allowed on a loopback address.
    pub allow_http_loopback: bool,
}

/// An answer, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub status: u16,
    pub body: Vec<u8>,
    /// The `max-age` of the answer's `Cache-Control`, in seconds.
    pub max_age: Option<i64>,
}

/// Why a document could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The egress rules do not allow the URL.
    #[error("{0} may not be fetched: {1}")]
    Refused(String, &'static str),
    /// The server could not be reached, or answered too slowly.
    #[error("{0} could not be fetched: {1}")]
    Failed(String, String),
    /// The body is larger than the limit.
    #[error("{0} is larger than {1} bytes")]
    TooLarge(String, usize),
}

/// A boxed future, so that the traits here can be used as trait objects.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends requests for trusted issuers. Tests implement it with issuers of their own; everything
/// else uses [`HttpFetch`].
pub trait Fetch: Send + Sync + std::fmt::Debug {
    /// Fetches a URL, reading at most `limit` bytes.
    fn fetch<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>>;

    /// Posts a question to a URL and reads at most `limit` bytes of the answer. Redirects are not
    /// followed, so that the bearer token reaches no other server.
    fn ask<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        question: &'a Question,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>>;
}

/// A question to a service that authenticates its callers, such as the `TokenReview` API.
#[derive(Debug)]
pub struct Question {
    /// The bearer token by which this server authenticates.
    pub credential: SecretString,
    /// The body of the request, sent as JSON.
    pub body: Value,
}

impl Question {
    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.credential.expose_secret())
    }
}

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

/// [`Fetch`] over the network.
#[derive(Clone, Debug)]
pub struct HttpFetch {
    lookup: Arc<dyn Lookup>,
    /// Clients for questions, by egress rules and by whether they speak plain http. Unlike fetches
    /// of keys, questions come with every token, and building a client reads the system's
    /// certificates.
    asking: Cache<(Egress, bool), reqwest::Client>,
}

impl Default for HttpFetch {
    fn default() -> Self {
        Self::with_lookup(Arc::new(SystemLookup))
    }
}

impl HttpFetch {
    /// Resolves names with `lookup`.
    pub fn with_lookup(lookup: Arc<dyn Lookup>) -> Self {
        Self {
            lookup,
            asking: Cache::builder()
                .max_capacity(MOST_ASKING)
                .time_to_idle(ASKING_FOR)
                .build(),
        }
    }

    /// Builds a client. Every fetch of keys builds its own: they are rare, and an idle client would
    /// keep the system's certificates in memory.
    fn client(
        &self,
        url: &Url,
        egress: &Egress,
        redirects: Policy,
    ) -> Result<reqwest::Client, reqwest::Error> {
        let resolver = CheckedResolver {
            lookup: self.lookup.clone(),
            allow_private: egress.allow_private.clone(),
        };
        let mut builder = carnet_outbound::client(TIMEOUT, !egress.is_http_loopback(url))
            .no_proxy()
            .redirect(redirects)
            .dns_resolver(Arc::new(resolver));
        if let Some(pem) = &egress.ca_pem {
            for certificate in reqwest::Certificate::from_pem_bundle(pem.as_bytes())? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        builder.build()
    }
}

impl Fetch for HttpFetch {
    fn fetch<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            egress.check(url)?;
            let client = self
                .client(url, egress, Policy::custom(same_origin))
                .map_err(|error| failed(url, &error))?;
            read(url, client.get(url.clone()), limit).await
        })
    }

    fn ask<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        question: &'a Question,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            egress.check(url)?;
            let key = (egress.clone(), egress.is_http_loopback(url));
            let client = self
                .asking
                .try_get_with(key, async { self.client(url, egress, Policy::none()) })
                .await;
            let client = client.map_err(|error| failed(url, &error))?;
            let request = client
                .post(url.clone())
                .header("authorization", question.authorization())
                .json(&question.body);
            read(url, request, limit).await
        })
    }
}

fn failed(url: &Url, error: &reqwest::Error) -> FetchError {
    FetchError::Failed(url.to_string(), causes(error))
}

async fn read(
    url: &Url,
    request: reqwest::RequestBuilder,
    limit: usize,
) -> Result<Fetched, FetchError> {
    let mut response = request.send().await.map_err(|error| failed(url, &error))?;
    let body = carnet_outbound::read(&mut response, limit)
        .await
        .map_err(|error| match error {
            ReadError::Failed(error) => failed(url, &error),
            ReadError::TooLarge(limit) => FetchError::TooLarge(url.to_string(), limit),
        })?;
    let cache_control = response
        .headers()
        .get("cache-control")
        .and_then(|value| value.to_str().ok());
    Ok(Fetched {
        status: response.status().as_u16(),
        body,
        max_age: cache_control.and_then(max_age),
    })
}

/// Follows at most two redirects, and none to another scheme, host or port.
fn same_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let stays = attempt
        .previous()
        .last()
        .is_some_and(|previous| previous.origin() == attempt.url().origin());
    if stays && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.error("redirected to another host, or too often")
    }
}

/// `max-age` of a `Cache-Control` header (RFC 9111 section 5.2.2.1).
fn max_age(header: &str) -> Option<i64> {
    header.split(',').find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("max-age") {
            value.trim_matches('"').parse().ok()
        } else {
            None
        }
    })
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

    fn is_http_loopback(&self, url: &Url) -> bool {
        self.allow_http_loopback && is_loopback(url) && url.scheme() == "http"
    }
}

/// Resolves names to the addresses that may be connected to. The client connects to these very
/// addresses, so that a name cannot resolve differently after the check (DNS rebinding).
#[derive(Debug)]
struct CheckedResolver {
    lookup: Arc<dyn Lookup>,
    allow_private: Vec<IpNet>,
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

    #[test]
    fn max_age_is_read_from_cache_control() {
        assert_eq!(max_age("public, max-age=600"), Some(600));
        assert_eq!(max_age("Max-Age=\"60\""), Some(60));
        assert_eq!(max_age("no-store"), None);
        assert_eq!(max_age("s-maxage=5"), None);
        assert_eq!(max_age("max-age=x"), None);
    }
}
