//! The stand-in for an OpenID provider that the quickstart uses: it honours what it is asked, and
//! people sign in with it as they do at a company's.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use carnet::ids::SessionId;
use carnet::model::{IdentityProvider, ProviderAuth, SecondFactor};
use carnet::people::{Begun, Purpose, ReturnTo, SignInRefusal, SignedIn, begin, finish};
use carnet_jose::Algorithm;
use carnet_stand_ins::{StandInClient, StandInProvider};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use url::Url;

use super::documents::{files, read};
use super::sign_in::{Cookies, cookies, provider_at};
use crate::support::{CLIENT_ID, CLIENT_SECRET, TestServer, encode};

const LOGIN: &str = "https://people.test";

/// A server, its stand-in, and the browser of a person, as far as the stand-in sees it.
struct Desk {
    server: TestServer,
    stand_in: axum::Router,
    provider: Arc<IdentityProvider>,
    cookie: Option<String>,
}

/// An answer of the stand-in to a browser.
enum Shown {
    Page(String),
    Sent(Url),
}

impl Desk {
    async fn new(auth_method: ProviderAuth) -> Self {
        let server = TestServer::start().await;
        let client = StandInClient {
            id: CLIENT_ID.to_owned(),
            secret: auth_method.has_secret().then(|| CLIENT_SECRET.to_owned()),
            redirect_uris: vec!["https://as.test/console/sign-in/work/callback".to_owned()],
            post_logout_redirect_uris: vec!["https://as.test/console/signed-out".to_owned()],
        };
        let stand_in = StandInProvider::new(LOGIN, client, server.clock.clone()).unwrap();
        let stand_in = stand_in.router();
        server.network.add_service("people.test", stand_in.clone());
        let provider = IdentityProvider {
            second_factor: SecondFactor::Acr(vec!["mfa".to_owned()]),
            algorithms: vec![Algorithm::ES256],
            ..provider_at(&server, LOGIN, "work")
        };
        let provider = IdentityProvider {
            auth_method,
            ..provider
        };
        Self {
            server,
            stand_in,
            provider: Arc::new(provider),
            cookie: None,
        }
    }

    async fn begin(&self, purpose: Purpose) -> Begun {
        let to = ReturnTo::default();
        let begun = begin(&self.server.app, &self.provider, to, purpose, &[]);
        begun.await.unwrap()
    }

    async fn browse(&mut self, request: Request<Body>) -> Shown {
        let response = self.stand_in.clone().oneshot(request).await.unwrap();
        if let Some(set) = response.headers().get("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            assert!(pair.starts_with("stand-in-provider="));
            self.cookie = Some(pair.to_owned());
        }
        if let Some(to) = response.headers().get("location") {
            assert_eq!(response.status(), 303);
            return Shown::Sent(to.to_str().unwrap().parse().unwrap());
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Shown::Page(String::from_utf8(body.to_vec()).unwrap())
    }

    async fn visit(&mut self, url: &Url) -> Shown {
        let mut request = Request::get(&url[url::Position::BeforePath..]);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("x=y; {cookie}"));
        }
        self.browse(request.body(Body::empty()).unwrap()).await
    }

    /// Presses a button of the log-in page.
    async fn log_in(&mut self, begun: &Begun, form: &[(&str, &str)]) -> Shown {
        let query = begun.location.query().unwrap();
        let form = encode(&[&[("request", query)], form].concat());
        let request = Request::post("/log-in").body(Body::from(form)).unwrap();
        self.browse(request).await
    }

    async fn finish(&self, begun: &Begun, shown: Shown) -> Result<SignedIn, SignInRefusal> {
        let Shown::Sent(back) = shown else {
            panic!("a page");
        };
        assert_eq!(back.path(), "/console/sign-in/work/callback");
        let cookies: Cookies = cookies(begun);
        let query = back.query().unwrap();
        finish(&self.server.app, &self.provider, query, &cookies, None).await
    }
}

fn presence() -> Purpose {
    Purpose::StepUp {
        session: SessionId(uuid::Uuid::nil()),
        sub: "1002".to_owned(),
        login_hint: None,
    }
}

#[tokio::test]
async fn a_person_of_the_stand_in_signs_in_and_is_remembered_there() {
    for method in [
        ProviderAuth::ClientSecretBasic,
        ProviderAuth::ClientSecretPost,
        ProviderAuth::None,
    ] {
        let mut desk = Desk::new(method).await;
        let begun = desk.begin(Purpose::SignIn).await;
        let Shown::Page(page) = desk.visit(&begun.location).await else {
            panic!("nobody is logged in there yet");
        };
        assert!(page.contains("no passwords"), "{page}");
        for person in StandInProvider::PEOPLE {
            assert!(page.contains(person.name));
        }
        let peter = [("person", "1002"), ("second_factor", "yes")];
        let shown = desk.log_in(&begun, &peter).await;
        let signed_in = desk.finish(&begun, shown).await.unwrap();
        assert_eq!(signed_in.sub, "1002");
        assert_eq!(signed_in.username.as_deref(), Some("peter"));
        assert_eq!(signed_in.claims["groups"][0], "octo-org-publishers");
        assert!(signed_in.second_factor);
        let first = signed_in.auth_time.unwrap();
        assert_eq!(first.seconds(), desk.server.now());

        // Its own session answers at once, with the time of the log-in.
        desk.server.clock.advance(120);
        let begun = desk.begin(Purpose::SignIn).await;
        let shown = desk.visit(&begun.location).await;
        let signed_in = desk.finish(&begun, shown).await.unwrap();
        assert_eq!(signed_in.auth_time, Some(first));
    }
}

#[tokio::test]
async fn oidcc_3_1_2_1_1__a_step_up_asks_again_at_the_stand_in() {
    let mut desk = Desk::new(ProviderAuth::ClientSecretBasic).await;
    let begun = desk.begin(Purpose::SignIn).await;
    let peter = [("person", "1002"), ("second_factor", "yes")];
    desk.log_in(&begun, &peter).await;
    desk.server.clock.advance(120);

    let begun = desk.begin(presence()).await;
    assert!(matches!(desk.visit(&begun.location).await, Shown::Page(_)));
    let shown = desk.log_in(&begun, &peter).await;
    let signed_in = desk.finish(&begun, shown).await.unwrap();
    assert_eq!(signed_in.auth_time.unwrap().seconds(), desk.server.now());
    assert!(signed_in.step_up.is_some());

    // With prompt and max_age cut out of the URL, the old log-in answers, and is not believed.
    desk.server.clock.advance(120);
    let mut begun = desk.begin(presence()).await;
    let kept: Vec<(String, String)> = begun
        .location
        .query_pairs()
        .into_owned()
        .filter(|(name, _)| name != "prompt" && name != "max_age")
        .collect();
    begun.location.query_pairs_mut().clear().extend_pairs(kept);
    let shown = desk.visit(&begun.location).await;
    let refusal = desk.finish(&begun, shown).await.unwrap_err();
    assert_eq!(refusal.reason.code(), "auth_too_old");

    let begun = desk.begin(presence()).await;
    let vera = [("person", "1003"), ("second_factor", "yes")];
    let shown = desk.log_in(&begun, &vera).await;
    let refusal = desk.finish(&begun, shown).await.unwrap_err();
    assert_eq!(refusal.reason.code(), "other_person");
}

#[tokio::test]
async fn without_a_second_factor_or_consent_nobody_signs_in_at_the_stand_in() {
    let mut desk = Desk::new(ProviderAuth::ClientSecretBasic).await;
    for (form, reason) in [
        (
            vec![("person", "1001"), ("second_factor", "no")],
            "second_factor_missing",
        ),
        (vec![], "sign_in_denied"),
        (vec![("person", "9999")], "sign_in_denied"),
    ] {
        let begun = desk.begin(Purpose::SignIn).await;
        let shown = desk.log_in(&begun, &form).await;
        let refusal = desk.finish(&begun, shown).await.unwrap_err();
        assert_eq!(refusal.reason.code(), reason);
    }
    // A log-in without a second factor does not answer a request for one.
    let begun = desk.begin(Purpose::SignIn).await;
    assert!(desk.cookie.is_some());
    assert!(matches!(desk.visit(&begun.location).await, Shown::Page(_)));

    // A code is good once, and for whoever has the verifier.
    let peter = [("person", "1002"), ("second_factor", "yes")];
    let Shown::Sent(back) = desk.log_in(&begun, &peter).await else {
        panic!("a page");
    };
    let app = &desk.server.app;
    let other = desk.begin(Purpose::SignIn).await;
    let state = |begun: &Begun| {
        let mut pairs = begun.location.query_pairs();
        pairs
            .find(|(name, _)| name == "state")
            .unwrap()
            .1
            .into_owned()
    };
    let query = back.query().unwrap();
    let stolen = query.replace(&state(&begun), &state(&other));
    let refusal = finish(app, &desk.provider, &stolen, &cookies(&other), None).await;
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.reason.code(), "code_exchange_failed");
    assert_eq!(
        &*refusal.detail,
        "the token endpoint answered invalid_grant"
    );
    let refusal = finish(app, &desk.provider, query, &cookies(&begun), None).await;
    assert_eq!(refusal.unwrap_err().reason.code(), "code_exchange_failed");
}

#[tokio::test]
async fn the_stand_in_sends_people_to_registered_places_only_and_logs_them_out() {
    let mut desk = Desk::new(ProviderAuth::ClientSecretBasic).await;
    let begun = desk.begin(Purpose::SignIn).await;
    for (name, value) in [
        ("redirect_uri", "https://evil.test/"),
        ("client_id", "another client"),
    ] {
        let pairs: Vec<(String, String)> = begun.location.query_pairs().into_owned().collect();
        let mut location = begun.location.clone();
        let pairs = pairs.iter().map(|(key, old)| {
            let value = if key == name { value } else { old };
            (key, value)
        });
        location.query_pairs_mut().clear().extend_pairs(pairs);
        let Shown::Page(page) = desk.visit(&location).await else {
            panic!("{name}: sent on");
        };
        assert!(!page.contains("<form"), "{page}");
    }
    let olivia = [("person", "1001"), ("second_factor", "yes")];
    let shown = desk.log_in(&begun, &olivia).await;
    let signed_in = desk.finish(&begun, shown).await.unwrap();

    let app = desk.server.app.clone();
    let end = carnet::people::end_session_url(&app, &desk.provider, &signed_in.id_token);
    let end = end.await.unwrap();
    let Shown::Sent(back) = desk.visit(&end).await else {
        panic!("a page");
    };
    assert_eq!(back.as_str(), "https://as.test/console/signed-out");
    let begun = desk.begin(Purpose::SignIn).await;
    assert!(matches!(desk.visit(&begun.location).await, Shown::Page(_)));
}

#[test]
fn stand_ins_are_reached_from_the_quickstart_alone() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for path in files("src", ".rs") {
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if read(&name).contains("carnet_stand_ins") {
            found += 1;
            assert!(name.starts_with("src/command/quickstart/"), "{name}");
        }
    }
    assert!(found > 0);
}
