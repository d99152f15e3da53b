//! Outgoing requests for trusted issuers, to identity providers and to webhooks: which URLs may be fetched, which addresses may be
//! connected to, and how much is read (decision D-27).

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use carnet_outbound::{has_credentials, is_loopback};
use ipnet::IpNet;
use moka::future::Cache;
use reqwest::Method;
use reqwest::header::HeaderMap;
use reqwest::redirect::{Attempt, Policy};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::{Host, Url};

use super::addresses::{
    CheckedResolver, Lookup, ProxyResolver, SystemLookup, is_local_name, may_connect,
};
use super::answer::{failed, read};
use crate::config::{Config, ProxyUrl};

/// For one request, from name resolution to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For one message to a webhook, from name resolution to the status of the answer.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 2;
/// How many HTTP clients are kept for questions, fetches and messages, and for how long after their last use.
const MOST_ASKING: u64 = 100;
const MOST_FETCHING: u64 = 20;
const MOST_POSTING: u64 = 20;
const ASKING_FOR: Duration = Duration::from_mins(5);

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
    /// Fetches a URL, reading at most `limit` bytes. With a `credential` the request carries it as
    /// bearer token, also over redirects, which stay on the same host and port.
    fn fetch<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        credential: Option<&'a SecretString>,
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

    /// Posts a message to a webhook and returns the status of the answer, whose body is not read.
    /// Redirects are not followed.
    fn post<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        message: &'a Message,
    ) -> Answer<'a, Result<u16, FetchError>>;

    /// Sends a request to an OpenID provider and reads at most `limit` bytes of the answer.
    /// Redirects are not followed, so that codes, secrets and tokens reach no other server.
    fn send<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        request: &'a ProviderRequest,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>>;
}

/// A request to an endpoint of an OpenID provider, with its credentials.
#[derive(Clone)]
pub struct ProviderRequest {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for ProviderRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// A message to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Header fields beside `content-type`, which is JSON.
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
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
        bearer(&self.credential)
    }
}

fn bearer(credential: &SecretString) -> String {
    format!("Bearer {}", credential.expose_secret())
}

/// [`Fetch`] over the network.
#[derive(Clone, Debug)]
pub struct HttpFetch {
    lookup: Arc<dyn Lookup>,
    /// The operator's proxy for all requests that leave the operator's network.
    proxy: Option<ProxyUrl>,
    /// Clients for fetches, by egress rules and by whether they speak plain http. Building one reads
    /// the system's certificates.
    fetching: Cache<(Egress, bool), reqwest::Client>,
    /// The same for questions, which come with every token.
    asking: Cache<(Egress, bool), reqwest::Client>,
    /// The same for messages to webhooks, so that their owners' egress rules displace no client for
    /// questions.
    posting: Cache<(Egress, bool), reqwest::Client>,
}

impl Default for HttpFetch {
    fn default() -> Self {
        Self::with_lookup(Arc::new(SystemLookup))
    }
}

impl HttpFetch {
    /// Resolves names with `lookup`.
    pub fn with_lookup(lookup: Arc<dyn Lookup>) -> Self {
        let clients = |most| {
            Cache::builder()
                .max_capacity(most)
                .time_to_idle(ASKING_FOR)
                .build()
        };
        Self {
            lookup,
            proxy: None,
            fetching: clients(MOST_FETCHING),
            asking: clients(MOST_ASKING),
            posting: clients(MOST_POSTING),
        }
    }

    /// Sends requests as the operator configured it, through a proxy if there is one.
    pub fn of(config: &Config) -> Self {
        Self {
            proxy: config.upstream_proxy.clone(),
            ..Self::default()
        }
    }

    /// The proxy for a request. Servers in the operator's own network are reached without it: those
    /// with private addresses, which their trusted issuer has to allow, and those on this machine.
    fn proxy_for(&self, url: &Url, egress: &Egress) -> Option<&ProxyUrl> {
        let is_inside = !egress.allow_private.is_empty() || egress.is_http_loopback(url);
        self.proxy.as_ref().filter(|_| !is_inside)
    }

    /// Checks what can be checked before the name is resolved. Behind a proxy nothing else can,
    /// because the proxy resolves it.
    fn check(&self, url: &Url, egress: &Egress) -> Result<(), FetchError> {
        egress.check(url)?;
        let local = url.domain().is_some_and(is_local_name);
        if local && self.proxy_for(url, egress).is_some() {
            let why = "no public host has its name, and the proxy would resolve it";
            return Err(FetchError::Refused(url.to_string(), why));
        }
        Ok(())
    }

    /// Builds a client. That reads the system's certificates, so requests share one for a while:
    /// many fetches at once, as after a start, would keep the threads of the runtime busy, and
    /// issuers that answer would be given up beside those that do not.
    fn client(
        &self,
        url: &Url,
        egress: &Egress,
        redirects: Policy,
    ) -> Result<reqwest::Client, reqwest::Error> {
        self.builder(url, egress, redirects)?.build()
    }

    fn builder(
        &self,
        url: &Url,
        egress: &Egress,
        redirects: Policy,
    ) -> Result<reqwest::ClientBuilder, reqwest::Error> {
        let mut builder = carnet_outbound::client(TIMEOUT, !egress.is_http_loopback(url))
            .no_proxy()
            .redirect(redirects);
        builder = match self.proxy_for(url, egress) {
            Some(proxy) => builder
                .proxy(reqwest::Proxy::all(proxy.expose())?)
                .dns_resolver(Arc::new(ProxyResolver(self.lookup.clone()))),
            None => builder.dns_resolver(Arc::new(CheckedResolver {
                lookup: self.lookup.clone(),
                allow_private: egress.allow_private.clone(),
            })),
        };
        if let Some(pem) = &egress.ca_pem {
            for certificate in reqwest::Certificate::from_pem_bundle(pem.as_bytes())? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(builder)
    }
}

impl Fetch for HttpFetch {
    fn fetch<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        credential: Option<&'a SecretString>,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            self.check(url, egress)?;
            let key = (egress.clone(), egress.is_http_loopback(url));
            let client = self
                .fetching
                .try_get_with(key, async {
                    // Keys are fetched rarely; each fetch resolves the name and checks the address.
                    let builder = self.builder(url, egress, Policy::custom(same_origin))?;
                    builder.pool_max_idle_per_host(0).build()
                })
                .await;
            let client = client.map_err(|error| failed(url, &error))?;
            let mut request = client.get(url.clone());
            if let Some(credential) = credential {
                request = request.header("authorization", bearer(credential));
            }
            read(url, request, limit).await
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
            self.check(url, egress)?;
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

    fn post<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        message: &'a Message,
    ) -> Answer<'a, Result<u16, FetchError>> {
        Box::pin(async move {
            self.check(url, egress)?;
            let key = (egress.clone(), egress.is_http_loopback(url));
            let client = self
                .posting
                .try_get_with(key, async { self.client(url, egress, Policy::none()) })
                .await;
            let client = client.map_err(|error| failed(url, &error))?;
            let mut request = client
                .post(url.clone())
                .timeout(POST_TIMEOUT)
                .header("content-type", "application/json");
            for (name, value) in &message.headers {
                request = request.header(*name, value);
            }
            let answer = request.body(message.body.clone()).send().await;
            // The error is logged, and the path of a webhook's URL is often its password.
            answer
                .map(|answer| answer.status().as_u16())
                .map_err(|error| failed(url, &error.without_url()))
        })
    }

    fn send<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        request: &'a ProviderRequest,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            self.check(url, egress)?;
            let key = (egress.clone(), egress.is_http_loopback(url));
            let client = self
                .asking
                .try_get_with(key, async { self.client(url, egress, Policy::none()) })
                .await;
            let client = client.map_err(|error| failed(url, &error))?;
            let request = client
                .request(request.method.clone(), url.clone())
                .headers(request.headers.clone())
                .body(request.body.clone());
            read(url, request, limit).await
        })
    }
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
