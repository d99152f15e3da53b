//! What the page refuses, with the stand-in for a provider in the place of Carnet. Its access tokens
//! are none of a registry, so nobody is signed in here; `carnet quickstart` goes the whole way.

use std::collections::BTreeMap;

use carnet_engine::clock::{Clock, Timestamp};
use carnet_resource_server::{PackageNames, Verifier};
use reqwest::Response;
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::*;
use crate::{StandInClient, StandInProvider};

const CLIENT: &str = "registry-site";

#[derive(Debug)]
struct MachineClock;

impl Clock for MachineClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the provider signs in the time of this machine"
    )]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_seconds(i64::try_from(now.as_secs()).unwrap())
    }
}

/// A registry and the provider that it signs people in with.
struct Site {
    http: reqwest::Client,
    registry: String,
    provider: String,
    shared: Arc<Registry>,
    _serving: JoinSet<()>,
}

impl Site {
    async fn new() -> Self {
        let listen = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            (listener, url)
        };
        let (registry_listener, registry) = listen().await;
        let (provider_listener, provider) = listen().await;
        let client = StandInClient {
            id: CLIENT.to_owned(),
            secret: None,
            redirect_uris: vec![format!("{registry}{CALLBACK}")],
            post_logout_redirect_uris: Vec::new(),
        };
        let stand_in = StandInProvider::new(&provider, client, Arc::new(MachineClock)).unwrap();
        let verifier = Verifier::new(&provider, &format!("{registry}/")).unwrap();
        let folder = std::env::temp_dir().join("no packages");
        let packages = Registry::new(verifier, PackageNames::Exact, folder);
        let shared = Arc::new(packages.with_sign_in(CLIENT, None).unwrap());
        let mut serving = JoinSet::new();
        let (page, stand_in) = (router(shared.clone()), stand_in.router());
        serving.spawn(async move { axum::serve(registry_listener, page).await.unwrap() });
        serving.spawn(async move { axum::serve(provider_listener, stand_in).await.unwrap() });
        let http = carnet_outbound::client(std::time::Duration::from_secs(30), false);
        Self {
            http: http.no_proxy().build().unwrap(),
            registry,
            provider,
            shared,
            _serving: serving,
        }
    }

    async fn get(&self, path: &str, cookie: &str) -> Response {
        let request = self.http.get(format!("{}{path}", self.registry));
        request.header(COOKIE, cookie).send().await.unwrap()
    }

    /// Begins a sign-in: the cookie of the browser, and where it is sent.
    async fn begin(&self) -> (String, Url) {
        let begun = self.get("/account/sign-in", "").await;
        assert_eq!(begun.status(), 303, "{}", begun.text().await.unwrap());
        let cookie = begun.headers()[SET_COOKIE].to_str().unwrap();
        for attribute in [
            "; HttpOnly",
            "; SameSite=Lax",
            "; Path=/account",
            "; Max-Age=600",
        ] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        let to = begun.headers()[LOCATION].to_str().unwrap();
        let (pair, _) = cookie.split_once(';').unwrap();
        (pair.to_owned(), Url::parse(to).unwrap())
    }

    /// What the provider answers for one of its people.
    async fn answer(&self, asked: &Url) -> Url {
        let form = [
            ("person", "1002"),
            ("second_factor", "yes"),
            ("request", asked.query().unwrap()),
        ];
        let log_in = self.http.post(format!("{}/log-in", self.provider));
        let answer = log_in.form(&form).send().await.unwrap();
        Url::parse(answer.headers()[LOCATION].to_str().unwrap()).unwrap()
    }

    /// Comes back with this query.
    async fn back(&self, cookie: &str, query: &str) -> (u16, String) {
        let answer = self.get(&format!("{CALLBACK}?{query}"), cookie).await;
        let status = answer.status().as_u16();
        assert!(!answer.headers().contains_key(SET_COOKIE));
        (status, answer.text().await.unwrap())
    }
}

fn parameters(url: &Url) -> BTreeMap<String, String> {
    url.query_pairs().into_owned().collect()
}

/// The query of an answer with another value of one parameter.
fn with(answer: &Url, name: &str, value: &str) -> String {
    let mut all = parameters(answer);
    all.insert(name.to_owned(), value.to_owned());
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(all)
        .finish()
}

#[tokio::test]
async fn a_sign_in_asks_for_a_code_with_everything_that_protects_it() {
    let site = Site::new().await;
    let (_, asked) = site.begin().await;
    let sent = parameters(&asked);
    assert!(asked.as_str().starts_with(&site.provider), "{asked}");
    assert_eq!(sent["response_type"], "code");
    assert_eq!(sent["code_challenge_method"], "S256");
    assert_eq!(sent["resource"], format!("{}/", site.registry));
    assert_eq!(sent["redirect_uri"], format!("{}{CALLBACK}", site.registry));
    assert_eq!(sent["scope"], "openid profile publish");
    let (_, other) = site.begin().await;
    for name in ["state", "nonce", "code_challenge"] {
        assert!(sent[name].len() >= 22, "{name}: {asked}");
        assert_ne!(sent[name], parameters(&other)[name], "{name}");
    }
}

#[tokio::test]
async fn an_answer_counts_once_for_the_browser_that_asked_and_only_from_whom_it_asked() {
    let site = Site::new().await;
    let slash = format!("{}/", site.provider);
    for (name, value, refused) in [
        ("state", "another", "that of another sign-in"),
        (
            "iss",
            "https://evil.example",
            "does not say that it is Carnet",
        ),
        ("iss", slash.as_str(), "does not say that it is Carnet"),
        ("code", "another", "Carnet refused the code"),
    ] {
        let (cookie, asked) = site.begin().await;
        let answer = site.answer(&asked).await;
        let (status, page) = site.back(&cookie, &with(&answer, name, value)).await;
        assert!(status >= 400 && page.contains(refused), "{name}: {page}");
        // It is used up, right or wrong.
        let (status, page) = site.back(&cookie, answer.query().unwrap()).await;
        assert!(status == 400 && page.contains("begun no sign-in"), "{page}");
    }
    let (cookie, asked) = site.begin().await;
    let answer = site.answer(&asked).await;
    let (status, page) = site.back("", answer.query().unwrap()).await;
    assert!(status == 400 && page.contains("begun no sign-in"), "{page}");
    // That of another browser, which somebody sends this one with.
    let (victim, _) = site.begin().await;
    let (status, page) = site.back(&victim, answer.query().unwrap()).await;
    assert!(
        status == 400 && page.contains("that of another sign-in"),
        "{page}"
    );

    let declined = with(&answer, "error", "access_denied<b>");
    let (status, page) = site.back(&cookie, &declined).await;
    assert!(
        status == 403 && page.contains("access_denied&lt;b&gt;"),
        "{page}"
    );
}

#[tokio::test]
async fn an_access_token_that_is_not_carnets_signs_nobody_in() {
    let site = Site::new().await;
    let (cookie, asked) = site.begin().await;
    let answer = site.answer(&asked).await;
    let (status, page) = site.back(&cookie, answer.query().unwrap()).await;
    assert_eq!(status, 400, "{page}");
    assert!(page.contains("You are not signed in"), "{page}");
    assert!(!page.contains("ID token"), "{page}");
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_by_its_own_form_alone() {
    let site = Site::new().await;
    let people = site.shared.people.as_ref().unwrap();
    let secret = people.sessions.put(Session {
        token: "no token".to_owned().into(),
        csrf: "the token of the form".to_owned(),
    });
    let cookie = format!("{SESSION}={secret}");
    let page = site.get(PAGE, &cookie).await;
    assert_eq!(page.headers()["cache-control"], "no-store");
    let page = page.text().await.unwrap();
    assert!(page.contains("You are not signed in"), "{page}");

    let (own, cookie) = (site.registry.as_str(), cookie.as_str());
    for (csrf, origin, cookie, status) in [
        ("another", own, cookie, 400),
        ("", own, cookie, 400),
        ("the token of the form", "http://evil.example", cookie, 400),
        ("the token of the form", own, "", 400),
        ("the token of the form", own, cookie, 303),
        ("the token of the form", own, cookie, 400),
    ] {
        let request = site.http.post(format!("{own}/account/sign-out"));
        let request = request.header(COOKIE, cookie).header(ORIGIN, origin);
        let answer = request.form(&[("csrf", csrf)]).send().await.unwrap();
        assert_eq!(answer.status(), status, "{csrf} {origin} {cookie}");
    }
    assert!(people.sessions.get(&secret).is_none());
}
