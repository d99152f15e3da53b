//! The network as far as the server's fetches see it: hosts in this process, behind the server's own rules for URLs.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use carnet::upstream::{
    Answer, Egress, Fetch, FetchError, Fetched, HttpFetch, Message, Outgoing, Question,
};
use http_body_util::BodyExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tower::ServiceExt as _;
use url::Url;

use super::FakeIssuer;

/// Hosts by name, and what was fetched.
#[derive(Debug, Default)]
pub struct FakeNetwork {
    hosts: Mutex<HashMap<String, Router>>,
    fetched: Mutex<Vec<String>>,
    /// Messages to webhooks go over real sockets.
    real: HttpFetch,
}

impl FakeNetwork {
    /// Puts a platform at its host.
    pub fn add(&self, issuer: &FakeIssuer) {
        let host = Url::parse(&issuer.url).unwrap().authority().to_owned();
        self.hosts.lock().unwrap().insert(host, issuer.router());
    }

    /// Puts a service at a host.
    pub fn add_service(&self, host: &str, service: Router) {
        self.hosts.lock().unwrap().insert(host.to_owned(), service);
    }

    /// Every URL that was fetched or would have been.
    pub fn fetched(&self) -> Vec<String> {
        self.fetched.lock().unwrap().clone()
    }
}

impl FakeNetwork {
    async fn send(
        &self,
        url: &Url,
        request: Request<Body>,
        limit: usize,
    ) -> Result<Fetched, FetchError> {
        self.fetched.lock().unwrap().push(url.to_string());
        let host = self.hosts.lock().unwrap().get(url.authority()).cloned();
        let host =
            host.ok_or_else(|| FetchError::Failed(url.to_string(), "no such host".into()))?;
        let response = host.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let age = response
            .headers()
            .get("cache-control")
            .and_then(|value| value.to_str().ok()?.split_once("max-age="));
        let max_age = age.and_then(|(_, seconds)| seconds.parse().ok());
        let body = response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec();
        if body.len() > limit {
            return Err(FetchError::TooLarge(url.to_string(), limit));
        }
        Ok(Fetched {
            status,
            body,
            max_age,
        })
    }
}

impl Fetch for FakeNetwork {
    fn fetch<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        credential: Option<&'a SecretString>,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            egress.check(url)?;
            let mut request = Request::get(url.path());
            if let Some(credential) = credential {
                let value = format!("Bearer {}", credential.expose_secret());
                request = request.header("authorization", value);
            }
            self.send(url, request.body(Body::empty()).unwrap(), limit)
                .await
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
            let request =
                Request::post(url.path()).header("authorization", question.authorization());
            self.send(
                url,
                request.body(Body::from(question.body.to_string())).unwrap(),
                limit,
            )
            .await
        })
    }

    fn post<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        message: &'a Message,
    ) -> Answer<'a, Result<u16, FetchError>> {
        self.real.post(url, egress, message)
    }

    fn send<'a>(
        &'a self,
        url: &'a Url,
        egress: &'a Egress,
        request: &'a Outgoing,
        limit: usize,
    ) -> Answer<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            egress.check(url)?;
            let mut sent = Request::builder()
                .method(request.method.clone())
                .uri(&url[url::Position::BeforePath..url::Position::AfterQuery]);
            sent.headers_mut().unwrap().extend(request.headers.clone());
            let body = Body::from(request.body.clone());
            let answer = FakeNetwork::send(self, url, sent.body(body).unwrap(), limit);
            // The client of the real network gives up after this time.
            tokio::time::timeout(std::time::Duration::from_secs(5), answer)
                .await
                .unwrap_or_else(|_| Err(FetchError::Failed(url.to_string(), "too slow".to_owned())))
        })
    }
}
