//! Ada at a browser, over real connections: she signs in, and agrees or does not.

use std::collections::BTreeMap;

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use url::Url;

use crate::authorize::field;
use crate::people_sessions::browser::{PROVIDER, People, Provider, link};
use crate::support::{Deployed, encode};

/// A browser with a person at it.
#[derive(Clone, Debug)]
pub struct Person {
    http: Client,
    /// The server's origin.
    origin: String,
    provider: Provider,
    now: i64,
    cookies: BTreeMap<String, String>,
}

impl Person {
    pub fn new(deployed: &Deployed, people: &People) -> Self {
        let authority = Certificate::from_pem(deployed.authority().pem().as_bytes()).unwrap();
        Self::at(deployed.url.clone(), people, &[authority])
    }

    /// At a server with this origin.
    pub fn at(origin: String, people: &People, authorities: &[Certificate]) -> Self {
        let http = Client::builder().no_proxy().redirect(Policy::none());
        let trusting = |http: reqwest::ClientBuilder, authority: &Certificate| {
            http.add_root_certificate(authority.clone())
        };
        let http = authorities.iter().fold(http, trusting);
        Self {
            http: http.build().unwrap(),
            origin,
            provider: people.provider.clone(),
            now: people.server.now(),
            cookies: BTreeMap::new(),
        }
    }

    /// Opens a URL of the server and does what its pages ask for, until the browser is sent elsewhere: there.
    pub async fn follow(mut self, url: &str, decision: &str) -> String {
        let mut url = url.to_owned();
        for _ in 0..10 {
            if url.starts_with(&format!("{PROVIDER}/authorize?")) {
                let query = self.provider.answer(&url, self.now, &People::ada());
                url = format!("{}/console/sign-in/corp/callback?{query}", self.origin);
            }
            if Url::parse(&url).unwrap().origin().ascii_serialization() != self.origin {
                return url;
            }
            let answer = self.http.get(&url).header(COOKIE, self.cookie());
            let answer = answer.send().await.unwrap();
            self.keep(&answer);
            url = match answer.status().as_u16() {
                303 => {
                    let to = answer.headers()[LOCATION].to_str().unwrap();
                    Url::parse(&url).unwrap().join(to).unwrap().to_string()
                }
                200 => self.go_on(&answer.text().await.unwrap(), decision).await,
                status => panic!("{url}: {status} {}", answer.text().await.unwrap()),
            };
        }
        panic!("the person is led in a circle: {url}");
    }

    /// Where the button of a page leads.
    async fn go_on(&mut self, page: &str, decision: &str) -> String {
        if let Some(request) = field(page, "request") {
            return self.decide(page, &request, decision).await;
        }
        // The page on which people choose where they sign in.
        let button = page.split("class=\"button\" href=\"").nth(1).unwrap();
        let path = button.split('"').next().unwrap().replace("&#38;", "&");
        format!("{}{path}", self.origin)
    }

    async fn decide(&mut self, page: &str, request: &str, decision: &str) -> String {
        let csrf = field(page, "csrf").unwrap();
        let mut form = vec![("csrf", csrf.as_str()), ("request", request)];
        form.push(("decision", decision));
        let principal = field(page, "principal");
        form.extend(principal.iter().map(|name| ("principal", name.as_str())));
        let answer = self.http.post(format!("{}/authorize/consent", self.origin));
        let answer = answer
            .header(COOKIE, self.cookie())
            .header("origin", &self.origin)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encode(&form));
        let answer = answer.send().await.unwrap();
        self.keep(&answer);
        let status = answer.status();
        let page = answer.text().await.unwrap();
        assert_eq!(status, 200, "{page}");
        link(&page)
    }

    fn cookie(&self) -> String {
        let pairs = self.cookies.iter();
        let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, answer: &Response) {
        for set in answer.headers().get_all(SET_COOKIE) {
            let text = set.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}
