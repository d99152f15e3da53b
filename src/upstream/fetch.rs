//! Outgoing requests: for trusted issuers, to identity providers and to webhooks, and how much is
//! read of the answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::{Attempt, Policy};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::addresses::{CheckedResolver, Lookup, ProxyResolver, SystemLookup, is_local_name};
use super::answer::{failed, read};
use super::egress::Egress;
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

    /// Sends a request with credentials and reads at most `limit` bytes of the answer. Redirects are
    /// not followed, so that codes, secrets and tokens reach no other server.
    fn send<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        request: &'a Outgoing,
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
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let request = question
                .request()
                .map_err(|why| FetchError::Failed(url.to_string(), why))?;
            self.send(url, egress, &request, limit).await
        })
    }

    /// Posts a message to a webhook and returns the status of the answer, whose body is not read.
    /// Redirects are not followed.
    fn post<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        message: &'a Message,
    ) -> Answer<'a, Result<u16, FetchError>>;
}

/// A request to a service that authenticates its callers, such as a provider's token endpoint.
#[derive(Clone)]
pub struct Outgoing {
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
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

    fn request(&self) -> Result<Outgoing, String> {
        let authorization = HeaderValue::try_from(self.authorization());
        let mut authorization = authorization.map_err(|_| "the credential is no header field")?;
        authorization.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        Ok(Outgoing {
            method: Method::POST,
            headers: HeaderMap::from_iter([(AUTHORIZATION, authorization), (CONTENT_TYPE, json)]),
            body: self.body.to_string().into(),
        })
    }
}

fn bearer(credential: &SecretString) -> String {
    format!("Bearer {}", credential.expose_secret())
}

/// HTTP clients by egress rules, and by whether they speak plain http.
type Clients = Cache<(Egress, bool), reqwest::Client>;

/// [`Fetch`] over the network.
#[derive(Clone, Debug)]
pub struct HttpFetch {
    lookup: Arc<dyn Lookup>,
    /// The operator's proxy for all requests that leave the operator's network.
    proxy: Option<ProxyUrl>,
    fetching: Clients,
    /// Those for requests with credentials, some of which come with every token.
    asking: Clients,
    /// Those for messages to webhooks, so that their owners' egress rules displace no other client.
    posting: Clients,
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

    /// The client for a URL that may be fetched. To build one reads the system's certificates, so
    /// requests share one for a while: many fetches at once, as after a start, would keep the threads
    /// of the runtime busy, and issuers that answer would be given up beside those that do not.
    async fn client(
        &self,
        kept: &Clients,
        url: &Url,
        egress: &Egress,
        build: impl FnOnce() -> Result<reqwest::ClientBuilder, reqwest::Error>,
    ) -> Result<reqwest::Client, FetchError> {
        self.check(url, egress)?;
        let key = (egress.clone(), egress.is_http_loopback(url));
        let client = kept.try_get_with(key, async { build()?.build() }).await;
        client.map_err(|error| failed(url, &error))
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
            // Keys are fetched rarely; each fetch resolves the name and checks the address.
            let build = || {
                let builder = self.builder(url, egress, Policy::custom(same_origin))?;
                Ok(builder.pool_max_idle_per_host(0))
            };
            let client = self.client(&self.fetching, url, egress, build).await?;
            let mut request = client.get(url.clone());
            if let Some(credential) = credential {
                request = request.header(AUTHORIZATION, bearer(credential));
            }
            read(url, request, limit).await
        })
    }

    fn send<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        request: &'a Outgoing,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let build = || self.builder(url, egress, Policy::none());
            let client = self.client(&self.asking, url, egress, build).await?;
            let request = client
                .request(request.method.clone(), url.clone())
                .headers(request.headers.clone())
                .body(request.body.clone());
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
            let build = || self.builder(url, egress, Policy::none());
            let client = self.client(&self.posting, url, egress, build).await?;
            let mut request = client
                .post(url.clone())
                .timeout(POST_TIMEOUT)
                .header(CONTENT_TYPE, "application/json");
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
